//! What the benchmarks have in common: numbers that are the same in every run, what is stored, and times.

pub mod rng;
pub mod samples;
pub mod workload;
