//! cache-run

pub mod depfile;
pub mod exec;
pub mod flight;
