//! Time to live and time to idle, to the letter: what is over is absent at once, for everybody, without any cleaner.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Barrier;
use std::time::Duration;

use cache_core::signing::{Keyring, SigningKey, Standing};
use cache_core::{Clock, Digest, Key, ListFilter, MissReason, Policy, PutMode, PutOutcome, Store};
use cache_memory::{MemoryStore, Swept};
use cache_testkit::block_on;
use common::{START, entry, expiring, key, listed, naming, timed, write};

const MS: Duration = Duration::from_millis(1);

/// Checks that every way to ask for the entry gives the same answer, starting with those that leave no trace.
fn ensure(store: &MemoryStore, key: &Key, there: bool) {
    assert_eq!(listed(store, 10).contains(key), there, "list");
    assert_eq!(store.peek(key).is_some(), there, "peek");
    if there {
        assert_eq!(store.put(key, &entry("other"), PutMode::IfAbsent).unwrap(), PutOutcome::Present);
    }
    assert_eq!(block_on(store.get_many(&[*key])).unwrap()[0].is_some(), there, "get_many");
    assert_eq!(store.get(key).is_some(), there, "get");
    assert_eq!(block_on(Store::get(store, key)).unwrap().is_some(), there, "get of the trait");
}

#[test]
fn a_signed_entry_stays_as_it_was_signed_whatever_the_policy_says() {
    let (store, _) = timed(Policy { default_ttl: Some(100 * MS), ..Policy::unlimited() });
    let ring = Keyring::new(SigningKey::from_bytes([1; 32]));
    let mut signed = entry("signed");
    ring.sign(&key(1), &mut signed).unwrap();
    let _ = store.put(&key(1), &signed, PutMode::Overwrite).unwrap();
    assert_eq!(ring.standing(&key(1), &store.get(&key(1)).unwrap()), Standing::Valid);
    assert_eq!(*store.get(&key(1)).unwrap(), signed);
}

#[test]
fn an_entry_ends_at_the_millisecond_that_it_names() {
    let (store, clock) = timed(Policy::unlimited());
    let end = START.plus(100 * MS);
    let _ = store.put(&key(1), &expiring(end), PutMode::Overwrite).unwrap();
    clock.set(end.minus(MS));
    ensure(&store, &key(1), true);
    clock.set(end);
    assert_eq!(store.look_up(&key(1)).unwrap_err(), MissReason::Expired { at: end });
    ensure(&store, &key(1), false);
    assert_eq!(store.put(&key(1), &entry("next"), PutMode::IfAbsent).unwrap(), PutOutcome::Stored);
    ensure(&store, &key(1), true);
}

/// One store per question, because the first question may drop the entry.
#[test]
fn each_question_alone_finds_that_it_is_over() {
    let questions: [fn(&MemoryStore) -> bool; 7] = [
        |store| store.get(&key(1)).is_some(),
        |store| store.peek(&key(1)).is_some(),
        |store| block_on(Store::get(store, &key(1))).unwrap().is_some(),
        |store| block_on(store.get_many(&[key(1)])).unwrap()[0].is_some(),
        |store| !listed(store, 10).is_empty(),
        |store| store.remove(&key(1)),
        |store| store.put(&key(1), &entry("new"), PutMode::IfAbsent).unwrap() == PutOutcome::Present,
    ];
    for (number, question) in questions.into_iter().enumerate() {
        for policy in [
            Policy { default_ttl: Some(100 * MS), ..Policy::unlimited() },
            Policy { max_age: Some(100 * MS), ..Policy::unlimited() },
        ] {
            for (after, there) in [(99 * MS, true), (100 * MS, false)] {
                let (store, clock) = timed(policy.clone());
                let _ = store.put(&key(1), &entry("old"), PutMode::Overwrite).unwrap();
                clock.advance(after);
                assert_eq!(question(&store), there, "question {number} after {after:?} with {policy:?}");
            }
        }
    }
}

