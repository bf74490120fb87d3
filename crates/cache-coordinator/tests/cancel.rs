//! Every public future is dropped at every await, and the chain goes on as if nothing had been asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use cache_coordinator::{BreakerSettings, BreakerState, Coordinator, WarmPlan, WarmSource};
use cache_core::{Digest, ListFilter, PutMode, Store};
use cache_testkit::{BoxFuture, Fault, Gate, Operation, content, in_pieces, poll_at_most};
use common::{Faulty, entry, far, faulty, key, near, read, settle, store};

const LEN: usize = 400_000;
/// No operation here takes so many polls.
const MOST_POLLS: u64 = 2000;

struct World {
    chain: Coordinator,
    stores: [Faulty; 3],
}

impl World {
    /// Returns a chain of three tiers, with one entry in the last.
    async fn new() -> Self {
        let stores = [faulty(), faulty(), faulty()];
        let blobs = [(Digest::blake3(&content(1, LEN)), content(1, LEN))];
        store(stores[2].inner(), &key(1), &entry("far", &blobs), &blobs).await;
        let tier = |index: usize| near(&stores[index]).named(format!("tier {index}")).concurrency(1);
        let chain = Coordinator::builder()
            .tier(tier(0))
            .tier(tier(1).verify(true))
            .tier(far(&stores[2]).concurrency(1))
            .remember_misses(Duration::ZERO, 0)
            .build()
            .unwrap();
        Self { chain, stores }
    }

    /// Checks that nothing is stuck, and that nothing wrong is shown.
    async fn check(&self, what: &str, polls: u64) {
        let place = format!("{what}, dropped after {polls} polls");
        settle(&self.chain).await;
        for number in 1..=2 {
            if let Some(found) = self.chain.get(&key(number)).await.unwrap() {
                let names = ["far", "new"];
                assert!(names.contains(&found.meta.name.as_str()), "{place}: {}", found.meta.name);
                for (digest, len) in found.blobs() {
                    let content = read(&self.chain, digest, None).await.unwrap();
                    let content = content.unwrap_or_else(|| panic!("{place}: a hit is not whole"));
                    assert_eq!((Digest::blake3(&content), content.len() as u64), (*digest, len), "{place}");
                }
            }
        }
        // With one turn per tier, a turn that is lost stops everything.
        let _ = self.chain.put(&key(9), &entry("after", &[]), PutMode::Overwrite).await.unwrap();
        assert!(self.chain.get(&key(9)).await.unwrap().is_some(), "{place}");
        settle(&self.chain).await;
        let stats = self.chain.stats();
        assert!(stats.tiers.iter().all(|tier| tier.breaker == BreakerState::Closed), "{place}: {stats:?}");
        assert!(stats.tiers.iter().all(|tier| tier.timeouts + tier.busy + tier.failures == 0), "{place}");
        for store in &self.stores {
            assert_eq!(store.inner().get(&key(9)).await.unwrap(), Some(entry("after", &[])), "{place}");
        }
    }
}

/// Drops what `operation` makes after each number of polls until it completes.
async fn at_every_await(what: &str, operation: impl for<'a> Fn(&'a Coordinator) -> BoxFuture<'a, ()>) {
    for polls in 0..MOST_POLLS {
        let world = World::new().await;
        let done = poll_at_most(polls, operation(&world.chain)).await.is_some();
        world.check(what, polls).await;
        if done {
            assert!(polls > 1, "{what} never waits");
            return;
        }
    }
    panic!("{what} is not done after {MOST_POLLS} polls");
}

