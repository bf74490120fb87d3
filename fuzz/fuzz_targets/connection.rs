//! Whatever comes over a connection is answered, or the connection is closed; and nothing is stored under a name that is not made
//! of plain parts.

#![no_main]

use std::sync::Arc;

use cache_core::{ListFilter, Store};
use cache_server::fuzzing::{connection, is_plain};
use cache_testkit::MemoryStore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let answers = connection(Arc::clone(&store) as Arc<dyn Store>, bytes).await;
        if !bytes.starts_with(b"PRI") {
            assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "{answers:?}");
        }
        let stored = store.list(&ListFilter::default(), None, 1_000).await.expect("memory does not fail");
        for item in stored.items {
            let name = item.meta.name;
            // Bazel's ends with its instance, which may have none.
            assert!(name.strip_suffix('/').unwrap_or(&name).split('/').all(is_plain), "{name:?}");
        }
    });
});
