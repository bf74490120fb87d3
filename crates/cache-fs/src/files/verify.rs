//! The check of every byte.

use std::collections::HashSet;

use cache_core::{Digest, Result};

use super::address::{Address, SHARDS};
use super::entries::Loaded;
use super::{Files, item};
use crate::report::{VerifyProgress, VerifyReport};

/// Flaws that are described; of the rest only the number is known.
const MAX_DETAILS: usize = 100;

impl Files {
    /// Reads everything. Damaged files are put aside, as by any read; with `repair`, entries that cannot be used any
    /// more are removed as well.
    pub(crate) fn verify(
        &self,
        repair: bool,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport> {
        if repair {
            self.writable()?;
        }
        let mut report = VerifyReport::default();
        let mut damaged = HashSet::new();
        let of = 2 * SHARDS as u32;
        // Blobs first: an entry that names a damaged one is incomplete.
        for shard in 0..=u8::MAX {
            for address in self.blobs_of(shard)? {
                self.verify_blob(&address, &mut damaged, &mut report)?;
            }
            progress(VerifyProgress { done: u32::from(shard) + 1, of, bytes: report.bytes });
        }
        for shard in 0..=u8::MAX {
            for address in self.entries_of(shard)? {
                self.verify_entry(&address, repair, &damaged, &mut report)?;
            }
            progress(VerifyProgress { done: SHARDS as u32 + u32::from(shard) + 1, of, bytes: report.bytes });
        }
        Ok(report)
    }

    fn verify_blob(
        &self,
        address: &Address,
        damaged: &mut HashSet<Digest>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let Some(expected) = address.digest() else { return Ok(()) };
        let flaw = match item::open(&self.path(address)).map_err(|e| self.read_error(address, e))? {
            item::Found::Absent => return Ok(()),
            item::Found::Foreign => Some((None, "it is not a regular file")),
            item::Found::File(file, meta) => {
                let read = Digest::of_file(expected.function(), &file);
                let (found, len) = read.map_err(|e| self.read_error(address, e))?;
                report.bytes += len;
                (found != expected).then_some((Some(meta), "its content does not have its digest"))
            }
        };
        report.blobs += 1;
        if let Some((meta, why)) = flaw {
            damaged.insert(expected);
            self.put_aside(address, meta.as_ref(), why);
            corrupt(report, address, why);
        }
        Ok(())
    }

    fn verify_entry(
        &self,
        address: &Address,
        repair: bool,
        damaged: &HashSet<Digest>,
        report: &mut VerifyReport,
    ) -> Result<()> {
        match self.load(address)? {
            Loaded::Absent => return Ok(()),
            Loaded::Corrupt => corrupt(report, address, "its envelope is damaged"),
            Loaded::Newer => report.newer += 1,
            Loaded::Entry(entry, meta) => {
                report.bytes += meta.len();
                let lost = |digest: &Digest| damaged.contains(digest) || !self.blob_exists(digest);
                if let Some((digest, _)) = entry.blobs().find(|(digest, _)| lost(digest)) {
                    report.incomplete += 1;
                    describe(report, address, &format!("it names {digest}, which is gone"));
                    if repair {
                        self.remove_seen(address, &meta);
                    }
                }
            }
        }
        report.entries += 1;
        Ok(())
    }
}

fn corrupt(report: &mut VerifyReport, address: &Address, why: &str) {
    report.corrupt += 1;
    describe(report, address, why);
}

fn describe(report: &mut VerifyReport, address: &Address, why: &str) {
    if report.details.len() < MAX_DETAILS {
        report.details.push(format!("{}: {why}", address.label()));
    }
}
