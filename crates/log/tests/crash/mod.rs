//! A workload, a model of what it must leave behind, and the checks after a crash.

pub mod batches;
pub mod check;
pub mod rng;
pub mod world;
