//! Runs a command through a cache: what it read decides whether what it made can be restored instead.
//!
//! [`run`] is the whole of it; a [`Spec`] says what to run, a [`Session`] with which cache, and a [`Report`] how it went.
//! The other modules are the parts, for build tools that need only some of them: [`inputs`] and [`memory`] for digests of
//! trees that have not changed, [`depfile`] and [`shadow`] for headers, [`outputs`] and [`restore`], [`exec`], [`flight`].

pub mod access;
mod append;
pub mod base;
pub mod depfile;
mod discovered;
mod entries;
pub mod environment;
pub mod exec;
mod execute;
mod explain;
pub mod flight;
pub mod inputs;
pub mod journal;
mod lookup;
pub mod manifest;
pub mod memory;
pub mod outputs;
mod plan;
mod probe;
pub mod project;
mod regular;
pub mod remote;
mod report;
pub mod restore;
mod runner;
mod salt;
pub mod shadow;
pub mod simulate;
mod spec;
pub mod tool;
mod value;
mod why;

pub use cache_core::human;
pub use entries::Signing;
pub use report::{NoPaint, Paint, Reason, Report, Tone};
pub use runner::{RunError, Session, Ui, journal, plan_key, run};
pub use spec::{Failures, Mode, MtimeMode, RestoreMode, Spec, StdinMode};
pub use why::{Answer, Query, WhyError, why};
