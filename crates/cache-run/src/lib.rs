//! cache-run

pub mod depfile;
pub mod exec;
pub mod flight;
pub mod shadow;
pub mod base;
pub mod inputs;
pub mod memory;
mod probe;
