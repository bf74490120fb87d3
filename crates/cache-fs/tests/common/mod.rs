//! What several tests need.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses another part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{
    Digest, Entry, EntryMeta, Event, Key, ManualClock, MissReason, Observer, Observers, Output, OutputKind,
    Policy, RelPath, Timestamp,
};
use cache_fs::{FsStore, Layout, Lookup, Options};

/// A moment in 2023: the clock of most tests.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START))
}

/// Options for one file per entry, without limits and without protection, which goes by real time.
pub fn options() -> Options {
    Options {
        layout: Layout::Files,
        policy: Some(Policy::unlimited()),
        protect: Duration::ZERO,
        ..Options::default()
    }
}

/// Opens a store in `dir` that holds at most `max_bytes`.
pub fn limited(dir: &Path, max_bytes: u64, clock: &Arc<ManualClock>) -> FsStore {
    let policy = Policy { max_bytes: Some(max_bytes), ..Policy::unlimited() };
    FsStore::open(dir, Options { policy: Some(policy), clock: clock.clone(), ..options() }).unwrap()
}

pub fn key(number: u64) -> Key {
    // Hashed, so that keys spread over shards.
    Key::from_bytes(*Digest::blake3(&number.to_le_bytes()).as_bytes())
}

/// Returns an entry with `value` inline.
pub fn entry(value: impl Into<Vec<u8>>) -> Entry {
    Entry { value: value.into().into(), ..Entry::default() }
}

/// Returns an entry that names these blobs.
pub fn entry_with(blobs: &[(Digest, u64)]) -> Entry {
    let outputs = (0..).zip(blobs).map(|(number, &(digest, len))| Output {
        path: RelPath::new(format!("out/{number:06}")).unwrap(),
        kind: OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 },
    });
    Entry {
        meta: EntryMeta::default(),
        value: "with blobs".into(),
        outputs: outputs.collect(),
        ..Entry::default()
    }
}

/// Returns `len` bytes that differ from those of every other `seed`.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub fn miss(store: &FsStore, key: &Key) -> Option<MissReason> {
    match store.get(key).unwrap() {
        Lookup::Hit(_) => None,
        Lookup::Miss(reason) => Some(reason),
    }
}

pub fn hit(store: &FsStore, key: &Key) -> Option<Entry> {
    store.get(key).unwrap().into_entry()
}

/// Returns every regular file below `dir`, sorted.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for item in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            // What goes while it is looked at is not there.
            let Ok(kind) = item.file_type() else { continue };
            if kind.is_dir() {
                open.push(item.path());
            } else if kind.is_file() {
                found.push(item.path());
            }
        }
    }
    found.sort();
    found
}

/// Returns the files of entries.
pub fn entry_files(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("files-v1/entries"))
}

/// Returns the files of blobs.
pub fn blob_files(dir: &Path) -> Vec<PathBuf> {
    files(&dir.join("files-v1/blobs"))
}

/// Returns what `du` says: the bytes that `dir` and all below it take on the disk.
#[cfg(unix)]
pub fn du(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = dir.symlink_metadata() else { return 0 };
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    meta.blocks() * 512 + below.map(|item| du(&item.path())).sum::<u64>()
}

/// Keeps the names of events.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    pub fn observers(self: &Arc<Self>) -> Observers {
        Observers::new(self.clone())
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn on_event(&self, store: &str, event: &Event<'_>) {
        assert_eq!(store, "fs");
        let text = match event {
            Event::Hit { bytes, .. } => format!("hit {bytes}"),
            Event::Miss { reason, .. } => format!("miss {reason:?}"),
            Event::Put { bytes, .. } => format!("put {bytes}"),
            Event::Removed { .. } => "removed".to_owned(),
            Event::Blob { len, deduplicated, .. } => format!("blob {len} {deduplicated}"),
            Event::Evicted { items, .. } => format!("evicted {items}"),
            Event::Corrupt { what, .. } => format!("corrupt {}", what.split(' ').next().unwrap_or_default()),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}