#[test]
fn the_time_to_live_of_the_policy_is_for_entries_without_one_of_their_own() {
    let (store, clock) = timed(Policy { default_ttl: Some(100 * MS), ..Policy::unlimited() });
    let _ = store.put(&key(1), &entry("default"), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(2), &expiring(START.plus(10 * MS)), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(3), &expiring(START.plus(1000 * MS)), PutMode::Overwrite).unwrap();
    assert_eq!(store.get(&key(1)).unwrap().meta.expires, Some(START.plus(100 * MS)));
    let there = || [1, 2, 3].map(|number| store.get(&key(number)).is_some());
    clock.advance(10 * MS);
    assert_eq!(there(), [true, false, true]);
    clock.advance(90 * MS);
    assert_eq!(there(), [false, false, true], "being used does not prolong the time to live");
    clock.advance(900 * MS);
    assert_eq!(there(), [false, false, false]);
    assert_eq!(store.stats().expired, 3);
}

#[test]
fn each_use_starts_the_time_to_idle_again_and_looking_does_not() {
    let (store, clock) = timed(Policy { max_age: Some(100 * MS), ..Policy::unlimited() });
    let _ = store.put(&key(1), &entry("used"), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(2), &entry("looked at"), PutMode::Overwrite).unwrap();
    for _ in 0..5 {
        clock.advance(99 * MS);
        assert!(store.get(&key(1)).is_some());
        let seen = store.peek(&key(2)).is_some();
        assert_eq!(listed(&store, 10).len(), 1 + usize::from(seen));
    }
    assert!(store.peek(&key(2)).is_none());
    let last_used = clock.now();
    assert_eq!(store.list(&ListFilter::default(), None, 9).unwrap().items[0].last_used, Some(last_used));
    clock.advance(100 * MS);
    assert_eq!(store.look_up(&key(1)).unwrap_err(), MissReason::Expired { at: last_used.plus(100 * MS) });
}

#[test]
fn an_entry_may_have_a_time_to_idle_of_its_own() {
    let (store, clock) = timed(Policy { max_age: Some(100 * MS), ..Policy::unlimited() });
    let _ = store.put_with_idle(&key(1), &entry("short"), PutMode::Overwrite, 10 * MS).unwrap();
    let _ = store.put_with_idle(&key(2), &entry("long"), PutMode::Overwrite, 1000 * MS).unwrap();
    let _ = store.put(&key(3), &entry("as the policy says"), PutMode::Overwrite).unwrap();
    let there = || [1, 2, 3].map(|number| store.peek(&key(number)).is_some());
    clock.advance(10 * MS);
    assert_eq!(there(), [false, true, true]);
    clock.advance(90 * MS);
    assert_eq!(there(), [false, true, false]);
    clock.advance(900 * MS);
    assert_eq!(there(), [false, false, false]);
}

#[test]
fn the_earlier_of_both_times_counts() {
    let (store, clock) = timed(Policy { max_age: Some(50 * MS), ..Policy::unlimited() });
    let _ = store.put(&key(1), &expiring(START.plus(60 * MS)), PutMode::Overwrite).unwrap();
    clock.advance(40 * MS);
    assert!(store.get(&key(1)).is_some());
    clock.advance(1000 * MS);
    assert_eq!(store.look_up(&key(1)).unwrap_err(), MissReason::Expired { at: START.plus(60 * MS) });
}

#[test]
fn blobs_idle_as_well_and_a_use_of_the_entry_is_one_of_its_blobs() {
    let (store, clock) = timed(Policy { max_age: Some(100 * MS), ..Policy::unlimited() });
    let (named, other) = (write(&store, b"named"), write(&store, b"other"));
    let _ = store.put(&key(1), &naming("entry", &[b"named"]), PutMode::Overwrite).unwrap();
    clock.advance(99 * MS);
    assert!(store.get(&key(1)).is_some());
    clock.advance(MS);
    assert_eq!(store.missing_blobs(&[named, other]), [other]);
    assert!(store.read_blob(&other).is_none() && !store.delete_blob(&other));
    assert!(block_on(store.read(&other, None)).unwrap().is_none());
    clock.advance(99 * MS);
    assert!(store.read_blob(&named).is_some(), "being asked for is a use");
    clock.advance(99 * MS);
    write(&store, b"named");
    clock.advance(99 * MS);
    assert!(store.read_blob(&named).is_some(), "being written again is a use");
    clock.advance(100 * MS);
    assert!(store.read_blob(&named).is_none());
    assert_eq!(store.stats().blobs, 0);
}

