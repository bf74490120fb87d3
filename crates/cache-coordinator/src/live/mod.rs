//! The live cache: what is computed from files and from other results, and what of it a change leaves right.
//!
//! For language servers and incremental compilers. An entry is a result, with the files and the other entries that it was
//! computed from. The program computes; the cache says what it need not compute again, also when it is started anew.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cache_coordinator::action::FileStates;
//! use cache_coordinator::live::{Invalidation, LiveCache, Lookup};
//! use cache_core::{KeyBuilder, Namespace};
//! use cache_testkit::MemoryStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { cache_testkit::block_on(async {
//! # let dir = tempfile::tempdir()?;
//! let file = dir.path().join("a.rs");
//! std::fs::write(&file, "fn a() {}")?;
//! let files = Arc::new(FileStates::new(dir.path())?);
//! let live = LiveCache::open(Arc::new(MemoryStore::new()), files, Namespace::default()).await;
//! let [symbols, index] = ["symbols", "index"].map(|kind| KeyBuilder::new(&Namespace::default(), kind).text("a.rs").finish());
//!
//! // First the state of the files, then the work, then the result with both.
//! let roots = live.snapshot(&["a.rs"]).await?;
//! let persisted = live.persist(&symbols, "a", "symbols", roots).await?;
//! live.persist_with_upstreams(&index, "a: 1 function", "index", vec![], vec![persisted.upstream]).await?;
//! assert!(live.look_up_revalidate(&index).await.is_hit());
//!
//! // A comment. The symbols have to be found anew, and are the same; so the index is still right.
//! std::fs::write(&file, "fn a() {} // empty")?;
//! assert!(matches!(live.look_up_revalidate(&index).await, Lookup::Invalidated(Invalidation::UpstreamInvalid { .. })));
//! assert!(matches!(live.look_up_revalidate(&symbols).await, Lookup::Invalidated(Invalidation::FileChanged { .. })));
//! let roots = live.snapshot(&["a.rs"]).await?;
//! assert!(live.persist(&symbols, "a", "symbols", roots).await?.unchanged);
//! assert!(live.look_up_revalidate(&index).await.is_hit());
//! # Ok(()) }) }
//! ```
//!
//! # What is served
//! An entry is valid when its files are as they were (each entry says how that is [found out](Validation)), and each entry
//! upstream is valid and has the result that was used. Results are told apart by 128 bits of BLAKE3. This is a verifying
//! trace (Mokhov, Mitchell, Peyton Jones: *Build Systems à la Carte*, 2018): it is written beside the result, so that every
//! process, this one and the next, proves the same thing from it. What cannot be proved is not served.
//!
//! | call | what it guarantees | what it costs |
//! |---|---|---|
//! | [`look_up`](LiveCache::look_up) | as of what was last reported to this process, and never older than the entry's first look-up in it | one read of the store; a check if the entry is in doubt |
//! | [`look_up_revalidate`](LiveCache::look_up_revalidate) | as of now, except what is [durable](Durability) | the same, and a `stat` per file, its own and upstream |
//!
//! An entry is *in doubt* in each process until it was checked once there or persisted by it, and again when something of it
//! is reported. A check ends the doubt.
//!
//! # What reports do
//! - [`mark_dirty`](LiveCache::mark_dirty), [`mark_path_dirty`](LiveCache::mark_path_dirty) and
//!   [`report_durability`](LiveCache::report_durability) put entries in doubt, and all that depend on them.
//! - [`invalidate`](LiveCache::invalidate) and [`invalidate_path`](LiveCache::invalidate_path) drop entries, whatever a
//!   check would say, and put in doubt what depends on them.
//! - [`invalidate_upstream`](LiveCache::invalidate_upstream) drops all that depends on an entry.
//! - [`report_durability`](LiveCache::report_durability) is one number; all others cost what they reach, not what is stored.
//!
//! **Early cut-off.** When an entry was dropped and is persisted again with the same result, what depends on it is valid
//! again after a check, and the next level is not even looked at. With another result, the check fails.
//!
//! **Dropping survives the process.** An entry is dropped in memory first, then removed from the store, oldest first, nearer
//! ones before those that depend on them. If the process ends in between, those left are in doubt in the next one, as all
//! are, and can be proved only with the entry upstream, which is gone. A removal that the store refuses is tried again with
//! every later one and by [`flush`](LiveCache::flush).
//!
//! # Several processes
//! Processes may share a store. What one persists, the others check and use. What one drops is gone for the others when
//! they look it up; entries that depend on it and that they found valid before stay so for their
//! [`look_up`](LiveCache::look_up), until something is reported to them as well.
//!
//! # Limits
//! | what | how many |
//! |---|---|
//! | entries known in memory | [`LiveCacheBuilder::max_entries`]; others are found in the store when they are looked up |
//! | bytes of an entry | 64 MiB |
//! | files, and entries upstream, of an entry | 65,536 each |
//! | kinds | 65,535 with entries at a time |
//!
//! In memory an entry takes 100 bytes, an edge to a file 72 and one to another entry 36, and a path 30 and its last
//! component. Results stay in the store.

mod answer;
mod cache;
mod check;
mod edges;
mod graph;
mod paths;
mod persist;
mod report;
mod resolve;
mod slab;
mod state;
mod stats;
mod trace;
#[cfg(feature = "watch")]
mod watch;

pub use answer::{Absence, Found, Invalidation, Lookup};
pub use cache::{LiveCache, LiveCacheBuilder, Rebuilt};
pub use persist::{LiveEntry, PersistError, Persisted};
pub use stats::LiveStats;
pub use trace::{Durability, Upstream, Validation};
#[cfg(feature = "watch")]
pub use watch::{Changes, Watch, WatchError};
