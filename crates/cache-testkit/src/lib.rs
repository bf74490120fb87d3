//! What the tests of vitte-cache share: a [conformance suite](conformance) that every store passes, a
//! [`MemoryStore`] that shows what passing means, and a [`FaultStore`] that misbehaves on request.
//!
//! Nothing here needs a particular async runtime.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cache_testkit::{MemoryStore, block_on, conformance};
//!
//! let report = block_on(conformance::entry_round_trip(&conformance::Suite::new(|| async {
//!     Arc::new(MemoryStore::new()) as Arc<dyn cache_core::Store>
//! })));
//! assert!(report.is_ok());
//! ```

mod bodies;
pub mod conformance;
mod fault;
mod gate;
mod memory;
#[cfg(target_os = "linux")]
mod small_disk;
mod task;

pub use bodies::{Pulled, content, counted, endless, failing_after, in_pieces};
pub use fault::{Fault, FaultStore, Operation};
pub use futures_executor::block_on;
pub use gate::Gate;
pub use memory::MemoryStore;
#[cfg(target_os = "linux")]
pub use small_disk::SmallDisk;
pub use task::{BoxFuture, poll_at_most, yield_now};
