//! Blobs that are compressed on their way to and from a real server of this project.

mod common;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use cache_core::envelope::Compression;
use cache_core::{Body, Digest, Store};
use cache_http_client::{Backend, HttpOptions, HttpStore};
use cache_server::Rights;
use cache_testkit::{content, in_pieces};

use common::ours::{Running, passing, start};

/// Bytes of requests and answers beside their content.
const HEADS: u64 = 16 << 10;

/// Returns `len` bytes that shrink to a fraction.
fn text(len: usize) -> Bytes {
    let lines = (0_u64..).flat_map(|i| format!("object {} of the build is there\n", i * i).into_bytes());
    lines.take(len).collect::<Vec<u8>>().into()
}

fn options(server: &Running, path: &str, compression: Compression) -> HttpOptions {
    let mut options = server.options(path);
    options.compression = compression;
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shrinks_goes_compressed_both_ways_and_comes_back_as_it_was() {
    let server = start(Rights::default()).await;
    let dir = tempfile::tempdir().unwrap();
    for (name, compression, shrinks) in [
        ("zstd", Compression::Zstd, true),
        ("lz4", Compression::Lz4, true),
        ("none", Compression::None, false),
    ] {
        let (address, moved) = passing(server.address, u64::MAX).await;
        let mut options = options(&server, "", compression);
        options.url = format!("http://{address}/ns/{name}");
        let store = HttpStore::open(options).unwrap();
        // What it takes is learned from the first answer.
        assert_eq!(store.missing(&[Digest::blake3(b"never")]).await.unwrap().len(), 1);
        let path = dir.path().join(name);
        // In memory; in a request that streams; in parts, from memory and from a file.
        for (number, len) in [100_000, 3 << 20, 9 << 20, 10 << 20].into_iter().enumerate() {
            for blob in [text(len), content(number as u64, len)] {
                let is_text = blob[0] == b'o';
                let (digest, len) = (Digest::blake3(&blob), len as u64);
                std::fs::write(&path, &blob).unwrap();
                let body = match number {
                    1 => in_pieces(&blob, 70_000),
                    3 => Body::File { file: std::fs::File::open(&path).unwrap(), len, path: None },
                    _ => blob.clone().into(),
                };
                let before = moved.there.load(Ordering::SeqCst);
                store.write(&digest, len, body).await.unwrap();
                let sent = moved.there.load(Ordering::SeqCst) - before;
                let before = moved.back.load(Ordering::SeqCst);
                let read = store.read(&digest, None).await.unwrap().unwrap();
                assert!(read.into_bytes(len).await.unwrap() == blob, "{name} {len}");
                let came = moved.back.load(Ordering::SeqCst) - before;
                let bounds = if is_text && shrinks { 0..len / 2 } else { len..len + HEADS };
                assert!(
                    bounds.contains(&sent) && bounds.contains(&came),
                    "{name} {len}: {sent} sent, {came} came"
                );
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_compressed_before_the_server_said_that_it_takes_that() {
    let server = start(Rights::default()).await;
    let (address, moved) = passing(server.address, u64::MAX).await;
    let mut options = options(&server, "", Compression::Zstd);
    options.url = format!("http://{address}");
    let store = HttpStore::open(options).unwrap();
    for (seed, coded) in [(0, false), (1, true)] {
        let blob: Bytes = [&text(100_000)[..], &[seed]].concat().into();
        let before = moved.there.load(Ordering::SeqCst);
        store.write(&Digest::blake3(&blob), 100_001, blob.into()).await.unwrap();
        assert_eq!(moved.there.load(Ordering::SeqCst) - before < 50_000, coded);
    }
}

#[tokio::test]
async fn over_bazels_protocol_downloads_are_compressed() {
    let server = start(Rights::default()).await;
    let (address, moved) = passing(server.address, u64::MAX).await;
    let mut options = options(&server, "", Compression::Zstd);
    options.url = format!("http://{address}");
    options.backend = Backend::Bazel;
    let store = HttpStore::open(options).unwrap();
    for len in [100_000, 3_000_000] {
        let blob = text(len);
        let digest = Digest::blake3(&blob);
        store.write(&digest, len as u64, blob.clone().into()).await.unwrap();
        let before = moved.back.load(Ordering::SeqCst);
        let read = store.read(&digest, None).await.unwrap().unwrap();
        assert!(matches!(read, Body::Bytes(_)) == (len < 1 << 20), "its length is known");
        assert!(read.into_bytes(len as u64).await.unwrap() == blob);
        assert!(moved.back.load(Ordering::SeqCst) - before < len as u64 / 2);
    }
}
