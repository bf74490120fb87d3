//! `vitte-cache run` as its users meet it: real processes, real files, real compilers.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod concurrency;
mod depfile;
mod faults;
mod flags;
mod keys;
mod outputs;
mod project;
mod refusals;
mod support;
