//! The store.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use cache_core::{
    Collected, Digest, Entry, HashFunction, Key, ListFilter, Namespace, Page, Policy, PutMode, PutOutcome,
    Result,
};

use crate::files::{Files, Look};
use crate::lease::Lease;
#[cfg(unix)]
use crate::logged::Logged;
use crate::options::{Layout, Options};
use crate::place::Place;
use crate::report::{Blob, Lookup, Note, Usage, VerifyProgress, VerifyReport};

/// A store in a directory, shared by any number of threads and processes.
///
/// Its methods block; they are for programs without a runtime and for blocking threads.
/// [`Store`](cache_core::Store) is implemented as well, and moves what is large to the blocking threads of the runtime
/// that it is called on. Clones share everything.
///
/// ```
/// use cache_core::{Entry, KeyBuilder, Namespace, PutMode};
/// use cache_fs::{FsStore, Lookup, Options};
///
/// let dir = tempfile::tempdir()?;
/// let store = FsStore::open(&dir.path().join("cache"), Options::default())?;
/// let key = KeyBuilder::new(&Namespace::default(), "demo").text("answer").finish();
/// let entry = Entry { value: "42".into(), ..Entry::default() };
/// store.put(&key, &entry, PutMode::Overwrite)?;
/// assert!(matches!(store.get(&key)?, Lookup::Hit(found) if found.value == "42"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FsStore {
    place: Arc<Place>,
    engine: Engine,
    /// Whether it was closed through the trait.
    pub(crate) closed: Arc<AtomicBool>,
}

/// What does the work.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Files(Arc<Files>),
    #[cfg(unix)]
    Segments(Arc<Logged>),
}

/// Calls the same method of whichever engine it is.
macro_rules! engine {
    ($store:expr, $engine:ident => $call:expr) => {
        match $store.engine() {
            Engine::Files($engine) => $call,
            #[cfg(unix)]
            Engine::Segments($engine) => $call,
        }
    };
}
pub(crate) use engine;

