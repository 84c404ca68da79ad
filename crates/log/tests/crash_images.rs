//! Cuts the power at every kind of moment and holds what is recovered against what was acknowledged.
