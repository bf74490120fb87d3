//! `vitte-cache run` as its users meet it: real processes, real files, real compilers.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

mod concurrency;
mod depfile;
mod faults;
mod flags;
mod keys;
mod outputs;
mod project;
mod refusals;
mod signing;
mod support;
