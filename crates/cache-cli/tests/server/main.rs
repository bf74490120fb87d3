//! `serve` and `token`, as they are: the real program, its files, its signals.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod refusals;
mod support;
mod tokens;

#[cfg(unix)]
mod life;
#[cfg(unix)]
mod reload;
#[cfg(unix)]
mod tls;
