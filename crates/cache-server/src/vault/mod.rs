//! The storage of all protocols: values under names, in a [`Store`] of entries and blobs.
//!
//! A value is an entry that names it and, if it is not small, one blob by BLAKE3. So the same content is stored once,
//! whichever protocols it came through, and a namespace holds only what was sent to it.

mod deadline;
mod partial;
mod spool;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{
    Body, Digest, Entry, EntryMeta, Error, Fingerprint, Key, KeyBuilder, Namespace, Output, OutputKind,
    PutMode, PutOutcome, RelPath, Result, Store, Timestamp,
};

use crate::outgoing::PIECE;
use crate::{Limits, Protocol, Timeouts};
use deadline::Deadline;

pub(crate) use deadline::Troubles;
pub(crate) use partial::Partial;
pub(crate) use spool::{Content, Expected, Spool, Unreadable, Upload};

/// Bytes of content that one request holds in memory: an upload's beginning, or as much of a longer one as is on its way to
/// its file, with one piece from the network; or two pieces of a download. The connection's own buffers come on top.
pub const MEMORY_PER_REQUEST: usize = spool::MEMORY + 2 * PIECE;

/// Largest value that is kept in its entry, in bytes, so that reading it is one access.
const INLINE: u64 = 16 << 10;
/// What the kinds of all entries begin with, before the name of the protocol.
const KIND: &str = "http-";
/// The last moment that HTTP has a date for: the end of the year 9999.
const LAST_DATE: Timestamp = Timestamp::from_millis(253_402_300_799_000);
/// Path of the only output, in entries with a blob.
const OUTPUT: &str = "value";

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) protocol: Protocol,
    pub(crate) name: &'a str,
}

impl Place<'_> {
    fn key(&self) -> Key {
        KeyBuilder::new(self.namespace, "http").text(self.protocol.name()).text(self.name).finish()
    }

    pub(crate) fn kind(&self) -> String {
        format!("{KIND}{}", self.protocol.name())
    }

    /// Returns whether an entry is of this place. A key that leads to somebody else's entry would be a wrong value.
    fn is_of(&self, entry: &Entry) -> bool {
        entry.meta.name == self.name
            && entry.meta.namespace == *self.namespace
            && entry.meta.kind.strip_prefix(KIND) == Some(self.protocol.name())
    }
}

/// A value that is there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) len: u64,
    pub(crate) created: SystemTime,
    /// What the client said about it.
    pub(crate) facts: BTreeMap<String, String>,
    /// What else is in its entry.
    pub(crate) others: Vec<Output>,
    value: Value,
}

/// Where the content of a value is.
#[derive(Debug)]
enum Value {
    /// In its entry.
    Inline(Bytes),
    /// In a blob.
    Blob(Digest),
}

impl Found {
    /// Returns what tells the content from any other that was here: the first half of a blob's digest, and of a small value, for
    /// which it is computed each time, the fingerprint.
    pub(crate) fn validator(&self) -> u128 {
        match &self.value {
            Value::Inline(bytes) => u128::from_be_bytes(Fingerprint::of(bytes).to_bytes()),
            Value::Blob(digest) => {
                digest.as_bytes().iter().take(16).fold(0, |all, byte| all << 8 | u128::from(*byte))
            }
        }
    }
}

/// Stores values.
#[derive(Debug)]
pub(crate) struct Vault {
    store: Arc<dyn Store>,
    /// The same, as what it is.
    deadline: Arc<Deadline>,
    inline: u64,
    pub(crate) spool: Spool,
}

impl Vault {
    pub(crate) fn new(store: Arc<dyn Store>, spool: Spool, timeouts: &Timeouts) -> Self {
        let inline = store.capabilities().max_value.min(INLINE);
        let deadline = Arc::new(Deadline::new(store, timeouts.store));
        Self { store: Arc::<Deadline>::clone(&deadline), deadline, inline, spool }
    }

    /// Changes what calls and uploads go by that begin from now on.
    pub(crate) fn set(&self, limits: &Limits, timeouts: &Timeouts) {
        self.deadline.set(timeouts.store);
        self.spool.set(limits.spool_bytes, timeouts.body);
    }

    /// Returns the store. Calls that take too long fail.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns how often the store could not do what it was asked.
    pub(crate) fn troubles(&self) -> &Troubles {
        self.deadline.troubles()
    }

    /// Returns what is known of the value at `place`, or nothing. A store in trouble has nothing.
    pub(crate) async fn find(&self, place: &Place<'_>) -> Option<Found> {
        found(place, self.or_miss(self.store.get(&place.key()).await, place)?)
    }

