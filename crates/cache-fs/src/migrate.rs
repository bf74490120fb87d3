//! Moving a store from one layout to the other.

use std::fs;
use std::io;
use std::path::Path;

use cache_core::{Digest, Error, ListFilter, Policy, Priority, PutMode, PutOutcome, Result};

use crate::options::{Layout, Options};
use crate::place::Place;
use crate::report::{Lookup, MigrateProgress, MigrateReport};
use crate::store::FsStore;

/// Entries that are listed at a time.
const PAGE: usize = 256;
/// How often the old root is removed: another process that still has it open may put something there meanwhile.
const ATTEMPTS: u32 = 5;

impl FsStore {
    /// Moves the store in `dir` to the layout `to`: copies every blob, verified by its digest, and then every entry that
    /// is complete and whose time is not over; what the other layout takes is removed in the end. With `dry_run`, only
    /// says what there is to move.
    ///
    /// It may be stopped at any point, by an error of `progress` as well, and repeated: then it goes on with what is not
    /// copied yet. Until it is over, both layouts take room, each at most the limit; the free-space floor is kept.
    /// Everything counts as just used afterwards. Directories of callers stay as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `to` does not suit the file system or names no layout, what `progress` returns, and if
    /// something cannot be read, written or removed.
    pub fn migrate(
        dir: &Path,
        options: &Options,
        to: Layout,
        dry_run: bool,
        progress: &mut dyn FnMut(MigrateProgress) -> Result<()>,
    ) -> Result<MigrateReport> {
        let from = match to {
            Layout::Files => Layout::Segments,
            Layout::Segments => Layout::Files,
            Layout::Auto => {
                return Err(Error::Invalid("a cache is moved to files or to segments; name one".to_owned()));
            }
        };
        if dir.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(MigrateReport::default());
        }
        let read_only = options.read_only || dry_run;
        let place = Place::open(dir, &Options { read_only, ..options.clone() })?;
        refuse_unsuitable(&place.dir, to)?;
        let root = place.dir.join(root_of(from));
        if root.symlink_metadata().is_err() {
            return Ok(MigrateReport::default());
        }
        let open = |layout, policy: Policy| {
            FsStore::open(dir, Options { layout, read_only, policy: Some(policy), ..options.clone() })
        };
        // Nothing is stored there any more, so it has no limits; those of today may be too small for its layout.
        let source = open(from, Policy::unlimited())?;
        if source.layout() != from {
            return Ok(MigrateReport::default());
        }
        let mut moving = Moving::new(&source, progress);
        if dry_run {
            moving.count()?;
            return Ok(moving.report);
        }
        // What an entry was given when it was stored is what it keeps.
        let policy = Policy { default_ttl: None, priority: Priority::Normal, ..place.policy };
        let target = open(to, policy)?;
        let before = target.usage();
        moving.blobs(&target)?;
        moving.entries(&target)?;
        let report = &mut moving.report;
        let after = target.usage();
        let lost = |before: u64, stored: u64, after: u64| (before + stored).saturating_sub(after);
        report.evicted = lost(before.entries, report.entries, after.entries)
            + lost(before.blobs, report.blobs, after.blobs);
        let report = *report;
        drop(source);
        remove_root(&root)?;
        Ok(report)
    }
}

/// A move that is under way.
struct Moving<'a> {
    source: &'a FsStore,
    report: MigrateReport,
    at: MigrateProgress,
    progress: &'a mut dyn FnMut(MigrateProgress) -> Result<()>,
}

impl<'a> Moving<'a> {
    fn new(source: &'a FsStore, progress: &'a mut dyn FnMut(MigrateProgress) -> Result<()>) -> Self {
        let usage = source.usage();
        let at = MigrateProgress { done: 0, of: usage.entries.saturating_add(usage.blobs), bytes: 0 };
        Self { source, report: MigrateReport::default(), at, progress }
    }

    fn step(&mut self, bytes: u64) -> Result<()> {
        self.at.done += 1;
        self.at.of = self.at.of.max(self.at.done);
        self.at.bytes = self.at.bytes.saturating_add(bytes);
        (self.progress)(self.at)
    }

