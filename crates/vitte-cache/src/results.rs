//! Where the results of memoised functions are.

use cache_core::{Key, Namespace};

use crate::Cache;
use crate::async_making::Reach;
use crate::inner::{CALL, Slot};
use crate::terms::{Standing, Terms};
use crate::tier::Look;

/// A cache that async functions keep their results in. Trouble with it means that there is nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no cache of this crate",
    label = "it leads to `{Self}`"
)]
pub(crate) trait Results: Reach + Clone {
    fn namespace(&self) -> &Namespace;

    /// Returns what the result in `slot` is good for, of whatever type it is.
    async fn standing(&self, slot: &Slot, terms: &Terms) -> Option<Standing>;

    /// Removes a result and returns whether there was one.
    async fn remove(&self, key: &Key) -> bool;

    /// Removes all results of the function at `path` and returns how many there were.
    async fn clear(&self, path: &str) -> u64;
}

/// A cache that can be asked without awaiting it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has to be awaited, which a function that is not `async` cannot do",
    label = "name a `Cache`, or make the function `async`"
)]
pub(crate) trait Blocking {
    fn blocking(&self) -> &Cache;
}

impl Blocking for Cache {
    fn blocking(&self) -> &Cache {
        self
    }
}

impl Results for Cache {
    fn namespace(&self) -> &Namespace {
        self.namespace()
    }

    async fn standing(&self, slot: &Slot, terms: &Terms) -> Option<Standing> {
        self.standing(slot, terms, Look::Peek)
    }

    async fn remove(&self, key: &Key) -> bool {
        self.remove(key)
    }

    async fn clear(&self, path: &str) -> u64 {
        self.clear_kind(CALL, Some(path)).unwrap_or(0)
    }
}

#[cfg(feature = "tiers")]
impl Results for crate::AsyncCache {
    fn namespace(&self) -> &Namespace {
        self.namespace()
    }

    async fn standing(&self, slot: &Slot, terms: &Terms) -> Option<Standing> {
        self.standing(slot, terms).await
    }

    async fn remove(&self, key: &Key) -> bool {
        self.remove(key).await.unwrap_or(false)
    }

    async fn clear(&self, path: &str) -> u64 {
        self.clear_kind(CALL, Some(path)).await.unwrap_or(0)
    }
}
