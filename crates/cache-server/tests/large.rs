//! Large values that a disk keeps: whichever way they are sent, they are the bytes that were stored.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::sync::Arc;

use axum::body::Body;
use cache_core::{Digest, HashFunction};
use cache_fs::FsStore;
use common::{Running, content, options, start_with};
use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Larger than what is sent of a file at a time, and no multiple of it.
const LEN: usize = 3_000_001;

async fn start(dir: &tempfile::TempDir) -> Running {
    let store = FsStore::open(dir.path(), cache_fs::Options::default()).unwrap();
    start_with(options(), Arc::new(store)).await
}

#[tokio::test]
async fn parts_of_files_and_whole_ones_follow_each_other_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let mut client = server.connect().await;
    let value = content(LEN, 1);
    assert_eq!(client.ask("PUT", "/kv/large", &[], &value).await.status, 200);
    assert_eq!(client.ask("PUT", "/kv/small", &[], b"small").await.status, 200);
    for (from, to) in [(0, LEN), (0, 1), (LEN - 1, LEN), (1, LEN), (262_143, 262_145), (1_000_000, 2_100_000)]
    {
        let range = format!("bytes={from}-{}", to - 1);
        let got = client.ask("GET", "/kv/large", &[("Range", &range)], b"").await;
        assert_eq!(got.status, 206);
        assert!(got.body == value[from..to], "{range}");
        let got = client.ask("GET", "/kv/large", &[], b"").await;
        assert!(got.status == 200 && got.body == value);
        assert_eq!(client.ask("HEAD", "/kv/large", &[], b"").await.status, 200);
        assert_eq!(client.ask("GET", "/kv/small", &[], b"").await.body, b"small");
    }
    // Asked for all at once, they come one after the other.
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: cache\r\n\r\n");
    client.send([ask("/kv/large"), ask("/kv/small"), ask("/kv/large")].concat().as_bytes()).await;
    for expected in [&value[..], b"small", &value] {
        assert!(client.answer(false).await.unwrap().body == expected);
    }
}

#[tokio::test]
async fn what_is_compressed_on_its_way_or_sent_in_frames_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let value = content(LEN, 2);
    let path = format!("/cas/{}", Digest::of(HashFunction::Sha256, &value).to_hex());
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 200);
    let got = client.ask("GET", &path, &[("Accept-Encoding", "zstd")], b"").await;
    assert_eq!(got.header("content-encoding"), Some("zstd"));
    assert!(zstd::decode_all(&got.body[..]).unwrap() == value);
    // What was looked at and does not shrink goes on as a file.
    let blocks = (0..=LEN as u64 / 32).flat_map(|i| Digest::blake3(&i.to_le_bytes()).as_bytes().to_vec());
    let random: Vec<u8> = blocks.take(LEN).collect();
    let blob = format!("/v1/blobs/sha256/{}", Digest::sha256(&random).to_hex());
    assert_eq!(client.ask("PUT", &blob, &[], &random).await.status, 204);
    for _ in 0..3 {
        let got = client.ask("GET", &blob, &[("Accept-Encoding", "lz4")], b"").await;
        assert!(got.header("content-encoding").is_none() && got.body == random);
    }

    let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://cache{path}");
    let request = Request::get(uri).version(Version::HTTP_2).body(Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == value);
}

#[tokio::test]
async fn a_file_that_is_damaged_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let mut client = server.connect().await;
    let value = content(LEN, 3);
    assert_eq!(client.ask("PUT", "/kv/large", &[], &value).await.status, 200);
    assert!(client.ask("GET", "/kv/large", &[], b"").await.body == value);
    let mut damaged = 0;
    for file in files(dir.path()).into_iter().filter(|file| file.metadata().unwrap().len() == LEN as u64) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[LEN / 2] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1);
    assert_eq!(client.ask("GET", "/kv/large", &[], b"").await.status, 404);
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
