//! A store whose entries are signed and checked on the way.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
pub use cache_core::signing::Unsigned;
use cache_core::signing::{Keyring, Place, Standing};
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, Error, Event, Key, ListFilter, MissReason, Observer,
    Observers, Page, PutMode, PutOutcome, Result, Store, SystemClock,
};

/// Keys for which it is remembered why their entry was refused: what a build asks about again after a miss, in 20 KB.
const REMEMBERED: usize = 512;

/// What was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// Entries that were changed, or moved from another key.
    pub forged: u64,
    /// Entries without a signature in the place of one that has one.
    pub unsigned: u64,
    /// Entries of signers that the ring does not know, in the place of one that it knows.
    pub unknown_signer: u64,
}

/// A store that signs what it is given, and gives only what is signed with a key of its [`Keyring`].
///
/// An entry that is not is a miss. One that is forged is also removed from the store below, so that a faster tier gets a right
/// one from the next. That takes one address, and whatever is there by then: the trait has no removal on a condition, so
/// that an entry which was stored at the same moment may be lost, and is a miss. All others are left alone until somebody
/// stores an entry under their key.
///
/// # Where entries are
/// Two workspaces derive equal keys from equal inputs. Under one address they could not read each other's entries and would
/// replace them by turns, so the entries of each signing key are at [addresses of their own](cache_core::signing::KeyId::address). A look-up
/// asks for those of all keys in the ring in one call, of the current key first, and then, if unsigned entries are
/// accepted, for the key as it is. What is stored goes to the address of its signer, and takes away what is at the others:
/// an entry that was replaced must not come back when the new one ends. A process that ends between the two leaves the old
/// one behind, until it ends itself.
///
/// Lists show the keys that entries are found under and leave out those of other signers. They go by what entries say about
/// themselves; only look-ups check signatures. What the store below tells to its own observers is by address.
///
/// # What is signed
/// Everything but the signature, the end of the entry included; so an entry that has none gets one before it is signed. An
/// entry with a right signature is stored as it is: copies between tiers are never signed again. Any other signature is
/// replaced, because who stores an entry vouches for it.
///
/// ```
/// use std::sync::Arc;
///
/// use cache_coordinator::{Signed, Unsigned};
/// use cache_core::signing::{Keyring, SigningKey};
/// use cache_core::{Entry, Key, PutMode, Store};
/// use cache_testkit::{MemoryStore, block_on};
///
/// let shared: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// let ours = Signed::new(Arc::clone(&shared), Keyring::new(SigningKey::generate()?), Unsigned::Refuse);
/// let theirs = Signed::new(shared, Keyring::new(SigningKey::generate()?), Unsigned::Refuse);
/// let key = Key::from_bytes([7; 32]);
/// block_on(ours.put(&key, &Entry::default(), PutMode::Overwrite))?;
/// assert!(block_on(ours.get(&key))?.is_some());
/// assert!(block_on(theirs.get(&key))?.is_none());
/// # Ok::<(), cache_core::Error>(())
/// ```
pub struct Signed {
    inner: Arc<dyn Store>,
    ring: Keyring,
    unsigned: Unsigned,
    lifetime: Option<Duration>,
    quarantine: bool,
    clock: Arc<dyn Clock>,
    observers: Observers,
    counters: Counters,
    /// Keys whose entry was refused, and why; the newest last.
    refused: Mutex<VecDeque<(Key, MissReason)>>,
}

#[derive(Debug, Default)]
struct Counters {
    forged: AtomicU64,
    unsigned: AtomicU64,
    unknown_signer: AtomicU64,
}

impl Signed {
    /// How long signed entries last unless they say otherwise: as long as the disk keeps what nobody uses. It bounds for how
    /// long somebody can put an old entry back in the place of a newer one.
    pub const LIFETIME: Duration = Duration::from_hours(30 * 24);

    /// Returns `inner` with signatures.
    pub fn new(inner: Arc<dyn Store>, ring: Keyring, unsigned: Unsigned) -> Self {
        Self {
            inner,
            ring,
            unsigned,
            lifetime: Some(Self::LIFETIME),
            quarantine: true,
            clock: Arc::new(SystemClock),
            observers: Observers::default(),
            counters: Counters::default(),
            refused: Mutex::default(),
        }
    }

