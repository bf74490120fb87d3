//! Entries leave as one file and come back as they were, or not at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_coordinator::bundle::{ImportOptions, Imported, Selection, export, import};
use cache_coordinator::{Coordinator, Signed, Unsigned};
use cache_core::signing::{Keyring, SigningKey};
use cache_core::{
    Digest, Entry, Error, Key, ListFilter, Namespace, Output, OutputKind, PutMode, RelPath, Store, Timestamp,
    crc32c,
};
use cache_fs::{FsStore, Options};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation, content};
use common::{blob, entry, far, faulty, key, near, read, store};

const START: usize = 16;
const HEADER: usize = 48;

/// Returns the entry `number`: one blob of its own, one of SHA-256 that all share.
async fn put_one(to: &dyn Store, number: u64, len: usize) -> Entry {
    let shared = content(7, 300);
    let digest = Digest::sha256(&shared);
    to.write(&digest, 300, shared.clone().into()).await.unwrap();
    let own = [blob(number, len)];
    let mut entry = entry(&format!("number {number}"), &own);
    entry.outputs.push(Output {
        path: RelPath::new("shared").unwrap(),
        kind: OutputKind::File { digest, len: 300, mode: 0o755, modified_ns: 7 },
    });
    "compile".clone_into(&mut entry.meta.kind);
    entry.meta.namespace = Namespace::new(if number.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
    store(to, &key(number), &entry, &own).await;
    entry
}

async fn filled(count: u64, len: usize) -> (MemoryStore, BTreeMap<Key, Entry>) {
    let store = MemoryStore::new();
    let mut entries = BTreeMap::new();
    for number in 0..count {
        entries.insert(key(number), put_one(&store, number, len).await);
    }
    (store, entries)
}

fn all(count: u64) -> Selection {
    Selection::Keys((0..count).map(key).collect())
}

async fn bundle(from: &dyn Store, selection: &Selection) -> Vec<u8> {
    let mut file = Vec::new();
    let exported = export(from, selection, &mut file).await.unwrap();
    assert_eq!(exported.bytes, file.len() as u64);
    file
}

async fn take_in(to: &dyn Store, mut file: &[u8]) -> Imported {
    import(to, &mut file, &ImportOptions::default()).await.unwrap()
}

/// Checks that what `store` has of `entries` is right, and returns how many that are.
async fn right(store: &dyn Store, entries: &BTreeMap<Key, Entry>) -> usize {
    let mut count = 0;
    for listed in store.list(&ListFilter::default(), None, 10_000).await.unwrap().items {
        assert!(entries.contains_key(&listed.key), "an entry that was never there");
    }
    for (key, expected) in entries {
        let Some(found) = store.get(key).await.unwrap() else { continue };
        assert_eq!(found, *expected);
        for (digest, len) in found.blobs() {
            let content = read(store, digest, None).await.unwrap().unwrap();
            assert_eq!((Digest::of(digest.function(), &content), content.len() as u64), (*digest, len));
        }
        count += 1;
    }
    count
}

#[tokio::test]
async fn what_leaves_comes_back() {
    let (here, entries) = filled(10, 2000).await;
    let mut file = Vec::new();
    let exported = export(&here, &all(10), &mut file).await.unwrap();
    assert_eq!((exported.entries, exported.blobs), (10, 11), "the shared blob is there once");
    let dir = tempfile::tempdir().unwrap();
    let disk = FsStore::open(dir.path(), Options::default()).unwrap();
    let chain = Coordinator::builder().tier(near(&faulty())).tier(far(&faulty())).build().unwrap();
    for there in [&MemoryStore::new() as &dyn Store, &disk, &chain] {
        let imported = take_in(there, &file).await;
        assert!(imported.is_whole(), "{imported:?}");
        assert_eq!((imported.entries, imported.present, imported.blobs), (10, 0, 11));
        assert_eq!(imported.blob_bytes, 10 * 2000 + 300);
        assert_eq!(right(there, &entries).await, 10);
        let again = take_in(there, &file).await;
        assert!(again.is_whole() && (again.entries, again.present) == (0, 10));
        assert_eq!(bundle(there, &all(10)).await, file, "and leaves again the same");
    }
}

#[tokio::test]
async fn a_namespace_leaves_alone() {
    let (here, entries) = filled(10, 100).await;
    let filter = ListFilter { namespace: Some(Namespace::new("odd").unwrap()), ..ListFilter::default() };
    let there = MemoryStore::new();
    let imported = take_in(&there, &bundle(&here, &Selection::Filter(filter)).await).await;
    assert_eq!(imported.entries, 5);
    for (number, key) in (0..10).map(|number| (number, key(number))) {
        assert_eq!(there.get(&key).await.unwrap(), entries.get(&key).filter(|_| number % 2 == 1).cloned());
    }
}

#[tokio::test]
async fn an_empty_selection_is_a_whole_file() {
    let file = bundle(&MemoryStore::new(), &Selection::Keys(Vec::new())).await;
    assert_eq!(file.len(), START + HEADER + 32);
    assert_eq!(take_in(&MemoryStore::new(), &file).await, Imported::default());
}

#[tokio::test]
async fn large_blobs_go_through_a_file() {
    let (here, entries) = filled(1, (9 << 20) + 1).await;
    let mut file = bundle(&here, &all(1)).await;
    let there = MemoryStore::new();
    assert!(take_in(&there, &file).await.is_whole());
    assert_eq!(right(&there, &entries).await, 1);
    let middle = file.len() / 2;
    file[middle] ^= 1;
    let (there, imported) = (MemoryStore::new(), take_in(&MemoryStore::new(), &file).await);
    assert_eq!((imported.entries, imported.blobs, imported.flaws), (0, 1, 2), "{imported:?}");
    assert_eq!(take_in(&there, &file[..middle]).await.flaws, 2, "the blob and the entry");
}

#[tokio::test]
async fn no_damaged_byte_gives_a_wrong_one_and_each_is_reported() {
    let (here, entries) = filled(3, 50).await;
    let file = bundle(&here, &all(3)).await;
    for at in 0..file.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = file.clone();
            damaged[at] ^= bit;
            let there = MemoryStore::new();
            match import(&there, &mut damaged.as_slice(), &ImportOptions::default()).await {
                Ok(imported) => {
                    assert!(!imported.is_whole(), "byte {at}: {imported:?}");
                    let there = right(&there, &entries).await;
                    assert_eq!(there as u64, imported.entries);
                    let why = imported.details.iter().any(|flaw| flaw.what == "the file");
                    assert!(there == 3 || imported.broken_off.is_some() || why || imported.flaws >= 1);
                }
                Err(error) => {
                    assert!(at < START, "byte {at}: {error}");
                    assert_eq!(right(&there, &entries).await, 0);
                }
            }
        }
    }
}

