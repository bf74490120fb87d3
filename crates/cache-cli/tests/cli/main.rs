//! The command as people and scripts meet it, `run` aside: verbs, bad usage, settings, secrets, output.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "../common/place.rs"]
mod place;

mod ci;
mod house;
mod journal;
mod manual;
#[cfg(target_os = "linux")]
mod namespace;
mod newer;
mod output;
mod secrets;
mod settings;
mod simulate;
mod stale;
mod support;
mod usage;
mod values;