    /// Sets how long an entry without an end lasts from when it is signed; for ever if nothing.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets whether forged entries are removed from the store below. One that is only read may not be changed.
    #[must_use]
    pub fn quarantine(mut self, quarantine: bool) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observer` what is refused: [`Event::Miss`] with the key that was asked for, and why.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers = Observers::new(observer);
        self
    }

    /// Returns what was refused so far.
    pub fn refusals(&self) -> Refusals {
        let Counters { forged, unsigned, unknown_signer } = &self.counters;
        Refusals {
            forged: forged.load(Ordering::Relaxed),
            unsigned: unsigned.load(Ordering::Relaxed),
            unknown_signer: unknown_signer.load(Ordering::Relaxed),
        }
    }

    /// Returns why an entry under `key` was refused, if it was lately and nobody has stored another one since:
    /// [`Unsigned`](MissReason::Unsigned), [`UnknownSigner`](MissReason::UnknownSigner) or [`Forged`](MissReason::Forged).
    pub fn refusal(&self, key: &Key) -> Option<MissReason> {
        self.refused().iter().rev().find(|(other, _)| other == key).map(|(_, reason)| *reason)
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<(Key, MissReason)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: &Key, reason: MissReason) {
        let mut refused = self.refused();
        refused.retain(|(other, _)| other != key);
        if refused.len() == REMEMBERED {
            refused.pop_front();
        }
        refused.push_back((*key, reason));
    }

    /// Returns `entry` if it counts. If not, it is counted and told, and removed if it is forged.
    async fn check(&self, key: &Key, place: Place, entry: Entry) -> Option<Entry> {
        let Some(reason) = self.ring.flaw(key, &place, &entry) else {
            // No store is taken at its word for that: its clock and ours may differ.
            return Some(entry).filter(|entry| !entry.meta.is_expired(self.clock.now()));
        };
        let counter = match reason {
            MissReason::Unsigned => &self.counters.unsigned,
            MissReason::UnknownSigner => &self.counters.unknown_signer,
            _ => &self.counters.forged,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.remember(key, reason);
        self.observers.emit(self.inner.name(), || Event::Miss { key, reason });
        if reason == MissReason::Forged && self.quarantine {
            // What cannot be removed is found forged again.
            let _ = self.inner.remove(&place.address).await;
        }
        None
    }

    /// Returns the entry under `key` from the best of `places` that has one which counts.
    async fn find(&self, key: &Key, places: &[Place]) -> Result<Option<Entry>> {
        let found = match places {
            [only] => vec![self.inner.get(&only.address).await?],
            _ => self.inner_get_many(places).await?,
        };
        self.first_right(key, places, found).await
    }

    async fn first_right(
        &self,
        key: &Key,
        places: &[Place],
        found: impl IntoIterator<Item = Option<Entry>>,
    ) -> Result<Option<Entry>> {
        for (place, entry) in places.iter().zip(found) {
            if let Some(entry) = entry
                && let Some(entry) = self.check(key, *place, entry).await
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    async fn inner_get_many(&self, places: &[Place]) -> Result<Vec<Option<Entry>>> {
        let addresses: Vec<Key> = places.iter().map(|place| place.address).collect();
        let found = self.inner.get_many(&addresses).await?;
        if found.len() != addresses.len() {
            let why = format!("it gave {} answers to {} questions", found.len(), addresses.len());
            return Err(Error::Unavailable { store: self.inner.name().to_owned(), why });
        }
        Ok(found)
    }

    /// Returns `entry` with a right signature, if it has none.
    fn sign(&self, key: &Key, entry: &Entry) -> Result<Option<Entry>> {
        if self.ring.standing(key, entry) == Standing::Valid {
            return Ok(None);
        }
        let mut entry = entry.clone();
        let end = || self.lifetime.map(|lifetime| self.clock.now().plus(lifetime));
        entry.meta.expires = entry.meta.expires.or_else(end);
        self.ring.sign(key, &mut entry)?;
        Ok(Some(entry))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Signed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let places: Vec<Place> = self.ring.places(key, self.unsigned).collect();
        self.find(key, &places).await
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let places: Vec<Place> = keys.iter().flat_map(|key| self.ring.places(key, self.unsigned)).collect();
        let mut found = self.inner_get_many(&places).await?.into_iter();
        let each = places.len().checked_div(keys.len()).unwrap_or_default();
        let mut entries = Vec::with_capacity(keys.len());
        for (key, places) in keys.iter().zip(places.chunks(each.max(1))) {
            let found: Vec<_> = found.by_ref().take(each).collect();
            entries.push(self.first_right(key, places, found).await?);
        }
        Ok(entries)
    }

    /// # Cancel safety
    /// The entry is stored or not. If it is, older ones at other addresses may still be there.
    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        let renewed = self.sign(key, entry)?;
        let entry = renewed.as_ref().unwrap_or(entry);
        let signer = entry.signer();
        let (own, others): (Vec<Place>, Vec<Place>) =
            self.ring.places(key, self.unsigned).partition(|place| place.signer == signer);
        let Some(own) = own.first() else {
            return Err(Error::Invalid(format!(
                "the entry {key} was given a signer that is not in the ring"
            )));
        };
        if mode == PutMode::IfAbsent && !others.is_empty() && self.find(key, &others).await?.is_some() {
            return Ok(PutOutcome::Present);
        }
        let mut outcome = self.inner.put(&own.address, entry, mode).await?;
        if outcome == PutOutcome::Present && self.find(key, &[*own]).await?.is_none() {
            // To us there is nothing, and nobody else has business there.
            self.inner.remove(&own.address).await?;
            outcome = self.inner.put(&own.address, entry, mode).await?;
        }
        if outcome == PutOutcome::Stored {
            self.refused().retain(|(other, _)| other != key);
        }
        if outcome == PutOutcome::Stored && mode == PutMode::Overwrite {
            for other in &others {
                self.inner.remove(&other.address).await?;
            }
        }
        Ok(outcome)
    }

    /// # Cancel safety
    /// Of several entries, some may be removed and others not.
    async fn remove(&self, key: &Key) -> Result<bool> {
        let mut removed = false;
        for place in self.ring.places(key, self.unsigned) {
            removed |= self.inner.remove(&place.address).await?;
        }
        Ok(removed)
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let mut page = self.inner.list(filter, after, limit).await?;
        page.items.retain_mut(|item| match item.signer {
            None => self.unsigned == Unsigned::Accept,
            Some(signer) => {
                item.key = signer.address(&item.key);
                self.ring.ids().any(|id| id == signer)
            }
        });
        Ok(page)
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.inner.missing(digests).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.inner.read(digest, range).await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.inner.write(digest, len, body).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.inner.delete(digest).await
    }

    async fn gc(&self) -> Result<Collected> {
        self.inner.gc().await
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("inner", &self.inner.name())
            .field("ring", &self.ring)
            .field("unsigned", &self.unsigned)
            .field("lifetime", &self.lifetime)
            .field("quarantine", &self.quarantine)
            .finish_non_exhaustive()
    }
}
