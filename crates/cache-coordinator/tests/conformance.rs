//! Chains of one, two and three tiers pass the suite that every store passes, and so do chains of chains.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::{Coordinator, CoordinatorBuilder, Tier};
use cache_core::Store;
use cache_testkit::MemoryStore;
use cache_testkit::conformance::{self, Suite};

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn far() -> Tier {
    Tier::new(memory()).named("far").write_back(true).verify(true)
}

/// Runs the suite on what `build` makes, on the threads of a runtime.
fn passes(build: impl Fn(CoordinatorBuilder) -> CoordinatorBuilder + Clone + Send + Sync + 'static) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    let spawner = handle.clone();
    let suite = Suite::new(move || {
        let (build, handle) = (build.clone(), handle.clone());
        async move {
            let chain = build(Coordinator::builder().runtime(handle)).build().unwrap();
            Arc::new(chain) as Arc<dyn Store>
        }
    })
    .spawner(move |task| drop(spawner.spawn(task)));
    let report = runtime.block_on(conformance::all(&suite));
    assert!(report.is_ok(), "{report}");
    let expected = ["concurrent_if_absent", "collected_unreferenced"];
    assert!(report.skipped().all(|(name, _)| expected.contains(&name)), "{report}");
}

#[test]
fn one_tier() {
    passes(|builder| builder.tier(Tier::new(memory())));
}

#[test]
fn one_tier_that_is_far_away() {
    passes(|builder| builder.tier(far()));
}

#[test]
fn two_tiers_written_through() {
    passes(|builder| builder.tier(Tier::new(memory())).tier(Tier::new(memory()).verify(true)));
}

#[test]
fn a_tier_written_in_the_background() {
    passes(|builder| builder.tier(Tier::new(memory())).tier(far()));
}

#[test]
fn three_tiers_and_strict() {
    passes(|builder| builder.tier(Tier::new(memory())).tier(Tier::new(memory())).tier(far()).strict(true));
}

#[test]
fn chains_of_chains() {
    passes(|builder| {
        let inner = Coordinator::builder()
            .tier(Tier::new(memory()))
            .tier(far())
            .close_within(Duration::from_mins(1))
            .build()
            .unwrap();
        builder.tier(Tier::new(Arc::new(inner))).tier(far())
    });
}
