//! Temporary files: what is being written, and what processes left behind when they died.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Files;
use super::item::cost;
use super::room::Demand;
use super::temp::parse_name;

/// A temporary file that was not written for this long belongs to a process that died.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);

/// What is found in `tmp/`.
struct TemporaryFile {
    path: PathBuf,
    /// The shard and the reservation, if the name tells.
    reserved: Option<(u8, Demand)>,
    len: u64,
    /// Nothing if it is no regular file.
    modified: Option<SystemTime>,
}

impl Files {
    /// Returns what the temporary files of a shard take or have reserved.
    pub(super) fn being_written(&self, shard: u8) -> Demand {
        let mut sum = Demand::default();
        for file in self.temporary_files() {
            if let Some((_, reserved)) = file.reserved.filter(|(of, _)| *of == shard) {
                sum.bytes = sum.bytes.saturating_add(reserved.bytes.max(cost(file.len)));
                sum.entries = sum.entries.saturating_add(reserved.entries);
            }
        }
        sum
    }

    /// Lists the temporary files.
    fn temporary_files(&self) -> impl Iterator<Item = TemporaryFile> {
        let files = fs::read_dir(self.root.join("tmp")).into_iter().flatten();
        files.filter_map(|file| {
            let file = file.ok()?;
            let meta = file.metadata().ok()?;
            Some(TemporaryFile {
                path: file.path(),
                reserved: file.file_name().to_str().and_then(parse_name),
                len: meta.len(),
                modified: meta.modified().ok().filter(|_| meta.is_file()),
            })
        })
    }

    /// Returns the temporary files that a process left behind when it died.
    pub(super) fn leftovers(&self) -> Vec<(PathBuf, u64)> {
        let now = SystemTime::now();
        // Also those of the far future, which a clock that was wrong has made.
        let old = |time: SystemTime| {
            now.duration_since(time).unwrap_or_else(|ahead| ahead.duration()) > LEFTOVER_AGE
        };
        self.temporary_files()
            .filter(|file| file.modified.is_some_and(old))
            .map(|file| (file.path, file.len))
            .collect()
    }

    /// Removes the temporary files that a process left behind when it died; returns how many, and their bytes.
    pub(super) fn remove_leftovers(&self) -> (u64, u64) {
        let leftovers = self.leftovers();
        let removed = leftovers.iter().filter(|(path, _)| fs::remove_file(path).is_ok());
        removed.fold((0, 0), |(count, bytes), (_, len)| (count + 1, bytes + cost(*len)))
    }
}