#[tokio::test]
async fn of_a_file_that_is_cut_off_what_is_whole_is_taken_and_the_rest_named() {
    let (here, entries) = filled(3, 50).await;
    let file = bundle(&here, &all(3)).await;
    let mut most = 0;
    for len in START..file.len() {
        let there = MemoryStore::new();
        let imported = take_in(&there, &file[..len]).await;
        assert!(imported.broken_off.is_some(), "{len}");
        let whole = right(&there, &entries).await;
        assert_eq!(whole as u64, imported.entries);
        assert!(whole >= most, "more of the file is not less");
        most = whole;
        if len >= START + HEADER + 3 * 32 {
            for key in entries.keys() {
                let named = imported.details.iter().any(|flaw| flaw.what.contains(&key.to_string()));
                let there = there.get(key).await.unwrap().is_some();
                assert!(named != there, "{len}: {key} is there, or it is named");
            }
        }
    }
    assert_eq!(most, 3, "without its end, all of them");
    let longer = [&file[..], b"x"].concat();
    assert!(!take_in(&MemoryStore::new(), &longer).await.is_whole());
}

/// Returns a file with one item that claims to have `len` bytes.
fn claiming(what: u8, function: u8, len: u64) -> Vec<u8> {
    let mut file = b"VTCX\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut header = vec![what, function, 0, 0];
    header.extend(len.to_le_bytes());
    header.extend([7; 32]);
    header.extend(crc32c(&header).to_le_bytes());
    file.extend(header);
    file.extend([1; 100]);
    file
}