#[tokio::test(start_paused = true)]
async fn look_ups() {
    at_every_await("get", |chain| Box::pin(async { drop(chain.get(&key(1)).await.unwrap()) })).await;
    at_every_await("a miss", |chain| Box::pin(async { drop(chain.get(&key(2)).await.unwrap()) })).await;
    at_every_await("get_many", |chain| {
        Box::pin(async { drop(chain.get_many(&[key(1), key(2)]).await.unwrap()) })
    })
    .await;
    at_every_await("prefetch", |chain| {
        Box::pin(async { assert_eq!(chain.prefetch(&[key(1), key(2)]).await.unwrap(), 1) })
    })
    .await;
    at_every_await("list", |chain| {
        Box::pin(async { drop(chain.list(&ListFilter::default(), None, 10).await.unwrap()) })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_at_once() {
    at_every_await("get_many_located", |chain| {
        Box::pin(async { drop(chain.get_many_located(&[key(1), key(2)]).await.unwrap()) })
    })
    .await;
    at_every_await("warm", |chain| {
        let plan = WarmPlan::new(WarmSource::Keys(vec![key(1), key(2)]));
        Box::pin(async move { assert_eq!(chain.warm(&plan).await.unwrap().fetched, 1) })
    })
    .await;
    at_every_await("clear", |chain| {
        Box::pin(async { assert_eq!(chain.clear(&ListFilter::default()).await.unwrap(), 1) })
    })
    .await;
    at_every_await("gc", |chain| {
        Box::pin(async { assert!(chain.gc().await.unwrap().iter().all(|tier| tier.outcome.is_ok())) })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn blobs() {
    let digest = Digest::blake3(&content(1, LEN));
    at_every_await("read", |chain| {
        Box::pin(async move { assert_eq!(read(chain, &digest, None).await.unwrap().unwrap().len(), LEN) })
    })
    .await;
    at_every_await("a part", |chain| {
        Box::pin(
            async move { assert_eq!(read(chain, &digest, Some(9..12)).await.unwrap().unwrap().len(), 3) },
        )
    })
    .await;
    at_every_await("missing", |chain| {
        Box::pin(async move { assert_eq!(chain.missing(&[digest]).await.unwrap(), []) })
    })
    .await;
    at_every_await("delete", |chain| Box::pin(async move { assert!(chain.delete(&digest).await.unwrap()) }))
        .await;
    let other = content(2, LEN);
    at_every_await("write", |chain| {
        let body = in_pieces(&other, 50_000);
        let digest = Digest::blake3(&other);
        Box::pin(async move { chain.write(&digest, LEN as u64, body).await.unwrap() })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn entries() {
    for number in 1..=2 {
        for mode in [PutMode::Overwrite, PutMode::IfAbsent] {
            at_every_await("put", |chain| {
                Box::pin(async move {
                    let _ = chain.put(&key(number), &entry("new", &[]), mode).await.unwrap();
                })
            })
            .await;
        }
        at_every_await("remove", |chain| {
            Box::pin(async move {
                assert_eq!(chain.remove(&key(number)).await.unwrap(), number == 1);
                assert_eq!(chain.get(&key(number)).await.unwrap(), None);
            })
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn flush_and_close() {
    at_every_await("flush", |chain| {
        Box::pin(async {
            let _ = chain.put(&key(2), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
            let _ = chain.flush(Duration::from_mins(1)).await;
        })
    })
    .await;
    // A chain that is closed half way is closed, and can be closed.
    for polls in 0..20 {
        let world = World::new().await;
        let _ = world.chain.put(&key(2), &entry("new", &[]), PutMode::Overwrite).await.unwrap();
        drop(poll_at_most(polls, world.chain.close()).await);
        world.chain.close().await.unwrap();
        assert!(world.chain.get(&key(2)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_is_made_by_the_next_caller() {
    let last = faulty();
    let gate = Gate::new();
    last.inject(Operation::Get, 0..1, Fault::unavailable());
    last.inject(Operation::Get, 1..4, Fault::Wait(gate));
    let breaker =
        BreakerSettings { failures: 1, open_for: Duration::from_secs(1), ..BreakerSettings::default() };
    let chain = Coordinator::builder().tier(far(&last).breaker(breaker));
    let chain = chain.clock(std::sync::Arc::new(common::TokioClock::default())).build().unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        assert!(poll_at_most(1, chain.get(&key(1))).await.is_none());
        assert_eq!(chain.stats().tiers[0].breaker, BreakerState::HalfOpen);
    }
    assert_eq!(chain.get(&key(1)).await.unwrap(), None);
    assert_eq!((chain.stats().tiers[0].breaker, last.calls(Operation::Get)), (BreakerState::Closed, 5));
}
