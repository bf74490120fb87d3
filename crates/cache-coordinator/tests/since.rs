//! What inputs were all the time while something ran, found out afterwards.

// Elsewhere there is no change time, and everything is refused.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use cache_coordinator::action::{FileError, FileStates, Mark};
use cache_core::{Digest, FileState, ManualClock, Timestamp, TreePath};
use cache_testkit::block_on;

/// Longer than any test takes, so that the clock, which is set by hand, does not seem to go back.
const RUN: Duration = Duration::from_hours(1);

struct World {
    _dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    files: Arc<FileStates>,
}

impl World {
    /// Returns a project with headers, one of them behind a link to a directory.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("project");
        for sub in ["include/sys", "spare/other", "vendor-1", "vendor-2"] {
            fs::create_dir_all(base.join(sub)).unwrap();
        }
        for (name, content) in [
            ("top.h", "top"),
            ("include/a.h", "a"),
            ("include/sys/b.h", "b"),
            ("spare/other/b.h", "other"),
            ("vendor-1/c.h", "1"),
            ("vendor-2/c.h", "2"),
        ] {
            fs::write(base.join(name), content).unwrap();
        }
        symlink("vendor-1", base.join("vendor")).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let files = Arc::new(FileStates::with_clock(&base, Arc::clone(&clock) as _).unwrap());
        Self { _dir: dir, clock, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.base().join(name)
    }

    fn mark_at(&self, time: Timestamp) -> Mark {
        self.clock.set(time);
        let mark = self.files.mark();
        self.clock.advance(RUN);
        mark
    }

    /// Returns the digest of what was at `name` all the time; nothing if nothing was.
    fn since(&self, mark: &Mark, name: &str) -> Result<Option<Digest>, FileError> {
        let path = TreePath::new(self.files.base(), &self.path(name)).unwrap();
        match block_on(self.files.snapshot_since(mark, &[path]))?[0].state {
            FileState::File { digest, .. } => Ok(Some(digest)),
            FileState::Absent => Ok(None),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Returns what `name` is refused for.
    fn touched(&self, mark: &Mark, name: &str) -> PathBuf {
        match self.since(mark, name) {
            Err(FileError::Touched { path, touched }) => {
                assert_eq!(path, self.path(name));
                touched
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn digest(content: &str) -> Digest {
    Digest::blake3(content.as_bytes())
}

#[test]
fn what_was_written_just_before_is_refused() {
    let world = World::new();
    let header = world.path("top.h");
    let stamp = header.metadata().unwrap();
    let millis = stamp.ctime().unsigned_abs() * 1000 + stamp.ctime_nsec().unsigned_abs() / 1_000_000;
    let stamp = Timestamp::from_millis(millis);
    for millis in [0, 1, 1999] {
        let mark = world.mark_at(stamp.plus(Duration::from_millis(millis)));
        assert_eq!(world.touched(&mark, "top.h"), header, "{millis}");
    }
    // The change time counts, which no program can set.
    fs::File::options().write(true).open(&header).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mark = world.mark_at(stamp.plus(Duration::from_secs(1)));
    assert_eq!(world.touched(&mark, "top.h"), header);
    let mark = world.mark_at(stamp.plus(Duration::from_mins(1)));
    assert_eq!(world.since(&mark, "top.h").unwrap(), Some(digest("top")));
}

#[test]
fn a_clock_that_was_set_back_is_noticed() {
    let world = World::new();
    let later = Timestamp::from(SystemTime::now()).plus(RUN);
    let mark = world.mark_at(later);
    assert_eq!(world.since(&mark, "include/a.h").unwrap(), Some(digest("a")));
    world.clock.set(later.minus(Duration::from_millis(1)));
    assert!(matches!(world.since(&mark, "include/a.h"), Err(FileError::ClockSetBack)));
}

#[test]
fn what_is_touched_meanwhile_is_refused_and_nothing_else() {
    type Change = (fn(&World), &'static str, &'static str);
    // What happens, what was read, and what that is refused for.
    let changes: [Change; 9] = [
        (|world| fs::write(world.path("include/a.h"), "A").unwrap(), "include/a.h", "include/a.h"),
        (
            |world| {
                let header = world.path("include/a.h");
                let modified = header.metadata().unwrap().modified().unwrap();
                fs::write(&header, "A").unwrap();
                fs::File::options().write(true).open(&header).unwrap().set_modified(modified).unwrap();
            },
            "include/a.h",
            "include/a.h",
        ),
        (
            // Another old file takes its place: the content is not new, the name is.
            |world| fs::rename(world.path("spare/other/b.h"), world.path("include/a.h")).unwrap(),
            "include/a.h",
            "include/a.h",
        ),
        (|world| fs::remove_file(world.path("include/a.h")).unwrap(), "include/a.h", "include/a.h"),
        (
            // Both were there before, and neither is touched itself.
            |world| {
                fs::rename(world.path("include/sys"), world.path("include/old")).unwrap();
                fs::rename(world.path("spare/other"), world.path("include/sys")).unwrap();
            },
            "include/sys/b.h",
            "include/sys",
        ),
        (
            |world| {
                fs::remove_file(world.path("vendor")).unwrap();
                symlink("vendor-2", world.path("vendor")).unwrap();
            },
            "vendor/c.h",
            "vendor",
        ),
        (|world| fs::write(world.path("vendor-1/c.h"), "3").unwrap(), "vendor/c.h", "vendor-1/c.h"),
        (
            // There was something meanwhile.
            |world| {
                fs::write(world.path("include/new.h"), "").unwrap();
                fs::remove_file(world.path("include/new.h")).unwrap();
            },
            "include/new.h",
            "include/new.h",
        ),
        (|world| fs::write(world.path("include/new.h"), "").unwrap(), "include/new.h", "include/new.h"),
    ];
    let worlds: Vec<World> = changes.iter().map(|_| World::new()).collect();
    let (tidy, stuck) = (World::new(), World::new());
    stuck.clock.set(Timestamp::from(SystemTime::now()).plus(RUN));
    let stopped = stuck.files.mark();
    // What was just written must get old, as only the kernel can stamp it.
    thread::sleep(Duration::from_millis(2_200));
    let now = Timestamp::from(SystemTime::now());
    assert!(matches!(stuck.since(&stopped, "include/a.h"), Err(FileError::ClockSetBack)), "it stands still");

    for (world, (change, read, touched)) in worlds.iter().zip(changes) {
        let mark = world.mark_at(now);
        let names = ["include/a.h", "include/sys/b.h", "vendor/c.h", "include/new.h"];
        let before = names.map(|name| world.since(&mark, name).unwrap());
        assert_eq!(before, [Some(digest("a")), Some(digest("b")), Some(digest("1")), None]);
        change(world);
        assert_eq!(world.touched(&mark, read), world.path(touched));
        let error = world.since(&mark, read).unwrap_err().to_string();
        assert!(error.contains(touched) && error.contains("touched"), "{error}");
    }

    // Elsewhere, what is in a directory in which something is new may be new as well.
    if cfg!(target_os = "linux") {
        let mark = tidy.mark_at(now);
        fs::write(tidy.path("include/a.o"), "").unwrap();
        assert_eq!(tidy.since(&mark, "include/a.h").unwrap(), Some(digest("a")), "its neighbour is new");
        fs::create_dir(tidy.path("out")).unwrap();
        assert_eq!(tidy.since(&mark, "vendor/c.h").unwrap(), Some(digest("1")), "another directory is new");
    }
}
