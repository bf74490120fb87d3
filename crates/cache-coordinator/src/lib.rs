//! Chains of stores.

mod absent;
mod breaker;
mod deadline;
mod deletions;
mod event;
mod flight;
mod link;
mod shadow;
mod slots;
mod stats;
mod tier;
mod turns;

pub use breaker::{Breaker, BreakerSettings, BreakerState, Permit, Verdict};
pub use event::{ChainObserver, TierEvent};
pub use stats::{PromotionStats, PushStats, Stats, TierStats};
pub use tier::Tier;
pub use turns::{Urgency, Weights};
