//! What the tests share.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{
    Digest, Entry, EntryMeta, Key, KeyBuilder, ManualClock, Namespace, Output, OutputKind, Policy, RelPath,
    Timestamp,
};
use cache_memory::{MemoryStore, Options};

/// When the clock of a test starts.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(crate) fn key(number: u64) -> Key {
    KeyBuilder::new(&Namespace::default(), "test").number(number).finish()
}

pub(crate) fn entry(value: impl Into<Bytes>) -> Entry {
    Entry { value: value.into(), ..Entry::default() }
}

pub(crate) fn expiring(at: Timestamp) -> Entry {
    Entry { meta: EntryMeta { expires: Some(at), ..EntryMeta::default() }, ..entry("expiring") }
}

/// Returns an entry that names blobs with these contents.
pub(crate) fn naming(value: &str, contents: &[&'static [u8]]) -> Entry {
    let outputs = contents.iter().enumerate().map(|(number, content)| Output {
        path: RelPath::new(format!("out/{number}")).unwrap(),
        kind: OutputKind::File {
            digest: Digest::blake3(content),
            len: content.len() as u64,
            mode: 0o644,
            modified_ns: 0,
        },
    });
    Entry { outputs: outputs.collect(), ..entry(value.to_owned()) }
}

pub(crate) fn write(store: &MemoryStore, content: &'static [u8]) -> Digest {
    let digest = Digest::blake3(content);
    store.write_blob(&digest, Bytes::from_static(content)).unwrap();
    digest
}

/// Returns a store without limits of size, and the clock that it goes by.
pub(crate) fn timed(policy: Policy) -> (MemoryStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let options = Options { policy, clock: Arc::<ManualClock>::clone(&clock), ..Options::default() };
    (MemoryStore::new(options), clock)
}

/// Returns the keys that a list names, page by page.
pub(crate) fn listed(store: &MemoryStore, limit: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&cache_core::ListFilter::default(), after.as_deref(), limit).unwrap();
        keys.extend(page.items.iter().map(|item| item.key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}
