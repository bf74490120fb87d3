//! Targets: what a build makes from sources and from other targets, and whether it is there already.
//!
//! A target is found by the content of its sources: two states of a tree, such as two branches, are two entries, and
//! machines that share a store do not replace each other's. The last state is remembered besides, so that a miss has a
//! reason.

mod cache;
mod id;

pub use cache::{TargetBuild, TargetCache, TargetRequest};
pub use id::{TargetDep, TargetId};
