//! Collecting garbage: in a chain, and by a cleaner.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_coordinator::{Cleaner, CleanerSettings, Coordinator, Tier};
use cache_core::{Clock, Collected, Error, ManualClock, Policy, PutMode, Store, SystemClock};
use cache_memory::{MemoryStore as Memory, Options};
use cache_testkit::{Fault, FaultStore, Gate, MemoryStore, Operation};
use common::{Faulty, Notes, TokioClock, blob, entry, far, faulty, key, near, read, settle, store};

const DAY: Duration = Duration::from_hours(24);

fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(SystemClock.now()))
}

#[tokio::test]
async fn every_tier_that_is_written_is_collected_and_reports() {
    let clock = manual();
    let tier = || Arc::new(FaultStore::new(MemoryStore::with_clock(Arc::<ManualClock>::clone(&clock))));
    let (disk, server, mirror, notes) = (tier(), tier(), tier(), Arc::new(Notes::default()));
    let chain = Coordinator::builder()
        .clock(clock.clone())
        .observer(notes.clone())
        .tier(near(&disk).named("disk"))
        .tier(near(&server).named("server"))
        .tier(near(&mirror).named("mirror").write(false))
        .build()
        .unwrap();
    let (kept, gone) = (blob(1, 1000), blob(2, 3000));
    store(&chain, &key(1), &entry("kept", std::slice::from_ref(&kept)), &[kept.clone(), gone.clone()]).await;
    clock.advance(DAY);
    server.inject(Operation::Gc, 0..1, Fault::unavailable());

    let reports = chain.gc().await.unwrap();
    assert_eq!(reports.iter().map(|it| it.tier.as_str()).collect::<Vec<_>>(), ["disk", "server"]);
    let collected = reports[0].outcome.as_ref().unwrap();
    assert_eq!((collected.unreferenced, collected.bytes), (1, 3000));
    assert!(matches!(reports[1].outcome, Err(Error::Unavailable { .. })));
    assert_eq!((mirror.calls(Operation::Gc), chain.stats().tiers[1].failures), (0, 1));
    assert_eq!(notes.count("Collected { tier: \"disk\""), 1, "{:?}", notes.all());
    assert_eq!(disk.missing(&[kept.0, gone.0]).await.unwrap(), [gone.0]);
    assert_eq!(read(&chain, &kept.0, None).await.unwrap().unwrap(), kept.1);

    let sum = Store::gc(&chain).await.unwrap();
    assert_eq!((sum.unreferenced, sum.items(), sum.bytes), (1, 1, 3000), "of the server, this time");
    chain.close().await.unwrap();
    assert!(matches!(chain.gc().await, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn a_strict_chain_says_that_a_tier_could_not_be_collected() {
    let disk = faulty();
    disk.inject(Operation::Gc, .., Fault::unavailable());
    let build = |strict| Coordinator::builder().strict(strict).tier(near(&disk)).build().unwrap();
    assert_eq!(Store::gc(&build(false)).await.unwrap(), Collected::default());
    assert!(Store::gc(&build(true)).await.is_err());
}

#[tokio::test]
async fn what_waits_to_be_sent_outlives_a_collection() {
    let clock = manual();
    let policy = Policy { max_age: Some(DAY), ..Policy::unlimited() };
    let options = Options { policy, clock: clock.clone(), ..Options::default() };
    let (local, server, gate) = (Arc::new(Memory::new(options)), faulty(), Gate::new());
    server.inject(Operation::Missing, .., Fault::Wait(gate.clone()));
    let chain = Coordinator::builder()
        .clock(clock.clone())
        .tier(Tier::new(local.clone()))
        .tier(far(&server).deadline(Duration::from_hours(1)))
        .build()
        .unwrap();
    let waits = [(1, blob(1, 5000)), (2, blob(2, 5000))];
    for (number, blob) in &waits {
        let blobs = std::slice::from_ref(blob);
        store(&chain, &key(*number), &entry("waits", blobs), blobs).await;
    }
    // Nobody uses it for almost two days, during which there were two collections.
    for _ in 0..2 {
        clock.advance(Duration::from_hours(23));
        chain.gc().await.unwrap();
    }
    gate.open();
    settle(&chain).await;
    for (number, blob) in &waits {
        assert!(server.get(&key(*number)).await.unwrap().is_some(), "it was not sent");
        assert_eq!(read(&*server, &blob.0, None).await.unwrap().unwrap(), blob.1);
    }
    assert_eq!(chain.stats().pushes.lost, 0);
}

/// Returns a store whose collections are counted by what was told to the observer, and a cleaner for it.
fn cleaned(store: &Faulty) -> (Arc<dyn Store>, Cleaner, Arc<Mutex<Vec<String>>>) {
    let store = Arc::clone(store) as Arc<dyn Store>;
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&told);
    let settings = CleanerSettings {
        interval: Duration::from_secs(100),
        observer: Some(Arc::new(move |outcome| {
            let note = outcome.as_ref().map_or_else(|_| "failed", |_| "done");
            notes.lock().unwrap().push(note.to_owned());
        })),
    };
    let cleaner = Cleaner::start(&store, settings).unwrap();
    (store, cleaner, told)
}

#[tokio::test(start_paused = true)]
async fn what_expires_goes_without_being_asked_for() {
    let inner = MemoryStore::with_clock(Arc::new(TokioClock::default()));
    let faulty = Arc::new(FaultStore::new(inner));
    let (store, cleaner, told) = cleaned(&faulty);
    let mut mortal = entry("mortal", &[]);
    mortal.meta.expires = Some(TokioClock::default().now().plus(Duration::from_mins(1)));
    let _ = store.put(&key(1), &mortal, PutMode::Overwrite).await.unwrap();
    tokio::time::sleep(Duration::from_secs(126)).await;
    assert_eq!(*told.lock().unwrap(), ["done"]);
    assert_eq!(store.gc().await.unwrap().expired, 0, "the cleaner has taken it");
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    let rounds = faulty.calls(Operation::Gc);
    assert!((80..135).contains(&rounds), "{rounds} rounds in 10,126 seconds");
    cleaner.stop().await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(faulty.calls(Operation::Gc), rounds, "it goes on after its end");
}

#[tokio::test(start_paused = true)]
async fn a_round_that_fails_is_told_and_not_the_end() {
    let faulty = faulty();
    faulty.inject(Operation::Gc, 0..2, Fault::unavailable());
    let (_store, _cleaner, told) = cleaned(&faulty);
    while told.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(told.lock().unwrap()[..3], ["failed", "failed", "done"]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_once_in_an_interval_and_in_a_round_and_on_drop() {
    let (faulty, gate) = (faulty(), Gate::new());
    faulty.inject(Operation::Gc, .., Fault::Wait(gate.clone()));
    let start = tokio::time::Instant::now();
    let (_store, cleaner, _) = cleaned(&faulty);
    cleaner.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);

    let (_store, cleaner, told) = cleaned(&faulty);
    gate.arrived(1).await;
    // One round at a time, however long it takes.
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    assert_eq!(faulty.calls(Operation::Gc), 1);
    let start = tokio::time::Instant::now();
    cleaner.stop().await;
    assert_eq!((start.elapsed(), told.lock().unwrap().len()), (Duration::ZERO, 0));

    let (_store, cleaner, _) = cleaned(&faulty);
    drop(cleaner);
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    assert_eq!(faulty.calls(Operation::Gc), 1);
}

#[tokio::test(start_paused = true)]
async fn it_keeps_no_store_and_ends_with_it() {
    let (store, cleaner, _) = cleaned(&faulty());
    let left = Arc::downgrade(&store);
    drop(store);
    assert_eq!(left.strong_count(), 0, "the cleaner keeps the store");
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(cleaner.is_finished());

    let (store, cleaner, told) = cleaned(&faulty());
    store.close().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(cleaner.is_finished());
    assert_eq!(*told.lock().unwrap(), ["failed"]);
}

#[test]
fn it_needs_a_runtime() {
    let store = faulty() as Arc<dyn Store>;
    assert!(matches!(Cleaner::start(&store, CleanerSettings::default()), Err(Error::Invalid(_))));
}
