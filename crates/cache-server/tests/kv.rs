//! Plain values under `/kv/`.

mod common;

use common::{content, start};

#[tokio::test]
async fn what_is_stored_comes_back_at_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let fs = cache_fs::FsStore::open(dir.path(), cache_fs::Options::default()).unwrap();
    for server in [start().await, common::start_with(common::options(), std::sync::Arc::new(fs)).await] {
        let mut client = server.connect().await;
        for len in [0, 1, 16 << 10, (16 << 10) + 1, 256 << 10, (256 << 10) + 1, 5 << 20] {
            let value = content(len, 7);
            let path = format!("/kv/size/{len}");
            assert_eq!(client.ask("GET", &path, &[], b"").await.status, 404);
            assert_eq!(client.ask("HEAD", &path, &[], b"").await.status, 404);
            assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 200);
            let got = client.ask("GET", &path, &[], b"").await;
            assert_eq!((got.status, got.body == value), (200, true), "{len}");
            let head = client.ask("HEAD", &path, &[], b"").await;
            assert_eq!((head.status, head.header("content-length")), (200, Some(len.to_string().as_str())));
        }
    }
}

#[tokio::test]
async fn routes_and_status_codes() {
    let server = start().await;
    let mut client = server.connect().await;
    for (method, path, status) in [
        ("GET", "/kv/a/b", 404),
        ("DELETE", "/kv/a/b", 404),
        ("PUT", "/kv/a/b", 200),
        ("PUT", "/kv/a/b", 200),
        ("GET", "/kv//a//b", 200),
        ("GET", "/kv/a/b?x=1", 200),
        ("GET", "/kv/a/%62", 200),
        ("GET", "/kv/a", 404),
        ("GET", "/kv/", 404),
        ("PUT", "/kv/", 404),
        ("POST", "/kv/a/b", 405),
        ("PATCH", "/kv/a/b", 405),
        ("GET", "/kv/../etc/passwd", 400),
        ("PUT", "/kv/%2e%2e/x", 400),
        ("PUT", "/kv/a%2Fb", 400),
        ("PUT", "/kv/a%00", 400),
        ("PUT", "/kv/a%5cb", 400),
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("DELETE", "/kv/a/b", 204),
        ("GET", "/kv/a/b", 404),
    ] {
        let answer = client.ask(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.header("x-request-id").is_some());
    }
    let long = format!("/kv/{}", "a".repeat(300));
    assert_eq!(client.ask("PUT", &long, &[], b"x").await.status, 414);
}

#[tokio::test]
async fn parts_conditions_and_descriptions() {
    let server = start().await;
    let mut client = server.connect().await;
    for value in [content(1_000, 1), content(600_000, 2)] {
        let headers = [("Content-Type", "text/x-nix-narinfo"), ("Content-Encoding", "br")];
        client.ask("PUT", "/kv/v", &headers, &value).await;
        let whole = client.ask("GET", "/kv/v", &[], b"").await;
        assert_eq!(whole.header("content-type"), Some("text/x-nix-narinfo"));
        assert_eq!(whole.header("content-encoding"), Some("br"));
        let etag = whole.header("etag").unwrap();
        for (range, start, end) in [
            ("bytes=10-19", 10, 20),
            ("bytes=-5", value.len() - 5, value.len()),
            ("bytes=7-", 7, value.len()),
        ] {
            let part = client.ask("GET", "/kv/v", &[("Range", range)], b"").await;
            assert_eq!((part.status, part.body == value[start..end]), (206, true), "{range}");
            let expected = format!("bytes {start}-{}/{}", end - 1, value.len());
            assert_eq!(part.header("content-range"), Some(expected.as_str()));
        }
        let beyond = client.ask("GET", "/kv/v", &[("Range", "bytes=600000-")], b"").await;
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", value.len()).as_str()));
        assert_eq!(client.ask("GET", "/kv/v", &[("If-None-Match", etag)], b"").await.status, 304);
        assert_eq!(client.ask("HEAD", "/kv/v", &[("If-None-Match", etag)], b"").await.status, 304);
        let stale =
            client.ask("GET", "/kv/v", &[("Range", "bytes=0-1"), ("If-Range", "\"other\"")], b"").await;
        assert_eq!((stale.status, stale.body.len()), (200, value.len()));
    }
    assert_eq!(client.ask("PUT", "/kv/v", &[("If-None-Match", "*")], b"other").await.status, 412);
    assert_eq!(client.ask("PUT", "/kv/w", &[("If-None-Match", "*")], b"other").await.status, 200);
}

#[tokio::test]
async fn bodies_in_chunks_and_bodies_that_are_asked_for() {
    let server = start().await;
    let mut client = server.connect().await;
    client.send(b"PUT /kv/c HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.unwrap().status, 200);
    client.send(b"PUT /kv/e HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(client.answer(false).await.unwrap().status, 100);
    client.send(b"xyz").await;
    assert_eq!(client.answer(false).await.unwrap().status, 200);
    assert_eq!(client.ask("GET", "/kv/c", &[], b"").await.body, b"abcde");
    assert_eq!(client.ask("GET", "/kv/e", &[], b"").await.body, b"xyz");
}

#[tokio::test]
async fn many_writers_of_one_name_leave_one_whole_value() {
    let server = start().await;
    let mut writers = tokio::task::JoinSet::new();
    for seed in 0..8 {
        let mut client = server.connect().await;
        writers
            .spawn(async move { client.ask("PUT", "/kv/same", &[], &content(300_000, seed)).await.status });
    }
    while let Some(status) = writers.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let got = server.ask("GET", "/kv/same", &[], b"").await;
    assert!((0..8).any(|seed| got.body == content(300_000, seed)));
}
