//! Fetching beforehand what the last build used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_coordinator::{Coordinator, Tier, UsedKeys, WarmPlan, WarmSource, Warmed};
use cache_core::{Digest, Error, Key, PutMode, Store};
use cache_testkit::{Fault, Gate, MemoryStore, Operation};
use common::{Faulty, Notes, blob, entry, far, faulty, key, near, read, settle, store};

/// Returns a tier that already has the entries 0 to `count`, each with a blob of 1000 bytes, and these blobs.
async fn filled(count: u64) -> (Faulty, Vec<(Digest, Bytes)>) {
    let server = faulty();
    let mut blobs = Vec::new();
    for number in 0..count {
        let one = [blob(number, 1000)];
        store(&*server, &key(number), &entry("there", &one), &one).await;
        blobs.extend(one);
    }
    (server, blobs)
}

fn keys(numbers: impl IntoIterator<Item = u64>) -> WarmPlan {
    WarmPlan::new(WarmSource::Keys(numbers.into_iter().map(key).collect()))
}

#[tokio::test]
async fn what_is_fetched_is_in_the_fast_tier_whole() {
    let (server, blobs) = filled(600).await;
    let local = faulty();
    let chain = Coordinator::builder().tier(near(&local)).tier(far(&server)).build().unwrap();
    store(&*local, &key(0), &entry("there", &blobs[..1]), &blobs[..1]).await;
    let gone = store_without_blob(&server, 1000).await;

    let warmed = chain.warm(&keys((0..600).chain([1000, 2000, 2001, 5]))).await.unwrap();
    assert_eq!((warmed.present, warmed.fetched, warmed.skipped), (1, 599, 0));
    assert_eq!(
        (warmed.absent, warmed.failed, warmed.bytes),
        (3, 0, 599 * 1005),
        "{gone} is as good as absent"
    );
    for (number, (digest, content)) in (0..).zip(&blobs) {
        assert!(local.get(&key(number)).await.unwrap().is_some());
        assert_eq!(read(&*local, digest, None).await.unwrap().as_ref(), Some(content));
    }
    assert!(server.calls(Operation::GetMany) <= 3 && server.calls(Operation::Get) == 0, "in batches");
    assert_eq!(chain.warm(&keys(0..600)).await.unwrap().present, 600);
    assert_eq!(chain.stats().tiers[0].promoted, 599);
}

/// Puts an entry into a tier whose blob is then gone.
async fn store_without_blob(server: &Faulty, number: u64) -> Key {
    let one = [blob(90_000 + number, 1000)];
    store(&**server, &key(number), &entry("hollow", &one), &one).await;
    server.delete(&one[0].0).await.unwrap();
    key(number)
}

#[tokio::test]
async fn what_comes_first_is_fetched_first_and_no_more_than_allowed() {
    let (server, _) = filled(20).await;
    let local = faulty();
    let chain = Coordinator::builder().tier(near(&local)).tier(far(&server)).build().unwrap();
    let order = [13, 2, 7, 19, 0, 5];
    let plan = WarmPlan { max_bytes: 3 * 1005 + 500, at_once: 1, ..keys(order) };
    let warmed = chain.warm(&plan).await.unwrap();
    assert_eq!((warmed.fetched, warmed.skipped, warmed.bytes), (3, 3, 3 * 1005));
    for (place, number) in order.into_iter().enumerate() {
        assert_eq!(local.get(&key(number)).await.unwrap().is_some(), place < 3, "{number}");
    }
}

