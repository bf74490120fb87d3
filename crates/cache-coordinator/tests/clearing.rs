//! Removing all of a kind, wherever it is.

mod common;

use cache_coordinator::Coordinator;
use cache_core::{Error, ListFilter, PutMode, Store};
use cache_testkit::{Fault, Operation};
use common::{entry, far, faulty, key, near, settle, store};

/// Returns what passes entries of this kind alone.
fn only(kind: &str) -> ListFilter {
    ListFilter { kind: Some(kind.to_owned()), ..ListFilter::default() }
}

#[tokio::test(start_paused = true)]
async fn what_only_a_slow_tier_has_is_cleared_as_well() {
    let (first, last) = (faulty(), faulty());
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap();
    for (number, kind) in [(1, "mine"), (2, "mine"), (3, "mine"), (4, "other")] {
        let mut entry = entry("name", &[]);
        entry.meta.kind = kind.to_owned();
        assert!(chain.put(&key(number), &entry, PutMode::Overwrite).await.is_ok());
    }
    settle(&chain).await;
    assert!(first.inner().remove(&key(2)).await.unwrap());
    assert_eq!(chain.clear(&only("mine")).await.unwrap(), 3);
    assert_eq!(chain.clear(&only("mine")).await.unwrap(), 0);
    settle(&chain).await;
    for number in 1..=4 {
        let left = number == 4;
        assert_eq!(chain.get(&key(number)).await.unwrap().is_some(), left, "{number}");
        assert_eq!(last.inner().get(&key(number)).await.unwrap().is_some(), left, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_cannot_say_what_it_has_does_not_save_the_rest() {
    let (first, last) = (faulty(), faulty());
    let chain = Coordinator::builder().tier(near(&first)).tier(far(&last)).build().unwrap();
    store(&chain, &key(1), &entry("name", &[]), &[]).await;
    first.inject(Operation::List, .., Fault::unavailable());
    settle(&chain).await;
    assert!(matches!(chain.clear(&ListFilter::default()).await, Err(Error::Unavailable { .. })));
    settle(&chain).await;
    assert!(chain.get(&key(1)).await.unwrap().is_none(), "the other tier has listed it");
    assert!(first.inner().get(&key(1)).await.unwrap().is_none());
}
