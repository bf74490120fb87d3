//! `Layout::Files`: one file per entry and per blob. The crate's documentation describes what lies where, and why.

mod address;
mod blobs;
mod entries;
mod evict;
mod evicted;
mod gc;
mod item;
mod ledger;
mod leftovers;
mod list;
mod quarantine;
mod room;
mod temp;
mod verify;
mod visit;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cache_core::files::create_private_dir;
use cache_core::{Clock, Digest, Error, Event, Key, Observers, Policy, Result};

use crate::options::Options;
use crate::place::Place;
use crate::report::{Lookup, Usage};
use crate::{disk, marker};
use address::{Address, SPACES};
use evicted::Evicted;
use ledger::Ledger;

pub(crate) use blobs::fill;
pub(crate) use entries::{Look, MAX_VALUE};
pub(crate) use writer::BlobWriter;

/// The name of this engine in events.
pub(crate) const NAME: &str = "fs";
/// From this many bytes on, reading or writing takes longer than moving it to another thread.
pub(crate) const LARGE: u64 = 256 << 10;
/// Version of the layout. It is in the name of the root, so that two versions live side by side.
const VERSION: u32 = 1;
/// Name of the layout, in its marker.
const LAYOUT: &str = "files";
/// Name of the root.
pub(crate) const ROOT: &str = "files-v1";

/// A store in the files layout.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    root: PathBuf,
    policy: Policy,
    clock: Arc<dyn Clock>,
    observers: Observers,
    read_only: bool,
    protect: Duration,
    ledger: Ledger,
    evicted: Evicted,
    /// Whether the file system has refused to clone files; it will not learn it meanwhile.
    no_reflinks: AtomicBool,
}

impl Files {
    pub(crate) fn open(place: &Place, options: Options) -> Result<Self> {
        let root = place.dir.join(ROOT);
        let files = Self {
            ledger: Ledger::new(root.join("usage"), options.read_only),
            evicted: Evicted::new(root.join("evicted")),
            dir: place.dir.clone(),
            root,
            policy: place.policy.clone(),
            clock: options.clock,
            observers: options.observers,
            read_only: options.read_only,
            protect: options.protect,
            no_reflinks: AtomicBool::new(false),
        };
        if !marker::is_there(&files.root, LAYOUT, VERSION)? && !files.read_only {
            files.create_layout()?;
        }
        Ok(files)
    }

    /// Creates what is missing of the directories and fixed files.
    fn create_layout(&self) -> Result<()> {
        let spaces = SPACES.map(|space| space.dir(&self.root));
        for dir in spaces.iter().chain(&[self.root.join("tmp"), self.root.join("quarantine")]) {
            create_private_dir(dir).map_err(|e| Error::io("cannot create", dir, e))?;
        }
        marker::write(&self.root, LAYOUT, VERSION)
    }

    pub(crate) fn usage(&self) -> Usage {
        self.count_unknown(usize::MAX);
        let totals = self.ledger.read().totals();
        Usage {
            bytes: totals.bytes,
            entries: totals.entries,
            blobs: totals.blobs,
            max_bytes: self.policy.max_bytes,
            free: disk::space(&self.dir).map(|space| space.free),
        }
    }

    /// Refuses to change a store that was opened for reading.
    fn writable(&self) -> Result<()> {
        if self.read_only {
            let store = format!("the cache at {}", self.dir.display());
            return Err(Error::Unsupported { store, operation: "change: it was opened for reading only" });
        }
        Ok(())
    }

    /// Returns what is under `key` and counts it as used; nothing, and nothing is counted, if it takes long to read.
    pub(crate) fn look_up_quickly(&self, key: &Key) -> Result<Option<Lookup>> {
        let meta = self.path(&Address::entry(key)).symlink_metadata();
        if meta.is_ok_and(|meta| meta.len() >= LARGE) {
            return Ok(None);
        }
        self.look_up(key, Look::Use).map(Some)
    }

    /// Returns the length of a blob, if there is one.
    pub(crate) fn blob_len(&self, digest: &Digest) -> Option<u64> {
        self.path(&Address::blob(digest)).symlink_metadata().ok().map(|meta| meta.len())
    }

    fn path(&self, address: &Address) -> PathBuf {
        address.path(&self.root)
    }

    fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        self.observers.emit(NAME, event);
    }
}
