//! Collecting garbage in all tiers.

use std::collections::BTreeMap;

use cache_core::{Collected, Entry, Error, Key, Result};

use crate::Coordinator;
use crate::chain::{BATCH, Chain};
use crate::event::TierEvent;
use crate::link::{Call, Link};
use crate::turns::Urgency;

/// What a collection did in one tier.
#[derive(Debug)]
pub struct TierCollected {
    /// Which tier.
    pub tier: String,
    /// What it removed, or why it could not.
    pub outcome: Result<Collected>,
}

impl Coordinator {
    /// Collects garbage in every tier that may be written, one after the other, and returns what each of them did. One that
    /// failed a moment ago is left out; there is no deadline, because a large store takes its time.
    ///
    /// What still waits to be written to slower tiers counts as used first, so that no tier gives it up before anything else.
    ///
    /// # Errors
    /// If the chain is closed. What a tier could not do is in its outcome, counted and told.
    ///
    /// # Cancel safety
    /// What was removed stays removed. A tier that works on a thread of its own ends its collection.
    pub async fn gc(&self) -> Result<Vec<TierCollected>> {
        self.chain.ensure_open()?;
        self.chain.use_waiting().await;
        let mut all = Vec::new();
        for (index, link) in self.chain.links.iter().enumerate().filter(|(_, link)| link.tier.write) {
            all.push(TierCollected {
                tier: link.name().to_owned(),
                outcome: self.chain.collect(index).await,
            });
        }
        Ok(all)
    }
}

impl Chain {
    async fn collect(&self, index: usize) -> Result<Collected> {
        let link = self.link(index);
        if !link.allows() {
            let why = "it failed a moment ago, and has a rest".to_owned();
            return Err(Error::Unavailable { store: link.name().to_owned(), why });
        }
        let outcome = link.store().gc().await;
        match &outcome {
            Ok(collected) => self.listener.tell(|| TierEvent::Collected { tier: link.name(), collected }),
            Err(error) => self.blame(index, "gc", error),
        }
        outcome
    }

    /// Asks the tiers from which entries are still to be sent for these entries and their blobs, which makes them used.
    async fn use_waiting(&self) {
        let mut waiting: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
        for (tier, key) in self.pushes.waiting() {
            waiting.entry(tier).or_default().push(key);
        }
        for (tier, keys) in waiting {
            let holds = |link: &&Link| link.tier.read && link.writes_through();
            for link in self.links[..tier].iter().filter(holds) {
                for keys in keys.chunks(BATCH) {
                    let call = Call::new("get_many", Urgency::Upload);
                    // What cannot be told is counted and told by the call; the collection is no worse for it.
                    let found = link.call(call, link.store().get_many(keys)).await.unwrap_or_default();
                    let named = found.iter().flatten().flat_map(Entry::blobs);
                    let digests: Vec<_> = named.map(|(digest, _)| *digest).collect();
                    for digests in digests.chunks(BATCH) {
                        let call = Call::new("missing", Urgency::Upload);
                        let _ = link.call(call, link.store().missing(digests)).await;
                    }
                }
            }
        }
    }
}
