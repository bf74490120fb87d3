//! `serve` and `token`, as they are: the real program, its files, its signals.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "../common/place.rs"]
mod place;

mod refusals;
mod support;
mod tokens;

#[cfg(unix)]
mod life;
#[cfg(unix)]
mod reload;
#[cfg(unix)]
mod tls;
#[cfg(all(unix, feature = "opentelemetry"))]
mod traces;
