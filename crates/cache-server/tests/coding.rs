//! Blobs that are compressed on their way, by our own protocol.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use cache_core::coding::{Coding, Decoder, Encoder};
use cache_core::{Digest, HashFunction};
use common::{content, start};

fn blob_at(digest: &Digest) -> String {
    format!("/v1/blobs/{}/{}", digest.function().name(), digest.to_hex())
}

/// Returns `content` coded, from a frame for each half.
fn coded(coding: Coding, content: &[u8]) -> Vec<u8> {
    let (first, second) = content.split_at(content.len() / 2);
    let mut coded = Vec::new();
    for half in [first, second] {
        let mut encoder = Encoder::new(coding, half.len() as u64).unwrap();
        coded.extend_from_slice(&encoder.push(half).unwrap());
        coded.extend_from_slice(&encoder.finish().unwrap());
    }
    coded
}

fn decoded(coding: Coding, coded: Vec<u8>) -> Vec<u8> {
    let mut decoder = Decoder::new(coding, 17).unwrap();
    decoder.push(coded.into());
    let mut content = Vec::new();
    while let Some(piece) = decoder.take().unwrap() {
        content.extend_from_slice(&piece);
    }
    assert!(!decoder.is_open());
    content
}

/// Returns bytes that do not shrink.
fn random(len: usize) -> Vec<u8> {
    (0..=len as u64 / 32)
        .flat_map(|i| Digest::blake3(&i.to_le_bytes()).as_bytes().to_vec())
        .take(len)
        .collect()
}

#[tokio::test]
async fn blobs_come_coded_to_those_who_read_that() {
    let server = start().await;
    let mut client = server.connect().await;
    for coding in Coding::ALL {
        let accept = ("Accept-Encoding", coding.name());
        for value in [vec![7; 5_000], content(2_000_000, 4)] {
            let path = blob_at(&Digest::blake3(&value));
            let len = value.len().to_string();
            assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 204);
            let got = client.ask("GET", &path, &[accept], b"").await;
            assert_eq!((got.status, got.header("content-encoding")), (200, Some(coding.name())));
            assert_eq!((got.header("content-length"), got.header("etag")), (None, None));
            assert_eq!(got.header("x-digest-sizebytes"), Some(len.as_str()));
            assert_eq!(got.header("vary"), Some("accept-encoding"));
            assert!(got.body.len() < value.len() / 2);
            assert!(decoded(coding, got.body) == value);
            let head = client.ask("HEAD", &path, &[accept], b"").await;
            assert_eq!(
                (head.header("content-length"), head.header("content-encoding")),
                (Some(len.as_str()), None)
            );
            // A part is a part of the blob as it is, so that a download can go on.
            let part = client.ask("GET", &path, &[accept, ("Range", "bytes=4990-")], b"").await;
            assert_eq!((part.status, part.header("content-encoding")), (206, None));
            assert!(part.body == value[4990..]);
            for other in ["gzip", "zstd;q=0, lz4;q=0", "identity"] {
                let got = client.ask("GET", &path, &[("Accept-Encoding", other)], b"").await;
                assert_eq!((got.header("content-encoding"), got.body == value), (None, true), "{other}");
            }
        }
        // What does not shrink comes as it is, with its length.
        let value = random(1_000_000);
        let path = blob_at(&Digest::blake3(&value));
        assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 204);
        let got = client.ask("GET", &path, &[accept], b"").await;
        assert_eq!((got.header("content-encoding"), got.header("content-length")), (None, Some("1000000")));
        assert!(got.header("etag").is_some() && got.body == value);
    }
}

#[tokio::test]
async fn coded_uploads_are_verified_and_stored_as_what_they_are() {
    let server = start().await;
    let mut client = server.connect().await;
    let value = content(1_500_000, 6);
    let asked = client.ask("HEAD", &blob_at(&Digest::blake3(&value)), &[], b"").await;
    assert_eq!((asked.status, asked.header("accept-encoding")), (404, Some("zstd, lz4")));
    for (coding, function) in Coding::ALL.into_iter().zip(HashFunction::ALL) {
        let digest = Digest::of(function, &value);
        let size = value.len().to_string();
        let headers = [("Content-Encoding", coding.name()), ("X-Digest-SizeBytes", size.as_str())];
        let answer = client.ask("PUT", &blob_at(&digest), &headers, &coded(coding, &value)).await;
        assert_eq!((answer.status, answer.header("accept-encoding")), (204, Some("zstd, lz4")));
        assert!(client.ask("GET", &blob_at(&digest), &[], b"").await.body == value);
    }
    let digest = Digest::blake3(b"never");
    let headers = [("Content-Encoding", "gzip"), ("X-Digest-SizeBytes", "5")];
    let answer = client.ask("PUT", &blob_at(&digest), &headers, b"never").await;
    assert_eq!((answer.status, answer.header("accept-encoding")), (415, Some("zstd, lz4")));
}

