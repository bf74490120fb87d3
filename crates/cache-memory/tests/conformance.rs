//! The suite that every store passes.

use std::sync::Arc;

use cache_core::{Clock, ManualClock, Policy, Store, SystemClock};
use cache_memory::{MemoryStore, Options};
use cache_testkit::block_on;
use cache_testkit::conformance::{Suite, all};

fn suite(options: Options) -> Suite {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let passing = Arc::clone(&clock);
    Suite::new(move || {
        let options = Options { clock: Arc::<ManualClock>::clone(&clock), ..options.clone() };
        async move { Arc::new(MemoryStore::new(options)) as Arc<dyn Store> }
    })
    .passing(move |time| passing.advance(time))
}

#[test]
fn without_a_limit() {
    let report = block_on(all(&suite(Options { policy: Policy::unlimited(), ..Options::default() })));
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[test]
fn with_a_limit_that_has_room() {
    let policy = Policy { max_bytes: Some(512 << 20), max_entries: Some(100_000), ..Policy::unlimited() };
    let report = block_on(all(&suite(Options { policy, max_blob: Some(200 << 20), ..Options::default() })));
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[test]
fn with_the_default_limits() {
    let report = block_on(all(&suite(Options::default())));
    assert!(report.is_ok(), "{report}");
    let skipped: Vec<&str> = report.skipped().map(|(name, _)| name).collect();
    assert_eq!(skipped, ["blob_of_200_mib"], "{report}");
}

#[test]
fn it_says_what_it_can_do() {
    let store = MemoryStore::default();
    let capabilities = store.capabilities();
    assert_eq!((store.name(), cache_memory::NAME), ("memory", "memory"));
    assert!(
        capabilities.list && capabilities.conditional_put && capabilities.local && !capabilities.persistent
    );
    assert_eq!(capabilities.max_blob, Some(capabilities.max_value));
}