impl FsStore {
    /// Opens the store in `dir`, in constant time whatever its size. Creates the directory if it is absent.
    ///
    /// # Errors
    /// [`Error::Untrusted`](cache_core::Error::Untrusted) if somebody else could have put wrong content there,
    /// [`Error::NewerFormat`](cache_core::Error::NewerFormat) if a newer version made the store, and
    /// [`Error::Io`](cache_core::Error::Io) if the directory cannot be made or read.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let place = Place::open(dir, &options)?;
        let layout = place.layout(options.layout);
        let (engine, place) = (Engine::open(&place, layout, options)?, Arc::new(place));
        Ok(Self { place, engine, closed: Arc::default() })
    }

    /// Returns how the content of the store lies on the disk; never [`Layout::Auto`].
    pub fn layout(&self) -> Layout {
        match &self.engine {
            Engine::Files(_) => Layout::Files,
            #[cfg(unix)]
            Engine::Segments(_) => Layout::Segments,
        }
    }

    /// Returns what is under `key`, verified and complete, and counts it as used.
    ///
    /// # Errors
    /// If a file cannot be read although it is there. What is damaged is a miss.
    pub fn get(&self, key: &Key) -> Result<Lookup> {
        engine!(self, it => it.look_up(key, Look::Use))
    }

    /// Returns what [`get`](Self::get) returns, and leaves no trace: nothing counts as used, nobody is told.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn peek(&self, key: &Key) -> Result<Lookup> {
        engine!(self, it => it.look_up(key, Look::Peek))
    }

    /// Returns the entry under `key` as long as it is whole, even if its time is over, and counts it as used.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_stale(&self, key: &Key) -> Result<Option<Entry>> {
        engine!(self, it => it.look_up(key, Look::Stale)).map(Lookup::into_entry)
    }

    /// Stores `entry` under `key`, with the default time to live and priority of the policy if it has none of its own.
    ///
    /// # Errors
    /// [`Error::Incomplete`](cache_core::Error::Incomplete) if a blob that it names is not there,
    /// [`Error::Full`](cache_core::Error::Full) or [`Error::TooLarge`](cache_core::Error::TooLarge) if there is no
    /// room, [`Error::Io`](cache_core::Error::Io) if it cannot be written. Nothing has changed then, except that room
    /// may have been made.
    pub fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        engine!(self, it => it.put(key, entry, mode))
    }

    /// Removes the entry under `key`, not its blobs, and returns whether there was one.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<bool> {
        engine!(self, it => it.remove(key))
    }

    /// Returns a page of the entries that pass `filter`, in the order of their keys. A page reads a bounded number of
    /// entries, so it may be short, or empty, without being the last.
    ///
    /// # Errors
    /// If the store cannot be read, or `after` is no cursor.
    pub fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        engine!(self, it => it.list(filter, after, limit))
    }

    /// Removes every entry of `namespace`, not their blobs, and returns how many.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn clear_namespace(&self, namespace: &Namespace) -> Result<u64> {
        engine!(self, it => it.clear_namespace(namespace))
    }

    /// Returns whether a blob is there, and counts that as a use. Its content is verified when it is read.
    pub fn contains(&self, digest: &Digest) -> bool {
        engine!(self, it => it.has_blob(digest, None))
    }

    /// Returns those of `digests` that are not there, in their order. What is there counts as used.
    pub fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        digests.iter().filter(|digest| !self.contains(digest)).copied().collect()
    }

    /// Returns the content of a blob, verified.
    ///
    /// # Errors
    /// [`Error::TooLarge`](cache_core::Error::TooLarge) if it has more than `limit` bytes, or if it cannot be read.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        engine!(self, it => it.read_blob(digest, limit))
    }

    /// Returns a blob as an open file after all of it was read and found right, now or within [`Options::proof`]: to be cloned,
    /// copied or sent.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        engine!(self, it => it.open_blob(digest))
    }

    /// Stores `content` and returns its BLAKE3 digest. What is there already is not written again.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn write_blob(&self, content: &[u8]) -> Result<Digest> {
        engine!(self, it => it.write_blob(HashFunction::Blake3, content))
    }

    /// Stores all that `reader` gives, in constant memory, under the `expected` digest or else under its BLAKE3 digest;
    /// returns the digest and the length.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`](cache_core::Error::DigestMismatch) if the content is not the one that was expected,
    /// what the reader reports, and as [`put`](Self::put).
    pub fn write_blob_from(&self, expected: Option<Digest>, reader: impl Read) -> Result<(Digest, u64)> {
        let function = expected.map_or(HashFunction::Blake3, |digest| digest.function());
        match &self.engine {
            Engine::Files(files) => files.write_blob_from(function, expected, None, 0, reader),
            #[cfg(unix)]
            Engine::Segments(segments) => segments.write_blob_from(function, expected, None, reader),
        }
    }

    /// Stores the content of a file and returns its BLAKE3 digest and length. Where the file system can, the blob is a
    /// clone that takes no room. If the file changes meanwhile, the digest is that of what was stored.
    ///
    /// # Errors
    /// If `path` is no regular file or cannot be read, and as [`put`](Self::put).
    pub fn import_file(&self, path: &Path) -> Result<(Digest, u64)> {
        engine!(self, it => it.import_file(path))
    }

    /// Removes a blob and returns whether there was one. Entries that name it become misses.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        engine!(self, it => it.delete_blob(digest))
    }

    /// Returns how full the store is, from counters.
    pub fn usage(&self) -> Usage {
        engine!(self, it => it.usage())
    }

    /// Returns the limits that the store keeps.
    pub fn policy(&self) -> &Policy {
        &self.place.policy
    }

    /// Looks at everything and removes what is expired, aged, broken, unreferenced or over the limits and quotas; with `dry_run`,
    /// only says what it would remove.
    ///
    /// # Errors
    /// If the store cannot be read, or another process evicts for longer than a few seconds.
    pub fn gc(&self, dry_run: bool) -> Result<Collected> {
        let beyond_quotas = crate::quota::keep(self, dry_run)?;
        let mut report = engine!(self, it => it.gc(dry_run))?;
        report.evicted += beyond_quotas;
        Ok(report)
    }

    /// Returns a lease: what is added to it is kept while it lives, as long as a quarter of what has to make room can go.
    ///
    /// With [`Layout::Files`], what is added counts as used, which keeps it for [`Options::protect`].
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn lease(&self) -> Result<Lease> {
        Lease::new(self)
    }

    /// Reads every byte of every entry and blob. What is damaged is put aside; with `repair`, entries that have lost a
    /// blob are removed.
    ///
    /// # Errors
    /// If something cannot be read although it is there.
    pub fn verify(&self, repair: bool, progress: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport> {
        engine!(self, it => it.verify(repair, progress))
    }

    /// Returns the directory of the store, without symbolic links.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Returns a directory, for its owner alone, for a caller's own small files beside the store. It is not counted: the
    /// caller bounds it.
    ///
    /// # Errors
    /// If it cannot be made, or `name` is not made of letters, digits, `-` and `_`.
    pub fn side_dir(&self, name: &str) -> Result<PathBuf> {
        self.place.side_dir(name)
    }

    /// Returns what a person may want to know about the directory, such as a layout of a newer version beside this one.
    pub fn notes(&self) -> Vec<Note> {
        self.place.notes()
    }

    /// Returns how the segments are filled; nothing if the layout has none.
    ///
    /// # Errors
    /// If the store cannot be read.
    #[cfg(unix)]
    pub fn segment_stats(&self) -> Result<Option<crate::SegmentStats>> {
        match &self.engine {
            Engine::Files(_) => Ok(None),
            Engine::Segments(segments) => segments.stats().map(Some),
        }
    }

    /// Calls `visit` with the digest and length of every blob.
    pub(crate) fn each_blob(&self, visit: &mut dyn FnMut(Digest, u64) -> Result<()>) -> Result<()> {
        engine!(self, it => it.each_blob(visit))
    }

    /// Returns the engine, for the trait.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Engine {
    fn open(place: &Place, layout: Layout, options: Options) -> Result<Self> {
        #[cfg(unix)]
        if layout == Layout::Segments
            && let Some(segments) = Logged::open(place, options.clone())?
        {
            place.tag(options.read_only);
            return Ok(Self::Segments(Arc::new(segments)));
        }
        #[cfg(not(unix))]
        if layout == Layout::Segments {
            let store = format!("the cache at {}", place.dir.display());
            return Err(cache_core::Error::Unsupported { store, operation: "use segments on this system" });
        }
        place.tag(options.read_only);
        // A store that is only read and not there is an empty one of any layout.
        Files::open(place, options).map(|files| Self::Files(Arc::new(files)))
    }
}
