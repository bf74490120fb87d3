//! A real server: nginx with its DAV module.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::fs;
use std::time::Duration;

use cache_core::{Body, Digest, Entry, Error, HashFunction, Key, PutMode, PutOutcome, Store};
use cache_http_client::{HttpOptions, HttpStore, Mode, Token};
use cache_testkit::{content, in_pieces};

use common::nginx::Nginx;
use common::{WITHOUT_LISTS, conforms};

fn open(url: String) -> HttpStore {
    HttpStore::open(HttpOptions::new(url)).unwrap()
}

async fn nginx_conforms(makes_collections: bool, trust_ranges: bool) {
    let Some(nginx) = Nginx::start(makes_collections) else { return };
    let open = move |number| {
        let name = format!("store{number}");
        fs::create_dir(nginx.files(&name)).unwrap();
        let mut options = HttpOptions::new(nginx.url(&name));
        options.trust_ranges = trust_ranges;
        // Two cores with everything else of a test run on them.
        options.timeout = Duration::from_mins(2);
        options.stall = Duration::from_mins(1);
        HttpStore::open(options).unwrap()
    };
    conforms(open, &WITHOUT_LISTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    nginx_conforms(true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_where_collections_are_made_by_hand_and_ranges_are_trusted() {
    nginx_conforms(false, true).await;
}

#[tokio::test]
async fn what_somebody_damaged_is_a_miss_and_never_data() {
    let Some(nginx) = Nginx::start(true) else { return };
    let store = open(nginx.url("a"));
    let key = Key::from_bytes([7; 32]);
    let entry = Entry { value: content(1, 1000), ..Entry::default() };
    assert_eq!(store.put(&key, &entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    let path = nginx.files("a").join(format!("e/07/{key}"));
    let whole = fs::read(&path).unwrap();
    let wrong = [
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"x"].concat(),
        whole.iter().map(|byte| byte ^ 1).collect(),
        b"<html>It works!</html>".to_vec(),
    ];
    for wrong in wrong {
        fs::write(&path, wrong).unwrap();
        assert_eq!(store.get(&key).await.unwrap(), None);
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(store.get(&key).await.unwrap(), Some(entry));
    // The right bytes at another key's place.
    let other = Key::from_bytes([8; 32]);
    fs::create_dir_all(nginx.files("a").join("e/08")).unwrap();
    fs::write(nginx.files("a").join(format!("e/08/{other}")), &whole).unwrap();
    assert_eq!(store.get(&other).await.unwrap(), None);
    for len in [1000, 3 << 20] {
        let blob = content(2, len);
        let digest = Digest::sha256(&blob);
        store.write(&digest, len as u64, in_pieces(&blob, 70_000)).await.unwrap();
        let hex = digest.to_hex();
        let path = nginx.files("a").join(format!("b/sha256/{}/{hex}", &hex[..2]));
        assert_eq!(fs::read(&path).unwrap(), blob, "a blob is stored as it is");
        let mut damaged = blob.to_vec();
        damaged[len / 2] ^= 1;
        for wrong in [&damaged[..], &blob[..len - 1]] {
            fs::write(&path, wrong).unwrap();
            for range in [None, Some(5..10)] {
                let Some(mut body) = store.read(&digest, range).await.unwrap() else { continue };
                let mut handed = 0;
                let error = loop {
                    match body.next().await {
                        Ok(Some(piece)) => handed += piece.len(),
                        Ok(None) => panic!("a damaged blob of {len} bytes ends as if it were whole"),
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
                assert!(len > 1 << 20 && handed < wrong.len());
            }
        }
    }
}

#[tokio::test]
async fn the_token_is_sent_and_what_is_refused_says_what_to_do() {
    let Some(nginx) = Nginx::start(true) else { return };
    let mut options = HttpOptions::new(nginx.url("secret"));
    let key = Key::from_bytes([1; 32]);
    let error = HttpStore::open(options.clone()).unwrap().get(&key).await.unwrap_err();
    assert!(error.to_string().contains("`token`") && !error.is_retryable(), "{error}");
    options.token = Some(Token::new("s3cret").unwrap());
    let store = HttpStore::open(options.clone()).unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.put(&key, &Entry::default(), PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    assert_eq!(store.get(&key).await.unwrap(), Some(Entry::default()));
    assert!(!format!("{store:?}").contains("s3cret"));

    let blob = content(3, 5000);
    let digest = Digest::blake3(&blob);
    let error = open(nginx.url("small")).write(&digest, 5000, blob.clone().into()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 5000, .. }), "{error}");
    let error = open(nginx.url("readonly")).write(&digest, 5000, blob.into()).await.unwrap_err();
    assert!(error.to_string().contains("dav_methods") && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn modes_are_kept() {
    let Some(nginx) = Nginx::start(true) else { return };
    let mut options = HttpOptions::new(nginx.url("a"));
    let (blob, key) = (content(3, 50), Key::from_bytes([1; 32]));
    let digest = Digest::blake3(&blob);
    options.mode = Mode::Write;
    let writer = HttpStore::open(options.clone()).unwrap();
    writer.write(&digest, 50, blob.clone().into()).await.unwrap();
    assert_eq!(writer.put(&key, &Entry::default(), PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    assert_eq!(writer.get(&key).await.unwrap(), None);
    assert!(writer.read(&digest, None).await.unwrap().is_none());
    assert_eq!(writer.missing(&[digest]).await.unwrap(), []);
    options.mode = Mode::Read;
    let reader = HttpStore::open(options).unwrap();
    assert!(reader.get(&key).await.unwrap().is_some() && reader.read(&digest, None).await.unwrap().is_some());
    let refused = [
        reader.write(&digest, 50, blob.into()).await.unwrap_err(),
        reader.put(&key, &Entry::default(), PutMode::Overwrite).await.unwrap_err(),
        reader.remove(&key).await.unwrap_err(),
        reader.delete(&digest).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Error::Unsupported { .. })), "{refused:?}");
}

#[tokio::test]
async fn large_content_comes_back_and_is_sent_once() {
    let Some(nginx) = Nginx::start(true) else { return };
    let store = open(nginx.url("a"));
    for function in HashFunction::ALL {
        let blob = content(4, 9 << 20);
        let digest = Digest::of(function, &blob);
        store.write(&digest, blob.len() as u64, in_pieces(&blob, 100_000)).await.unwrap();
        let body = store.read(&digest, None).await.unwrap().unwrap();
        assert!(matches!(body, Body::Stream(_)), "nine megabytes are in memory as a whole");
        assert_eq!(body.into_bytes(9 << 20).await.unwrap(), blob);
        store.delete(&digest).await.unwrap();
        store.write(&digest, blob.len() as u64, blob.clone().into()).await.unwrap();
        assert_eq!(store.missing(&[digest]).await.unwrap(), []);
        let (again, pulled) = cache_testkit::counted(&blob, 100_000);
        store.write(&digest, blob.len() as u64, again).await.unwrap();
        assert_eq!(pulled.bytes(), 0, "content that is there is sent again");
    }
}

#[tokio::test]
async fn collections_that_somebody_removed_are_made_again() {
    let Some(nginx) = Nginx::start(false) else { return };
    fs::create_dir(nginx.files("a")).unwrap();
    let mut options = HttpOptions::new(nginx.url("a"));
    options.retries = 0;
    let store = HttpStore::open(options).unwrap();
    for len in [100, 3 << 20] {
        let blob = content(1, len);
        let (digest, len) = (Digest::blake3(&blob), len as u64);
        store.write(&digest, len, blob.clone().into()).await.unwrap();
        fs::remove_dir_all(nginx.files("a").join("b")).unwrap();
        assert_eq!(store.missing(&[digest]).await.unwrap(), [digest]);
        // The first one may find out, and the second one finds a place.
        let _ = store.write(&digest, len, blob.clone().into()).await;
        store.write(&digest, len, blob.clone().into()).await.unwrap();
        assert!(store.read(&digest, None).await.unwrap().unwrap().into_bytes(len).await.unwrap() == blob);
    }
}
