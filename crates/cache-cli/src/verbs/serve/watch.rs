//! Files whose change makes the server read its settings anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::TARGET;

/// How long files are left alone after a change: editors and installers change them in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// How often files are looked at without a word from the system, which says nothing of file servers and of directories
/// that did not exist before.
const LOOK: Duration = Duration::from_secs(10);

/// Looks at files, by name.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// What they looked like when they were last read.
    seen: Vec<Option<Stamp>>,
    /// Tells that something happened in one of their directories.
    events: mpsc::Receiver<()>,
    /// Nothing if the system tells nothing, or there is no room for it.
    watcher: Option<RecommendedWatcher>,
    dirs: Vec<PathBuf>,
}

/// What changes when a file does: it is written, or another one gets its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    id: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let id = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let id = 0;
        Some(Self { modified: metadata.modified().ok(), len: metadata.len(), id })
    }
}

impl Watch {
    /// Begins to watch `files`, which need not exist.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        // One is enough: whoever comes to look looks at everything.
        let (tell, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |_| {
            // Full means that somebody comes already.
            let _ = tell.try_send(());
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(target: TARGET, %error, "changed files are noticed late: the system does not tell of them");
            })
            .ok();
        let seen = stamps(&files);
        let mut watch = Self { files, seen, events, watcher, dirs: Vec::new() };
        watch.follow(watch.files.clone());
        watch
    }

    /// Goes on with `files`. New ones count as changed, because nobody knows what they looked like when they were read.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        let known = |file: &PathBuf| self.files.iter().position(|other| other == file);
        self.seen = files.iter().map(|file| known(file).and_then(|index| self.seen[index].clone())).collect();
        self.files = files;
        let Some(watcher) = &mut self.watcher else { return };
        // Editors put a new file in the place of the old one, so that only the directory is the same.
        let mut dirs: Vec<PathBuf> =
            self.files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        dirs.sort();
        dirs.dedup();
        for gone in self.dirs.iter().filter(|dir| !dirs.contains(dir)) {
            // It may be gone from the disk as well.
            let _ = watcher.unwatch(gone);
        }
        dirs.retain(|dir| self.dirs.contains(dir) || watcher.watch(dir, RecursiveMode::NonRecursive).is_ok());
        self.dirs = dirs;
    }

    /// Takes the files as they are now for known.
    pub(super) fn seen(&mut self) {
        self.seen = stamps(&self.files);
    }

    /// Returns when one of the files has changed since it was last seen, and takes that for seen.
    ///
    /// # Cancel safety
    /// No change is lost: it is found at the next look.
    pub(super) async fn changed(&mut self) {
        loop {
            let told = tokio::time::timeout(LOOK, self.events.recv());
            if told.await == Ok(None) {
                // Nobody is left to tell.
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(SETTLE).await;
            // What was told meanwhile is seen as well.
            let _ = self.events.try_recv();
            let now = stamps(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}
