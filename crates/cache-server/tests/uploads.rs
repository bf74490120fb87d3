//! Uploads in parts, under `/v1/uploads/`.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::fs;

use cache_core::Digest;
use cache_server::{Anonymous, Limits, Right, Rights, ServerOptions, Token};
use common::{Answer, Running, content, memory, options, start, start_with};

fn blob_at(digest: &Digest) -> String {
    format!("/v1/blobs/{}/{}", digest.function().name(), digest.to_hex())
}

/// Begins an upload below `prefix`.
async fn begin(server: &Running, prefix: &str, digest: &Digest, len: usize) -> Answer {
    let path = format!("{prefix}/v1/uploads/{}/{}", digest.function().name(), digest.to_hex());
    server.ask("POST", &path, &[("Upload-Length", &len.to_string())], b"").await
}

async fn place(server: &Running, digest: &Digest, len: usize) -> String {
    let begun = begin(server, "", digest, len).await;
    assert_eq!((begun.status, begun.header("upload-offset")), (201, Some("0")), "{}", begun.text());
    begun.header("location").unwrap().to_owned()
}

async fn append(server: &Running, at: &str, offset: usize, part: &[u8]) -> Answer {
    server.ask("PATCH", at, &[("Upload-Offset", &offset.to_string())], part).await
}

async fn offset(server: &Running, at: &str) -> Option<usize> {
    let found = server.ask("HEAD", at, &[], b"").await;
    (found.status == 204).then(|| found.header("upload-offset").unwrap().parse().unwrap())
}

#[tokio::test]
async fn parts_make_a_blob() {
    let server = start().await;
    for (len, parts) in [(0, 1), (10, 2), (400_000, 1), (3 << 20, 3)] {
        let value = content(len, 1);
        for digest in [Digest::blake3(&value), Digest::sha256(&value)] {
            let at = place(&server, &digest, len).await;
            let mut there = 0;
            for part in 1..=parts {
                assert_eq!(offset(&server, &at).await, Some(there));
                assert_eq!(server.ask("HEAD", &blob_at(&digest), &[], b"").await.status, 404);
                let end = len * part / parts;
                let answer = append(&server, &at, there, &value[there..end]).await;
                assert_eq!(answer.status, 204, "{}", answer.text());
                assert_eq!(answer.header("upload-offset"), Some(&*end.to_string()));
                there = end;
            }
            assert_eq!(offset(&server, &at).await, None);
            let got = server.ask("GET", &blob_at(&digest), &[], b"").await;
            assert_eq!((got.status, got.body == value), (200, true));
            assert_eq!(server.ask("DELETE", &blob_at(&digest), &[], b"").await.status, 204);
        }
    }
}

#[tokio::test]
async fn what_arrived_before_the_connection_broke_stays() {
    let server = start().await;
    let value = content(2 << 20, 2);
    let digest = Digest::blake3(&value);
    let at = place(&server, &digest, value.len()).await;
    let mut broken = server.connect().await;
    let head =
        format!("PATCH {at} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    broken.send(head.as_bytes()).await;
    broken.send(&value[..700_001]).await;
    // What is sent has arrived when the server closes its side.
    drop(broken);
    let mut there = offset(&server, &at).await.unwrap();
    while there < 700_001 {
        // The server may not have read all of it when it was asked, and ended the part then.
        let part = append(&server, &at, there, &value[there..700_001]).await;
        if part.status == 204 {
            there = 700_001;
        } else {
            assert!(matches!(part.status, 409 | 423), "{}", part.text());
            there = offset(&server, &at).await.unwrap();
        }
    }
    let rest = append(&server, &at, there, &value[there..]).await;
    assert_eq!(rest.status, 204, "{}", rest.text());
    assert!(server.ask("GET", &blob_at(&digest), &[], b"").await.body == value);
}

#[tokio::test]
async fn one_part_at_a_time_and_whoever_asks_ends_it() {
    let server = start().await;
    let value = content(1 << 20, 3);
    let at = place(&server, &Digest::sha256(&value), value.len()).await;
    let mut slow = server.connect().await;
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        1 << 20
    );
    slow.send(head.as_bytes()).await;
    // The server has begun to read.
    assert_eq!(slow.answer(false).await.unwrap().status, 100);
    assert_eq!(append(&server, &at, 0, &value).await.status, 423);
    assert_eq!(offset(&server, &at).await, Some(0));
    assert_eq!(slow.answer(false).await.unwrap().status, 409);
    assert_eq!(append(&server, &at, 0, &value).await.status, 204);
}

