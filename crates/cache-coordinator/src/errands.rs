//! Doing what the write-back queue asks for.

use std::sync::Arc;

use cache_core::{Entry, Error, Key, PutMode, PutOutcome};

use crate::background::work_off;
use crate::chain::Chain;
use crate::event::TierEvent;
use crate::link::{Call, is_answer};
use crate::lookup::Answer;
use crate::push::{End, Errand};
use crate::turns::Urgency;

/// Works off the write-back queue for as long as it is polled.
pub(crate) async fn push_all(chain: Arc<Chain>) {
    let (changed, at_once) = (Arc::clone(&chain.pushes.changed), chain.pushes.settings.at_once);
    let take = |chain: &Arc<Chain>| chain.pushes.take(&chain.links);
    work_off(chain, changed, at_once, take, |chain, (tier, key, errand)| async move {
        let mut running = Running { chain, tier, key, end: None };
        running.end = Some(running.chain.run(tier, &key, errand).await);
    })
    .await;
}

/// Tells the queue how an errand ended, also if it panicked or was dropped.
struct Running {
    chain: Arc<Chain>,
    tier: usize,
    key: Key,
    /// Nothing as long as it has not come to an end by itself.
    end: Option<End>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let panicked = || std::thread::panicking().then(|| End::Failed("it panicked".to_owned()));
        let end = self.end.take().or_else(panicked).unwrap_or(End::Paused);
        let (chain, link) = (&self.chain, self.chain.link(self.tier));
        if end == End::Done {
            chain.listener.tell(|| TierEvent::Pushed { tier: link.name(), key: &self.key });
        }
        chain.pushes.finish(&chain.listener, (self.tier, &self.key), link.name(), end, || {
            link.shadow.remove(&self.key);
            chain.absent.remove(&self.key);
        });
    }
}

impl Chain {
    /// Queues an entry that was just stored for the tiers that are written in the background. `fresh` are those that
    /// had nothing old under its key.
    pub(crate) fn push_entry(&self, key: &Key, entry: &Entry, mode: PutMode, fresh: &[usize]) {
        for (index, link) in self.links.iter().enumerate().filter(|(_, link)| link.background) {
            if !self.pushes.wants(link, entry) {
                self.pushes.filtered(&self.listener, index, link.name(), key);
                continue;
            }
            let errand = match mode {
                PutMode::IfAbsent if fresh.contains(&index) => Errand::PutIfAbsent,
                _ => Errand::Put,
            };
            self.pushes.add(&self.listener, index, link.name(), key, errand, entry.size());
        }
    }

    async fn run(self: &Arc<Self>, tier: usize, key: &Key, errand: Errand) -> End {
        let link = self.link(tier);
        let mode = match errand {
            Errand::Remove => {
                let call = Call::new("remove", Urgency::Upload);
                return match link.call(call, link.store().remove(key)).await {
                    Ok(_) => End::Done,
                    Err(error) => self.failed(tier, &error),
                };
            }
            Errand::Put => PutMode::Overwrite,
            Errand::PutIfAbsent => PutMode::IfAbsent,
        };
        let entry = match self.local(tier, key).await {
            Ok(entry) => entry,
            Err(end) => return end,
        };
        match self.complete(tier, &entry, Urgency::Upload).await {
            Ok(true) => {}
            Ok(false) => return End::Lost("a blob that it names is gone".to_owned()),
            Err(error) => return self.failed(tier, &error),
        }
        let call = Call::new("put", Urgency::Upload);
        match link.call(call, link.store().put(key, &entry, mode)).await {
            Ok(PutOutcome::Stored) => End::Done,
            Ok(PutOutcome::Present) => End::Kept,
            Err(Error::Incomplete { .. }) => End::Failed("the tier lost one of its blobs".to_owned()),
            Err(error) => self.failed(tier, &error),
        }
    }

    /// Returns the entry as a tier faster than `tier` has it.
    async fn local(&self, tier: usize, key: &Key) -> Result<Entry, End> {
        let mut doubt = None;
        for index in 0..tier {
            match self.ask(index, key, Urgency::Upload).await {
                Answer::Found(entry) => return Ok(*entry),
                Answer::Nothing(_) => {}
                Answer::Unknown(error) => doubt = Some(error),
            }
        }
        Err(doubt.map_or_else(
            || End::Lost("it was evicted or removed before it was sent".to_owned()),
            |error| End::Failed(error.to_string()),
        ))
    }

    fn failed(&self, tier: usize, error: &Error) -> End {
        if is_answer(error) {
            End::Lost(error.to_string())
        } else if self.link(tier).allows() {
            End::Failed(error.to_string())
        } else {
            End::Paused
        }
    }
}