#[tokio::test]
async fn coded_uploads_that_are_not_what_they_say_are_refused() {
    let server = start().await;
    let value = content(600_000, 6);
    let digest = Digest::blake3(&value);
    for coding in Coding::ALL {
        let sent = coded(coding, &value);
        let mut damaged = sent.clone();
        damaged[sent.len() / 2] ^= 0xff;
        // A hundred megabytes in a few kilobytes.
        let bomb = coded(coding, &vec![0; 100 << 20]);
        for (size, body, why) in [
            ("600001", &sent, "as announced"),
            ("599999", &sent, "longer than announced"),
            ("600000", &bomb, "longer than announced"),
            ("600000", &sent[..sent.len() - 1].to_vec(), "ends too early"),
            ("600000", &[&sent[..], b"more"].concat(), "the content is not"),
            ("600000", &value, "the content is not"),
            ("600000", &coded(coding, &content(600_000, 7)), "digest"),
            ("600000", &damaged, ""),
            ("-1", &sent, "X-Digest-SizeBytes"),
        ] {
            // A refusal may end the connection.
            let headers = [("Content-Encoding", coding.name()), ("X-Digest-SizeBytes", size)];
            let answer = server.ask("PUT", &blob_at(&digest), &headers, body).await;
            assert_eq!(answer.status, 400, "{coding} {why}: {}", answer.text());
            assert!(answer.text().contains(why), "{coding} {why}: {}", answer.text());
        }
        let huge = [("Content-Encoding", coding.name()), ("X-Digest-SizeBytes", "99999999999999")];
        assert_eq!(server.ask("PUT", &blob_at(&digest), &huge, &sent).await.status, 413);
    }
    assert_eq!(server.ask("HEAD", &blob_at(&digest), &[], b"").await.status, 404);
}

#[tokio::test]
async fn coded_parts_make_a_blob_and_what_arrived_of_one_stays() {
    let server = start().await;
    let value = content(3_000_000, 9);
    for coding in Coding::ALL {
        let digest = Digest::blake3(&value);
        let path = format!("/v1/uploads/blake3/{}", digest.to_hex());
        let begun = server.ask("POST", &path, &[("Upload-Length", "3000000")], b"").await;
        assert_eq!((begun.status, begun.header("accept-encoding")), (201, Some("zstd, lz4")));
        let at = begun.header("location").unwrap();
        let part = |offset: &'static str| [("Upload-Offset", offset), ("Content-Encoding", coding.name())];
        let first = server.ask("PATCH", at, &part("0"), &coded(coding, &value[..1_000_000])).await;
        assert_eq!((first.status, first.header("upload-offset")), (204, Some("1000000")), "{}", first.text());
        // What follows the first frame is none.
        let second = [&coded(coding, &value[1_000_000..2_000_000])[..], b"garbage"].concat();
        assert_eq!(server.ask("PATCH", at, &part("1000000"), &second).await.status, 400);
        let there = server.ask("HEAD", at, &[], b"").await;
        assert_eq!(there.header("upload-offset"), Some("2000000"));
        // More than is left, however little of it arrives.
        let bomb = server.ask("PATCH", at, &part("2000000"), &coded(coding, &vec![0; 50 << 20])).await;
        assert_eq!(bomb.status, 400, "{}", bomb.text());
        let there = server.ask("HEAD", at, &[], b"").await;
        let there: usize = there.header("upload-offset").unwrap().parse().unwrap();
        assert!((2_000_000..3_000_000).contains(&there));
        assert_eq!(server.ask("DELETE", at, &[], b"").await.status, 204);

        let begun = server.ask("POST", &path, &[("Upload-Length", "3000000")], b"").await;
        let at = begun.header("location").unwrap();
        let whole = server.ask("PATCH", at, &part("0"), &coded(coding, &value)).await;
        assert_eq!((whole.status, whole.header("upload-offset")), (204, Some("3000000")), "{}", whole.text());
        assert!(server.ask("GET", &blob_at(&digest), &[], b"").await.body == value);
        assert_eq!(server.ask("DELETE", &blob_at(&digest), &[], b"").await.status, 204);
    }
}
