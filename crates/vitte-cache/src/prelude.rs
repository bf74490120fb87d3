//! What most programs need: `use vitte_cache::prelude::*;`.

pub use cache_core::{Clock, Event, MissReason, Observer, Policy};

#[cfg(feature = "fs")]
pub use crate::{Cache, CacheBuilder};