#[tokio::test]
async fn no_length_is_believed() {
    for (what, function) in [(1, 0), (2, 1), (2, 2), (2, 3), (3, 0), (4, 0), (5, 0), (6, 0)] {
        for len in [100, 101, 8 << 20, 10 << 20, 1 << 40, u64::MAX] {
            let imported = take_in(&MemoryStore::new(), &claiming(what, function, len)).await;
            assert!(imported.broken_off.is_some() && imported.entries + imported.blobs == 0, "{what} {len}");
        }
    }
    let (here, _) = filled(1, 2000).await;
    let file = bundle(&here, &all(1)).await;
    let strict = ImportOptions { max_blob: 1999, ..ImportOptions::default() };
    let there = MemoryStore::new();
    let imported = import(&there, &mut file.as_slice(), &strict).await.unwrap();
    assert_eq!((imported.blobs, imported.entries, imported.flaws), (1, 0, 2), "{imported:?}");
    assert!(imported.details[0].why.contains("2000 bytes, and the limit is 1999"), "{imported:?}");
    assert!(imported.details[1].what.contains("compile number 0"), "{imported:?}");
    let strict = ImportOptions { max_entry: 10, ..ImportOptions::default() };
    let imported = import(&there, &mut file.as_slice(), &strict).await.unwrap();
    assert_eq!((imported.blobs, imported.entries, imported.flaws), (2, 0, 1), "{imported:?}");
}