#[tokio::test]
async fn other_offsets_lengths_and_digests_are_refused() {
    let server = start().await;
    let value = content(1000, 4);
    for digest in [Digest::blake3(&value), Digest::sha256(&value)] {
        let at = place(&server, &digest, 1000).await;
        assert_eq!(append(&server, &at, 0, &value[..400]).await.status, 204);
        for wrong in [0, 399, 401, 1000] {
            let answer = append(&server, &at, wrong, &value[400..]).await;
            assert_eq!((answer.status, answer.header("upload-offset")), (409, Some("400")));
            assert!(answer.text().contains("native.md#other-offset"));
        }
        for bad in
            [&[][..], &[("Upload-Offset", "+400")], &[("Upload-Offset", "400"), ("Upload-Offset", "400")]]
        {
            assert_eq!(server.ask("PATCH", &at, bad, b"x").await.status, 400, "{bad:?}");
        }
        assert_eq!(append(&server, &at, 400, &content(601, 4)).await.status, 400);
        assert_eq!(offset(&server, &at).await, Some(400));
        let other = append(&server, &at, 400, &value[..600]).await;
        assert_eq!(other.status, 422);
        assert!(other.text().contains("native.md#other-digest"));
        assert_eq!(offset(&server, &at).await, None);
        assert_eq!(append(&server, &at, 1000, b"").await.status, 404);
        assert_eq!(server.ask("GET", &blob_at(&digest), &[], b"").await.status, 404);
    }
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let server = start().await;
    let digest = Digest::blake3(b"value");
    let at = place(&server, &digest, 5).await;
    assert_eq!(append(&server, &at, 0, b"val").await.status, 204);
    assert_eq!(server.ask("DELETE", &at, &[], b"").await.status, 204);
    assert_eq!(server.ask("DELETE", &at, &[], b"").await.status, 404);
    assert_eq!(append(&server, &at, 3, b"ue").await.status, 404);
}

#[tokio::test]
async fn an_upload_belongs_to_its_namespace_and_to_who_may_write() {
    let (reader, read) = Token::create("reader", Right::Read, None).unwrap();
    let (writer, write) = Token::create("writer", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![reader, writer], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let (read, write) = (format!("Bearer {}", read.reveal()), format!("Bearer {}", write.reveal()));
    let path = format!("/ns/team/v1/uploads/blake3/{}", Digest::blake3(b"value").to_hex());
    let ask = async |method, path: &str, token: &str, name, number| {
        let headers = [("Authorization", token), (name, number)];
        server.ask(method, path, &headers, b"").await
    };
    assert_eq!(ask("POST", &path, &read, "Upload-Length", "5").await.status, 403);
    let begun = ask("POST", &path, &write, "Upload-Length", "5").await;
    let at = begun.header("location").unwrap();
    assert!(at.starts_with("/ns/team/v1/uploads/"), "{at}");
    let elsewhere = at.strip_prefix("/ns/team").unwrap();
    for method in ["HEAD", "PATCH", "DELETE"] {
        assert_eq!(ask(method, at, &read, "Upload-Offset", "0").await.status, 403, "{method}");
        assert_eq!(ask(method, elsewhere, &write, "Upload-Offset", "0").await.status, 404, "{method}");
    }
    assert_eq!(ask("HEAD", at, &write, "Upload-Offset", "0").await.status, 204);
}

#[tokio::test]
async fn uploads_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { spool_bytes: 1 << 20, max_value: 4 << 20, ..Limits::default() };
    let spool_dir = Some(dir.path().to_owned());
    let server = start_with(ServerOptions { limits, spool_dir, ..options() }, memory()).await;
    let value = content(2 << 20, 5);
    let digest = Digest::blake3(&value);
    assert_eq!(begin(&server, "", &digest, (4 << 20) + 1).await.status, 413);
    let at = place(&server, &digest, value.len()).await;
    // What fits stays, and gives its room back.
    assert_eq!(append(&server, &at, 0, &value).await.status, 507);
    let there = offset(&server, &at).await.unwrap();
    assert!((1..=1 << 20).contains(&there), "{there}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a file has a name");
    assert_eq!(server.ask("PUT", &blob_at(&digest), &[], &value).await.status, 507);
    assert_eq!(server.ask("DELETE", &at, &[], b"").await.status, 204);
    let small = content(900_000, 6);
    assert_eq!(server.ask("PUT", &blob_at(&Digest::blake3(&small)), &[], &small).await.status, 204);

    let mut last = String::new();
    for _ in 0..256 {
        last = place(&server, &digest, 10).await;
    }
    let busy = begin(&server, "", &digest, 10).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    assert_eq!(server.ask("DELETE", &last, &[], b"").await.status, 204);
    assert_eq!(begin(&server, "", &digest, 10).await.status, 201);
}
