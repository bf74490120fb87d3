//! What most programs need: `use vitte_cache::prelude::*;`.

pub use cache_core::{Clock, Event, MissReason, Observer, Policy};

#[cfg(feature = "tiers")]
pub use crate::AsyncCache;
#[cfg(feature = "macros")]
pub use crate::cached;
#[cfg(any(feature = "fs", feature = "memory"))]
pub use crate::{Cache, CacheBuilder};
