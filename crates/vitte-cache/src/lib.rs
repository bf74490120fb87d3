//! One cache under every build: a typed, persistent, bounded cache for any Rust program.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Symbols(Vec<String>);
//!
//! # fn parse() -> Symbols { Symbols(Vec::new()) }
//! # #[cfg(feature = "fs")]
//! # fn main() -> Result<(), vitte_cache::Error> {
//! let cache = vitte_cache::Cache::new("target/.vitte-cache")?;
//! if let Some(v) = cache.get::<Symbols>("parser::symbols")? {
//!     println!("found {} symbols", v.0.len());
//! } else {
//!     let symbols = parse();
//!     cache.put("parser::symbols", &symbols)?;
//! }
//! # Ok(()) }
//! # #[cfg(not(feature = "fs"))]
//! # fn main() {}
//! ```
//!
//! # What it promises
//! - **Never a wrong value.** What is damaged, expired, or was stored by a type that has changed since is a miss.
//! - **Never in the way.** No runtime, no daemon; any number of threads and processes share a directory.
//! - **Bounded.** By default it takes the smaller of 20 GB and a tenth of the disk, and keeps nothing for more than 30
//!   days after its last use. See [`CacheBuilder`].
//!
//! # Features
//! - `fs` (default): a [`Cache`] in a directory.
//! - `memory` (default): a [`Cache`] in memory, or with copies in memory of what is on the disk.
//!
//! Without any of them there is only [`core`], the vocabulary of all the crates.

#[cfg(any(feature = "fs", feature = "memory"))]
mod builder;
#[cfg(any(feature = "fs", feature = "memory"))]
mod cache;
#[cfg(all(feature = "fs", feature = "memory"))]
mod copied;
#[cfg(feature = "fs")]
mod disk;
#[cfg(any(feature = "fs", feature = "memory"))]
mod encoding;
#[cfg(any(feature = "fs", feature = "memory"))]
mod error;
#[cfg(any(feature = "fs", feature = "memory"))]
mod flight;
#[cfg(feature = "memory")]
mod in_memory;
#[cfg(any(feature = "fs", feature = "memory"))]
mod place;
pub mod prelude;
#[cfg(any(feature = "fs", feature = "memory"))]
mod tier;

pub use cache_core as core;
#[cfg(feature = "fs")]
pub use cache_fs as fs;
#[cfg(feature = "memory")]
pub use cache_memory as memory;

#[cfg(any(feature = "fs", feature = "memory"))]
pub use builder::CacheBuilder;
#[cfg(any(feature = "fs", feature = "memory"))]
pub use cache::{Cache, MAX_VALUE_BYTES};
#[cfg(any(feature = "fs", feature = "memory"))]
pub use error::{Error, Result};

/// Compiles and runs the Rust examples of the README.
#[cfg(all(doctest, feature = "fs"))]
#[doc = include_str!("../../../README.md")]
mod readme {}
