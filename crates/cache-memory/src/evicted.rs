//! What `quick_cache` drops by itself, kept until its lock is released.

use quick_cache::Lifecycle;

use crate::item::{Address, Item};

/// What one put or write drove out: what had to make room, and what it replaced.
pub(crate) type Evicted = Vec<(Address, Item)>;

/// Hands out what is driven out, instead of dropping it under the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collect;

impl Lifecycle<Address, Item> for Collect {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, address: Address, item: Item) {
        evicted.push((address, item));
    }
}
