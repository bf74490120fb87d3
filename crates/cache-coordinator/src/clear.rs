//! Removing all of a kind from all tiers.

use cache_core::{Error, ListFilter, Result};

use crate::Coordinator;
use crate::chain::BATCH;
use crate::link::{Call, Link};
use crate::turns::Urgency;

impl Coordinator {
    /// Removes every entry that passes `filter` from all tiers, whichever of them lists it, and returns how many there were.
    /// Entries that are put meanwhile may stay.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use cache_coordinator::{Coordinator, Tier};
    /// use cache_core::{Entry, Key, ListFilter, PutMode, Store};
    /// use cache_testkit::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> cache_core::Result<()> {
    /// let chain = Coordinator::builder().tier(Tier::new(Arc::new(MemoryStore::new()))).build()?;
    /// chain.put(&Key::from_bytes([7; 32]), &Entry::default(), PutMode::Overwrite).await?;
    /// assert_eq!(chain.clear(&ListFilter::default()).await?, 1);
    /// # chain.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a tier cannot list, or could not be asked: what no other tier has may still be there. Everything else is removed
    /// all the same. If the chain is closed or strict, as [`remove`](cache_core::Store::remove).
    ///
    /// # Cancel safety
    /// What was removed stays removed.
    pub async fn clear(&self, filter: &ListFilter) -> Result<u64> {
        self.chain.ensure_open()?;
        let (mut removed, mut trouble) = (0, None);
        for link in self.chain.links.iter().filter(|link| link.tier.read || link.tier.write) {
            if let Err(error) = self.clear_what_is_in(link, filter, &mut removed).await {
                trouble.get_or_insert(error);
            }
        }
        trouble.map_or(Ok(removed), Err)
    }

    async fn clear_what_is_in(&self, link: &Link, filter: &ListFilter, removed: &mut u64) -> Result<()> {
        if !link.store().capabilities().list {
            return Err(Error::Unsupported { store: link.name().to_owned(), operation: "list entries" });
        }
        let mut after = None::<String>;
        loop {
            let list = link.store().list(filter, after.as_deref(), BATCH);
            let page = link.call(Call::new("list", Urgency::Urgent), list).await?;
            for item in &page.items {
                *removed += u64::from(self.chain.remove_entry(&item.key).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