    /// Calls `each` with the key of every entry whose time is not over.
    fn each_key(&mut self, each: &mut dyn FnMut(&mut Self, &cache_core::Key) -> Result<()>) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = self.source.list(&ListFilter::default(), after.as_deref(), PAGE)?;
            for item in &page.items {
                each(self, &item.key)?;
            }
            let Some(next) = page.next else { return Ok(()) };
            after = Some(next);
        }
    }

    fn count(&mut self) -> Result<()> {
        let source = self.source;
        source.each_blob(&mut |_, len| {
            self.report.blobs += 1;
            self.report.bytes += len;
            self.step(len)
        })?;
        self.each_key(&mut |moving, key| {
            match moving.source.peek(key)? {
                Lookup::Hit(entry) => {
                    moving.report.entries += 1;
                    moving.report.bytes += entry.value.len() as u64;
                }
                Lookup::Miss(_) => moving.report.unusable += 1,
            }
            moving.step(0)
        })
    }

    fn blobs(&mut self, target: &FsStore) -> Result<()> {
        let source = self.source;
        source.each_blob(&mut |digest, _| {
            let bytes = self.blob(target, &digest)?;
            self.step(bytes)
        })
    }

    fn blob(&mut self, target: &FsStore, digest: &Digest) -> Result<u64> {
        if target.contains(digest) {
            return Ok(0);
        }
        let Some(blob) = self.source.open_blob(digest)? else {
            self.report.unusable += 1;
            return Ok(0);
        };
        match target.write_blob_from(Some(*digest), blob) {
            Ok((_, len)) => {
                self.report.blobs += 1;
                self.report.bytes += len;
                Ok(len)
            }
            Err(Error::DigestMismatch { .. }) => {
                self.report.unusable += 1;
                Ok(0)
            }
            Err(error) => self.no_room(error).map(|()| 0),
        }
    }

    fn entries(&mut self, target: &FsStore) -> Result<()> {
        self.each_key(&mut |moving, key| {
            let Lookup::Hit(entry) = moving.source.peek(key)? else {
                moving.report.unusable += 1;
                return moving.step(0);
            };
            let bytes = entry.value.len() as u64;
            // What is there already was copied by an earlier attempt, or is newer.
            match target.put(key, &entry, PutMode::IfAbsent) {
                Ok(PutOutcome::Stored) => {
                    moving.report.entries += 1;
                    moving.report.bytes += bytes;
                }
                Ok(PutOutcome::Present) => {}
                Err(error) => moving.no_room(error)?,
            }
            moving.step(bytes)
        })
    }

    /// Counts what did not fit; every other error ends the move.
    fn no_room(&mut self, error: Error) -> Result<()> {
        match error {
            // An entry is incomplete here if a blob of it did not fit.
            Error::Full { .. } | Error::TooLarge { .. } | Error::Incomplete { .. } => {
                self.report.did_not_fit += 1;
                Ok(())
            }
            other => Err(other),
        }
    }
}

/// Returns the name of the root of a layout.
fn root_of(layout: Layout) -> &'static str {
    match layout {
        #[cfg(unix)]
        Layout::Segments => crate::segments::ROOT,
        _ => crate::files::ROOT,
    }
}

#[cfg(unix)]
fn refuse_unsuitable(dir: &Path, to: Layout) -> Result<()> {
    let verdict = crate::filesystem::suits_segments(dir);
    if to == Layout::Files || verdict.segments {
        return Ok(());
    }
    let (dir, why) = (dir.display(), verdict.reason());
    Err(Error::Invalid(format!("segments do not suit {dir}: {why}; the cache stays as it is")))
}

#[cfg(not(unix))]
fn refuse_unsuitable(dir: &Path, _: Layout) -> Result<()> {
    let dir = dir.display();
    Err(Error::Invalid(format!("this system has one layout only; the cache in {dir} stays as it is")))
}

/// Removes the root of a layout, its marker first: what is left after an interruption is no store then.
fn remove_root(root: &Path) -> Result<()> {
    let _ = fs::remove_file(root.join("format"));
    let mut attempt = 1;
    loop {
        match fs::remove_dir_all(root) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if attempt >= ATTEMPTS => return Err(Error::io("cannot remove", root, e)),
            Err(_) => attempt += 1,
        }
    }
}
