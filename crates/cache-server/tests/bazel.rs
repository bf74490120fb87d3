//! Bazel's HTTP cache: results that are complete, results as JSON, and contents compressed with zstd.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use cache_core::{Digest, Store};
use cache_server::{Anonymous, Protocol, ProtocolOptions, Right, Rights, ServerOptions, Token};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation};
use common::{Client, content, options, start, start_with};

const RESULT: &str = "/ac/00000000000000000000000000000000000000000000000000000000000000aa";
const JSON: (&str, &str) = ("Accept", "application/json");

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn digest(content: &[u8]) -> Vec<u8> {
    let size = [vec![2 << 3], varint(content.len() as u64)].concat();
    [field(1, hex(content).as_bytes()), size].concat()
}

fn hex(content: &[u8]) -> String {
    Digest::sha256(content).to_hex()
}

fn cas(content: &[u8]) -> String {
    format!("/cas/{}", hex(content))
}

/// A file or directory with a name.
fn node(name: &str, content: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, &digest(content))].concat()
}

/// A result and everything that it names, directly or not.
fn result() -> (Vec<u8>, Vec<Vec<u8>>) {
    let (file, stdout, stderr) = (content(100_000, 1), b"out".to_vec(), b"err".to_vec());
    let (in_root, in_child) = (b"in the root".to_vec(), content(20_000, 2));
    let child = field(1, &node("x", &in_child));
    let root = [field(1, &node("y", &in_root)), field(2, &node("child", &child))].concat();
    let tree = [field(1, &root), field(2, &child)].concat();
    let in_leaf = b"in a directory that stands for itself".to_vec();
    let leaf = field(1, &node("z", &in_leaf));
    let top = field(2, &node("leaf", &leaf));
    let result = [
        field(2, &[field(1, b"o/file"), field(2, &digest(&file))].concat()),
        field(3, &[field(1, b"o/tree"), field(3, &digest(&tree))].concat()),
        field(3, &[field(1, b"o/top"), field(5, &digest(&top))].concat()),
        field(6, &digest(&stdout)),
        field(8, &digest(&stderr)),
        // Always there, and beside its digest: neither has to be stored.
        field(2, &[field(1, b"o/empty"), field(2, &digest(b""))].concat()),
        field(2, &[field(1, b"o/inline"), field(2, &digest(b"inline")), field(5, b"inline")].concat()),
        // A field of a later version.
        field(15, b"unknown"),
    ]
    .concat();
    (result, vec![file, stdout, stderr, in_root, in_child, tree, in_leaf, leaf, top])
}