#[test]
fn an_entry_whose_blob_idled_away_is_incomplete() {
    let (store, clock) = timed(Policy { max_age: Some(100 * MS), ..Policy::unlimited() });
    let digest = write(&store, b"content");
    let long = 1000 * MS;
    let naming = naming("entry", &[b"content"]);
    let _ = store.put_with_idle(&key(1), &naming, PutMode::Overwrite, long).unwrap();
    clock.advance(100 * MS);
    assert!(listed(&store, 10).is_empty());
    let reason = MissReason::Incomplete { digest, evicted: None };
    assert_eq!(store.look_up(&key(1)).unwrap_err(), reason);
}

#[test]
fn a_clock_that_goes_back_ends_nothing_early_and_keeps_nothing_for_ever() {
    let (store, clock) = timed(Policy { max_age: Some(100 * MS), ..Policy::unlimited() });
    clock.set(START.plus(Duration::from_secs(1_000_000)));
    let _ = store.put(&key(1), &entry("from the future"), PutMode::Overwrite).unwrap();
    clock.set(START);
    assert!(store.get(&key(1)).is_some());
    clock.advance(100 * MS);
    assert!(store.get(&key(1)).is_none(), "the use after the clock went back counts from there");
}

#[test]
fn of_many_that_put_over_an_expired_entry_exactly_one_stores() {
    const THREADS: u64 = 8;
    let (store, clock) = timed(Policy { default_ttl: Some(100 * MS), ..Policy::unlimited() });
    for round in 0..200 {
        let _ = store.put(&key(round), &entry("old"), PutMode::Overwrite).unwrap();
        clock.advance(100 * MS);
        let barrier = Barrier::new(THREADS as usize);
        let winners: Vec<u64> = std::thread::scope(|scope| {
            let put = |writer: u64| {
                barrier.wait();
                store.put(&key(round), &entry(writer.to_string()), PutMode::IfAbsent).unwrap()
            };
            let threads: Vec<_> =
                (0..THREADS).map(|writer| (writer, scope.spawn(move || put(writer)))).collect();
            threads
                .into_iter()
                .filter_map(|(writer, thread)| {
                    (thread.join().unwrap() == PutOutcome::Stored).then_some(writer)
                })
                .collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(store.get(&key(round)).unwrap().value, winners[0].to_string());
    }
}

#[test]
fn a_sweep_drops_what_is_over_and_nothing_else() {
    let (store, clock) = timed(Policy { max_age: Some(1000 * MS), ..Policy::unlimited() });
    write(&store, b"left behind");
    for number in 0..100 {
        let entry = if number % 2 == 0 { expiring(START.plus(100 * MS)) } else { entry("staying") };
        let _ = store.put(&key(number), &entry, PutMode::Overwrite).unwrap();
    }
    assert_eq!(store.sweep(), Swept::default());
    clock.advance(100 * MS);
    let before = store.stats();
    assert_eq!(before.entries, 100, "nobody asked yet");
    let swept = store.sweep();
    assert_eq!((swept.expired, swept.incomplete), (50, 0));
    let after = store.stats();
    assert_eq!((after.entries, after.blobs, after.expired), (50, 1, 50));
    assert_eq!(after.bytes, before.bytes - swept.bytes);
    assert_eq!(store.sweep(), Swept::default());
    clock.advance(900 * MS);
    assert_eq!(store.sweep().expired, 51);
    assert_eq!((store.stats().entries, store.stats().blobs, store.stats().bytes), (0, 0, 0));
}

#[test]
fn a_sweep_drops_what_is_incomplete() {
    let (store, _) = timed(Policy::unlimited());
    let digest = write(&store, b"content");
    write(&store, b"other");
    let _ = store.put(&key(1), &naming("both", &[b"content", b"other"]), PutMode::Overwrite).unwrap();
    let _ = store.put(&key(2), &naming("other", &[b"other"]), PutMode::Overwrite).unwrap();
    assert!(store.delete_blob(&digest));
    let swept = store.sweep();
    assert_eq!((swept.expired, swept.incomplete), (0, 1));
    assert_eq!(listed(&store, 10), [key(2)]);
    assert_eq!(store.missing_blobs(&[Digest::blake3(b"other")]), []);
}
