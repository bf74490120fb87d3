//! cache-run

pub mod base;
pub mod depfile;
pub mod environment;
pub mod exec;
pub mod flight;
pub mod inputs;
pub mod memory;
mod probe;
pub mod shadow;
