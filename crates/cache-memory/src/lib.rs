//! A cache in the memory of one process: [`MemoryStore`], a [`Store`](cache_core::Store) over
//! [quick_cache](https://docs.rs/quick_cache).
//!
//! ```
//! use cache_core::{Entry, Key, Policy, PutMode};
//! use cache_memory::{MemoryStore, Options};
//!
//! let policy = Policy { max_bytes: Some(16 << 20), ..Policy::unlimited() };
//! let store = MemoryStore::new(Options { policy, ..Options::default() });
//! let key = Key::from_bytes([1; 32]);
//! store.put(&key, &Entry { value: "value".into(), ..Entry::default() }, PutMode::Overwrite)?;
//! assert_eq!(store.get(&key).unwrap().value, "value");
//! # Ok::<(), cache_core::Error>(())
//! ```
//!
//! **Bounded by bytes.** An item counts with its key, its facts, its outputs, its value or content, the memory that the
//! allocator adds to each of them, and its share of all tables: about 630 bytes for an entry of nothing. The sum never exceeds
//! the limit, not even for a moment. What is not counted: blobs that are still arriving, at most one of `max_blob` per
//! write under way; what a caller still holds; and tables that have grown for many small items and do not shrink.
//!
//! **Evicted** is by the policy of `quick_cache`, CLOCK-Pro modified to be near S3-FIFO (Yang et al., *FIFO Queues are All
//! You Need for Cache Eviction*, SOSP 2023): what is used once does not drive out what is used often. The optional limit
//! of the number of entries evicts by CLOCK.
//!
//! **Expired** is absent at once, for every question, whether or not a cleaner ran: the time is compared on each look-up
//! with [`Options::clock`]. An entry ends at the `expires` of its own or by the default of the policy, and after its time
//! to idle. [`MemoryStore::sweep`] and [`MemoryStore::start_cleaner`] only give the memory back sooner.
//!
//! **Complete.** An entry is a hit only while every blob that it names is there.
//!
//! **Shared.** A hit is a pointer to the entry in the store. It takes one lock, that of `quick_cache`, and copies nothing.
//! The async trait returns an [`Entry`](cache_core::Entry) of its own: it copies the facts, and the value shares its bytes.
//!
//! **Not verified on reading**: a blob is verified once, when it is written. Memory is not a disk, and nobody else can write
//! to it.

mod async_store;
mod blobs;
mod cleaner;
mod counters;
mod entries;
mod evicted;
mod gc;
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
