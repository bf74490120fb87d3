//! What all operations of a chain share.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::{Clock, Digest, Entry, Error, Key, MissReason, Result};
use tokio::runtime::Handle;

use crate::deletions::Deletions;
use crate::event::{Listener, TierEvent};
use crate::flight::Flights;
use crate::kinds::Kinds;
use crate::link::{Call, Link, count};
use crate::lookup::Looked;
use crate::promote::Promotions;
use crate::push::Pushes;
use crate::recent::Recent;
use crate::sending::Sending;
use crate::slots::Slots;
use crate::stats::{KindStats, Stats};
use crate::turns::Urgency;

/// Questions in one call: more would not fit into a deadline, fewer would cost round trips.
pub(crate) const BATCH: usize = 1000;
/// Writes that no tier took and that are remembered, so that entries which name them are let go as well.
const UNSTORED: usize = 1024;

/// The tiers, and everything that is known about keys and blobs on their way through them.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) links: Vec<Link>,
    pub(crate) strict: bool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) listener: Listener,
    pub(crate) closed: AtomicBool,
    pub(crate) flights: Flights<Looked>,
    pub(crate) slots: Slots,
    /// Keys that the slower tiers do not have.
    pub(crate) absent: Recent,
    /// Keys of which no slower tier has anything newer; nothing if nobody wants to know.
    pub(crate) checked: Option<Recent>,
    pub(crate) deletions: Deletions,
    pub(crate) unstored: Unstored,
    pub(crate) promotions: Promotions,
    pub(crate) pushes: Pushes,
    pub(crate) counters: Counters,
    /// Entries that callers stored; those found are counted by the tiers.
    pub(crate) kinds: Kinds,
}

/// What happened to callers.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) remembered: AtomicU64,
    pub(crate) unstored: AtomicU64,
}

/// Blobs that no tier took, although nothing was wrong with them. Newest last, bounded.
#[derive(Debug, Default)]
pub(crate) struct Unstored(Mutex<VecDeque<Digest>>);

impl Unstored {
    pub(crate) fn insert(&self, digest: &Digest) {
        let mut digests = self.lock();
        digests.push_back(*digest);
        if digests.len() > UNSTORED {
            digests.pop_front();
        }
    }

    pub(crate) fn remove(&self, digest: &Digest) {
        self.lock().retain(|other| other != digest);
    }