async fn put(client: &mut Client, path: &str, value: &[u8]) {
    let answer = client.ask("PUT", path, &[], value).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

async fn status(client: &mut Client, method: &str, path: &str) -> u16 {
    client.ask(method, path, &[], b"").await.status
}

#[tokio::test]
async fn a_result_is_a_hit_only_with_everything_that_it_names() {
    let (result, contents) = result();
    for absent in 0..contents.len() {
        let server = start().await;
        let mut client = server.connect().await;
        put(&mut client, RESULT, &result).await;
        for (_, content) in contents.iter().enumerate().filter(|(index, _)| *index != absent) {
            put(&mut client, &cas(content), content).await;
        }
        // Another namespace has it, which is no help.
        let elsewhere = format!("/ns/other{}", cas(&contents[absent]));
        put(&mut client, &elsewhere, &contents[absent]).await;
        for method in ["GET", "HEAD"] {
            let answer = client.ask(method, RESULT, &[], b"").await;
            assert_eq!((answer.status, answer.header("content-length")), (404, Some("0")), "{absent}");
        }
        assert_eq!(client.ask("GET", RESULT, &[JSON], b"").await.status, 404);
        put(&mut client, &cas(&contents[absent]), &contents[absent]).await;
        assert_eq!(status(&mut client, "HEAD", RESULT).await, 200);
        let got = client.ask("GET", RESULT, &[], b"").await;
        assert_eq!((got.status, got.body == result), (200, true), "{absent}");
    }
}

#[tokio::test]
async fn what_was_evicted_or_cannot_be_asked_for_makes_a_miss() {
    let (result, contents) = result();
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    for content in &contents {
        put(&mut client, &cas(content), content).await;
    }
    put(&mut client, RESULT, &result).await;
    assert_eq!(status(&mut client, "GET", RESULT).await, 200);
    store.inject(Operation::GetMany, .., Fault::unavailable());
    assert_eq!(status(&mut client, "GET", RESULT).await, 404);
    store.heal();
    assert_eq!(status(&mut client, "GET", RESULT).await, 200);
    assert!(store.delete(&Digest::blake3(&contents[0])).await.unwrap());
    assert_eq!(status(&mut client, "GET", RESULT).await, 404);
}

#[tokio::test]
async fn a_reference_of_another_length_is_none() {
    let server = start().await;
    let mut client = server.connect().await;
    put(&mut client, &cas(b"file"), b"file").await;
    let right = field(6, &digest(b"file"));
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() += 1;
    for (result, expected) in [(right, 200), (wrong, 404)] {
        put(&mut client, RESULT, &result).await;
        assert_eq!(status(&mut client, "GET", RESULT).await, expected);
    }
}

#[tokio::test]
async fn large_results_and_trees_that_are_none() {
    let server = start().await;
    let mut client = server.connect().await;
    put(&mut client, &cas(b"file"), b"file").await;
    let file = |path: usize| {
        field(2, &[field(1, format!("o/{path}").as_bytes()), field(2, &digest(b"file"))].concat())
    };
    let many: Vec<u8> = (0..5_000).flat_map(file).collect();
    put(&mut client, RESULT, &many).await;
    assert_eq!(client.ask("GET", RESULT, &[], b"").await.body.len(), many.len());
    // The last one decides.
    let one_more = [many, field(6, &digest(b"absent"))].concat();
    put(&mut client, RESULT, &one_more).await;
    assert_eq!(status(&mut client, "GET", RESULT).await, 404);
    let directory = field(3, &field(3, &digest(b"file")));
    put(&mut client, RESULT, &directory).await;
    assert_eq!(status(&mut client, "GET", RESULT).await, 404);
}

#[tokio::test]
async fn other_values_are_served_as_they_are() {
    let server = start().await;
    let mut client = server.connect().await;
    let absent = field(6, &digest(b"absent"));
    for value in [
        &b"cCrS\x04 of ccache"[..],
        b"\xcc\xac\x01\x00 of ccache",
        b"{\"a\": 1}",
        // A result, but for one byte too many or too few.
        &[&absent[..], b"\x07"].concat(),
        &absent[..absent.len() - 1],
        &content(300_000, 9),
    ] {
        put(&mut client, RESULT, value).await;
        for headers in [&[][..], &[JSON]] {
            let got = client.ask("GET", RESULT, headers, b"").await;
            assert_eq!((got.status, got.body == value), (200, true), "{value:?}");
            assert_eq!(got.header("content-type"), Some("application/octet-stream"));
        }
    }
}

#[tokio::test]
async fn the_check_can_be_switched_off() {
    let off = ProtocolOptions { check_references: false, ..ProtocolOptions::default() };
    let protocols = BTreeMap::from([(Protocol::Bazel, off)]);
    let server = start_with(ServerOptions { protocols, ..options() }, common::memory()).await;
    let mut client = server.connect().await;
    put(&mut client, RESULT, &result().0).await;
    assert_eq!(status(&mut client, "GET", RESULT).await, 200);
}

#[tokio::test]
async fn results_are_json_to_those_who_ask_for_it() {
    let server = start().await;
    let mut client = server.connect().await;
    for file in [&b"file"[..], b"out"] {
        put(&mut client, &cas(file), file).await;
    }
    let (file, out) = (hex(b"file"), hex(b"out"));
    // As moon sends it, but for the names of some fields, numbers as text and as numbers, and a field that nobody knows.
    let sent = format!(
        r#"{{"outputFiles":[{{"path":"a/é","digest":{{"hash":"{file}","sizeBytes":"4"}},"is_executable":true,
        "nodeProperties":{{"mtime":"2026-11-21T14:08:17.854678178+02:00","unixMode":33188}}}}],
        "stdout_digest":{{"hash":"{out}","size_bytes":3}},"stderrRaw":"__7-","exitCode":"7","stderrDigest":null,
        "outputSymlinks":null,"output_directories":[],"later":{{"x":[1,{{}}]}},
        "executionMetadata":{{"worker":"moon","virtualExecutionDuration":"1.5s"}}}}"#
    );
    let kind = [("Content-Type", "application/json; charset=utf-8")];
    let answer = client.ask("PUT", RESULT, &kind, sent.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = format!(
        r#"{{"outputFiles":[{{"path":"a/é","digest":{{"hash":"{file}","sizeBytes":"4"}},"isExecutable":true,"nodeProperties":{{"mtime":"2026-11-21T12:08:17.854678178Z","unixMode":33188}}}}],"exitCode":7,"stdoutDigest":{{"hash":"{out}","sizeBytes":"3"}},"stderrRaw":"//7+","executionMetadata":{{"worker":"moon","virtualExecutionDuration":"1.500s"}}}}"#
    );
    let got = client.ask("GET", RESULT, &[JSON], b"").await;
    assert_eq!((got.status, got.text()), (200, expected.clone()));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("vary"), Some("accept"));
    let head = client.ask("HEAD", RESULT, &[JSON], b"").await;
    assert_eq!(head.header("content-length"), Some(expected.len().to_string().as_str()));
    // It is stored as protobuf, which others get.
    let protobuf = client.ask("GET", RESULT, &[("Accept", "*/*")], b"").await.body;
    assert!(protobuf.starts_with(&[0x12]), "{protobuf:?}");
    // Fields that are unknown here are lost in JSON, not in what is stored.
    let with_more = [&protobuf[..], &field(15, b"later")].concat();
    put(&mut client, RESULT, &with_more).await;
    assert_eq!(client.ask("GET", RESULT, &[JSON], b"").await.text(), expected);
    assert_eq!(client.ask("GET", RESULT, &[], b"").await.body, with_more);
    // A result in which everything has its default.
    assert_eq!(client.ask("PUT", RESULT, &kind, b"{}").await.status, 200);
    assert_eq!(client.ask("GET", RESULT, &[JSON], b"").await.text(), "{}");
}

