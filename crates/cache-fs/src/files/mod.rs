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

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cache_core::{Clock, Digest, Error, Event, Key, Observers, Policy, Result};

use crate::disk;
use crate::options::Options;
use crate::report::{Note, Usage};
use crate::trust::{self, create_private_dir};
use address::{Address, SPACES};
use evicted::Evicted;
use ledger::Ledger;

pub(crate) use entries::{Look, MAX_VALUE};
pub(crate) use writer::BlobWriter;

/// The name of this engine in events.
pub(crate) const NAME: &str = "fs";
/// Version of the layout. It is in the name of the root, so that two versions live side by side.
const VERSION: u32 = 1;
const MARKER: &str = "vitte-cache files ";
/// Longest format marker that is read, in bytes.
const MAX_MARKER: usize = 100;
/// <https://bford.info/cachedir/>: backup programs leave a directory with this file out.
const CACHEDIR_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache made by vitte-cache. It can be removed at any time.\n\
    # What this file means: https://bford.info/cachedir/\n";

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
    /// Whether the store was closed through the trait.
    pub(crate) closed: AtomicBool,
}

impl Files {
    pub(crate) fn open(dir: &Path, options: Options) -> Result<Self> {
        if !options.read_only {
            create_private_dir(dir).map_err(|e| Error::io("cannot create the cache directory", dir, e))?;
        }
        // A symbolic link to the directory may be anybody's; the directory that is used is what is checked.
        let dir = dir.canonicalize().map_err(|e| Error::io("cannot open the cache directory", dir, e))?;
        let root = dir.join(format!("files-v{VERSION}"));
        if !options.trust_dir {
            trust::check(&dir)?;
            if root.symlink_metadata().is_ok() {
                trust::check(&root)?;
            }
        }
        let policy = options.policy.unwrap_or_else(|| match disk::space(&dir) {
            Some(space) => Policy::for_disk(space.total),
            None => Policy { free_space_floor: 0, ..Policy::default() },
        });
        let files = Self {
            ledger: Ledger::new(root.join("usage"), options.read_only),
            evicted: Evicted::new(root.join("evicted")),
            dir,
            root,
            policy,
            clock: options.clock,
            observers: options.observers,
            read_only: options.read_only,
            protect: options.protect,
            no_reflinks: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        if !files.has_marker()? && !files.read_only {
            files.create_layout()?;
        }
        Ok(files)
    }

    /// Returns whether the format marker is there; refuses what it does not know.
    fn has_marker(&self) -> Result<bool> {
        let path = self.root.join("format");
        let fail = |e| Error::io("cannot read", &path, e);
        let marker = match item::open(&path).map_err(fail)? {
            item::Found::Absent => return Ok(false),
            item::Found::Foreign => {
                return Err(Error::Invalid(format!("{} is not a regular file; remove it", path.display())));
            }
            item::Found::File(file, _) => {
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, MAX_MARKER as u64), &mut bytes)
                    .map_err(fail)?;
                bytes
            }
        };
        // Nothing forces the marker onto the disk: a power failure may leave it empty or zeroed.
        if marker.iter().all(|&byte| byte == 0) {
            return Ok(false);
        }
        let marker = String::from_utf8_lossy(&marker);
        match marker.trim_end().strip_prefix(MARKER).and_then(|number| number.parse::<u32>().ok()) {
            Some(VERSION) => Ok(true),
            Some(found) => {
                let what = format!("the cache in {}", self.root.display());
                Err(Error::NewerFormat { what, found, known: VERSION })
            }
            None => Err(Error::Invalid(format!(
                "{} does not say that this is a cache; move {} away or choose another --dir",
                path.display(),
                self.root.display()
            ))),
        }
    }

    /// Creates what is missing of the directories and fixed files.
    fn create_layout(&self) -> Result<()> {
        let spaces = SPACES.map(|space| space.dir(&self.root));
        for dir in spaces.iter().chain(&[self.root.join("tmp"), self.root.join("quarantine")]) {
            create_private_dir(dir).map_err(|e| Error::io("cannot create", dir, e))?;
        }
        let tag = self.dir.join("CACHEDIR.TAG");
        let _ = create_new(&tag).and_then(|mut file| file.write_all(CACHEDIR_TAG));
        let marker = self.root.join("format");
        if !self.has_marker()? {
            let _ = fs::remove_file(&marker);
            match create_new(&marker).and_then(|mut file| writeln!(file, "{MARKER}{VERSION}")) {
                // Another process was faster.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                written => written.map_err(|e| Error::io("cannot write", &marker, e))?,
            }
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn side_dir(&self, name: &str) -> Result<PathBuf> {
        let simple = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(simple) || name.starts_with("files-v") {
            return Err(Error::Invalid(format!(
                "`{name}` cannot be the name of a directory beside the cache"
            )));
        }
        let dir = self.dir.join(name);
        if !self.read_only {
            create_private_dir(&dir).map_err(|e| Error::io("cannot create", &dir, e))?;
        }
        Ok(dir)
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let Ok(dir) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut notes: Vec<Note> = dir
            .filter_map(|item| {
                let item = item.ok()?;
                let version: u32 = item.file_name().to_str()?.strip_prefix("files-v")?.parse().ok()?;
                let text = format!("made by a newer version (layout {version}); it is left alone");
                (version > VERSION).then(|| Note { path: item.path(), text })
            })
            .collect();
        notes.sort_by(|a, b| a.path.cmp(&b.path));
        notes
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

    /// Returns the length of the file of an entry, if there is one.
    pub(crate) fn entry_len(&self, key: &Key) -> Option<u64> {
        self.path(&Address::entry(key)).symlink_metadata().ok().map(|meta| meta.len())
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

/// Creates a file for its owner alone.
fn create_new(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