    pub(crate) fn has_any_of(&self, entry: &Entry) -> bool {
        let digests = self.lock();
        entry.blobs().any(|(digest, _)| digests.contains(digest))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain {
    pub(crate) fn link(&self, index: usize) -> &Link {
        &self.links[index]
    }

    /// Returns the tiers that are read, fastest first, each with its index.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate().filter(|(_, link)| link.tier.read)
    }

    /// Returns the tiers that callers write to themselves, fastest first, each with its index.
    pub(crate) fn written_through(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.links.iter().enumerate().filter(|(_, link)| link.writes_through())
    }

    /// # Errors
    /// If the chain was closed.
    pub(crate) fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed { store: self.name.clone() });
        }
        Ok(())
    }

    /// Returns those of `digests` that the tier does not have; all of them if it cannot tell, and then why.
    pub(crate) async fn missing_in(
        &self,
        index: usize,
        digests: Vec<Digest>,
        urgency: Urgency,
    ) -> (Vec<Digest>, Option<Error>) {
        let link = self.link(index);
        let mut absent = HashSet::new();
        for batch in digests.chunks(BATCH) {
            match link.call(Call::new("missing", urgency), link.store().missing(batch)).await {
                Ok(missing) => absent.extend(missing),
                Err(error) => return (digests, Some(error)),
            }
        }
        // Not the answer itself: it may name what was not asked for.
        (digests.into_iter().filter(|digest| absent.contains(digest)).collect(), None)
    }

    /// Returns the first of `digests` that no tier has, or nothing if all are somewhere.
    pub(crate) async fn nowhere(&self, mut digests: Vec<Digest>, urgency: Urgency) -> Option<Digest> {
        for (index, _) in self.readable() {
            if digests.is_empty() {
                return None;
            }
            digests = self.missing_in(index, digests, urgency).await.0;
        }
        digests.first().copied()
    }

    /// Copies into the tier `to` what it does not have of the blobs of `entry`, and returns whether it has all of them.
    ///
    /// # Cancel safety
    /// Whole blobs that were copied stay.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        to: usize,
        entry: &Entry,
        urgency: Urgency,
    ) -> Result<bool> {
        let blobs: Vec<_> = entry.blobs().map(|(digest, _)| *digest).collect();
        if blobs.is_empty() {
            return Ok(true);
        }
        let (missing, error) = self.missing_in(to, blobs, urgency).await;
        if let Some(error) = error {
            return Err(error);
        }
        let mut missing: HashSet<_> = missing.into_iter().collect();
        for (digest, len) in entry.blobs() {
            if missing.remove(digest) && !self.copy_blob(to, digest, len, urgency).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies a blob into the tier `to` from wherever else it is, and returns whether it was anywhere.
    ///
    /// # Cancel safety
    /// The copy is whole or not there.
    pub(crate) async fn copy_blob(
        self: &Arc<Self>,
        to: usize,
        digest: &Digest,
        len: u64,
        urgency: Urgency,
    ) -> Result<bool> {
        // To find that out from the tier, all of the blob would be read for nothing.
        self.link(to).takes(digest, len)?;
        let deletions = self.deletions.count();
        let _copying = self.deletions.begin_copy(deletions, digest);
        let mut result = Ok(false);
        for source in (0..self.links.len()).filter(|index| *index != to && self.links[*index].tier.read) {
            let (found, _) = self.read_from(&[source], digest, None, urgency, false).await;
            let Some(body) = found else { continue };
            let mut sending = Sending::new(*digest, len, body);
            match self.send(to, digest, len, &mut sending, urgency).await {
                Ok(()) => return self.undo_if_deleted(to, digest, deletions, urgency).await,
                // It was the source that broke off or gave wrong bytes.
                Err(error) if sending.progress().has_failed() => {
                    result = Err(self.doubtful(&format!("no tier could give the blob {digest}: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        result
    }

    /// Takes back a copy whose blob was deleted meanwhile, and returns whether it stays.
    pub(crate) async fn undo_if_deleted(
        &self,
        to: usize,
        digest: &Digest,
        deletions: u64,
        urgency: Urgency,
    ) -> Result<bool> {
        if !self.deletions.since(deletions, digest) {
            return Ok(true);
        }
        let link = self.link(to);
        link.call(Call::new("delete", urgency), link.store().delete(digest)).await?;
        Ok(false)
    }

    /// Writes a blob to the tier `to`.
    pub(crate) async fn send(
        &self,
        to: usize,
        digest: &Digest,
        len: u64,
        sending: &mut Sending,
        urgency: Urgency,
    ) -> Result<()> {
        let link = self.link(to);
        let Some(body) = sending.body() else {
            let why = "its content was read by another tier that then failed".to_owned();
            return Err(Error::Unavailable { store: link.name().to_owned(), why });
        };
        let progress = sending.progress();
        let call = Call { operation: "write", urgency, bytes: len, progress: Some(&progress) };
        link.call(call, link.store().write(digest, len, body)).await
    }

    /// Removes a blob with wrong bytes from the tier that gave it, if that may be written.
    pub(crate) async fn remove_corrupt(&self, from: usize, digest: &Digest) {
        let link = self.link(from);
        count(&link.counters.corrupt);
        self.listener.tell(|| TierEvent::Corrupt { tier: link.name(), digest });
        if link.tier.write {
            // What cannot be removed is found corrupt again; the call has counted and told why.
            let _ = link.call(Call::new("delete", Urgency::Urgent), link.store().delete(digest)).await;
        }
    }

    /// Returns why an entry under `key` was refused in the fastest tier that refused one lately.
    pub(crate) fn refusal(&self, key: &Key) -> Option<MissReason> {
        self.links.iter().find_map(|link| link.refusal(key))
    }

    /// Counts and tells that the tier failed although the call as such did not.
    pub(crate) fn blame(&self, index: usize, operation: &'static str, error: &Error) {
        let link = self.link(index);
        count(&link.counters.failures);
        self.listener.tell(|| TierEvent::Failed { tier: link.name(), operation, error });
    }

    /// Lets later look-ups see what has just been written or removed.
    pub(crate) fn refresh(&self, key: &Key) {
        self.flights.forget(key);
        self.absent.remove(key);
    }

    pub(crate) fn stats(&self) -> Stats {
        let Counters { hits, misses, joined, remembered, unstored } = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tiers: Vec<_> = self.links.iter().map(Link::stats).collect();
        let mut kinds = self.kinds.stats();
        for found in tiers.iter().flat_map(|tier| &tier.kinds) {
            match kinds.iter_mut().find(|kind| kind.kind == found.kind) {
                Some(kind) => kind.hits += found.hits,
                None => kinds.push(KindStats { stored: 0, ..found.clone() }),
            }
        }
        kinds.retain(|kind| kind.hits + kind.stored > 0);
        kinds.sort_by(|a, b| a.kind.cmp(&b.kind));
        Stats {
            tiers,
            kinds,
            hits: of(hits),
            misses: of(misses),
            joined: of(joined),
            remembered: of(remembered),
            unstored: of(unstored),
            promotions: self.promotions.stats(),
            pushes: self.pushes.stats(),
        }
    }
}