#[tokio::test]
async fn what_is_no_export_or_a_newer_one_is_an_error() {
    let there = MemoryStore::new();
    for file in [&b""[..], b"VTCX", b"PK\x03\x04 something else altogether", &claiming(2, 1, 1)[..15]] {
        let error = import(&there, &mut &*file, &ImportOptions::default()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    let mut newer = claiming(2, 1, 1);
    newer[4] = 2;
    let error = import(&there, &mut newer.as_slice(), &ImportOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn what_was_evicted_meanwhile_is_left_out_and_nobody_is_surprised() {
    let (here, entries) = filled(4, 50).await;
    let (digest, _) = blob(2, 50);
    let here = FaultStore::new(here);
    // The third blob that is read: the first of number 1 has two, the shared one among them.
    here.inject(Operation::Read, 2..3, Fault::unavailable());
    here.delete(&digest).await.unwrap();
    let mut file = Vec::new();
    let exported = export(&here, &all(5), &mut file).await.unwrap();
    assert_eq!((exported.entries, exported.left_out), (2, vec![key(1), key(2), key(4)]));
    let there = MemoryStore::new();
    let imported = take_in(&there, &file).await;
    assert!(imported.is_whole(), "{imported:?}");
    assert_eq!((imported.entries, imported.left_out), (2, 3));
    assert_eq!(right(&there, &entries).await, 2);
}

#[tokio::test]
async fn a_large_blob_that_breaks_off_costs_its_entry_alone() {
    let (here, entries) = filled(1, 9 << 20).await;
    let small = put_one(&here, 1, 50).await;
    let here = FaultStore::new(here);
    here.inject(Operation::Read, 0..1, Fault::Truncate(1 << 20));
    let mut file = Vec::new();
    let exported = export(&here, &all(2), &mut file).await.unwrap();
    assert_eq!((exported.entries, exported.left_out), (1, vec![key(0)]));
    let there = MemoryStore::new();
    let imported = take_in(&there, &file).await;
    assert_eq!((imported.entries, imported.flaws, imported.broken_off), (1, 1, None));
    assert_eq!(right(&there, &[(key(1), small)].into()).await, 1);
    drop(entries);
}

#[tokio::test]
async fn a_store_that_refuses_is_reported_and_a_closed_one_is_an_error() {
    let (here, _) = filled(3, 50).await;
    let file = bundle(&here, &all(3)).await;
    let there = FaultStore::new(MemoryStore::new());
    there.inject(Operation::Put, 1..2, Fault::unavailable());
    let imported = take_in(&there, &file).await;
    assert_eq!((imported.entries, imported.flaws), (2, 1));
    assert!(imported.details[0].why.contains("the test says so"), "{imported:?}");
    there.close().await.unwrap();
    let error = import(&there, &mut file.as_slice(), &ImportOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test]
async fn what_is_there_stays_unless_told_otherwise_and_what_is_over_does_not_come() {
    let (here, entries) = filled(1, 50).await;
    let mut over = entry("over", &[]);
    over.meta.expires = Some(Timestamp::from_millis(1));
    let there = MemoryStore::new();
    let _ = there.put(&key(0), &entry("mine", &[]), PutMode::Overwrite).await.unwrap();
    let file = bundle(&here, &all(1)).await;
    assert_eq!(take_in(&there, &file).await.present, 1);
    assert_eq!(there.get(&key(0)).await.unwrap(), Some(entry("mine", &[])));
    let replace = ImportOptions { mode: PutMode::Overwrite, ..ImportOptions::default() };
    assert_eq!(import(&there, &mut file.as_slice(), &replace).await.unwrap().entries, 1);
    assert_eq!(right(&there, &entries).await, 1);

    // A store whose clock is behind still has it.
    let behind = MemoryStore::with_clock(Arc::new(cache_core::ManualClock::default()));
    let _ = behind.put(&key(9), &over, PutMode::Overwrite).await.unwrap();
    let imported = take_in(&there, &bundle(&behind, &Selection::Keys(vec![key(9)])).await).await;
    assert!(imported.is_whole() && (imported.expired, imported.entries) == (1, 0), "{imported:?}");
}

#[tokio::test]
async fn signatures_travel_with_their_entries() {
    let signed = |number| {
        let ring = Keyring::new(SigningKey::from_bytes([number; 32]));
        Signed::new(Arc::new(MemoryStore::new()), ring, Unsigned::Refuse)
    };
    let (here, there, plain) = (signed(1), signed(1), MemoryStore::new());
    put_one(&here, 1, 50).await;
    let file = bundle(&here, &Selection::Filter(ListFilter::default())).await;
    assert_eq!(take_in(&there, &file).await.entries, 1);
    let expected = here.get(&key(1)).await.unwrap().unwrap();
    assert!(expected.signature.is_some());
    assert_eq!(there.get(&key(1)).await.unwrap().as_ref(), Some(&expected));
    assert_eq!(take_in(&plain, &file).await.entries, 1);
    assert_eq!(plain.get(&key(1)).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn what_is_not_signed_by_one_of_us_is_refused() {
    let ring = |number| Keyring::new(SigningKey::from_bytes([number; 32]));
    let signed = |number| Signed::new(Arc::new(MemoryStore::new()), ring(number), Unsigned::Refuse);
    let (ours, theirs, unsigned) = (signed(1), signed(2), MemoryStore::new());
    for (store, number) in [(&ours as &dyn Store, 1), (&theirs, 2), (&unsigned, 3)] {
        put_one(store, number, 50).await;
    }
    // Somebody who can write changes an entry, with checksums that are right.
    let forged = MemoryStore::new();
    put_one(&forged, 1, 50).await;
    let mut entry = ours.get(&key(1)).await.unwrap().unwrap();
    entry.value = "other".into();
    let _ = forged.put(&key(1), &entry, PutMode::Overwrite).await.unwrap();
    let of = |number| Selection::Keys(vec![key(number)]);
    let files = [
        (bundle(&ours, &of(1)).await, None, None),
        (bundle(&theirs, &of(2)).await, Some("not known here"), Some("not known here")),
        (bundle(&unsigned, &of(3)).await, Some("nobody has signed it"), None),
        (bundle(&forged, &of(1)).await, Some("signature is wrong"), Some("signature is wrong")),
    ];
    for (file, strict, lax) in files {
        for (policy, why) in [(Unsigned::Refuse, strict), (Unsigned::Accept, lax)] {
            let options = ImportOptions { signing: Some((ring(1), policy)), ..ImportOptions::default() };
            let there = signed(1);
            let imported = import(&there, &mut file.as_slice(), &options).await.unwrap();
            assert_eq!(imported.entries, u64::from(why.is_none()), "{imported:?}");
            assert!(why.is_none_or(|why| imported.details[0].why.contains(why)), "{imported:?}");
        }
    }
}

#[tokio::test]
async fn the_file_of_version_1_is_read() {
    let file = include_bytes!("fixtures/bundle-v1");
    let there = MemoryStore::new();
    let imported = take_in(&there, file).await;
    assert!(imported.is_whole(), "{imported:?}");
    assert_eq!((imported.entries, imported.blobs), (2, 3));
    let (here, entries) = filled(2, 40).await;
    assert_eq!(right(&there, &entries).await, 2);
    assert_eq!(bundle(&here, &all(2)).await, file, "and is what is written today");
}
