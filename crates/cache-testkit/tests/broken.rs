//! The suite catches stores that break the contract in one way each.

#![expect(clippy::unwrap_used, reason = "a poisoned lock has failed the test already")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, Error, Hasher, Key, ListFilter, ManualClock, Page,
    PutMode, PutOutcome, Result, Store, SystemClock,
};
use cache_testkit::conformance::{self, Stop, Suite};
use cache_testkit::{MemoryStore, block_on, yield_now};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    // Entries
    MixesEntries,
    LosesATag,
    LosesTheSignature,
    IfAbsentOverwrites,
    IfAbsentIsARace,
    OverwriteKeeps,
    ReturnsExpired,
    ReturnsIncomplete,
    TakesIncomplete,
    AlwaysRemoved,
    PutTakesTwoSteps,
    // Blobs
    FlipsAByte,
    EndsEarly,
    ForgetsEmptyBlobs,
    KnowsOneHashFunction,
    IgnoresRanges,
    RefusesRangesAcrossTheEnd,
    NothingBeyondTheEnd,
    TakesAnyDigest,
    TakesAnyLength,
    ReadsForEver,
    KeepsAbandoned,
    ShowsHalfABlob,
    NeverDeletes,
    AlwaysDeleted,
    // Batches
    SortsMissing,
    SortsKeys,
    RefusesLargeBatches,
    // Lists
    IgnoresFilters,
    IgnoresLimits,
    CountsAsCursor,
    LosesTheLast,
    NeverEnds,
    // Collections
    CollectsEntries,
    CollectsNamedBlobs,
    CollectsNothing,
    CollectsTheYoung,
    // The end
    FlushesOnce,
    ClosesOnce,
    WorksAfterClose,
    PanicsAfterClose,
}

#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    defect: Defect,
    entries: Mutex<BTreeMap<Key, Entry>>,
    partial: Mutex<BTreeMap<Digest, Bytes>>,
    /// The blobs that somebody began to write.
    written: Mutex<Vec<Digest>>,
    flushed: Mutex<bool>,
    closed: Mutex<bool>,
}

impl Broken {
    fn new(defect: Defect, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: MemoryStore::with_clock(clock),
            defect,
            entries: Mutex::default(),
            partial: Mutex::default(),
            written: Mutex::default(),
            flushed: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }
}

async fn collect(mut body: Body, into: &Mutex<BTreeMap<Digest, Bytes>>, digest: &Digest) -> Result<Bytes> {
    let mut all = Vec::new();
    while let Some(piece) = body.next().await? {
        all.extend_from_slice(&piece);
        into.lock().unwrap().insert(*digest, all.clone().into());
    }
    Ok(all.into())
}

