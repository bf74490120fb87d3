//! The one trait that every back end implements.

use std::fmt;
use std::ops::{AddAssign, Range};

use async_trait::async_trait;

use crate::signing::KeyId;
use crate::{Body, Digest, Entry, EntryMeta, Key, Namespace, Result, Timestamp};

/// A place where entries and blobs are kept: memory, a directory, a bucket, a server.
///
/// # Contract
/// - **What is returned was stored.** Entries and blobs are verified before they are handed out. What is damaged,
///   truncated, expired or of a newer format is a miss, not an error and never data.
/// - **What is visible is whole.** A blob or entry appears at once and completely, or not at all; an abandoned write
///   leaves nothing behind.
/// - **A hit is complete.** [`get`](Self::get) returns an entry only while every blob that it names is there, and
///   [`put`](Self::put) refuses one that names a blob which is not.
/// - **Nothing is for ever.** Anything may be evicted at any time, except while it is being read.
///
/// # Minimal defaults
/// No method has a default body: a new method must break every wrapper, or one of them will forget to forward it.
/// Wrappers put `#[deny(clippy::missing_trait_methods)]` on their `impl` all the same.
///
/// # Cancel safety
/// Every future may be dropped at any await. A dropped write leaves the old state or the new one, never a mixture.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns a short name for messages, events and metrics, such as `fs`.
    fn name(&self) -> &str;

    /// Returns what this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns the entry under `key`, or nothing.
    ///
    /// # Errors
    /// If the store cannot tell.
    async fn get(&self, key: &Key) -> Result<Option<Entry>>;

    /// Returns what [`get`](Self::get) returns for each of `keys`, in their order, in as few round trips as possible.
    ///
    /// # Errors
    /// If the store cannot tell for at least one of them.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>>;

    /// Stores `entry` under `key`.
    ///
    /// # Errors
    /// [`Error::Incomplete`](crate::Error::Incomplete) if a blob that it names is not there,
    /// [`Error::Full`](crate::Error::Full) if there is no room; nothing has changed then.
    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome>;

    /// Removes the entry under `key`, not its blobs, and returns whether there was one.
    ///
    /// # Errors
    /// If the store cannot tell or refuses.
    async fn remove(&self, key: &Key) -> Result<bool>;

    /// Returns at most `limit` entries that pass `filter`, in no particular order, starting where the page with the
    /// cursor `after` ended. Entries that come or go meanwhile may or may not be listed; all others are, once.
    ///
    /// # Errors
    /// If the store cannot list, or does not know the cursor.
    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page>;

    /// Returns those of `digests` that are not there, in their order. What is there counts as used.
    ///
    /// # Errors
    /// If the store cannot tell.
    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>>;

    /// Returns the content of a blob, or the `range` of it, or nothing if it is not there. A range that reaches
    /// beyond the end is cut off at the end.
    ///
    /// # Errors
    /// If the store cannot tell. The body itself may fail later, but never ends early without an error.
    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>>;

    /// Stores the blob `digest` of `len` bytes. If it is there already, `body` need not be read.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`](crate::Error::DigestMismatch), [`Error::LengthMismatch`](crate::Error::LengthMismatch),
    /// [`Error::Full`](crate::Error::Full), or what `body` reports; nothing has changed then.
    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()>;

    /// Removes a blob and returns whether there was one. Entries that name it become misses.
    ///
    /// # Errors
    /// If the store cannot tell or refuses.
    async fn delete(&self, digest: &Digest) -> Result<bool>;

    /// Keeps the limits now, and removes what is expired, cannot be used, or is a blob that no entry names. Blobs that were
    /// written or asked for by [`missing`](Self::missing) a short time ago stay, because an entry may be about to name them: an
    /// entry that is put while this runs is as complete as any other.
    ///
    /// A store whose server does all of this by itself does nothing and returns the default.
    ///
    /// # Errors
    /// If the store cannot be read or refuses. What was removed before stays removed.
    async fn gc(&self) -> Result<Collected>;

    /// Waits until everything that was acknowledged has arrived wherever it has to, also what a store sends elsewhere in the
    /// background. Flushing twice is fine, and a store that is dropped without it has lost nothing that it acknowledged for
    /// itself.
    ///
    /// # Errors
    /// If something has not arrived after as long as the store waits.
    async fn flush(&self) -> Result<()>;

    /// Finishes what is under way and lets go of all resources. Closing twice is fine.
    ///
    /// # Errors
    /// If something that was acknowledged could not be finished.
    async fn close(&self) -> Result<()>;
}

