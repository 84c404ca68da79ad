//! Benches of rivals live in `benches/`.
