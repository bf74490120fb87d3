//! Real file systems, mounted for the test: whether a store keeps its promises there, and what the choice of a layout rests
//! on. `docs/contributing/file-systems.md` tells the story.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed; one that cannot be run says why"
)]
#![cfg(target_os = "linux")]

mod common;
// It is private to the crate; here it is asked about real mounts.
#[path = "../src/filesystem.rs"]
mod filesystem;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use cache_core::{Digest, Policy, PutMode};
use cache_fs::{FsStore, Layout, Options};
use common::{content, entry_with, key};
use filesystem::suits_segments;

/// Every layout passes every test of this file.
const LAYOUTS: [Layout; 2] = [Layout::Files, Layout::Segments];
/// Limit of the stores that several processes fill, in bytes: small, so that there is always something to evict.
const LIMIT: u64 = 8 << 20;
/// Size of an image of a file system, in bytes. It is sparse; xfs does not do with less than 300 MB.
const IMAGE: u64 = 512 << 20;
/// Keys that the processes fight for.
const KEYS: u64 = 100;
/// Keys that are put once and must stay, beyond those of the processes.
const KEPT: std::ops::Range<u64> = 1000..1040;

/// What is mounted below a temporary directory, until it is dropped.
struct Mounts {
    dir: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Mounts {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), mounted: Vec::new() }
    }

    /// A file system in memory.
    fn tmpfs() -> Option<Self> {
        let mut mounts = Self::new();
        mounts.mount("tmpfs", &format!("size={IMAGE},mode=700"), "vitte-cache-test", "disk", true)?;
        Some(mounts)
    }

    /// A file system in a file.
    fn image(kind: &str) -> Option<Self> {
        let mut mounts = Self::new();
        let image = mounts.dir.path().join("image");
        File::create(&image).unwrap().set_len(IMAGE).unwrap();
        match output(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image)) {
            Ok(made) if made.status.success() => {}
            other => {
                eprintln!("skipped: mkfs.{kind} does not work: {other:?}");
                return None;
            }
        }
        mounts.mount(kind, "loop", image.to_str().unwrap(), "disk", false)?;
        Some(mounts)
    }

    /// An overlay whose layers are directories on the disk, as those of a container are. `bake` fills the lower one first.
    fn overlay(self, bake: impl FnOnce(&Path)) -> Option<Self> {
        let mut mounts = self;
        for layer in ["lower", "upper", "work"] {
            fs::create_dir(mounts.disk().join(layer)).unwrap();
        }
        bake(&mounts.disk().join("lower"));
        mounts.mount_overlay()?;
        Some(mounts)
    }

    fn mount_overlay(&mut self) -> Option<()> {
        let layer = |name| self.disk().join(name).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
        self.mount("overlay", &options, "overlay", "merged", true)
    }

    /// Mounts `what`, or says why not. Root in CI must be able to mount what needs neither tools nor loop devices.
    fn mount(&mut self, kind: &str, options: &str, what: &str, at: &str, must: bool) -> Option<()> {
        let at = self.dir.path().join(at);
        fs::create_dir_all(&at).unwrap();
        match output(Command::new("mount").args(["-t", kind, "-o", options, what]).arg(&at)) {
            Ok(output) if output.status.success() => {
                self.mounted.push(at);
                Some(())
            }
            other => {
                let root_in_ci =
                    std::env::var("CI").is_ok_and(|ci| ci == "true") && rustix::process::geteuid().is_root();
                assert!(!(must && root_in_ci), "root in CI must be able to mount {kind}: {other:?}");
                eprintln!("skipped: cannot mount {kind}: {other:?}");
                None
            }
        }
    }

    fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Where the file system under test is.
    fn top(&self) -> &Path {
        self.mounted.last().unwrap()
    }

    /// Unmounts the file system under test and mounts it again: nothing of it stays in memory.
    fn remount(&mut self) {
        let top = self.mounted.pop().unwrap();
        let unmounted = output(Command::new("umount").arg(&top)).unwrap();
        assert!(unmounted.status.success(), "something still holds it: {unmounted:?}");
        if top.ends_with("merged") {
            self.mount_overlay().unwrap();
        } else {
            let image = self.dir.path().join("image");
            self.mount("auto", "loop", image.to_str().unwrap(), "disk", false).unwrap();
        }
    }
}

/// Starts a process while no other thread does. Between fork and exec, a process holds whatever another thread has open, and
/// a file system that is held cannot be unmounted.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

fn output(command: &mut Command) -> std::io::Result<std::process::Output> {
    spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            let _ = output(Command::new("umount").arg("-l").arg(at));
        }
    }
}

fn open(dir: &Path, layout: Layout, max_bytes: Option<u64>) -> FsStore {
    let policy = Policy { max_bytes, ..Policy::unlimited() };
    FsStore::open(dir, Options { policy: Some(policy), layout, ..common::options() }).unwrap()
}

