//! Chains of stores, from the fastest to the slowest, that are a [`Store`](cache_core::Store) themselves.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cache_coordinator::{Coordinator, Tier};
//! use cache_core::{Entry, Key, PutMode, Store};
//! use cache_testkit::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> cache_core::Result<()> {
//! let (disk, server) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
//! let chain = Coordinator::builder()
//!     .tier(Tier::new(disk).named("disk"))
//!     .tier(Tier::new(server).named("server").write_back(true).verify(true))
//!     .build()?;
//! let key = Key::from_bytes([7; 32]);
//! chain.put(&key, &Entry::default(), PutMode::Overwrite).await?;
//! assert!(chain.get(&key).await?.is_some());
//! chain.close().await
//! # }
//! ```
//!
//! # What happens to a call
//! - **Look-ups** ask the [tiers](Tier) in their order, and the first that has the entry answers. Of several look-ups of
//!   one key at the same time, one asks the slower tiers for all. That none of them has it is remembered for a moment.
//!   Batches ask each tier once. What was found in a slow tier is copied into the faster ones in the background: blobs,
//!   then the entry.
//! - **Writes** go to the local tiers at once, and to the others in the background: see [`WriteBack`]. Only blobs that an
//!   entry names are sent there. Where no tier could hold them meanwhile, callers wait for the first that can.
//! - **A tier that fails** has nothing, as far as callers can see. It costs three errors or one deadline, and then a
//!   probe now and then ([`Breaker`]). An entry that no tier could take was stored and evicted at once. All of it is
//!   [counted](Stats) and [told](ChainObserver). A [strict](CoordinatorBuilder::strict) chain gives errors instead.
//! - **A tier that lies** is found out where it is [verified](Tier::verify): blobs are hashed as they stream, small ones
//!   before the caller sees a byte, large ones before their end. Wrong ones are removed there and come from the next
//!   tier, for a large one at the next attempt. An entry with a blob that is nowhere is a miss. Inline values have no
//!   digest; the stores' own checksums and signatures guard those.
//! - **A listing** is that of the first tier that is written and can list.
//!
//! # What was stored last is what is seen
//! A tier that does not have what was last stored through a chain, because it is still to be sent, was filtered, failed or
//! is only read, is skipped for that key until it has. So an eviction makes a miss and never brings an old entry back.
//! Copies that were under way when somebody wrote are not made, or are undone if their blob was deleted. Between
//! processes, and after the next start, the fastest tier that has an entry decides.
//!
//! # What is bounded by what
//!
//! | what | by |
//! |---|---|
//! | calls to a tier at once, and who is next | [`Tier::concurrency`], [`Weights`] |
//! | time of a call, its wait included, and of each piece of a body | [`Tier::deadline`]; a caller's own slowness does not count |
//! | attempts while a tier is down | [`BreakerSettings`] |
//! | copies into faster tiers, and their memory | [`PromotionLimits`] |
//! | writes to slower tiers, their bytes, their attempts | [`WriteBack`] |
//! | the journal | 64 bytes for each write that waits, and 256 KiB |
//! | remembered misses | [`CoordinatorBuilder::remember_misses`] |
//! | latencies | ten kilobytes for each tier, and no lock: see [`Histogram`] |
//! | numbers by kind of entry | 16 kinds for each tier; all further ones are counted together |
//! | keys for which a tier is skipped | 65,536 exactly, all further ones in a filter of 512 KiB that may skip too much |
//!
//! # Cancel safety
//! Every future may be dropped at any await. What a call holds, its turn, the probe of a breaker, its place in a shared
//! look-up, the right to write a key, is given back by `Drop`, so there is nothing that only the next line would clean up. A
//! look-up that others wait for is taken over by one of them. A put that is dropped after the first tier may have the new
//! entry makes the others be skipped; before that, it changes nothing. Background work is not part of any caller's future.
//!
//! # Runtime
//! Timers and background work run on a tokio runtime with time enabled: the one that the chain is built in, or
//! [another](CoordinatorBuilder::runtime). Callers may be on any executor.

pub mod action;
mod background;
mod blobs;
mod breaker;
pub mod bundle;
mod chain;
mod cleaner;
mod clear;
mod collect;
mod coordinator;
mod deadline;
mod deletions;
mod entries;
mod errands;
mod event;
mod flight;
mod histogram;
mod journal;
mod kinds;
mod latencies;
mod limits;
mod link;
pub mod live;
mod lookup;
#[cfg(feature = "metrics")]
mod meter;
mod origin;
mod promote;
mod push;
mod receiving;
mod recent;
mod revalidate;
mod sending;
mod shadow;
mod signed;
mod slots;
mod stats;
pub mod target;
mod tier;
mod turns;
mod usage;
mod warm;

pub use breaker::{Breaker, BreakerSettings, BreakerState, Permit, Verdict};
pub use cleaner::{Cleaner, CleanerSettings, RoundObserver};
pub use collect::TierCollected;
pub use coordinator::{Coordinator, CoordinatorBuilder, Flushed};
pub use event::{Absence, ChainObserver, StoreEvents, TierEvent};
pub use histogram::Histogram;
pub use limits::{Limits, LimitsError};
#[cfg(feature = "metrics")]
pub use meter::MetricsObserver;
pub use origin::Origin;
pub use promote::PromotionLimits;
pub use push::WriteBack;
pub use signed::{Refusals, Signed, Unsigned};
pub use stats::{KindStats, Latency, PromotionStats, PushStats, Stats, TierStats};
pub use tier::Tier;
pub use turns::{Urgency, Weights};
pub use usage::UsedKeys;
pub use warm::{WarmPlan, WarmSource, Warmed};