#[tokio::test]
async fn trouble_is_a_number_and_no_error() {
    let (server, _) = filled(8).await;
    let local = faulty();
    let chain = Coordinator::builder().tier(near(&local)).tier(far(&server)).build().unwrap();
    local.inject(Operation::Put, 0..1, Fault::unavailable());
    let warmed = chain.warm(&WarmPlan { at_once: 1, ..keys(0..8) }).await.unwrap();
    assert_eq!((warmed.fetched, warmed.failed, warmed.bytes), (7, 1, 7 * 1005));
    server.inject(Operation::GetMany, .., Fault::unavailable());
    let warmed = chain.warm(&keys([0, 1, 2, 99])).await.unwrap();
    assert_eq!((warmed.present + warmed.fetched, warmed.failed, warmed.absent), (2, 2, 0), "nobody knows");
    chain.close().await.unwrap();
    assert!(matches!(chain.warm(&keys([1])).await, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn whoever_stops_waiting_stops_the_copies_between_whole_entries() {
    let (server, _) = filled(4).await;
    let (local, gate) = (faulty(), Gate::new());
    server.inject(Operation::Read, 1.., Fault::Wait(gate.clone()));
    let far = far(&server).deadline(Duration::from_hours(1));
    let chain = Arc::new(Coordinator::builder().tier(near(&local)).tier(far).build().unwrap());
    let warming = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { chain.warm(&WarmPlan { at_once: 1, ..keys(0..4) }).await })
    };
    gate.arrived(1).await;
    warming.abort();
    assert!(warming.await.unwrap_err().is_cancelled());
    gate.open();
    settle(&chain).await;
    for number in 0..4 {
        assert_eq!(local.get(&key(number)).await.unwrap().is_some(), number < 1, "{number}");
    }
    // And nothing that it held is in the way.
    assert_eq!(chain.warm(&keys(0..4)).await.unwrap().fetched, 3);
}

fn chain(local: &Faulty, server: &Faulty, manifest: &Path) -> Coordinator {
    Coordinator::builder().tier(near(local)).tier(far(server)).record_usage(manifest).build().unwrap()
}

#[tokio::test]
async fn the_next_process_fetches_what_the_last_one_used_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("used");
    let (server, _) = filled(10).await;
    let previous = WarmPlan::new(WarmSource::PreviousBuild);
    {
        let first = chain(&faulty(), &server, &manifest);
        assert_eq!(first.warm(&previous).await.unwrap(), Warmed::default(), "there was none");
        assert!(first.get(&key(7)).await.unwrap().is_some());
        first.get_many(&[key(3), key(50), key(7)]).await.unwrap();
        store(&first, &key(60), &entry("new", &[]), &[]).await;
        assert!(first.get(&key(1)).await.unwrap().is_some());
        assert!(first.get(&key(51)).await.unwrap().is_none());
        settle(&first).await;
        assert_eq!(
            UsedKeys::load(&manifest).unwrap(),
            None,
            "the last build is not overwritten by half of this"
        );
        // Dropped: to close it would close the server as well.
    }
    let used = UsedKeys::load(&manifest).unwrap().unwrap();
    assert_eq!(used.keys(), [7, 3, 60, 1].map(key), "what was used first comes first, misses do not");

    let local = faulty();
    let second = chain(&local, &server, &manifest);
    let warmed = second.warm(&previous).await.unwrap();
    assert_eq!((warmed.fetched, warmed.absent), (4, 0));
    for number in [7, 3, 60, 1] {
        assert!(local.get(&key(number)).await.unwrap().is_some());
    }
    drop(second);
    assert_eq!(UsedKeys::load(&manifest).unwrap(), Some(used), "fetching is no use");
    // Another chain does the same from the file, without a record of its own.
    let plain = Coordinator::builder().tier(near(&faulty())).tier(far(&server)).build().unwrap();
    assert!(matches!(plain.warm(&previous).await, Err(Error::Invalid(_))));
    let from_file = WarmPlan::new(WarmSource::Manifest(manifest));
    assert_eq!(plain.warm(&from_file).await.unwrap().fetched, 4);
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_told_and_a_damaged_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("used");
    std::fs::write(&manifest, "rubbish").unwrap();
    let notes = Arc::new(Notes::default());
    let build = |path: &Path| {
        let store = Arc::new(MemoryStore::new());
        let builder = Coordinator::builder().observer(notes.clone()).record_usage(path);
        builder.tier(Tier::new(store)).build().unwrap()
    };
    let warmed = build(&manifest).warm(&WarmPlan::new(WarmSource::PreviousBuild)).await.unwrap();
    assert_eq!(warmed, Warmed::default());
    let blocked = build(&manifest.join("below a file"));
    let _ = blocked.put(&key(1), &entry("x", &[]), PutMode::Overwrite).await.unwrap();
    blocked.close().await.unwrap();
    assert_eq!(notes.count("Usage"), 1, "{:?}", notes.all());
}
