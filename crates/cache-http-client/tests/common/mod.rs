//! Servers, and what each store has to do.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part, and fails where it stands")]

pub(crate) mod nginx;
pub(crate) mod ours;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Store;
use cache_http_client::HttpStore;
use cache_testkit::conformance::{Suite, all};

/// What no store does whose server has no lists and no conditions.
pub(crate) const WITHOUT_LISTS: [&str; 5] =
    ["list_pages", "list_filters", "list_while_writing", "concurrent_if_absent", "collected_unreferenced"];

/// Checks that the stores that `open` returns for numbers from 0 pass the suite, of which `skipped` is what they do not do.
pub(crate) async fn conforms(open: impl Fn(u64) -> HttpStore + Send + Sync + 'static, skipped: &[&str]) {
    let number = AtomicU64::new(0);
    let suite = Suite::new(move || {
        let store = open(number.fetch_add(1, Ordering::Relaxed));
        async move { Arc::new(store) as Arc<dyn Store> }
    })
    .spawner(|task| drop(tokio::spawn(task)));
    let report = all(&suite).await;
    assert!(report.is_ok(), "{report}");
    let found: Vec<&str> = report.skipped().map(|(name, _)| name).collect();
    assert_eq!(found, skipped, "{report}");
}