    /// Returns what [`find`](Self::find) does for each of `places`, in their order.
    pub(crate) async fn find_many(&self, places: &[Place<'_>]) -> Vec<Option<Found>> {
        let keys: Vec<Key> = places.iter().map(Place::key).collect();
        let entries = match self.store.get_many(&keys).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(store = self.store.name(), %error, "a read failed and is answered as misses");
                return places.iter().map(|_| None).collect();
            }
        };
        // What the store says nothing about is a miss as well.
        let entries = entries.into_iter().chain(std::iter::repeat(None));
        let found = |(place, entry): (_, Option<Entry>)| found(place, entry?);
        places.iter().zip(entries).map(found).collect()
    }

    /// Returns the lengths of the values at `places`, in their order, as far as they are there. They count as used.
    pub(crate) async fn lengths(&self, places: &[Place<'_>]) -> Vec<Option<u64>> {
        self.find_many(places).await.into_iter().map(|found| found.map(|found| found.len)).collect()
    }

    /// Returns the content of what was found, or the `range` of it; nothing if it is gone meanwhile.
    pub(crate) async fn open(
        &self,
        place: &Place<'_>,
        found: &Found,
        range: Option<Range<u64>>,
    ) -> Option<Body> {
        let value = match &found.value {
            Value::Inline(value) => value,
            Value::Blob(digest) => return self.or_miss(self.store.read(digest, range).await, place),
        };
        let all = 0..value.len() as u64;
        let range = range.unwrap_or_else(|| all.clone());
        let (start, end) = (range.start.min(all.end), range.end.min(all.end));
        (start <= end).then(|| Body::Bytes(value.slice(start as usize..end as usize)))
    }

    /// Stores an upload at `place`.
    pub(crate) async fn put(
        &self,
        place: &Place<'_>,
        upload: Upload,
        facts: BTreeMap<String, String>,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        self.put_as(place, upload, Entry { meta: meta(place, facts), ..Entry::default() }, mode).await
    }

    /// Stores an upload at `place` as the value of `entry`, which has none yet and says in its facts that it is for `place`.
    pub(crate) async fn put_as(
        &self,
        place: &Place<'_>,
        upload: Upload,
        mut entry: Entry,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        let Upload { content, len, digest, share } = upload;
        match content {
            Content::Memory(bytes) if len <= self.inline => entry.value = bytes,
            content => {
                let body = match content {
                    Content::Memory(bytes) => Body::Bytes(bytes),
                    Content::File(file) => Body::File { file, len, path: None },
                };
                self.store.write(&digest, len, body).await?;
                let path = RelPath::try_from(OUTPUT.as_bytes().to_vec())
                    .map_err(|error| Error::Invalid(format!("the path of a value: {error}")))?;
                let kind = OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 };
                entry.outputs.push(Output { path, kind });
            }
        }
        // The room in the spool is free once the store has read the file.
        drop(share);
        self.store.put(&place.key(), &entry, mode).await
    }

    /// Removes the value at `place` and returns whether there was one. Its blob goes when no entry names it any more.
    pub(crate) async fn remove(&self, place: &Place<'_>) -> Result<bool> {
        self.store.remove(&place.key()).await
    }

    fn or_miss<T>(&self, result: Result<Option<T>>, place: &Place<'_>) -> Option<T> {
        result.unwrap_or_else(|error| {
            let (store, name) = (self.store.name(), place.name);
            tracing::warn!(store, name, %error, "a read failed and is answered as a miss");
            None
        })
    }
}

/// Returns what `entry` says of the value at `place`.
fn found(place: &Place<'_>, entry: Entry) -> Option<Found> {
    if !place.is_of(&entry) {
        return None;
    }
    // A client says itself when its entry was made.
    let created = SystemTime::from(entry.meta.created.min(LAST_DATE));
    let (facts, mut others) = (entry.meta.tags, entry.outputs);
    let value = others.iter().position(|output| output.path.as_bytes() == OUTPUT.as_bytes());
    match value.map(|at| others.remove(at).kind) {
        None => {
            let len = entry.value.len() as u64;
            Some(Found { len, created, facts, others, value: Value::Inline(entry.value) })
        }
        Some(OutputKind::File { digest, len, .. }) => {
            Some(Found { len, created, facts, others, value: Value::Blob(digest) })
        }
        Some(_) => None,
    }
}

fn meta(place: &Place<'_>, facts: BTreeMap<String, String>) -> EntryMeta {
    EntryMeta {
        namespace: place.namespace.clone(),
        kind: place.kind(),
        name: place.name.to_owned(),
        created: Timestamp::from(SystemTime::now()),
        writer: concat!("vitte-cache server ", env!("CARGO_PKG_VERSION")).to_owned(),
        tags: facts,
        ..EntryMeta::default()
    }
}
