//! Damaged files are put aside, so that they are not met again and somebody can look at them.

use std::fs::{self, Metadata};

use cache_core::Event;

use super::Files;
use super::address::{Address, Space};
use super::item::{cost, same_file};

/// Number of files that are kept.
const MAX_FILES: usize = 32;
/// Bytes that are kept.
const MAX_BYTES: u64 = 64 << 20;
/// Part of the size limit that is kept at most: what is damaged may not crowd out what is not.
const MAX_SHARE: u64 = 16;

impl Files {
    /// Moves a damaged file into quarantine, or removes it if that is full. `seen` is the file as it was opened: one
    /// that took its place meanwhile stays.
    pub(super) fn put_aside(&self, address: &Address, seen: Option<&Metadata>, why: &str) {
        let label = address.label();
        self.emit(|| Event::Corrupt { what: &label, why });
        if self.read_only {
            return;
        }
        let path = self.path(address);
        self.ledger.update(|books| {
            let Ok(meta) = path.symlink_metadata() else { return };
            if seen.is_some_and(|seen| !same_file(seen, &meta)) {
                return;
            }
            let (files, aside) = self.quarantined();
            let size = cost(meta.len());
            let limit = self.policy.max_bytes.map_or(MAX_BYTES, |limit| MAX_BYTES.min(limit / MAX_SHARE));
            let keep = files < MAX_FILES && aside.saturating_add(size) <= limit;
            // The number keeps apart what was put aside under one address, one after the other.
            let name = format!("{}-{files}", label.replace([' ', ':'], "-"));
            let moved = keep && fs::rename(&path, self.root.join("quarantine").join(name)).is_ok();
            if moved || fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).is_ok() {
                let is_entry = u32::from(meta.is_file() && address.space == Space::Entries);
                let is_blob = u32::from(meta.is_file()) - is_entry;
                books.aside = self.quarantined().1;
                books.shard(address.shard()).subtract(size, is_entry, is_blob);
            }
        });
    }

    /// Returns how many files are in quarantine, and what they cost.
    fn quarantined(&self) -> (usize, u64) {
        let files = fs::read_dir(self.root.join("quarantine")).into_iter().flatten();
        let sizes = files.filter_map(|file| Some(cost(file.ok()?.metadata().ok()?.len())));
        sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
    }

    /// Removes what was in quarantine for longer than anybody looks.
    pub(super) fn trim_quarantine(&self) {
        /// Long enough to be looked into after a holiday.
        const MAX_AGE: std::time::Duration = std::time::Duration::from_hours(30 * 24);
        let now = self.clock.now();
        for file in fs::read_dir(self.root.join("quarantine")).into_iter().flatten().flatten() {
            let used = file.metadata().map(|meta| super::item::Recency::of(&meta).used);
            if used.is_ok_and(|used| now.since(used) > MAX_AGE) {
                let _ = fs::remove_file(file.path());
            }
        }
        self.ledger.update(|books| books.aside = self.quarantined().1);
    }
}