#[tokio::test]
async fn json_that_is_no_result_is_refused() {
    let server = start().await;
    let mut client = server.connect().await;
    let kind = [("Content-Type", "application/json")];
    let deep = "[".repeat(100_000);
    let too_many = format!("{{\"outputFiles\":[{}{{}}]}}", "{},".repeat(70_000));
    for (json, expected) in [
        ("", 400),
        ("[]", 400),
        ("{", 400),
        ("{\"exitCode\": 3000000000}", 400),
        ("{\"exitCode\": \"x\"}", 400),
        ("{\"stdoutRaw\": \"%\"}", 400),
        ("{\"outputFiles\": {}}", 400),
        ("{\"executionMetadata\":{\"queuedTimestamp\":\"yesterday\"}}", 400),
        (&format!("{{\"later\": {deep}"), 400),
        (&too_many, 400),
        (&format!("{{\"later\":\"{}\"}}", "x".repeat(4 << 20)), 413),
    ] {
        let answer = client.ask("PUT", RESULT, &kind, json.as_bytes()).await;
        assert_eq!(answer.status, expected, "{}", answer.text());
        client = server.connect().await;
    }
    assert_eq!(status(&mut client, "GET", RESULT).await, 404);
}

#[tokio::test]
async fn contents_come_compressed_to_those_who_read_that() {
    let server = start().await;
    let mut client = server.connect().await;
    let zstd = [("Accept-Encoding", "gzip, zstd;q=0.5")];
    for value in [vec![7; 5_000], content(2_000_000, 4), vec![0; 3_000_000]] {
        put(&mut client, &cas(&value), &value).await;
        let got = client.ask("GET", &cas(&value), &zstd, b"").await;
        assert_eq!((got.status, got.header("content-encoding")), (200, Some("zstd")));
        assert_eq!((got.header("content-length"), got.header("etag")), (None, None));
        assert_eq!(got.header("vary"), Some("accept-encoding"));
        assert!(got.body.len() < value.len());
        assert!(zstd::decode_all(&got.body[..]).unwrap() == value);
        let head = client.ask("HEAD", &cas(&value), &zstd, b"").await;
        assert_eq!(head.header("content-length"), Some(value.len().to_string().as_str()));
        // A part is a part of the content as it is.
        let part = client.ask("GET", &cas(&value), &[zstd[0], ("Range", "bytes=4990-")], b"").await;
        assert_eq!((part.status, part.header("content-encoding")), (206, None));
        assert!(part.body == value[4990..]);
        for other in ["gzip", "zstd;q=0", "identity", "*"] {
            let got = client.ask("GET", &cas(&value), &[("Accept-Encoding", other)], b"").await;
            assert_eq!((got.header("content-encoding"), got.body == value), (None, true), "{other}");
        }
    }
    put(&mut client, &cas(b"small"), b"small").await;
    assert_eq!(client.ask("GET", &cas(b"small"), &zstd, b"").await.body, b"small");
}

