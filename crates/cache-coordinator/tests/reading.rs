//! Look-ups: promotion, single-flight, batches, corrupt and hollow tiers, what is remembered, who goes first.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_coordinator::{BreakerState, Coordinator, PromotionLimits, Tier};
use cache_core::{Body, Digest, Error, Key, ManualClock, PutMode, Store, Timestamp};
use cache_testkit::{Fault, Gate, MemoryStore, Operation, block_on, content, poll_at_most};
use common::{Health, Hollow, Notes, Small, blob, entry, far, faulty, key, near, read, settle, store};
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn what_is_found_far_away_is_near_the_next_time_blobs_first() {
    let (first, last) = (faulty(), faulty());
    let blobs = [blob(1, 10), blob(2, 400_000)];
    let wanted = entry("far", &blobs);
    store(last.inner(), &key(1), &wanted, &blobs).await;
    let notes = Arc::new(Notes::default());
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).observer(notes.clone());
    let chain = chain.build().unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(wanted.clone()));
    settle(&chain).await;
    assert_eq!(
        first.inner().get(&key(1)).await.unwrap(),
        Some(wanted.clone()),
        "whole, or it would be a miss"
    );
    let asked = last.calls(Operation::Get) + last.calls(Operation::Read);
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(wanted));
    for (digest, content) in &blobs {
        assert_eq!(read(&chain, digest, None).await.unwrap().as_ref(), Some(content));
    }
    assert_eq!(last.calls(Operation::Get) + last.calls(Operation::Read), asked);
    assert_eq!((chain.stats().tiers[0].promoted, notes.count("Promoted")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn blobs_that_are_read_alone_are_promoted_too() {
    let (first, last) = (faulty(), faulty());
    let blobs = [blob(1, 0), blob(2, 10), blob(3, 1_000_000)];
    for (digest, content) in &blobs {
        last.inner().write(digest, content.len() as u64, content.clone().into()).await.unwrap();
    }
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap();
    for (digest, content) in &blobs {
        // A part of it will do: all of it had to be read.
        let part = read(&chain, digest, Some(5..8)).await.unwrap().unwrap();
        assert_eq!(part, content.slice(content.len().min(5)..content.len().min(8)));
    }
    settle(&chain).await;
    let digests = blobs.each_ref().map(|(digest, _)| *digest);
    assert_eq!(first.inner().missing(&digests).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_a_faster_tier_is_read_once() {
    let last = faulty();
    let large = blob(1, 1001);
    let wanted = entry("large", std::slice::from_ref(&large));
    store(last.inner(), &key(1), &wanted, std::slice::from_ref(&large)).await;
    let first = Tier::new(Arc::new(Small(MemoryStore::new())));
    let chain = Coordinator::builder().tier(first).tier(near(&last)).build().unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(wanted));
    assert_eq!(read(&chain, &large.0, None).await.unwrap().as_ref(), Some(&large.1));
    settle(&chain).await;
    assert_eq!((last.calls(Operation::Get), last.calls(Operation::Read)), (1, 1));
    assert_eq!(chain.stats().promotions.failed, 0);
}

#[tokio::test(start_paused = true)]
async fn promotion_is_bounded_and_nobody_waits_for_it() {
    let (first, last) = (faulty(), faulty());
    let gate = Gate::new();
    first.inject(Operation::Put, .., Fault::Wait(gate.clone()));
    for number in 0..50 {
        store(last.inner(), &key(number), &entry("far", &[]), &[]).await;
    }
    let limits = PromotionLimits { count: 10, at_once: 2, ..PromotionLimits::default() };
    let chain = Coordinator::builder()
        .tier(near(&first).deadline(Duration::from_hours(1)))
        .tier(far(&last))
        .promotions(limits)
        .build()
        .unwrap();
    assert!(chain.get(&key(0)).await.unwrap().is_some());
    assert!(chain.get(&key(1)).await.unwrap().is_some());
    gate.arrived(2).await;
    for number in 2..50 {
        assert!(chain.get(&key(number)).await.unwrap().is_some());
    }
    let stats = chain.stats().promotions;
    assert_eq!((stats.waiting, stats.dropped), (12, 38));
    gate.open();
    settle(&chain).await;
    let stats = chain.stats().promotions;
    assert_eq!((stats.waiting, stats.waiting_bytes, stats.done), (0, 0, 12));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_overtaken_by_a_write_or_a_removal_is_not_made() {
    for remove in [false, true] {
        let (first, last) = (faulty(), faulty());
        let blobs = [blob(1, 100)];
        store(last.inner(), &key(1), &entry("old", &blobs), &blobs).await;
        let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap();
        let gate = Gate::new();
        first.inject(Operation::Missing, 1.., Fault::Wait(gate.clone()));
        assert!(chain.get(&key(1)).await.unwrap().is_some());
        gate.arrived(1).await;
        if remove {
            assert!(chain.remove(&key(1)).await.unwrap());
        } else {
            let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
            // Evicted at once: the old one must not come back.
            first.inner().remove(&key(1)).await.unwrap();
        }
        gate.open();
        settle(&chain).await;
        assert_eq!(first.inner().get(&key(1)).await.unwrap(), None);
        assert_ne!(chain.get(&key(1)).await.unwrap().map(|entry| entry.meta.name).as_deref(), Some("old"));
        assert_eq!(chain.stats().promotions.failed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn many_look_and_one_asks() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(1), &entry("far", &[]), &[]).await;
    let gate = Gate::new();
    last.inject(Operation::Get, .., Fault::Wait(gate.clone()));
    let chain = Arc::new(Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap());
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let chain = Arc::clone(&chain);
        tasks.spawn(async move { chain.get(&key(1)).await.unwrap() });
    }
    gate.arrived(1).await;
    // Half of them lose patience; the one who asks is among them.
    let mut losers = Vec::new();
    for number in 0..50 {
        let chain = Arc::clone(&chain);
        losers.push(tokio::spawn(async move { poll_at_most(number % 7, chain.get(&key(1))).await }));
    }
    gate.open();
    assert!(tasks.join_all().await.iter().all(Option::is_some));
    for loser in losers {
        loser.abort();
    }
    assert_eq!(last.calls(Operation::Get), 1);
    assert!(chain.stats().joined >= 99);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_began_before_a_put_is_not_joined_after_it() {
    let (first, last) = (faulty(), faulty());
    store(last.inner(), &key(1), &entry("old", &[]), &[]).await;
    let gate = Gate::new();
    last.inject(Operation::Get, 0..1, Fault::Wait(gate.clone()));
    let chain = Arc::new(Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap());
    let early = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { chain.get(&key(1)).await.unwrap() })
    };
    gate.arrived(1).await;
    let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
    first.inner().remove(&key(1)).await.unwrap();
    assert_ne!(chain.get(&key(1)).await.unwrap().map(|entry| entry.meta.name).as_deref(), Some("old"));
    gate.open();
    assert_ne!(early.await.unwrap().map(|entry| entry.meta.name).as_deref(), Some("old"));
}

#[tokio::test(start_paused = true)]
async fn batches_cost_one_call_per_tier() {
    let stores = [faulty(), faulty(), faulty()];
    let mut expected = Vec::new();
    for number in 0..900 {
        let blobs = [blob(number, 20)];
        let entry = entry(&number.to_string(), &blobs);
        match number % 4 {
            3 => expected.push(None),
            tier => {
                store(stores[tier as usize].inner(), &key(number), &entry, &blobs).await;
                expected.push(Some(entry));
            }
        }
    }
    let chain = Coordinator::builder()
        .tier(near(&stores[0]).promote(false))
        .tier(near(&stores[1]).promote(false))
        .tier(far(&stores[2]))
        .build()
        .unwrap();
    let keys: Vec<Key> = (0..900).map(key).collect();
    assert_eq!(chain.get_many(&keys).await.unwrap(), expected);
    assert_eq!(stores.each_ref().map(|store| store.calls(Operation::GetMany)), [1, 1, 1]);
    assert_eq!(stores.each_ref().map(|store| store.calls(Operation::Get)), [0, 0, 0]);
    // All blobs of the tier that is checked, in one question to each tier.
    assert_eq!(stores.each_ref().map(|store| store.calls(Operation::Missing)), [1, 1, 1]);
    let digests: Vec<Digest> = (0..900).map(|number| blob(number, 20).0).collect();
    let missing = chain.missing(&digests).await.unwrap();
    assert_eq!(missing, digests.iter().skip(3).step_by(4).copied().collect::<Vec<_>>());
    assert_eq!(stores.each_ref().map(|store| store.calls(Operation::Missing)), [2, 2, 2]);
    // What was nowhere is remembered.
    assert_eq!(chain.get_many(&keys).await.unwrap(), expected);
    assert_eq!(chain.stats().remembered, 225);
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_removed_and_come_from_the_next_tier() {
    for len in [1, 1000, 200_000] {
        let (first, last) = (faulty(), faulty());
        let (digest, content) = blob(1, len);
        for store in [&first, &last] {
            store.inner().write(&digest, len as u64, content.clone().into()).await.unwrap();
        }
        first.inject(Operation::Read, 0..1, Fault::Flip(len as u64 - 1));
        let notes = Arc::new(Notes::default());
        let chain = Coordinator::builder().observer(notes.clone());
        let chain = chain.tier(near(&first).verify(true)).tier(far(&last)).build().unwrap();
        assert_eq!(read(&chain, &digest, None).await.unwrap(), Some(content.clone()));
        assert_eq!((chain.stats().tiers[0].corrupt, notes.count("Corrupt")), (1, 1));
        settle(&chain).await;
        // Healed: it was removed, and copied anew.
        assert_eq!(first.calls(Operation::Delete), 1);
        assert_eq!(read(first.inner(), &digest, None).await.unwrap(), Some(content));
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_blob_with_wrong_bytes_has_no_good_end() {
    const LEN: usize = 2_000_000;
    let (digest, content) = blob(1, LEN);
    for fault in [Fault::Flip(LEN as u64 - 1), Fault::Flip(0), Fault::Truncate(LEN as u64 - 1)] {
        for range in [None, Some(5..10), Some(0..LEN as u64 * 2)] {
            let (first, last) = (faulty(), faulty());
            for store in [&first, &last] {
                store.inner().write(&digest, LEN as u64, content.clone().into()).await.unwrap();
            }
            first.inject(Operation::Read, 0..1, fault.clone());
            let chain =
                Coordinator::builder().tier(near(&first).verify(true)).tier(far(&last)).build().unwrap();
            let found = read(&chain, &digest, range.clone()).await;
            if range == Some(5..10) {
                // So little is checked before it is given.
                assert_eq!(found.unwrap(), Some(content.slice(5..10)));
            } else {
                assert!(matches!(found, Err(Error::DigestMismatch { .. })), "{found:?}");
            }
            let all = range.unwrap_or(0..LEN as u64);
            let expected = content.slice(all.start as usize..LEN.min(all.end as usize));
            assert_eq!(read(&chain, &digest, Some(all)).await.unwrap(), Some(expected), "from the next tier");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_goes_on_from_the_next_tier() {
    const LEN: usize = 1_000_000;
    let content = content(1, LEN);
    let digest = Digest::blake3(&content);
    for sent in [0, 1000, 900_000, LEN] {
        let broken = Arc::new(common::Breaking { content: content.slice(..sent), stalls: sent == 1000 });
        let last = faulty();
        last.inner().write(&digest, LEN as u64, content.clone().into()).await.unwrap();
        let first = Tier::new(broken).verify(true);
        let chain = Coordinator::builder().tier(first).tier(far(&last)).build().unwrap();
        assert_eq!(read(&chain, &digest, None).await.unwrap().as_ref(), Some(&content), "after {sent}");
        assert_eq!(read(&chain, &digest, Some(7..LEN as u64)).await.unwrap(), Some(content.slice(7..)));
    }
}

#[tokio::test(start_paused = true)]
async fn entries_without_their_blobs_are_misses() {
    let blobs = [blob(1, 100), blob(2, 200)];
    let hollow = entry("hollow", &blobs);
    for denies in [false, true] {
        let liar = Arc::new(Hollow { entries: vec![(key(1), hollow.clone())].into(), denies });
        let first = faulty();
        let notes = Arc::new(Notes::default());
        let chain = Coordinator::builder().observer(notes.clone());
        let chain = chain.tier(near(&first)).tier(Tier::new(liar)).build().unwrap();
        let expected = denies.then(|| hollow.clone());
        assert_eq!(chain.get(&key(1)).await.unwrap(), expected);
        assert_eq!(chain.get_many(&[key(1)]).await.unwrap(), [expected]);
        assert_eq!(notes.count("Incomplete {"), usize::from(!denies));
        // Whatever it says, there are no bytes, and no copy of the entry is made.
        assert_eq!(read(&chain, &blobs[0].0, None).await.unwrap(), None);
        settle(&chain).await;
        assert_eq!(first.inner().get(&key(1)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn blobs_of_one_entry_may_be_in_different_tiers() {
    let (first, last) = (faulty(), faulty());
    let blobs = [blob(1, 100), blob(2, 200)];
    let both = entry("both", &blobs);
    store(last.inner(), &key(1), &both, &blobs).await;
    first.inner().write(&blobs[0].0, 100, blobs[0].1.clone().into()).await.unwrap();
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), Some(both.clone()));
    settle(&chain).await;
    assert_eq!((first.calls(Operation::Write), first.inner().get(&key(1)).await.unwrap()), (1, Some(both)));
    // A caller leaves out what is far away, and puts an entry that names it.
    last.inner().write(&blob(3, 50).0, 50, blob(3, 50).1.into()).await.unwrap();
    let other = entry("other", &[blob(3, 50)]);
    assert_eq!(chain.missing(&[blob(3, 50).0]).await.unwrap(), []);
    let _ = chain.put(&key(2), &other, PutMode::Overwrite).await.unwrap();
    assert_eq!(first.inner().get(&key(2)).await.unwrap(), Some(other));
}

#[tokio::test(start_paused = true)]
async fn a_slow_tier_costs_its_deadline_once() {
    let (first, last) = (faulty(), faulty());
    Health::Slow.befall(&last);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let chain = Coordinator::builder().clock(clock.clone());
    let chain = chain.tier(near(&first)).tier(far(&last).deadline(Duration::from_secs(5))).build().unwrap();
    let start = tokio::time::Instant::now();
    for number in 0..100 {
        assert_eq!(chain.get(&key(number)).await.unwrap(), None);
        assert_eq!(read(&chain, &Digest::blake3(b"x"), None).await.unwrap(), None);
    }
    assert_eq!(start.elapsed().as_secs(), 5);
    let stats = &chain.stats().tiers[1];
    assert_eq!((stats.timeouts, stats.skipped, stats.breaker), (1, 199, BreakerState::Open));
    // It comes back: one probe, and it is asked again.
    last.heal();
    store(last.inner(), &key(1), &entry("far", &[]), &[]).await;
    clock.advance(Duration::from_secs(10));
    assert!(chain.get(&key(1)).await.unwrap().is_some());
    assert_eq!(chain.stats().tiers[1].breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn strict_chains_tell_a_doubtful_miss_from_a_certain_one() {
    let (first, last) = (faulty(), faulty());
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).strict(true).build().unwrap();
    store(first.inner(), &key(1), &entry("near", &[]), &[]).await;
    assert_eq!(chain.get(&key(2)).await.unwrap(), None);
    Health::Failing.befall(&last);
    assert!(chain.get(&key(1)).await.unwrap().is_some());
    assert!(matches!(chain.get(&key(3)).await, Err(Error::Unavailable { .. })));
    assert!(matches!(chain.get_many(&[key(1), key(3)]).await, Err(Error::Unavailable { .. })));
    assert!(chain.missing(&[Digest::blake3(b"x")]).await.is_err());
    assert!(read(&chain, &Digest::blake3(b"x"), None).await.is_err());
    assert_eq!(chain.get_many(&[key(1)]).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn misses_are_remembered_for_a_while_and_until_a_put() {
    let (first, last) = (faulty(), faulty());
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let chain = Coordinator::builder().clock(clock.clone()).tier(near(&first)).tier(far(&last));
    let chain = chain.remember_misses(Duration::from_secs(5), 100).build().unwrap();
    let ask = async |number: u64| {
        let before = last.calls(Operation::Get);
        let found = chain.get(&key(number)).await.unwrap();
        (found.is_some(), last.calls(Operation::Get) - before)
    };
    assert_eq!(ask(1).await, (false, 1));
    assert_eq!(ask(1).await, (false, 0));
    clock.advance(Duration::from_secs(5));
    assert_eq!(ask(1).await, (false, 1));
    // An answer that never came is not remembered.
    last.inject(Operation::Get, 2..3, Fault::unavailable());
    assert_eq!(ask(2).await, (false, 1));
    assert_eq!(ask(2).await, (false, 1));
    let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
    settle(&chain).await;
    first.inner().remove(&key(1)).await.unwrap();
    assert_eq!(ask(1).await, (true, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_goes_before_prefetches() {
    let last = faulty();
    let gate = Gate::new();
    last.inject(Operation::Get, 0..1, Fault::Wait(gate.clone()));
    let tier = far(&last).concurrency(1).deadline(Duration::from_hours(1));
    let chain = Arc::new(Coordinator::builder().tier(tier).build().unwrap());
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let first = Arc::clone(&chain);
    tasks.spawn(async move { drop(first.get(&key(0)).await) });
    gate.arrived(1).await;
    for number in 1..=8 {
        let (chain, order) = (Arc::clone(&chain), Arc::clone(&order));
        tasks.spawn(async move {
            if number <= 4 {
                chain.prefetch(&[key(number)]).await.unwrap();
            } else {
                chain.get(&key(number)).await.unwrap();
            }
            order.lock().unwrap().push(number);
        });
    }
    // All of them are in line once the runtime has nothing else to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    gate.open();
    tasks.join_all().await;
    let order = order.lock().unwrap().clone();
    let place = |number| order.iter().position(|other| *other == number).unwrap();
    assert!((5..=8).map(place).sum::<usize>() < (1..=4).map(place).sum::<usize>(), "{order:?}");
    assert_eq!(order[..2], [5, 6], "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn expired_entries_are_absent_whatever_a_tier_says() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let mut old = entry("old", &[]);
    old.meta.expires = Some(Timestamp::from_millis(1_000_001));
    let liar = Arc::new(Hollow { entries: vec![(key(1), old)].into(), denies: false });
    let chain = Coordinator::builder().clock(clock.clone()).tier(Tier::new(liar)).build().unwrap();
    assert!(chain.get(&key(1)).await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    assert_eq!(chain.get_many(&[key(1)]).await.unwrap(), [None]);
}

#[tokio::test(start_paused = true)]
async fn bodies_of_any_kind_stay_what_they_are_from_a_tier_that_is_trusted() {
    let first = faulty();
    let (digest, content) = blob(1, 1000);
    first.inner().write(&digest, 1000, content.clone().into()).await.unwrap();
    let chain = Coordinator::builder().tier(near(&first)).build().unwrap();
    let body = chain.read(&digest, Some(10..20)).await.unwrap().unwrap();
    assert!(matches!(body, Body::Bytes(bytes) if bytes == Bytes::copy_from_slice(&content[10..20])));
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_is_served_while_a_newer_one_is_fetched() {
    let (first, last) = (faulty(), faulty());
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    let chain = Coordinator::builder().clock(clock.clone()).tier(near(&first)).tier(far(&last).write(false));
    let chain = chain.stale_while_revalidate(Duration::from_mins(1)).build().unwrap();
    let version = |text: &str, created: u64| {
        let mut version = entry(text, &[blob(created, 100)]);
        version.meta.created = Timestamp::from_millis(created);
        version
    };
    let publish = async |text: &str, created: u64| {
        store(last.inner(), &key(1), &version(text, created), &[blob(created, 100)]).await;
    };
    let get = async || {
        let found = chain.get(&key(1)).await.unwrap().unwrap();
        settle(&chain).await;
        found.meta.name
    };
    publish("one", 1).await;
    assert_eq!(get().await, "one");
    publish("two", 2).await;
    let asked = last.calls(Operation::Get);
    assert_eq!((get().await.as_str(), last.calls(Operation::Get)), ("one", asked), "it is fresh");
    clock.advance(Duration::from_mins(1));
    assert_eq!((get().await.as_str(), last.calls(Operation::Get)), ("one", asked + 1), "it is served");
    assert_eq!((get().await.as_str(), last.calls(Operation::Get)), ("two", asked + 1), "it was fetched");
    assert_eq!(read(first.inner(), &blob(2, 100).0, None).await.unwrap(), Some(blob(2, 100).1));
    // An older one does not come back, and a failing tier takes nothing away.
    publish("zero", 0).await;
    clock.advance(Duration::from_mins(1));
    assert_eq!((get().await, get().await), ("two".to_owned(), "two".to_owned()));
    Health::Failing.befall(&last);
    clock.advance(Duration::from_mins(1));
    assert_eq!((get().await, get().await), ("two".to_owned(), "two".to_owned()));
    // What was stored here is not compared with what it replaces.
    last.heal();
    clock.advance(Duration::from_mins(10));
    publish("three", 3).await;
    let blobs = [blob(9, 9)];
    store(&chain, &key(1), &entry("mine", &blobs), &blobs).await;
    clock.advance(Duration::from_mins(1));
    assert_eq!((get().await, get().await), ("mine".to_owned(), "mine".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_on_its_way_is_bounded() {
    const LEN: usize = 1_000_000;
    let (first, last) = (faulty(), faulty());
    let limits = PromotionLimits { bytes: 2_500_000, ..PromotionLimits::default() };
    // Unreachable, so that nothing is copied while this looks.
    first.inject(Operation::Write, .., Fault::Wait(Gate::new()));
    last.inject(Operation::Read, .., Fault::Flip(u64::MAX));
    let chain = Coordinator::builder().tier(near(&first).deadline(Duration::from_hours(1)));
    let chain = chain.tier(far(&last)).promotions(limits).build().unwrap();
    let mut bodies = Vec::new();
    for number in 0..5 {
        let (digest, content) = blob(number, LEN);
        last.inner().write(&digest, LEN as u64, content.into()).await.unwrap();
        bodies.push(chain.read(&digest, None).await.unwrap().unwrap());
        assert!(chain.stats().promotions.waiting_bytes <= limits.bytes);
    }
    for body in &mut bodies[..3] {
        while body.next().await.unwrap().is_some() {
            assert!(chain.stats().promotions.waiting_bytes <= limits.bytes);
        }
    }
    assert_eq!(chain.stats().promotions.waiting, 2);
    drop(bodies);
    assert_eq!(chain.stats().promotions.waiting_bytes, 2 * LEN as u64);
}

#[test]
fn callers_may_be_on_any_executor() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let (first, last) = (faulty(), faulty());
    Health::Slow.befall(&last);
    let tier = far(&last).deadline(Duration::from_millis(20));
    let chain = Coordinator::builder().tier(near(&first)).tier(tier).runtime(runtime.handle().clone());
    let chain = chain.build().unwrap();
    assert_eq!(block_on(chain.get(&key(1))).unwrap(), None);
    let _ = block_on(chain.put(&key(1), &entry("mine", &[]), PutMode::Overwrite)).unwrap();
    assert!(block_on(chain.get(&key(1))).unwrap().is_some());
    let _ = block_on(chain.close_within(Duration::from_millis(20))).unwrap();
    assert!(Coordinator::builder().tier(near(&first)).build().is_err(), "no runtime");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_put_is_not_shared_after_it() {
    let (first, second) = (faulty(), faulty());
    let blobs = [blob(1, 10)];
    store(second.inner(), &key(1), &entry("old", &blobs), &blobs).await;
    // The second tier has answered, and its answer is being checked.
    let gate = Gate::new();
    first.inject(Operation::Missing, .., Fault::Wait(gate.clone()));
    let chain = Coordinator::builder().tier(near(&first)).tier(near(&second).verify(true)).build().unwrap();
    let chain = Arc::new(chain);
    let early = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { chain.get(&key(1)).await.unwrap() })
    };
    gate.arrived(1).await;
    let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
    for store in [&first, &second] {
        store.inner().remove(&key(1)).await.unwrap();
    }
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    gate.open();
    assert!(early.await.unwrap().is_some_and(|entry| entry.meta.name == "old"), "it was asked for before");
    settle(&chain).await;
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_put_ends_the_memory_of_a_miss() {
    let (first, second) = (faulty(), faulty());
    let chain = Coordinator::builder().tier(near(&first)).tier(near(&second)).build().unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    let _ = chain.put(&key(1), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
    first.inner().remove(&key(1)).await.unwrap();
    assert!(chain.get(&key(1)).await.unwrap().is_some());
}