/// Puts an entry whose parts prove each other: its value is the seed of its blob.
fn put(store: &FsStore, number: u64, seed: u64) -> cache_core::Result<()> {
    let blob = content(seed, 1 + seed as usize % 60_000);
    let digest = store.write_blob(&blob)?;
    let mut entry = entry_with(&[(digest, blob.len() as u64)]);
    entry.value = [number.to_le_bytes(), seed.to_le_bytes()].concat().into();
    store.put(&key(number), &entry, PutMode::Overwrite).map(drop)
}

/// Returns the seed of what is found under a key, once it has proved itself.
fn seed_of(store: &FsStore, number: u64) -> Option<u64> {
    let entry = common::hit(store, &key(number))?;
    let word = |at: usize| u64::from_le_bytes(entry.value[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), number, "an entry under another key");
    let expected = content(word(8), 1 + word(8) as usize % 60_000);
    let (digest, len) = entry.blobs().next().unwrap();
    assert_eq!((*digest, len), (Digest::blake3(&expected), expected.len() as u64));
    // Another process may evict it in between.
    if let Some(read) = store.read_blob(digest, u64::MAX).unwrap() {
        assert!(read == expected, "a wrong byte");
    }
    Some(word(8))
}

fn start(dir: &Path, layout: usize, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("CACHE_FS_TEST_DIR", dir)
        .env("CACHE_FS_TEST_LAYOUT", layout.to_string())
        .env("CACHE_FS_TEST_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(&mut command).unwrap()
}

#[test]
#[ignore = "run by the other tests"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let layout: usize = variable("CACHE_FS_TEST_LAYOUT").parse().unwrap();
    let store = open(Path::new(&variable("CACHE_FS_TEST_DIR")), LAYOUTS[layout], Some(LIMIT));
    let mut seed: u64 = variable("CACHE_FS_TEST_SEED").parse().unwrap();
    for _ in 0..150 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = seed >> 33;
        match random % 16 {
            0 => drop(store.remove(&key(random % KEYS)).unwrap()),
            1..8 => drop(seed_of(&store, random % KEYS)),
            _ => match put(&store, random % KEYS, random % 1000) {
                // An evictor may take the blob before the entry is written: that is a miss to come.
                Ok(()) | Err(cache_core::Error::Incomplete { .. } | cache_core::Error::Full { .. }) => {}
                Err(other) => panic!("{other}"),
            },
        }
    }
}

/// Lets several processes at the store in `dir`, then checks everything and puts what must stay.
fn work(dir: &Path, layout: usize) {
    let children: Vec<Child> = (1..=4).map(|seed| start(dir, layout, seed)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let store = open(dir, LAYOUTS[layout], None);
    assert_eq!(store.verify(false, &mut |_| ()).unwrap().corrupt, 0);
    assert!((0..KEYS).filter_map(|number| seed_of(&store, number)).count() > 0, "something is found");
    for number in KEPT {
        put(&store, number, number).unwrap();
    }
}

/// Checks that what must stay has stayed.
fn check_kept(dir: &Path, layout: Layout) {
    let store = open(dir, layout, None);
    for number in KEPT {
        assert_eq!(seed_of(&store, number), Some(number), "{layout:?} in {}", dir.display());
    }
    assert_eq!(store.verify(false, &mut |_| ()).unwrap().corrupt, 0);
}

/// Has every layout work on what is mounted and, unless it is in memory alone, finds all of it after it was unmounted.
fn serves(mut mounts: Mounts, name: &str, lasts: bool) {
    let verdict = suits_segments(mounts.top());
    assert!(verdict.segments && verdict.name == name, "{verdict:?}");
    assert!(verdict.reason().contains("in step"), "{}", verdict.reason());
    for (layout, _) in LAYOUTS.iter().enumerate() {
        work(&mounts.top().join(format!("cache-{layout}")), layout);
    }
    if lasts {
        mounts.remount();
    }
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        check_kept(&mounts.top().join(format!("cache-{number}")), layout);
    }
}

/// One that is not known takes files by itself, and is not given segments by a move.
#[test]
fn ramfs_keeps_files() {
    let mut mounts = Mounts::new();
    let Some(()) = mounts.mount("ramfs", "mode=700", "vitte-cache-test", "disk", true) else { return };
    let dir = mounts.top().join("cache");
    let store = open(&dir, Layout::Auto, None);
    assert_eq!(store.layout(), Layout::Files);
    for number in KEPT {
        put(&store, number, number).unwrap();
    }
    drop(store);
    let before = common::files(&dir);
    let migrate = |to, dry_run| FsStore::migrate(&dir, &common::options(), to, dry_run, &mut |_| Ok(()));
    for dry_run in [true, false] {
        let refused = migrate(Layout::Segments, dry_run).unwrap_err().to_string();
        let sentence = format!("segments do not suit {}: file system 0x858458f6 is not known", dir.display());
        assert!(refused.starts_with(&sentence) && refused.ends_with("the cache stays as it is"), "{refused}");
    }
    assert_eq!(common::files(&dir), before);
    check_kept(&dir, Layout::Auto);

    // Who insists has them, until nobody insists: then it is another cache, which is empty.
    let other = mounts.top().join("other");
    let store = open(&other, Layout::Segments, None);
    for number in KEPT {
        put(&store, number, number).unwrap();
    }
    drop(store);
    assert_eq!(open(&other, Layout::Auto, None).layout(), Layout::Files);
    let options = common::options();
    let moved = FsStore::migrate(&other, &options, Layout::Files, false, &mut |_| Ok(())).unwrap();
    assert_eq!(moved.entries, KEPT.end - KEPT.start);
    check_kept(&other, Layout::Auto);
}

