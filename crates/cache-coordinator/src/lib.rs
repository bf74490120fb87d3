//! Chains of stores.

mod background;
mod blobs;
mod breaker;
mod chain;
mod coordinator;
mod deadline;
mod deletions;
mod errands;
mod event;
mod flight;
mod journal;
mod link;
mod lookup;
mod promote;
mod push;
mod receiving;
mod recent;
mod revalidate;
mod sending;
mod shadow;
mod slots;
mod stats;
mod store_entries;
mod tier;
mod turns;

pub use breaker::{Breaker, BreakerSettings, BreakerState, Permit, Verdict};
pub use coordinator::{Coordinator, CoordinatorBuilder, Flushed};
pub use event::{ChainObserver, TierEvent};
pub use promote::PromotionLimits;
pub use push::WriteBack;
pub use stats::{PromotionStats, PushStats, Stats, TierStats};
pub use tier::Tier;
pub use turns::{Urgency, Weights};
