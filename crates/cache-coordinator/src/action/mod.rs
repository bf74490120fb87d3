//! Actions: what a build tool runs, and whether it has to run again.

mod id;
mod kind;

pub use id::{ActionId, ActionIdError};
pub use kind::{ActionKind, CustomKind};