#[async_trait]
impl Store for Broken {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        assert!(!(self.is(Defect::PanicsAfterClose) && *self.closed.lock().unwrap()), "it is closed");
        let got = self.inner.get(key).await?;
        let kept = self.entries.lock().unwrap().get(key).cloned();
        Ok(match self.defect {
            Defect::ReturnsExpired | Defect::ReturnsIncomplete => got.or(kept),
            Defect::LosesATag => got.map(|mut entry| {
                entry.meta.tags.pop_last();
                entry
            }),
            Defect::LosesTheSignature => got.map(|got| Entry { signature: None, ..got }),
            Defect::MixesEntries => got.zip(kept).map(|(got, kept)| Entry { value: kept.value, ..got }),
            _ => got,
        })
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        if self.is(Defect::RefusesLargeBatches) && keys.len() > 1000 {
            return Err(Error::Invalid("too many".to_owned()));
        }
        let mut keys = keys.to_vec();
        if self.is(Defect::SortsKeys) {
            keys.sort_unstable();
        }
        self.inner.get_many(&keys).await
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        let expired_counts = self.is(Defect::ReturnsExpired) == entry.meta.expires.is_some();
        if self.is(Defect::MixesEntries) {
            self.entries.lock().unwrap().entry(*key).or_insert_with(|| entry.clone());
        } else if expired_counts {
            self.entries.lock().unwrap().insert(*key, entry.clone());
        }
        match (self.defect, mode) {
            (Defect::IfAbsentOverwrites, _) => self.inner.put(key, entry, PutMode::Overwrite).await,
            (Defect::OverwriteKeeps, _) => {
                let _ = self.inner.put(key, entry, PutMode::IfAbsent).await?;
                Ok(PutOutcome::Stored)
            }
            (Defect::IfAbsentIsARace, PutMode::IfAbsent) => {
                if self.inner.get(key).await?.is_some() {
                    return Ok(PutOutcome::Present);
                }
                // Long enough for every other writer to have looked as well.
                for _ in 0..1000 {
                    yield_now().await;
                    std::thread::yield_now();
                }
                self.inner.put(key, entry, PutMode::Overwrite).await
            }
            (Defect::PutTakesTwoSteps, PutMode::Overwrite) => {
                self.inner.remove(key).await?;
                self.inner.put(key, entry, mode).await
            }
            (Defect::TakesIncomplete, _) => match self.inner.put(key, entry, mode).await {
                Err(Error::Incomplete { .. }) => Ok(PutOutcome::Stored),
                other => other,
            },
            _ => self.inner.put(key, entry, mode).await,
        }
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        Ok(self.inner.remove(key).await? || self.is(Defect::AlwaysRemoved))
    }

    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        let all = ListFilter::default();
        match self.defect {
            Defect::IgnoresFilters => self.inner.list(&all, after, limit).await,
            Defect::IgnoresLimits => self.inner.list(filter, after, usize::MAX).await,
            Defect::LosesTheLast => {
                let mut page = self.inner.list(filter, after, limit).await?;
                if page.next.is_none() && page.items.len() > 1 {
                    page.items.pop();
                }
                Ok(page)
            }
            Defect::NeverEnds => {
                let page = self.inner.list(filter, after, limit).await?;
                Ok(Page { next: Some(page.next.unwrap_or_else(|| "f".repeat(64))), ..page })
            }
            // Skips as many as were listed, which are others when some have gone.
            Defect::CountsAsCursor => {
                let start: usize = after.map_or(0, |after| after.parse().unwrap_or(0));
                let mut page = self.inner.list(filter, None, usize::MAX).await?;
                let more = page.items.len() > start.saturating_add(limit);
                page.items = page.items.into_iter().skip(start).take(limit).collect();
                page.next = more.then(|| (start + limit).to_string());
                Ok(page)
            }
            _ => self.inner.list(filter, after, limit).await,
        }
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let mut missing = self.inner.missing(digests).await?;
        if self.is(Defect::SortsMissing) {
            missing.sort_unstable();
        }
        Ok(missing)
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        let partial = self.partial.lock().unwrap().get(digest).cloned();
        if let Some(partial) = partial {
            return Ok(Some(partial.into()));
        }
        let range = if self.is(Defect::IgnoresRanges) { None } else { range };
        let Some(body) = self.inner.read(digest, range.clone()).await? else { return Ok(None) };
        let mut bytes = Vec::from(body.into_bytes(u64::MAX).await?);
        match (self.defect, &range) {
            (Defect::FlipsAByte, None) if bytes.len() == 65_537 => bytes[65_536] ^= 1,
            (Defect::EndsEarly, None) if bytes.len() > 1_000_000 => drop(bytes.pop()),
            (Defect::ForgetsEmptyBlobs, None) if bytes.is_empty() => return Ok(None),
            (Defect::NothingBeyondTheEnd, Some(range)) if bytes.is_empty() && range.start > 0 => {
                return Ok(None);
            }
            (Defect::RefusesRangesAcrossTheEnd, Some(range))
                if range.end - range.start > bytes.len() as u64 =>
            {
                return Err(Error::Invalid("the range is beyond the end".to_owned()));
            }
            _ => {}
        }
        Ok(Some(bytes.into()))
    }

    async fn write(&self, digest: &Digest, len: u64, mut body: Body) -> Result<()> {
        self.written.lock().unwrap().push(*digest);
        match self.defect {
            Defect::KnowsOneHashFunction if digest.function().name() == "sha256" => {
                Err(Error::Unsupported { store: "broken".to_owned(), operation: "SHA-256" })
            }
            Defect::TakesAnyDigest => match self.inner.write(digest, len, body).await {
                Err(Error::DigestMismatch { .. }) => Ok(()),
                other => other,
            },
            Defect::TakesAnyLength => match self.inner.write(digest, len, body).await {
                Err(Error::LengthMismatch { .. }) => Ok(()),
                other => other,
            },
            Defect::ReadsForEver => {
                let (mut all, mut hasher) = (Vec::new(), Hasher::new(digest.function()));
                while let Some(piece) = body.next().await? {
                    hasher.update(&piece);
                    all.extend_from_slice(&piece[..piece.len().min(1000)]);
                }
                if hasher.len() != len {
                    return Err(Error::LengthMismatch { expected: len, found: hasher.len() });
                }
                Ok(())
            }
            Defect::KeepsAbandoned | Defect::ShowsHalfABlob => {
                let content = collect(body, &self.partial, digest).await;
                if self.is(Defect::ShowsHalfABlob) || content.is_ok() {
                    self.partial.lock().unwrap().remove(digest);
                }
                self.inner.write(digest, len, content?.into()).await
            }
            _ => self.inner.write(digest, len, body).await,
        }
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        match self.defect {
            Defect::NeverDeletes => Ok(self.inner.missing(&[*digest]).await?.is_empty()),
            Defect::AlwaysDeleted => {
                self.inner.delete(digest).await?;
                Ok(true)
            }
            _ => self.inner.delete(digest).await,
        }
    }

    async fn gc(&self) -> Result<Collected> {
        let blobs: Vec<Digest> = self.written.lock().unwrap().clone();
        let page = self.inner.list(&ListFilter::default(), None, 1).await?;
        match (self.defect, page.items.first()) {
            (Defect::CollectsNothing, _) => Ok(Collected::default()),
            (Defect::CollectsEntries, Some(listed)) => {
                self.inner.remove(&listed.key).await?;
                self.inner.gc().await
            }
            (Defect::CollectsNamedBlobs, Some(_)) => {
                for digest in blobs {
                    self.inner.delete(&digest).await?;
                }
                self.inner.gc().await
            }
            (Defect::CollectsTheYoung, _) => {
                if let Some(digest) = blobs.last() {
                    self.inner.delete(digest).await?;
                }
                self.inner.gc().await
            }
            _ => self.inner.gc().await,
        }
    }

    async fn flush(&self) -> Result<()> {
        let again = std::mem::replace(&mut *self.flushed.lock().unwrap(), true);
        if self.is(Defect::FlushesOnce) && again {
            return Err(Error::Invalid("it was flushed before".to_owned()));
        }
        self.inner.flush().await
    }

    async fn close(&self) -> Result<()> {
        let again = std::mem::replace(&mut *self.closed.lock().unwrap(), true);
        match self.defect {
            Defect::ClosesOnce if again => Err(Error::Closed { store: "broken".to_owned() }),
            Defect::WorksAfterClose => Ok(()),
            _ => self.inner.close().await,
        }
    }
}

