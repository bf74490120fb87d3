//! `vitte-cache run` with a remote cache: real processes, and a real server on a port of its own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod ci;
mod config;
mod server;
mod sharing;
mod site;
mod trouble;
mod uploads;
