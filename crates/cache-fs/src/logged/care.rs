//! What goes over the whole store: listing, collecting, scrubbing.

use std::collections::{HashMap, HashSet};

use cache_core::envelope::decode_entry_facts;
use cache_core::{
    Collected, Digest, Entry, Error, Event, HashFunction, Key, ListFilter, Listed, Namespace, Page, Result,
    Timestamp,
};

use super::{Logged, address};
use crate::report::{VerifyProgress, VerifyReport};
use crate::segments::{Depth, Kind, LEFTOVER, Payload, Record, Visited};

/// Chunks of the index that are looked at for one page at most, however few entries pass the filter.
const MAX_CHUNKS: u32 = 64;
/// Flaws that are described; of the rest only the number is known.
const MAX_DETAILS: usize = 100;

/// An entry without its value.
struct Known {
    key: Key,
    entry: Entry,
    value_len: u64,
    stored: u64,
    /// Whether it was used since it was stored or moved.
    used: bool,
}

impl Logged {
    /// Returns the entries that the chunk of the index from bucket `from` on leads to, by key, and where the next begins.
    fn entries_from(&self, from: u64) -> Result<(Vec<Known>, Option<u64>)> {
        let mut known = Vec::new();
        let next = self
            .log()
            .visit(false, from, Depth::Meta, &mut |visited| {
                if let Visited::Record(record, buffer, used) = visited {
                    known.extend(decode(record, buffer, used));
                }
            })
            .map_err(|e| self.read_error(e))?;
        known.sort_by_key(|it| it.key);
        Ok((known, next))
    }

