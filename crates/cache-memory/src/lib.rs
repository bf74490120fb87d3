//! A cache in memory: [`MemoryStore`], a [`Store`](cache_core::Store) over
//! [quick_cache](https://docs.rs/quick_cache), which evicts by a relative of S3-FIFO.

mod async_store;
mod blobs;
mod cleaner;
mod counters;
mod entries;
mod evicted;
mod index;
mod item;
mod limits;
mod list;
mod options;
mod store;
mod weight;

pub use cleaner::{Cleaner, Swept};
pub use counters::Stats;
pub use item::Hit;
pub use options::{DEFAULT_MAX_BYTES, Options};
pub use store::{MemoryStore, NAME};
