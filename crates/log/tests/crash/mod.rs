//! A workload, a model of what it must leave behind, and the checks after a crash.

pub(crate) mod batches;
pub(crate) mod check;
pub(crate) mod rng;
pub(crate) mod run;
pub(crate) mod world;