#[test]
fn tmpfs_serves() {
    let Some(disk) = Mounts::tmpfs() else { return };
    serves(disk, "tmpfs", false);
}

#[test]
fn ext4_serves() {
    let Some(disk) = Mounts::image("ext4") else { return };
    serves(disk, "ext2/3/4", true);
}

/// It has no `fallocate`.
#[test]
fn ext3_serves() {
    let Some(disk) = Mounts::image("ext3") else { return };
    serves(disk, "ext2/3/4", true);
}

#[test]
fn xfs_serves() {
    let Some(disk) = Mounts::image("xfs") else { return };
    serves(disk, "xfs", true);
}

#[test]
fn btrfs_serves() {
    let Some(disk) = Mounts::image("btrfs") else { return };
    serves(disk, "btrfs", true);
}

#[test]
fn overlay_on_ext4_serves() {
    let Some(disk) = Mounts::image("ext4").and_then(|disk| disk.overlay(|_| ())) else { return };
    serves(disk, "overlay", true);
}

#[test]
fn overlay_on_tmpfs_serves() {
    let Some(disk) = Mounts::tmpfs().and_then(|disk| disk.overlay(|_| ())) else { return };
    serves(disk, "overlay", true);
}

/// A store that was made while an image was built: each container writes to a copy of its own.
#[test]
fn a_store_in_a_lower_layer_is_read_and_written() {
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let fill = |lower: &Path| {
            let store = open(&lower.join("cache"), layout, None);
            for number in KEPT {
                put(&store, number, number).unwrap();
            }
        };
        let Some(mut mounts) = Mounts::tmpfs().and_then(|disk| disk.overlay(fill)) else { return };
        let dir = mounts.top().join("cache");
        // Whoever has it open and has read from the lower layer sees what others change.
        let (reader, writer) = (open(&dir, layout, None), open(&dir, layout, None));
        let first = KEPT.start;
        assert_eq!(seed_of(&reader, first), Some(first));
        put(&writer, first, 7).unwrap();
        assert_eq!((seed_of(&reader, first), seed_of(&writer, first)), (Some(7), Some(7)));
        assert!(writer.remove(&key(first)).unwrap());
        assert_eq!(seed_of(&reader, first), None);
        put(&reader, first, first).unwrap();
        assert_eq!(seed_of(&writer, first), Some(first));
        drop((reader, writer));
        work(&dir, number);
        mounts.remount();
        check_kept(&mounts.top().join("cache"), layout);
        // The image is as it was.
        check_kept(&mounts.disk().join("lower/cache"), layout);
    }
}

/// What the choice of segments on an overlay rests on. A lock belongs to an opened file, not to a process, so that one
/// process can try both sides.
#[test]
fn an_overlay_keeps_locks_and_reads_in_step_across_copy_up() {
    let fill = |lower: &Path| fs::write(lower.join("file"), "old-".repeat(1024)).unwrap();
    let Some(mounts) = Mounts::tmpfs().and_then(|disk| disk.overlay(fill)) else { return };
    let path = mounts.top().join("file");
    let copied_up = || mounts.disk().join("upper/file").exists();
    let read = |file: &File, at| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };

    // Opened and locked while it is in the lower layer.
    let before = File::open(&path).unwrap();
    before.try_lock().unwrap();
    assert_eq!(read(&before, 0), *b"old-");
    assert!(!copied_up());
    let after = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert!(copied_up());
    assert!(matches!(after.try_lock(), Err(TryLockError::WouldBlock)));
    before.unlock().unwrap();
    after.try_lock().unwrap();
    assert!(matches!(before.try_lock_shared(), Err(TryLockError::WouldBlock)));

    for round in 0..200_u32 {
        after.write_all_at(&round.to_le_bytes(), 8192).unwrap();
        assert_eq!(read(&before, 8192), round.to_le_bytes());
    }
    assert_eq!(before.metadata().unwrap().len(), 8196);
    // It is the same file to those who compare.
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    assert_eq!(identity(before.metadata().unwrap()), identity(after.metadata().unwrap()));
    assert_eq!(identity(before.metadata().unwrap()), identity(path.metadata().unwrap()));
}