/// What a [`Store`] can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether entries can be listed.
    pub list: bool,
    /// Whether [`PutMode::IfAbsent`] is atomic, also among writers in other processes.
    pub conditional_put: bool,
    /// Whether what was stored is there when the process that stored it is gone.
    pub persistent: bool,
    /// Whether reading costs no network round trip.
    pub local: bool,
    /// Largest blob in bytes, if there is a limit.
    pub max_blob: Option<u64>,
    /// Largest value kept in an entry, in bytes; larger ones go into a blob.
    pub max_value: u64,
}

impl Capabilities {
    /// Returns the capabilities of a store that can do everything, for entries with values of up to `max_value` bytes.
    pub const fn all(max_value: u64) -> Self {
        Self { list: true, conditional_put: true, persistent: true, local: true, max_blob: None, max_value }
    }
}

/// What a collection removed, or would remove. Made from the default, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Entries whose time was over.
    pub expired: u64,
    /// Entries and blobs that were not used for too long.
    pub aged: u64,
    /// Entries that could not be used: damaged, or naming blobs that are gone.
    pub broken: u64,
    /// Blobs that no entry names.
    pub unreferenced: u64,
    /// Entries and blobs that had to go to keep the limits. A dry run estimates it.
    pub evicted: u64,
    /// Temporary files that a process left behind when it died.
    pub leftovers: u64,
    /// Bytes freed by all of these.
    pub bytes: u64,
}

impl Collected {
    /// Returns the number of entries, blobs and files that are gone.
    pub fn items(&self) -> u64 {
        let Self { expired, aged, broken, unreferenced, evicted, leftovers, bytes: _ } = *self;
        [aged, broken, unreferenced, evicted, leftovers]
            .iter()
            .fold(expired, |sum, it| sum.saturating_add(*it))
    }
}

impl AddAssign for Collected {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        let Self { expired, aged, broken, unreferenced, evicted, leftovers, bytes } = other;
        add(&mut self.expired, expired);
        add(&mut self.aged, aged);
        add(&mut self.broken, broken);
        add(&mut self.unreferenced, unreferenced);
        add(&mut self.evicted, evicted);
        add(&mut self.leftovers, leftovers);
        add(&mut self.bytes, bytes);
    }
}

/// What to do if there is an entry under the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Replace it.
    Overwrite,
    /// Leave it.
    IfAbsent,
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// The entry is stored.
    Stored,
    /// There was one already, and it stays.
    Present,
}

/// Which entries to list. The default passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only those of this namespace.
    pub namespace: Option<Namespace>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// Only those whose name starts with this.
    pub name_prefix: Option<String>,
}

impl ListFilter {
    /// Returns whether an entry with these facts passes.
    pub fn passes(&self, meta: &EntryMeta) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == meta.namespace)
            && self.kind.as_ref().is_none_or(|kind| *kind == meta.kind)
            && self.name_prefix.as_ref().is_none_or(|prefix| meta.name.starts_with(prefix))
    }
}

/// An entry as it appears in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Facts about it.
    pub meta: EntryMeta,
    /// Bytes of its value and blobs.
    pub size: u64,
    /// When it was last used, as far as the store knows.
    pub last_used: Option<Timestamp>,
    /// Which key it says that it is signed with, if it is signed. Nobody has checked the signature.
    pub signer: Option<KeyId>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub items: Vec<Listed>,
    /// Where the next page starts; nothing if this is the last one. A page may be empty without being the last.
    pub next: Option<String>,
}