fn compressed(content: &[u8], window: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window).unwrap();
    // In pieces, so that the window is as large as it was told.
    for piece in content.chunks(1_000) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_uploads_are_verified_and_stored_as_what_they_are() {
    let server = start().await;
    for (value, window) in [(b"x".to_vec(), 17), (vec![0; 1_000_000], 23), (content(700_000, 5), 20)] {
        let mut client = server.connect().await;
        let size = value.len().to_string();
        let headers = [("Content-Encoding", "zstd"), ("X-Digest-SizeBytes", size.as_str())];
        let (first, second) = value.split_at(value.len() / 2);
        // Two frames are one content (RFC 8878, section 3.1).
        let sent = [compressed(first, window), compressed(second, window)].concat();
        let answer = client.ask("PUT", &cas(&value), &headers, &sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let got = client.ask("GET", &cas(&value), &[], b"").await;
        assert_eq!((got.header("content-encoding"), got.body == value), (None, true));
    }
    let mut client = server.connect().await;
    let empty = compressed(b"", 17);
    let headers = [("Content-Encoding", "zstd"), ("X-Digest-SizeBytes", "0")];
    assert_eq!(client.ask("PUT", &cas(b""), &headers, &empty).await.status, 200);
}

#[tokio::test]
async fn compressed_uploads_that_are_not_what_they_say_are_refused() {
    let server = start().await;
    let value = content(600_000, 6);
    let sent = compressed(&value, 20);
    let (len, more, less) = ("600000", "600001", "599999");
    let (other, bomb) = (content(600_000, 7), compressed(&vec![0; 50_000_000], 20));
    let zstd = ("Content-Encoding", "zstd");
    for (headers, sent, why) in [
        (&[zstd][..], &sent[..], "X-Digest-SizeBytes"),
        (&[zstd, ("X-Digest-SizeBytes", "-1")], &sent, "X-Digest-SizeBytes"),
        (&[("Content-Encoding", "gzip")], &value, "content encoding"),
        (&[zstd, ("Content-Encoding", "zstd"), ("X-Digest-SizeBytes", len)], &sent, "content encoding"),
        (&[zstd, ("X-Digest-SizeBytes", more)], &sent, "as announced"),
        (&[zstd, ("X-Digest-SizeBytes", less)], &sent, "longer than announced"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &bomb, "longer than announced"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &compressed(&other, 20), "digest"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &value, "not zstd"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &sent[..sent.len() - 1], "ends too early"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &[&sent[..], b"\0"].concat(), "not zstd"),
        (&[zstd, ("X-Digest-SizeBytes", len)], &compressed(&value, 24), "window"),
    ] {
        let answer = server.ask("PUT", &cas(&value), headers, sent).await;
        assert_eq!(answer.status, 400, "{why}");
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
        assert_eq!(server.ask("GET", &cas(&value), &[], b"").await.status, 404);
    }
    let huge = [zstd, ("X-Digest-SizeBytes", "99999999999999")];
    assert_eq!(server.ask("PUT", &cas(&value), &huge, &sent).await.status, 413);
    let result = server.ask("PUT", RESULT, &[zstd, ("X-Digest-SizeBytes", len)], &sent).await;
    assert_eq!(result.status, 400);
}

#[tokio::test]
async fn routes_ranges_and_repeated_uploads() {
    let (token, secret) = Token::create("bazel", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, common::memory()).await;
    let mut client = server.connect().await;
    let refused = client.ask("GET", RESULT, &[], b"").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("content-length").is_some() && refused.header("www-authenticate").is_some());
    // Bazel encodes user and password with the alphabet of URLs.
    let basic = {
        use base64::Engine as _;
        let pair = format!("b\u{ff}?>:{}", secret.reveal());
        format!("Basic {}", base64::engine::general_purpose::URL_SAFE.encode(pair))
    };
    assert!(basic.contains(['-', '_']), "{basic}");
    let auth = ("Authorization", basic.as_str());
    assert_eq!(client.ask("GET", "/status", &[auth], b"").await.status, 200);
    for value in [content(1_000, 1), content(600_000, 2)] {
        let path = format!("/moon-outputs{}", cas(&value));
        let mut wrong = value.clone();
        wrong[0] ^= 1;
        for (method, body, expected) in [
            ("GET", &b""[..], 404),
            ("HEAD", b"", 404),
            ("PUT", &wrong, 400),
            ("PUT", b"", 400),
            ("PUT", &value, 200),
            ("PUT", &value, 200),
            ("HEAD", b"", 200),
            // It is there: nothing of this is kept.
            ("PUT", &wrong, 200),
            ("PUT", &wrong[1..], 400),
            ("DELETE", b"", 405),
            ("POST", b"", 405),
        ] {
            let answer = client.ask(method, &path, &[auth], body).await;
            assert_eq!(answer.status, expected, "{method}: {}", answer.text());
            assert!(answer.header("content-length").is_some());
        }
        let got = client.ask("GET", &path, &[auth], b"").await;
        assert!(got.body == value);
        let rest = client.ask("GET", &path, &[auth, ("Range", "bytes=400-")], b"").await;
        assert_eq!((rest.status, rest.body == value[400..]), (206, true));
        let beyond = client.ask("GET", &path, &[auth, ("Range", "bytes=600000-")], b"").await;
        assert_eq!(beyond.status, 416);
        // Repeated, but cut off.
        client
            .send(
                format!(
                    "PUT {path} HTTP/1.1\r\nHost: c\r\nAuthorization: {basic}\r\nContent-Length: {}\r\n\r\nx",
                    value.len()
                )
                .as_bytes(),
            )
            .await;
        drop(client);
        client = server.connect().await;
        assert!(client.ask("GET", &path, &[auth], b"").await.body == value);
    }
}
