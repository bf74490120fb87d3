//! A real server of this project, by its own protocol.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use cache_core::envelope::Compression;
use cache_core::signing::{Keyring, SigningKey};
use cache_core::{
    Body, Digest, Entry, Error, Key, ListFilter, Output, OutputKind, PutMode, PutOutcome, RelPath, Store,
};
use cache_http_client::{Backend, HttpStore, Token};
use cache_server::{Anonymous, Right, Rights};
use cache_testkit::{content, in_pieces};

use common::ours::{passing, start};
use common::{WITHOUT_LISTS, conforms};

fn key(number: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(bytes)
}

fn file(digest: Digest, len: u64) -> Output {
    let path = RelPath::new(digest.to_hex()).unwrap();
    Output { path, kind: OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    let server = start(Rights::default()).await;
    let open = move |number: u64| {
        let mut options = server.options(&format!("/ns/store{number}"));
        options.compression = match number % 3 {
            0 => Compression::None,
            1 => Compression::Lz4,
            _ => Compression::Zstd,
        };
        HttpStore::open(options).unwrap()
    };
    conforms(open, &["collected_unreferenced"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_over_bazels_protocol() {
    let server = start(Rights::default()).await;
    let open = move |number| {
        let mut options = server.options(&format!("/ns/store{number}/instance"));
        options.backend = Backend::Bazel;
        HttpStore::open(options).unwrap()
    };
    conforms(open, &WITHOUT_LISTS).await;
}

#[tokio::test]
async fn many_questions_are_one_request() {
    let server = start(Rights::default()).await;
    let store = server.store("");
    let keys: Vec<Key> = (0..50).map(key).collect();
    let blobs: Vec<Bytes> = (0..50).map(|seed| content(seed, 1_000)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::blake3(blob)).collect();
    let mut expected = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        store.write(&digests[number], 1_000, blobs[number].clone().into()).await.unwrap();
        // One is too large for a batch, and some are not there.
        let value = if number == 7 { content(1, 2 << 20) } else { content(2, 10) };
        let entry = Entry { value, outputs: vec![file(digests[number], 1_000)], ..Entry::default() };
        if number % 5 == 3 {
            expected.push(None);
        } else {
            assert_eq!(store.put(key, &entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
            expected.push(Some(entry));
        }
    }
    let before = server.requests().await;
    assert_eq!(store.get_many(&keys).await.unwrap(), expected);
    // One batch, the large one alone, and the question how many there were.
    assert_eq!(server.requests().await - before, 3);
    let never = Digest::blake3(b"never");
    let asked: Vec<Digest> = [&[never][..], &digests, &[never]].concat();
    let before = server.requests().await;
    assert_eq!(store.missing(&asked).await.unwrap(), [never, never]);
    assert_eq!(server.requests().await - before, 2);
}

#[tokio::test]
async fn what_is_signed_stays_signed_and_is_listed() {
    let server = start(Rights::default()).await;
    let store = server.store("/ns/team");
    let ring = Keyring::new(SigningKey::generate().unwrap());
    let mut entry = Entry { value: "value".into(), ..Entry::default() };
    entry.meta.name = "signed".to_owned();
    ring.sign(&key(1), &mut entry).unwrap();
    assert_eq!(store.put(&key(1), &entry, PutMode::IfAbsent).await.unwrap(), PutOutcome::Stored);
    assert_eq!(store.put(&key(1), &entry, PutMode::IfAbsent).await.unwrap(), PutOutcome::Present);
    assert_eq!(store.get(&key(1)).await.unwrap().as_ref(), Some(&entry));
    let page = store.list(&ListFilter::default(), None, 10).await.unwrap();
    assert_eq!((page.items.len(), page.items[0].signer), (1, entry.signer()));
    assert_eq!(page.items[0].meta, entry.meta);
    let other = server.store("/ns/other");
    assert_eq!(other.get(&key(1)).await.unwrap(), None);
    assert!(other.list(&ListFilter::default(), None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_entry_without_its_blobs_says_which() {
    let server = start(Rights::default()).await;
    let store = server.store("");
    let (here, never) = (content(1, 100), Digest::sha256(b"never"));
    let digest = Digest::blake3(&here);
    store.write(&digest, 100, here.into()).await.unwrap();
    let entry = Entry { outputs: vec![file(digest, 100), file(never, 5)], ..Entry::default() };
    let error = store.put(&key(1), &entry, PutMode::Overwrite).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { digest } if digest == never), "{error}");
}

#[tokio::test]
async fn what_the_server_lost_or_damaged_is_a_miss() {
    let server = start(Rights::default()).await;
    let store = server.store("");
    let blob = content(1, 300_000);
    let digest = Digest::blake3(&blob);
    store.write(&digest, 300_000, in_pieces(&blob, 10_000)).await.unwrap();
    let entry = Entry { outputs: vec![file(digest, 300_000)], ..Entry::default() };
    assert_eq!(store.put(&key(1), &entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    // It is in the server's own store under the same digest, and goes behind its back.
    assert!(server.store.delete(&digest).await.unwrap());
    assert_eq!(store.get(&key(1)).await.unwrap(), None);
    assert_eq!(store.get_many(&[key(1)]).await.unwrap(), [None]);
    assert_eq!(store.missing(&[digest]).await.unwrap(), [digest]);
    assert!(store.read(&digest, None).await.unwrap().is_none());
    // It heals.
    store.write(&digest, 300_000, blob.into()).await.unwrap();
    assert_eq!(store.put(&key(1), &entry, PutMode::IfAbsent).await.unwrap(), PutOutcome::Present);
    assert_eq!(store.get(&key(1)).await.unwrap(), Some(entry));
}

#[tokio::test]
async fn tokens_are_needed_and_refusals_say_what_to_do() {
    let (reader, read) = cache_server::Token::create("reader", Right::Read, None).unwrap();
    let server = start(Rights { tokens: vec![reader], anonymous: Anonymous::Off }).await;
    let error = server.store("").get(&key(1)).await.unwrap_err();
    assert!(error.to_string().contains("`token`") && !error.is_retryable(), "{error}");
    let mut options = server.options("");
    options.token = Some(Token::new(read.reveal()).unwrap());
    let store = HttpStore::open(options).unwrap();
    assert_eq!(store.get(&key(1)).await.unwrap(), None);
    assert_eq!(store.get_many(&[key(1)]).await.unwrap(), [None]);
    let refused = [
        store.put(&key(1), &Entry::default(), PutMode::Overwrite).await.unwrap_err(),
        store.write(&Digest::blake3(b"x"), 1, Bytes::from_static(b"x").into()).await.unwrap_err(),
        store.remove(&key(1)).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.to_string().contains("403")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_broke_off() {
    const LEN: u64 = 24 << 20;
    const CUT: u64 = 20 << 20;
    let server = start(Rights::default()).await;
    let blob = content(1, LEN as usize);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    std::fs::write(&path, [&b"before"[..], &blob, b"after"].concat()).unwrap();
    let mut file = std::fs::File::open(&path).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(6)).unwrap();
    let bodies: [(Digest, Body); 2] = [
        (Digest::blake3(&blob), blob.clone().into()),
        (Digest::sha256(&blob), Body::File { file, len: LEN, path: None }),
    ];
    for (digest, body) in bodies {
        let (address, moved) = passing(server.address, CUT).await;
        let mut options = server.options("");
        options.url = format!("http://{address}");
        let store = HttpStore::open(options).unwrap();
        store.write(&digest, LEN, body).await.unwrap();
        let sent = moved.there.load(Ordering::SeqCst);
        assert!((LEN..CUT + LEN - (1 << 20)).contains(&sent), "{sent} bytes were sent");
        let read = server.store("").read(&digest, None).await.unwrap().unwrap();
        assert!(read.into_bytes(LEN).await.unwrap() == blob);
    }
    // A stream is gone.
    let (address, _) = passing(server.address, CUT).await;
    let mut options = server.options("/ns/other");
    options.url = format!("http://{address}/ns/other");
    let store = HttpStore::open(options).unwrap();
    let digest = Digest::blake3(&blob);
    assert!(store.write(&digest, LEN, in_pieces(&blob, 1 << 20)).await.is_err());
    assert_eq!(store.missing(&[digest]).await.unwrap(), [digest]);
}

#[tokio::test]
async fn a_large_blob_that_is_another_one_is_never_stored() {
    let server = start(Rights::default()).await;
    let store = server.store("/ns/team");
    let blob = content(1, 9 << 20);
    let digest = Digest::blake3(b"another one");
    let error = store.write(&digest, 9 << 20, blob.clone().into()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let error = store.write(&digest, 10 << 20, blob.clone().into()).await.unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { .. }), "{error}");
    assert_eq!(store.missing(&[digest]).await.unwrap(), [digest]);
    let digest = Digest::blake3(&blob);
    store.write(&digest, 9 << 20, blob.into()).await.unwrap();
    assert_eq!(store.missing(&[digest]).await.unwrap(), []);
}