/// Returns a suite for stores with `defect`.
fn suite(defect: Defect) -> Suite {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let passing = Arc::clone(&clock);
    Suite::new(move || {
        let clock = Arc::clone(&clock);
        async move { Arc::new(Broken::new(defect, clock)) as Arc<dyn Store> }
    })
    .passing(move |time| passing.advance(time))
}

macro_rules! catches {
    ($($test:ident: $defect:ident by $check:ident;)*) => {
        $(#[test]
        fn $test() {
            let outcome = block_on(conformance::$check(&suite(Defect::$defect)));
            assert!(matches!(outcome, Err(Stop::Failed(_))), "{outcome:?}");
        })*
    };
}

catches! {
    mixed_entries: MixesEntries by concurrent_overwrite;
    a_lost_signature: LosesTheSignature by entry_signature;
    a_lost_tag: LosesATag by entry_round_trip;
    if_absent_that_overwrites: IfAbsentOverwrites by entry_modes;
    if_absent_that_is_a_race: IfAbsentIsARace by concurrent_if_absent;
    overwrite_that_keeps: OverwriteKeeps by entry_modes;
    an_expired_entry: ReturnsExpired by entry_expires;
    an_entry_without_its_blob: ReturnsIncomplete by entry_needs_its_blobs;
    an_incomplete_entry_taken: TakesIncomplete by incomplete_entry;
    a_remove_that_always_did: AlwaysRemoved by entry_removed;
    a_put_in_two_steps: PutTakesTwoSteps by cancelled_put;
    a_flipped_byte: FlipsAByte by blob_round_trip;
    a_blob_that_ends_early: EndsEarly by blob_round_trip;
    a_forgotten_empty_blob: ForgetsEmptyBlobs by blob_round_trip;
    a_missing_hash_function: KnowsOneHashFunction by blob_round_trip;
    ignored_ranges: IgnoresRanges by blob_ranges;
    refused_ranges: RefusesRangesAcrossTheEnd by blob_ranges;
    nothing_beyond_the_end: NothingBeyondTheEnd by blob_ranges;
    a_wrong_digest_taken: TakesAnyDigest by digest_mismatch;
    a_wrong_length_taken: TakesAnyLength by length_mismatch;
    a_body_read_for_ever: ReadsForEver by length_mismatch;
    an_abandoned_write_kept: KeepsAbandoned by abandoned_write;
    half_a_blob_shown: ShowsHalfABlob by cancelled_write;
    a_blob_that_stays: NeverDeletes by blob_deleted;
    a_delete_that_always_did: AlwaysDeleted by blob_deleted;
    missing_digests_sorted: SortsMissing by batch_of_10_000;
    keys_sorted: SortsKeys by batch_of_10_000;
    a_large_batch_refused: RefusesLargeBatches by batch_of_10_000;
    ignored_filters: IgnoresFilters by list_filters;
    ignored_limits: IgnoresLimits by list_pages;
    a_cursor_that_counts: CountsAsCursor by list_while_writing;
    a_lost_last_entry: LosesTheLast by list_pages;
    a_list_without_end: NeverEnds by list_pages;
    a_collection_that_takes_an_entry: CollectsEntries by collected_entries;
    a_collection_that_takes_named_blobs: CollectsNamedBlobs by collected_entries;
    a_collection_that_takes_nothing: CollectsNothing by collected_unreferenced;
    a_collection_that_takes_the_young: CollectsTheYoung by collected_entries;
    flushing_once_only: FlushesOnce by flushed_twice;
    closing_once_only: ClosesOnce by closed_twice;
    working_after_close: WorksAfterClose by used_after_close;
}

#[test]
fn a_panic_is_reported_by_name_and_the_suite_goes_on() {
    let report = block_on(conformance::all(&suite(Defect::PanicsAfterClose).without("blob_of_200_mib")));
    let failed: Vec<_> = report.failed().collect();
    assert_eq!(failed, [("used_after_close", "an operation panics: it is closed")], "{report}");
    assert!(!report.is_ok());
}