    /// Lists entries. The cursor is a chunk of the index and the key in it after which the next page starts.
    pub(crate) fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let unknown = |text: &str| {
            Error::Invalid(format!("`{text}` is no cursor of this store; start from the beginning"))
        };
        let (mut chunk, mut last) = match after {
            None => (0, None),
            Some(text) => {
                let (chunk, key) = text.split_once('.').ok_or_else(|| unknown(text))?;
                let chunk = u64::from_str_radix(chunk, 16).map_err(|_| unknown(text))?;
                let key = match key {
                    "" => None,
                    key => Some(key.parse::<Key>().map_err(|_| unknown(text))?),
                };
                (chunk, key)
            }
        };
        let now = self.clock.now();
        let mut page = Page::default();
        for _ in 0..MAX_CHUNKS {
            let (known, next) = self.entries_from(chunk)?;
            for Known { key, entry, value_len, stored, .. } in known {
                if last.is_some_and(|last| key <= last) {
                    continue;
                }
                if page.items.len() >= limit {
                    let after = last.map(|key| key.to_hex()).unwrap_or_default();
                    page.next = Some(format!("{chunk:x}.{after}"));
                    return Ok(page);
                }
                last = Some(key);
                if !entry.meta.is_expired(now) && filter.passes(&entry.meta) {
                    let size = entry.size().saturating_add(value_len);
                    let last_used = Some(Timestamp::from_millis(stored));
                    let signer = entry.signer();
                    page.items.push(Listed { key, meta: entry.meta, size, last_used, signer });
                }
            }
            let Some(next) = next else { return Ok(page) };
            (chunk, last) = (next, None);
            page.next = Some(format!("{chunk:x}."));
        }
        Ok(page)
    }

    /// Calls `visit` with every entry.
    fn each_entry(&self, visit: &mut dyn FnMut(Known) -> Result<()>) -> Result<()> {
        let mut chunk = Some(0);
        while let Some(from) = chunk {
            let (known, next) = self.entries_from(from)?;
            known.into_iter().try_for_each(&mut *visit)?;
            chunk = next;
        }
        Ok(())
    }

    /// Removes every entry of a namespace; returns how many.
    pub(crate) fn clear_namespace(&self, namespace: &Namespace) -> Result<u64> {
        self.writable()?;
        let mut removed = 0;
        self.each_entry(&mut |known| {
            if known.entry.meta.namespace == *namespace && self.remove_quietly(&known.key)? {
                removed += 1;
                self.emit(|| Event::Removed { key: &known.key });
            }
            Ok(())
        })?;
        Ok(removed)
    }

    pub(crate) fn gc(&self, dry_run: bool) -> Result<Collected> {
        if !dry_run {
            self.writable()?;
        }
        if !dry_run {
            // What is not in the index yet may be what an entry names, or an entry.
            self.log().finish_rebuild().map_err(|e| self.change_error(e))?;
        }
        let mut report = Collected::default();
        let now = self.clock.now();
        let change = |e| self.change_error(e);
        let before = self.log().bytes();
        // What is as old and was used since is kept by the first of these, as if it was stored now.
        let aged_before = self.policy.max_age.map_or(0, |age| now.minus(age).as_millis());
        if !dry_run && aged_before > 0 {
            report.aged += self.log().reclaim_older(aged_before).map_err(change)?;
        }
        report.bytes += before.saturating_sub(self.log().bytes());
        let mut named = HashSet::new();
        self.each_entry(&mut |Known { key, entry, value_len, stored, used }| {
            let number = if entry.meta.is_expired(now) {
                // What has expired is nothing that could be removed; it is collected all the same.
                &mut report.expired
            } else if stored < aged_before && !used {
                &mut report.aged
            } else if entry.blobs().any(|(digest, len)| self.blob_len(digest) != Some(len)) {
                &mut report.broken
            } else {
                named.extend(entry.blobs().map(|(digest, _)| *digest));
                return Ok(());
            };
            if !dry_run {
                self.remove_quietly(&key)?;
            }
            *number += 1;
            report.bytes += value_len;
            Ok(())
        })?;
        self.collect_blobs(dry_run, &named, &mut report)?;
        let before = self.log().bytes();
        if dry_run {
            let (records, bytes) = self.beyond_limits()?;
            report.evicted += records;
            report.bytes += bytes;
        } else {
            self.log().recount().map_err(change)?;
            let evicted = self.log().counters().evicted;
            self.log().keep_limits().map_err(change)?;
            report.evicted += self.log().counters().evicted.saturating_sub(evicted);
            self.tell_evicted();
        }
        let (leftovers, bytes) = self.log().remove_leftovers(LEFTOVER, dry_run).map_err(change)?;
        report.leftovers = leftovers;
        report.bytes += bytes + before.saturating_sub(self.log().bytes());
        Ok(report)
    }

    /// Estimates how many records have to go to keep the limits, and their bytes, as if all were of one size.
    fn beyond_limits(&self) -> Result<(u64, u64)> {
        let stats = self.stats()?;
        let count = self.log().count().map_err(|e| self.read_error(e))?;
        let (bytes, records) = (self.log().bytes(), count.entries + count.blobs);
        let content = bytes.saturating_sub(stats.index_bytes);
        // Room is made until there is some for another segment, and by whole segments.
        let limit = self.policy.max_bytes.unwrap_or(u64::MAX);
        let over = bytes.saturating_sub(limit.saturating_sub(stats.segment_bytes));
        let over = over.div_ceil(stats.segment_bytes).saturating_mul(stats.segment_bytes);
        // Dead records count against the limit of records as well.
        let crowd = self.policy.max_entries.map_or(0, |max| (stats.counters.records + 1).saturating_sub(max));
        let beyond = share(records, over, content).max(crowd).min(records);
        Ok((beyond, share(content, beyond, records)))
    }

    /// Removes blobs that nothing names, unless an entry may be about to: they are young, this process has claimed them, or
    /// another process uses them meanwhile.
    fn collect_blobs(&self, dry_run: bool, named: &HashSet<Digest>, report: &mut Collected) -> Result<()> {
        let before = self.unprotected_before();
        let mut used_once: HashMap<Digest, u64> = HashMap::new();
        let mut chunk = Some(0);
        while let Some(from) = chunk {
            let mut doomed = Vec::new();
            chunk = self
                .log()
                .visit(true, from, Depth::Header, &mut |visited| {
                    if let Visited::Record(record, _, used) = visited {
                        let digest = digest(record.kind(), *record.key());
                        if record.stored() < before && digest.is_some_and(|digest| !named.contains(&digest)) {
                            doomed.extend(digest.map(|digest| (digest, record.len(), used)));
                        }
                    }
                })
                .map_err(|e| self.read_error(e))?;
            for (digest, len, used) in doomed {
                if dry_run {
                    report.unreferenced += 1;
                    report.bytes += len;
                } else if used {
                    // Perhaps just now, by another process that puts an entry. From here on, one would see that.
                    let (kind, id) = address(&digest);
                    self.log().forget_hits(kind, id).map_err(|e| self.change_error(e))?;
                    used_once.insert(digest, len);
                } else {
                    self.collect_blob(&digest, len, before, report)?;
                }
            }
        }
        if used_once.is_empty() {
            return Ok(());
        }
        self.each_entry(&mut |known| {
            for (digest, _) in known.entry.blobs() {
                used_once.remove(digest);
            }
            Ok(())
        })?;
        for (digest, len) in used_once {
            let (kind, id) = address(&digest);
            if !self.log().was_hit(kind, id).map_err(|e| self.read_error(e))? {
                self.collect_blob(&digest, len, before, report)?;
            }
        }
        Ok(())
    }

    fn collect_blob(&self, digest: &Digest, len: u64, before: u64, report: &mut Collected) -> Result<()> {
        let (kind, id) = address(digest);
        let removed = self.claims.unless_claimed(kind, *id, before, || self.delete_blob(digest));
        if removed.transpose()? == Some(true) {
            report.unreferenced += 1;
            report.bytes += len;
        }
        Ok(())
    }

    /// Reads everything. Damaged records are taken out of the index, as by any read; with `repair`, entries that cannot be
    /// used any more are removed as well.
    pub(crate) fn verify(
        &self,
        repair: bool,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport> {
        if repair {
            self.writable()?;
        }
        let mut report = VerifyReport::default();
        let buckets = u32::try_from(self.log().buckets()).unwrap_or(u32::MAX);
        // Blobs first: an entry that names a damaged one is incomplete.
        for blobs in [true, false] {
            let mut chunk = Some(0);
            while let Some(from) = chunk {
                let mut incomplete = Vec::new();
                chunk = self
                    .log()
                    .visit(blobs, from, Depth::Whole, &mut |visited| {
                        incomplete.extend(self.verify_one(blobs, &visited, &mut report));
                    })
                    .map_err(|e| self.read_error(e))?;
                for key in incomplete {
                    if repair {
                        self.remove_quietly(&key)?;
                    }
                }
                let done = if blobs { 0 } else { buckets };
                let at = chunk.map_or(buckets, |chunk| chunk as u32);
                let of = buckets.saturating_mul(2);
                progress(VerifyProgress { done: done.saturating_add(at), of, bytes: report.bytes });
            }
        }
        Ok(report)
    }

    /// Checks a record further than reading it did; returns its key if it is an entry without all of its blobs.
    fn verify_one(&self, blobs: bool, visited: &Visited<'_>, report: &mut VerifyReport) -> Option<Key> {
        *(if blobs { &mut report.blobs } else { &mut report.entries }) += 1;
        let (record, buffer) = match *visited {
            Visited::Record(record, buffer, _) => (record, buffer),
            Visited::Damaged(key) => {
                let what = match key {
                    Some((Kind::Entry, key)) => format!("entry {}", Key::from_bytes(key)),
                    Some((kind, key)) => {
                        digest(kind, key).map_or_else(|| "a record".to_owned(), |it| format!("blob {it}"))
                    }
                    None => "a record whose header cannot be read".to_owned(),
                };
                self.tell_damaged(&what, "its record does not have its checksum");
                report.corrupt += 1;
                describe(report, format!("{what}: its record does not have its checksum"));
                return None;
            }
        };
        report.bytes += record.len();
        if let Some(digest) = digest(record.kind(), *record.key()) {
            let found = match &record.payload {
                Payload::Bytes(range) => {
                    buffer.get(range.clone()).map(|it| Digest::of(digest.function(), it))
                }
                Payload::File(file, _) => {
                    Digest::of_file(digest.function(), file).ok().map(|(digest, _)| digest)
                }
                Payload::Unread => None,
            };
            if found != Some(digest) {
                report.corrupt += 1;
                describe(report, format!("blob {digest}: its content does not have its digest"));
                let _ = self.delete_blob(&digest);
            }
            return None;
        }
        let known = decode(record, buffer, false)?;
        let lost = known.entry.blobs().find(|(digest, len)| self.blob_len(digest) != Some(*len))?;
        report.incomplete += 1;
        describe(report, format!("entry {}: it names {}, which is gone", known.key, lost.0));
        Some(known.key)
    }

    /// Calls `visit` with the digest and length of every blob.
    pub(crate) fn each_blob(&self, visit: &mut dyn FnMut(Digest, u64) -> Result<()>) -> Result<()> {
        if !self.read_only {
            // What is not in the index yet would not be visited.
            self.log().finish_rebuild().map_err(|e| self.change_error(e))?;
        }
        let mut chunk = Some(0);
        while let Some(from) = chunk {
            let mut found = Vec::new();
            chunk = self
                .log()
                .visit(true, from, Depth::Header, &mut |visited| {
                    if let Visited::Record(record, ..) = visited {
                        found.extend(digest(record.kind(), *record.key()).map(|it| (it, record.len())));
                    }
                })
                .map_err(|e| self.read_error(e))?;
            found.into_iter().try_for_each(|(digest, len)| visit(digest, len))?;
        }
        Ok(())
    }
}

fn decode(record: &Record, buffer: &[u8], used: bool) -> Option<Known> {
    let (key, entry) = decode_entry_facts(buffer.get(record.meta.clone())?).ok()?;
    let right = key.as_bytes() == record.key();
    right.then(|| Known { key, entry, value_len: record.len(), stored: record.stored(), used })
}

/// Returns the digest that a record of a blob is under.
fn digest(kind: Kind, key: [u8; 32]) -> Option<Digest> {
    let function = match kind {
        Kind::Blake3 => HashFunction::Blake3,
        Kind::Sha256 => HashFunction::Sha256,
        Kind::Raw | Kind::Entry => return None,
    };
    let digest = Digest::new(function, key);
    debug_assert_eq!(address(&digest), (kind, &key));
    Some(digest)
}

/// Returns what `part` of `of` is of `whole`; no more than all.
fn share(whole: u64, part: u64, of: u64) -> u64 {
    (u128::from(whole) * u128::from(part.min(of)) / u128::from(of.max(1))) as u64
}

fn describe(report: &mut VerifyReport, flaw: String) {
    if report.details.len() < MAX_DETAILS {
        report.details.push(flaw);
    }
}
