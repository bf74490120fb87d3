//! Puts, writes and removals: what callers wait for, what goes on behind their backs, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::{BreakerSettings, Coordinator, CoordinatorBuilder, WriteBack};
use cache_core::{Body, Digest, Error, PutMode, PutOutcome, Store};
use cache_testkit::{Fault, Gate, MemoryStore, Operation, endless, failing_after, in_pieces, poll_at_most};
use common::{Faulty, Health, Notes, blob, entry, far, faulty, key, near, read, settle, store};

fn two(first: &Faulty, last: &Faulty) -> CoordinatorBuilder {
    Coordinator::builder().tier(near(first)).tier(far(last))
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_slow_tier() {
    let (first, last) = (faulty(), faulty());
    let gate = Gate::new();
    for operation in [Operation::Missing, Operation::Put, Operation::Write] {
        last.inject(operation, .., Fault::Wait(gate.clone()));
    }
    let chain = two(&first, &last).build().unwrap();
    let start = tokio::time::Instant::now();
    for number in 0..20 {
        let blobs = [blob(number, 1000)];
        store(&chain, &key(number), &entry("mine", &blobs), &blobs).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(chain.stats().pushes.waiting, 20);
    gate.open();
    settle(&chain).await;
    assert_eq!(chain.stats().pushes.done, 20);
    for number in 0..20 {
        assert_eq!(last.inner().get(&key(number)).await.unwrap(), Some(entry("mine", &[blob(number, 1000)])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_is_not_read_while_it_has_something_older() {
    for fate in ["waits", "filtered", "full", "fails", "read-only"] {
        let (first, last) = (faulty(), faulty());
        store(last.inner(), &key(1), &entry("old", &[]), &[]).await;
        let mut settings = WriteBack::default();
        let mut slow = far(&last);
        match fate {
            "waits" => last.inject(Operation::Put, .., Fault::Wait(Gate::new())),
            "filtered" => settings.min_cost_ms = 2000,
            "full" => settings.count = 0,
            "fails" => last.inject(Operation::Put, .., Fault::fail(|| Error::Invalid("no".to_owned()))),
            _ => slow = slow.write(false),
        }
        let chain =
            Coordinator::builder().tier(near(&first)).tier(slow).write_back(settings).build().unwrap();
        assert!(chain.get(&key(1)).await.unwrap().is_some_and(|entry| entry.meta.name == "old"));
        let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
        let _ = chain.flush(Duration::from_secs(1)).await;
        assert!(chain.get(&key(1)).await.unwrap().is_some_and(|entry| entry.meta.name == "new"));
        first.inner().remove(&key(1)).await.unwrap();
        assert_eq!(chain.get(&key(1)).await.unwrap(), None, "{fate}");
        assert_eq!(chain.get_many(&[key(1)]).await.unwrap(), [None], "{fate}");
        assert_eq!(chain.stats().tiers[1].outdated, 1, "{fate}");
    }
}

#[tokio::test(start_paused = true)]
async fn filters_and_limits_are_kept_and_told() {
    let (first, last) = (faulty(), faulty());
    last.inject(Operation::Put, .., Fault::Wait(Gate::new()));
    let notes = Arc::new(Notes::default());
    let settings =
        WriteBack { count: 3, bytes: 10_000, max_entry: 5000, min_cost_ms: 500, ..WriteBack::default() };
    let chain = two(&first, &last).write_back(settings).observer(notes.clone()).build().unwrap();
    let put = async |number: u64, size: usize, cost: u64| {
        let blobs = [blob(number, size)];
        let mut entry = entry("", &blobs);
        entry.meta.cost_ms = cost;
        store(&chain, &key(number), &entry, &blobs).await;
    };
    put(1, 5001, 1000).await;
    put(2, 10, 499).await;
    assert_eq!((chain.stats().pushes.filtered, chain.stats().pushes.waiting), (2, 0));
    put(3, 5000, 500).await;
    put(4, 5000, 500).await;
    put(5, 1, 500).await;
    put(6, 0, 500).await;
    put(7, 0, 500).await;
    let stats = chain.stats().pushes;
    assert_eq!((stats.queued, stats.waiting, stats.waiting_bytes, stats.dropped), (3, 3, 10_000, 2));
    assert_eq!((notes.count("filters"), notes.count("queue is full")), (2, 2));
    let left = chain.flush(Duration::from_secs(1)).await;
    assert_eq!((left.left, left.left_bytes), (3, 10_000));
}

#[tokio::test(start_paused = true)]
async fn the_newest_arrives() {
    let (first, last) = (faulty(), faulty());
    let gate = Gate::new();
    last.inject(Operation::Put, 0..1, Fault::Wait(gate.clone()));
    let chain = two(&first, &last).build().unwrap();
    for text in ["one", "two"] {
        let _ = chain.put(&key(1), &entry(text, &[]), PutMode::Overwrite).await.unwrap();
    }
    gate.arrived(1).await;
    for text in ["three", "four"] {
        let _ = chain.put(&key(1), &entry(text, &[]), PutMode::Overwrite).await.unwrap();
    }
    gate.open();
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(1)).await.unwrap(), Some(entry("four", &[])));
    let stats = chain.stats().pushes;
    assert_eq!((stats.queued, stats.done, stats.replaced), (4, 2, 2));
    assert_eq!(chain.stats().tiers[1].outdated, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removal_overtakes_what_is_on_its_way() {
    let (first, last) = (faulty(), faulty());
    let gate = Gate::new();
    last.inject(Operation::Put, .., Fault::Wait(gate.clone()));
    let chain = two(&first, &last).build().unwrap();
    let _ = chain.put(&key(1), &entry("one", &[]), PutMode::Overwrite).await.unwrap();
    gate.arrived(1).await;
    assert!(chain.remove(&key(1)).await.unwrap());
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    gate.open();
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(1)).await.unwrap(), None);
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_removal_reaches_a_tier_that_was_out_of_reach() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(1), &entry("old", &[]), &[]).await;
    last.inject(Operation::Remove, 0..2, Fault::unavailable());
    let chain = two(&first, &last).build().unwrap();
    chain.remove(&key(1)).await.unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(1)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_then_given_up_and_told() {
    let (first, last) = (faulty(), faulty());
    let notes = Arc::new(Notes::default());
    let patient = BreakerSettings { failures: 1000, ..BreakerSettings::default() };
    let settings = WriteBack { attempts: 3, ..WriteBack::default() };
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last).breaker(patient));
    let chain = chain.write_back(settings).observer(notes.clone()).build().unwrap();
    last.inject(Operation::Put, 0..2, Fault::unavailable());
    let _ = chain.put(&key(1), &entry("one", &[]), PutMode::Overwrite).await.unwrap();
    settle(&chain).await;
    assert_eq!((last.calls(Operation::Put), chain.stats().pushes.done), (3, 1));
    last.inject(Operation::Put, .., Fault::unavailable());
    let _ = chain.put(&key(2), &entry("two", &[]), PutMode::Overwrite).await.unwrap();
    settle(&chain).await;
    assert_eq!((last.calls(Operation::Put), chain.stats().pushes.lost), (6, 1));
    assert_eq!(notes.count("NotPushed"), 1);
    // What is evicted before it was sent is lost as well, and what a tier will not take at all.
    last.heal();
    last.inject(Operation::Put, .., Fault::fail(|| Error::Invalid("no".to_owned())));
    let _ = chain.put(&key(3), &entry("three", &[]), PutMode::Overwrite).await.unwrap();
    let _ = chain.put(&key(4), &entry("four", &[]), PutMode::Overwrite).await.unwrap();
    first.inner().remove(&key(4)).await.unwrap();
    settle(&chain).await;
    assert_eq!(chain.stats().pushes.lost, 3);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_no_attempts() {
    let (first, last) = (faulty(), faulty());
    Health::Failing.befall(&last);
    // Time of the breaker is that of the test.
    let clock = Arc::new(common::TokioClock::default());
    let settings = WriteBack { attempts: 2, at_once: 1, ..WriteBack::default() };
    let chain = two(&first, &last).clock(clock).write_back(settings).build().unwrap();
    for number in 0..50 {
        let _ = chain.put(&key(number), &entry("x", &[]), PutMode::Overwrite).await.unwrap();
    }
    assert_eq!(chain.flush(Duration::from_hours(1)).await.left, 50);
    let stats = chain.stats();
    assert!(stats.tiers[1].failures < 30, "an hour with at most five minutes between probes: {stats:?}");
    last.heal();
    settle(&chain).await;
    assert_eq!(chain.stats().pushes.done, 50);
}

#[tokio::test(start_paused = true)]
async fn the_next_process_goes_on_where_one_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (first, last) = (faulty(), faulty());
    Health::Slow.befall(&last);
    let chain = two(&first, &last).journal(directory.path()).build().unwrap();
    for number in 0..10 {
        let blobs = [blob(number, 100)];
        store(&chain, &key(number), &entry("mine", &blobs), &blobs).await;
    }
    // A process that lives keeps its own.
    let other = two(&faulty(), &faulty()).journal(directory.path()).build().unwrap();
    assert_eq!(other.stats().pushes.picked_up, 0);
    drop(chain);
    // Another chain, without that tier, leaves it alone.
    let stranger = Coordinator::builder().tier(near(&first)).tier(far(&last).named("elsewhere"));
    let stranger = stranger.journal(directory.path()).build().unwrap();
    assert_eq!(stranger.stats().pushes.picked_up, 0);
    last.heal();
    let next = two(&first, &last).journal(directory.path()).build().unwrap();
    assert_eq!(next.stats().pushes.picked_up, 10);
    settle(&next).await;
    for number in 0..10 {
        assert_eq!(last.inner().get(&key(number)).await.unwrap(), Some(entry("mine", &[blob(number, 100)])));
    }
    for chain in [other, stranger] {
        chain.close().await.unwrap();
    }
    assert_eq!(next.close_within(Duration::from_secs(1)).await.unwrap().left, 0);
    assert_eq!(files(directory.path()), 0);
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_so_long_and_says_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let (first, last) = (faulty(), faulty());
    last.inject(Operation::Put, .., Fault::Wait(Gate::new()));
    let chain = two(&first, &last).journal(directory.path()).build().unwrap();
    let _ = chain.put(&key(1), &entry("mine", &[]), PutMode::Overwrite).await.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(chain.close_within(Duration::from_secs(3)).await.unwrap().left, 1);
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(matches!(chain.get(&key(1)).await, Err(Error::Closed { .. })));
    assert_eq!((files(directory.path()), chain.stats().pushes.waiting), (1, 1));
    assert_eq!(chain.close_within(Duration::ZERO).await.unwrap().left, 1, "twice is fine");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_kept_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (first, last) = (faulty(), faulty());
    let notes = Arc::new(Notes::default());
    let chain = two(&first, &last).journal(&file).observer(notes.clone()).build().unwrap();
    let _ = chain.put(&key(1), &entry("mine", &[]), PutMode::Overwrite).await.unwrap();
    settle(&chain).await;
    assert_eq!((chain.stats().pushes.journal_failures, notes.count("Journal")), (1, 1));
    assert!(last.inner().get(&key(1)).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn if_absent_looks_everywhere() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(1), &entry("far", &[]), &[]).await;
    let chain = two(&first, &last).build().unwrap();
    let put = async |number: u64, text: &str| {
        chain.put(&key(number), &entry(text, &[]), PutMode::IfAbsent).await.unwrap()
    };
    assert_eq!(put(1, "mine").await, PutOutcome::Present);
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(entry("far", &[])));
    assert_eq!(put(2, "mine").await, PutOutcome::Stored);
    // Somebody else is faster there.
    store(last.inner(), &key(3), &entry("theirs", &[]), &[]).await;
    last.inject(Operation::Get, .., Fault::unavailable());
    assert_eq!(put(3, "mine").await, PutOutcome::Stored);
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(3)).await.unwrap(), Some(entry("theirs", &[])));
    assert_eq!(chain.stats().tiers[1].outdated, 1, "theirs is not what was stored through this chain");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_body_is_the_callers_fault_and_a_spoiled_one_the_tiers() {
    for faults in [0, 1] {
        let (first, second) = (faulty(), faulty());
        first.inject(Operation::Write, 0..faults, Fault::Flip(0));
        let chain = Coordinator::builder().tier(near(&first)).tier(near(&second)).build().unwrap();
        let (digest, content) = blob(1, 100_000);
        let wrong = blob(2, 100_000).1;
        let write = async |body: Body| chain.write(&digest, 100_000, body).await;
        if faults == 0 {
            for body in [wrong.clone().into(), in_pieces(&wrong, 999)] {
                assert!(matches!(write(body).await, Err(Error::DigestMismatch { .. })));
            }
            for body in [content.slice(1..).into(), in_pieces(&content.slice(1..), 999), endless().0] {
                assert!(matches!(write(body).await, Err(Error::LengthMismatch { .. })));
            }
            assert!(matches!(write(failing_after(&content, 999)).await, Err(Error::Unavailable { .. })));
            assert_eq!(chain.stats().tiers[0].failures, 0);
            assert_eq!(chain.missing(&[digest]).await.unwrap(), [digest]);
        }
        write(content.clone().into()).await.unwrap();
        assert_eq!(read(second.inner(), &digest, None).await.unwrap(), Some(content));
        assert_eq!(chain.stats().tiers[0].failures, faults);
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_body_reaches_every_tier() {
    let (digest, content) = blob(1, 300_000);
    for kind in 0..3 {
        let stores = [faulty(), faulty(), faulty()];
        let mut builder = Coordinator::builder();
        for store in &stores {
            builder = builder.tier(near(store));
        }
        let chain = builder.build().unwrap();
        let body = match kind {
            0 => content.clone().into(),
            1 => in_pieces(&content, 10_000),
            _ => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(b"something else").unwrap();
                file.write_all(&content).unwrap();
                file.seek(SeekFrom::Start(14)).unwrap();
                Body::File { file, len: 300_000, path: None }
            }
        };
        chain.write(&digest, 300_000, body).await.unwrap();
        for store in &stores {
            assert_eq!(store.inner().missing(&[digest]).await.unwrap(), [], "kind {kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_tier_can_take_is_let_go_unless_strict() {
    let blobs = [blob(1, 100)];
    let (digest, content) = &blobs[0];
    for strict in [false, true] {
        let first = faulty();
        first.inject(Operation::Write, .., Fault::unavailable());
        first.inject(Operation::Put, 1.., Fault::unavailable());
        let patient = BreakerSettings { failures: 1000, ..BreakerSettings::default() };
        let chain =
            Coordinator::builder().tier(near(&first).breaker(patient)).strict(strict).build().unwrap();
        let written = chain.write(digest, 100, content.clone().into()).await;
        let put = chain.put(&key(1), &entry("x", &blobs), PutMode::Overwrite).await;
        let again = chain.put(&key(2), &entry("y", &[]), PutMode::Overwrite).await;
        if strict {
            assert!(written.is_err() && put.is_err() && again.is_err());
        } else {
            assert!(written.is_ok() && put.is_ok() && again.is_ok());
            assert_eq!(chain.stats().unstored, 3);
        }
        // A blob that was never written is the caller's mistake in any case.
        first.heal();
        let put = chain.put(&key(1), &entry("x", &[blob(9, 9)]), PutMode::Overwrite).await;
        assert!(matches!(put, Err(Error::Incomplete { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_chain_goes_on_without_a_tier_that_is_written_in_the_background() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(2), &entry("theirs", &[]), &[]).await;
    store(first.inner(), &key(3), &entry("old", &[]), &[]).await;
    store(last.inner(), &key(3), &entry("old", &[]), &[]).await;
    let clock = Arc::new(common::TokioClock::default());
    let chain = two(&first, &last).strict(true).clock(clock).build().unwrap();
    Health::Failing.befall(&last);
    for number in [1, 2] {
        let put = chain.put(&key(number), &entry("mine", &[]), PutMode::IfAbsent).await.unwrap();
        assert_eq!(put, PutOutcome::Stored);
        let again = chain.put(&key(number), &entry("again", &[]), PutMode::IfAbsent).await.unwrap();
        assert_eq!(again, PutOutcome::Present);
        assert_eq!(chain.get(&key(number)).await.unwrap(), Some(entry("mine", &[])));
    }
    assert!(chain.remove(&key(3)).await.unwrap());
    last.heal();
    settle(&chain).await;
    // What is there already stays, as was asked for.
    for (number, found) in [(1, Some("mine")), (2, Some("theirs")), (3, None)] {
        assert_eq!(
            last.inner().get(&key(number)).await.unwrap(),
            found.map(|name| entry(name, &[])),
            "{number}"
        );
    }
    // A tier that callers write to is needed.
    Health::Failing.befall(&first);
    assert!(chain.put(&key(4), &entry("x", &[]), PutMode::IfAbsent).await.is_err());
    assert!(chain.remove(&key(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_put_changes_nothing() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(1), &entry("old", &[]), &[]).await;
    let chain = two(&first, &last).build().unwrap();
    let refused = chain.put(&key(1), &entry("new", &[blob(1, 1)]), PutMode::Overwrite).await;
    assert!(matches!(refused, Err(Error::Incomplete { .. })));
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(entry("old", &[])));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_blob_is_not_brought_back_by_a_copy_that_is_under_way() {
    let (first, last) = (faulty(), faulty());
    let blobs = [blob(1, 100)];
    let gate = Gate::new();
    last.inject(Operation::Write, .., Fault::Wait(gate.clone()));
    let chain = two(&first, &last).build().unwrap();
    store(&chain, &key(1), &entry("mine", &blobs), &blobs).await;
    gate.arrived(1).await;
    assert!(chain.delete(&blobs[0].0).await.unwrap());
    gate.open();
    settle(&chain).await;
    assert_eq!(last.inner().missing(&[blobs[0].0]).await.unwrap(), [blobs[0].0]);
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_is_not_blamed_on_the_tier() {
    let first = faulty();
    let chain = Coordinator::builder().tier(near(&first).deadline(Duration::from_secs(1))).build().unwrap();
    let (digest, content) = blob(1, 10);
    let body = common::slow(&content, Duration::from_secs(5));
    chain.write(&digest, 10, body).await.unwrap();
    assert_eq!((chain.stats().tiers[0].timeouts, chain.missing(&[digest]).await.unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn tiers_without_room_are_left_out() {
    let (small, large) = (Arc::new(common::Small(MemoryStore::new())), faulty());
    let chain = Coordinator::builder()
        .tier(cache_coordinator::Tier::new(Arc::clone(&small) as Arc<dyn Store>))
        .tier(near(&large))
        .build()
        .unwrap();
    let blobs = [blob(1, 5000), blob(2, 10)];
    store(&chain, &key(1), &entry("mine", &blobs), &blobs).await;
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(entry("mine", &blobs)));
    assert_eq!(chain.capabilities().max_blob, None);
    let digests: [Digest; 2] = blobs.each_ref().map(|(digest, _)| *digest);
    assert_eq!(small.0.missing(&digests).await.unwrap(), [digests[0]]);
    settle(&chain).await;
    assert_eq!(poll_at_most(1000, chain.get(&key(1))).await.unwrap().unwrap(), Some(entry("mine", &blobs)));
}

#[tokio::test(start_paused = true)]
async fn what_is_let_go_replaces_the_old_entry_all_the_same() {
    // By a tier that lost the blob, and by one that is not written at all.
    for written in [true, false] {
        let first = faulty();
        store(first.inner(), &key(1), &entry("old", &[]), &[]).await;
        let chain = Coordinator::builder().tier(near(&first).write(written)).build().unwrap();
        assert!(chain.get(&key(1)).await.unwrap().is_some());
        first.inject(Operation::Write, 0..1, Fault::unavailable());
        store(&chain, &key(1), &entry("new", &[blob(1, 10)]), &[blob(1, 10)]).await;
        assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_panics_stops_nothing() {
    let (first, last) = (faulty(), faulty());
    let panics = || Fault::fail(|| panic!("as the test wants"));
    last.inject(Operation::Put, 0..2, panics());
    store(last.inner(), &key(2), &entry("far", &[]), &[]).await;
    first.inject(Operation::Put, 1..2, panics());
    let chain = two(&first, &last).build().unwrap();
    let _ = chain.put(&key(1), &entry("mine", &[]), PutMode::Overwrite).await.unwrap();
    assert!(chain.get(&key(2)).await.unwrap().is_some());
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(1)).await.unwrap(), Some(entry("mine", &[])));
    let stats = chain.stats();
    assert_eq!((stats.pushes.done, stats.promotions.failed, stats.promotions.waiting), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_after_it_was_replaced_does_not_count() {
    let (first, last) = (faulty(), faulty());
    let gate = Gate::new();
    last.inject(Operation::Put, .., Fault::Wait(gate.clone()));
    let settings = WriteBack { min_cost_ms: 500, ..WriteBack::default() };
    let chain = two(&first, &last).write_back(settings).build().unwrap();
    let _ = chain.put(&key(1), &entry("old", &[]), PutMode::Overwrite).await.unwrap();
    gate.arrived(1).await;
    let mut cheap = entry("new", &[]);
    cheap.meta.cost_ms = 1;
    let _ = chain.put(&key(1), &cheap, PutMode::Overwrite).await.unwrap();
    gate.open();
    settle(&chain).await;
    assert_eq!(last.inner().get(&key(1)).await.unwrap(), Some(entry("old", &[])));
    first.inner().remove(&key(1)).await.unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
}
