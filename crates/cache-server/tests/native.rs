//! Our own protocol under `/v1/`.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use cache_core::envelope::{Compression, encode_entry};
use cache_core::{Digest, Entry, HashFunction, Key, Namespace, Output, OutputKind, RelPath, Timestamp};
use cache_server::{Anonymous, Right, Rights, ServerOptions, Token};
use common::{Answer, Client, content, memory, options, start, start_with};
use serde_json::{Value, json};

fn key(number: u8) -> Key {
    Key::from_bytes([number; 32])
}

/// Returns an entry that names these blobs.
fn entry(name: &str, blobs: &[(Digest, u64)]) -> Entry {
    let mut entry = Entry { value: Bytes::from_static(b"the value"), ..Entry::default() };
    name.clone_into(&mut entry.meta.name);
    "run".clone_into(&mut entry.meta.kind);
    entry.meta.namespace = Namespace::new("project").unwrap();
    entry.outputs = blobs.iter().enumerate().map(|(number, blob)| output(number, *blob)).collect();
    entry
}

fn output(number: usize, (digest, len): (Digest, u64)) -> Output {
    let path = RelPath::new(format!("file{number}")).unwrap();
    Output { path, kind: OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 } }
}

fn envelope(key: Key, entry: &Entry) -> Vec<u8> {
    encode_entry(&key, entry, Compression::Adaptive).unwrap()
}

fn entry_at(key: Key) -> String {
    format!("/v1/entries/{key}")
}

fn blob_at(digest: &Digest) -> String {
    format!("/v1/blobs/{}/{}", digest.function().name(), digest.to_hex())
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

async fn ask_json(client: &mut Client, path: &str, question: &Value) -> Answer {
    client.ask("POST", path, &[("Content-Type", "application/json")], question.to_string().as_bytes()).await
}

#[tokio::test]
async fn entries_come_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let fs = cache_fs::FsStore::open(dir.path(), cache_fs::Options::default()).unwrap();
    for server in [start().await, start_with(options(), Arc::new(fs)).await] {
        let mut client = server.connect().await;
        // In the entry, in memory, in a file; and one whose value is larger than itself.
        for (number, value) in [content(10, 1), content(100_000, 2), content(2 << 20, 3), vec![7; 8 << 20]]
            .into_iter()
            .enumerate()
        {
            let key = key(number as u8);
            let entry = Entry { value: value.into(), ..entry("an entry", &[]) };
            let (path, sent) = (entry_at(key), envelope(key, &entry));
            for (method, status) in [("GET", 404), ("HEAD", 404), ("DELETE", 404)] {
                assert_eq!(client.ask(method, &path, &[], b"").await.status, status);
            }
            let put = client.ask("PUT", &path, &[], &sent).await;
            assert_eq!(put.status, 204, "{}", put.text());
            let got = client.ask("GET", &path, &[], b"").await;
            assert_eq!((got.status, got.body == sent), (200, true));
            assert_eq!(got.header("content-type"), Some("application/vnd.vitte-cache.entry"));
            let etag = got.header("etag").unwrap();
            assert_eq!(client.ask("GET", &path, &[("If-None-Match", etag)], b"").await.status, 304);
            assert_eq!(client.ask("PUT", &path, &[("If-None-Match", "*")], &sent).await.status, 412);
            assert_eq!(client.ask("PUT", &path, &[("If-None-Match", "\"x\"")], &sent).await.status, 400);
            assert_eq!(client.ask("DELETE", &path, &[], b"").await.status, 204);
            assert_eq!(client.ask("GET", &path, &[], b"").await.status, 404);
            assert_eq!(client.ask("PUT", &path, &[("If-None-Match", "*")], &sent).await.status, 204);
        }
    }
}

#[tokio::test]
async fn facts_of_an_entry_never_become_headers() {
    let server = start().await;
    let mut entry = entry("x", &[]);
    for (name, value) in [("content-encoding", "gzip"), ("content-type", "text/html")] {
        entry.meta.tags.insert(name.to_owned(), value.to_owned());
    }
    assert_eq!(server.ask("PUT", &entry_at(key(1)), &[], &envelope(key(1), &entry)).await.status, 204);
    let got = server.ask("GET", &entry_at(key(1)), &[], b"").await;
    assert_eq!((got.status, got.header("content-encoding")), (200, None));
    assert_eq!(got.header("content-type"), Some("application/vnd.vitte-cache.entry"));
}

#[tokio::test]
async fn an_entry_from_the_end_of_time_is_served() {
    let server = start().await;
    let mut entry = entry("x", &[]);
    entry.meta.created = Timestamp::from_millis(u64::MAX);
    let sent = envelope(key(1), &entry);
    assert_eq!(server.ask("PUT", &entry_at(key(1)), &[], &sent).await.status, 204);
    let got = server.ask("GET", &entry_at(key(1)), &[], b"").await;
    assert_eq!((got.status, got.body == sent), (200, true));
    assert_eq!(got.header("last-modified"), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
}

#[tokio::test]
async fn what_is_no_whole_entry_of_that_key_is_refused() {
    let server = start().await;
    let mut client = server.connect().await;
    let good = envelope(key(1), &entry("x", &[]));
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut newer = good.clone();
    newer[4] = 2;
    let bomb = encode_entry(
        &key(1),
        &Entry { value: vec![0; (16 << 20) + 1].into(), ..Entry::default() },
        Compression::Zstd,
    );
    let bomb = bomb.unwrap();
    for (body, status, code) in [
        (&b""[..], 422, "damaged"),
        (b"hello", 422, "damaged"),
        (&damaged, 422, "damaged"),
        (&good[..good.len() - 1], 422, "damaged"),
        (&newer, 422, "newer-format"),
        (&envelope(key(2), &entry("x", &[])), 422, "other-key"),
        (&bomb, 413, "too-large"),
    ] {
        let answer = client.ask("PUT", &entry_at(key(1)), &[], body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = json_of(&answer);
        assert!(problem["type"].as_str().unwrap().ends_with(&format!("native.md#{code}")), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(client.ask("GET", &entry_at(key(1)), &[], b"").await.status, 404);
}

#[tokio::test]
async fn blobs_are_what_their_name_says() {
    let server = start().await;
    let mut client = server.connect().await;
    for len in [0, 5, 20_000, 400_000] {
        for function in HashFunction::ALL {
            let value = content(len, function.id());
            let digest = Digest::of(function, &value);
            let path = blob_at(&digest);
            let wrong = content(len + 1, function.id());
            assert_eq!(client.ask("PUT", &path, &[], &wrong).await.status, 400);
            assert_eq!(client.ask("HEAD", &path, &[], b"").await.status, 404);
            assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 204);
            assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 204);
            let got = client.ask("GET", &path, &[], b"").await;
            assert_eq!((got.status, got.body == value), (200, true));
            if len > 10 {
                let part = client.ask("GET", &path, &[("Range", "bytes=3-7")], b"").await;
                assert_eq!((part.status, part.body == value[3..8]), (206, true));
            }
            assert_eq!(client.ask("DELETE", &path, &[], b"").await.status, 204);
            assert_eq!(client.ask("DELETE", &path, &[], b"").await.status, 404);
        }
    }
    for bad in [
        "/v1/blobs/md5/00".to_owned(),
        "/v1/blobs/blake3/00".to_owned(),
        format!("/v1/blobs/sha256/{}", "A".repeat(64)),
        "/v1/entries/xyz".to_owned(),
    ] {
        let answer = client.ask("GET", &bad, &[], b"").await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn an_entry_is_there_only_with_its_blobs() {
    let server = start().await;
    let mut client = server.connect().await;
    let (one, two) = (content(100, 1), content(50_000, 2));
    let (first, second) = (Digest::sha256(&one), Digest::blake3(&two));
    let sent = envelope(key(1), &entry("x", &[(first, 100), (second, 50_000), (first, 100)]));
    let refused = client.ask("PUT", &entry_at(key(1)), &[], &sent).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(json_of(&refused)["missing"], json!([first, second]));
    client.ask("PUT", &blob_at(&first), &[], &one).await;
    client.ask("PUT", &blob_at(&second), &[], &two).await;
    // There, but not in that length.
    let longer = envelope(key(1), &entry("x", &[(first, 101)]));
    assert_eq!(client.ask("PUT", &entry_at(key(1)), &[], &longer).await.status, 409);
    assert_eq!(client.ask("PUT", &entry_at(key(1)), &[("If-None-Match", "*")], &sent).await.status, 204);
    assert_eq!(client.ask("GET", &entry_at(key(1)), &[], b"").await.body, sent);
    for (digest, value) in [(first, &one), (second, &two)] {
        assert_eq!(client.ask("DELETE", &blob_at(&digest), &[], b"").await.status, 204);
        assert_eq!(client.ask("GET", &entry_at(key(1)), &[], b"").await.status, 404);
        assert_eq!(client.ask("PUT", &blob_at(&digest), &[], value).await.status, 204);
        assert_eq!(client.ask("GET", &entry_at(key(1)), &[], b"").await.status, 200);
    }
    // One that lost a blob makes room for another.
    client.ask("DELETE", &blob_at(&first), &[], b"").await;
    let other = envelope(key(1), &entry("y", &[(second, 50_000)]));
    assert_eq!(client.ask("PUT", &entry_at(key(1)), &[("If-None-Match", "*")], &other).await.status, 204);
    assert_eq!(client.ask("GET", &entry_at(key(1)), &[], b"").await.body, other);
}

#[tokio::test]
async fn one_of_many_stores_where_nothing_is() {
    let server = start().await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let mut client = server.connect().await;
        let sent = envelope(key(1), &entry(&format!("writer {number}"), &[]));
        writers.spawn(async move {
            client.ask("PUT", &entry_at(key(1)), &[("If-None-Match", "*")], &sent).await.status
        });
    }
    let mut statuses = writers.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 412, 412, 412, 412, 412, 412, 412]);
}

/// Returns what a batch answers: nothing, content, or that it is too large.
fn frames(mut body: &[u8]) -> Vec<Result<Option<Vec<u8>>, ()>> {
    let mut frames = Vec::new();
    while let Some((state, rest)) = body.split_first() {
        body = rest;
        frames.push(match state {
            0 => Ok(None),
            1 => {
                let (len, rest) = body.split_first_chunk().unwrap();
                let (content, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
                body = rest;
                Ok(Some(content.to_vec()))
            }
            2 => Err(()),
            other => panic!("{other} is no state"),
        });
    }
    frames
}

#[tokio::test]
async fn many_things_in_one_question() {
    let server = start().await;
    let mut client = server.connect().await;
    let (small, large) = (content(20_000, 1), content(300_000, 2));
    let (first, second, third) = (Digest::blake3(&small), Digest::sha256(&large), Digest::blake3(b"never"));
    client.ask("PUT", &blob_at(&first), &[], &small).await;
    client.ask("PUT", &blob_at(&second), &[], &large).await;
    let sent = envelope(key(1), &entry("x", &[(first, 20_000)]));
    client.ask("PUT", &entry_at(key(1)), &[], &sent).await;

    let missing =
        ask_json(&mut client, "/v1/missing", &json!({ "digests": [third, first, second, third] })).await;
    assert_eq!(json_of(&missing), json!({ "missing": [third, third] }));

    let wanted = json!({ "entries": [key(2), key(1)], "blobs": [first, third, second] });
    let batch = ask_json(&mut client, "/v1/batch", &wanted).await;
    assert_eq!(
        (batch.status, batch.header("content-type")),
        (200, Some("application/vnd.vitte-cache.batch"))
    );
    assert_eq!(frames(&batch.body), [Ok(None), Ok(Some(sent)), Ok(Some(small)), Ok(None), Err(())]);
    assert_eq!(ask_json(&mut client, "/v1/batch", &json!({})).await.body, b"");

    for (path, question, status) in [
        ("/v1/missing", json!({ "digests": ["md5:00"] }), 400),
        ("/v1/missing", json!({ "digest": [] }), 400),
        ("/v1/missing", json!([]), 400),
        ("/v1/missing", json!({ "digests": vec![third; 2_001] }), 413),
        ("/v1/batch", json!({ "entries": vec![key(1); 1_000], "blobs": vec![third; 1_001] }), 413),
        ("/v1/missing", json!({ "digests": vec![third; 10_000] }), 413),
    ] {
        let answer = ask_json(&mut client, path, &question).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let server = start().await;
    let mut client = server.connect().await;
    let value = content(256 << 10, 1);
    let digest = Digest::blake3(&value);
    client.ask("PUT", &blob_at(&digest), &[], &value).await;
    let batch = ask_json(&mut client, "/v1/batch", &json!({ "blobs": vec![digest; 300] })).await;
    let frames = frames(&batch.body);
    assert_eq!(frames.len(), 300);
    assert!(
        frames[..256].iter().all(|frame| frame.as_ref().is_ok_and(|found| found.as_ref() == Some(&value)))
    );
    assert!(frames[256..].iter().all(Result::is_err));
}

async fn listed(client: &mut Client, query: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/entries?limit=2{query}{after}");
        let page = client.ask("GET", &path, &[], b"").await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = json_of(&page);
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        after = next.bytes().fold("&after=".to_owned(), |after, byte| format!("{after}%{byte:02x}"));
    }
}

#[tokio::test]
async fn lists_show_the_client_its_own_facts() {
    let server = start().await;
    let mut client = server.connect().await;
    for number in 0..5 {
        let mut entry = entry(&format!("lib/{number}"), &[]);
        if number == 4 {
            "value".clone_into(&mut entry.meta.kind);
        }
        client.ask("PUT", &entry_at(key(number)), &[], &envelope(key(number), &entry)).await;
    }
    client.ask("PUT", "/kv/other", &[], b"not an entry").await;
    client.ask("PUT", &blob_at(&Digest::blake3(b"x")), &[], b"x").await;
    let sent = envelope(key(9), &entry("elsewhere", &[]));
    client.ask("PUT", &format!("/ns/other{}", entry_at(key(9))), &[], &sent).await;
    for (query, count) in [
        ("", 5),
        ("&kind=run", 4),
        ("&namespace=project", 5),
        ("&namespace=default", 0),
        ("&name_prefix=lib%2F3", 1),
        ("&kind=value&name_prefix=lib/", 1),
    ] {
        assert_eq!(listed(&mut client, query).await.len(), count, "{query}");
    }
    let item = &listed(&mut client, "&name_prefix=lib/3").await[0];
    assert_eq!((&item["key"], &item["size"]), (&json!(key(3)), &json!(9)));
    assert_eq!((&item["name"], &item["namespace"]), (&json!("lib/3"), &json!("project")));
    let facts = base64::engine::general_purpose::STANDARD.decode(item["facts"].as_str().unwrap()).unwrap();
    let (found, facts) = cache_core::envelope::decode_entry_facts(&facts).unwrap();
    assert_eq!((found, facts.meta), (key(3), entry("lib/3", &[]).meta));
    for bad in ["?limit=0", "?limit=x", "?other=1", "?kind=%zz", "?namespace=a%20b"] {
        assert_eq!(client.ask("GET", &format!("/v1/entries{bad}"), &[], b"").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_page_of_large_facts_is_shorter() {
    let server = start().await;
    let mut client = server.connect().await;
    for number in 0..60 {
        let mut entry = entry("large", &[]);
        entry.meta.tags.insert("large".to_owned(), "x".repeat(200_000));
        let put = client.ask("PUT", &entry_at(key(number)), &[], &envelope(key(number), &entry)).await;
        assert_eq!(put.status, 204, "{}", put.text());
    }
    let page = client.ask("GET", "/v1/entries?limit=200", &[], b"").await;
    assert!(page.body.len() < 20 << 20, "a page has {} bytes", page.body.len());
    let page = json_of(&page);
    assert!((1..60).contains(&page["items"].as_array().unwrap().len()));
    assert!(page["next"].is_string());
    assert_eq!(listed(&mut client, "").await.len(), 60);
}

#[tokio::test]
async fn namespaces_do_not_see_each_other_whatever_they_ask_for() {
    let store = memory();
    let server = start_with(options(), Arc::clone(&store)).await;
    let mut client = server.connect().await;
    let value = content(50_000, 1);
    let digest = Digest::blake3(&value);
    let sent = envelope(key(1), &entry("a", &[(digest, 50_000)]));
    client.ask("PUT", &format!("/ns/a{}", blob_at(&digest)), &[], &value).await;
    client.ask("PUT", &format!("/ns/a{}", entry_at(key(1))), &[], &sent).await;
    // The store has the blob, and a server of its own may have it under exactly this digest.
    assert_eq!(store.missing(&[digest]).await.unwrap(), []);
    for (method, path) in [("GET", blob_at(&digest)), ("HEAD", blob_at(&digest)), ("GET", entry_at(key(1)))] {
        for namespace in ["", "/ns/b"] {
            assert_eq!(
                client.ask(method, &format!("{namespace}{path}"), &[], b"").await.status,
                404,
                "{path}"
            );
        }
    }
    let missing = ask_json(&mut client, "/ns/b/v1/missing", &json!({ "digests": [digest] })).await;
    assert_eq!(json_of(&missing)["missing"], json!([digest]));
    let wanted = json!({ "entries": [key(1)], "blobs": [digest] });
    let batch = ask_json(&mut client, "/ns/b/v1/batch", &wanted).await;
    assert_eq!(frames(&batch.body), [Ok(None), Ok(None)]);
    // Naming a blob of theirs, storing over them and removing theirs.
    let thief = envelope(key(1), &entry("b", &[(digest, 50_000)]));
    assert_eq!(client.ask("PUT", &format!("/ns/b{}", entry_at(key(1))), &[], &thief).await.status, 409);
    let other = envelope(key(1), &entry("b", &[]));
    assert_eq!(client.ask("PUT", &format!("/ns/b{}", entry_at(key(1))), &[], &other).await.status, 204);
    assert_eq!(client.ask("DELETE", &format!("/ns/b{}", blob_at(&digest)), &[], b"").await.status, 404);
    assert_eq!(client.ask("GET", &format!("/ns/a{}", entry_at(key(1))), &[], b"").await.body, sent);
    assert_eq!(client.ask("GET", &format!("/ns/b{}", entry_at(key(1))), &[], b"").await.body, other);
}

#[tokio::test]
async fn no_entry_is_a_value_of_another_protocol() {
    let store = memory();
    let server = start_with(options(), Arc::clone(&store)).await;
    let mut client = server.connect().await;
    let sha256 = Digest::sha256(b"right");
    // Where the other protocol looks, made from its own key and facts.
    client.ask("PUT", &format!("/cas/{}", sha256.to_hex()), &[], b"right").await;
    let page = store.list(&cache_core::ListFilter::default(), None, 10).await.unwrap();
    let theirs = page.items[0].key;
    let mut forged = store.get(&theirs).await.unwrap().unwrap();
    forged.value = Bytes::from_static(b"wrong");
    assert_eq!(client.ask("PUT", &entry_at(theirs), &[], &envelope(theirs, &forged)).await.status, 204);
    assert_eq!(client.ask("GET", &format!("/cas/{}", sha256.to_hex()), &[], b"").await.body, b"right");
}

#[tokio::test]
async fn rights_hold_and_refusals_are_problems() {
    let (reader, read) = Token::create("reader", Right::Read, None).unwrap();
    let rights = Rights { tokens: vec![reader], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let bearer = format!("Bearer {}", read.reveal());
    let sent = envelope(key(1), &entry("x", &[]));
    for (method, path, token, status) in [
        ("GET", entry_at(key(1)), false, 401),
        ("POST", "/v1/missing".to_owned(), false, 401),
        ("PUT", entry_at(key(1)), true, 403),
        ("DELETE", entry_at(key(1)), true, 403),
        ("PUT", blob_at(&Digest::blake3(&sent)), true, 403),
        ("DELETE", blob_at(&Digest::blake3(&sent)), true, 403),
    ] {
        let headers: &[(&str, &str)] = if token { &[("Authorization", &bearer)] } else { &[] };
        let answer = client.ask(method, &path, headers, &sent).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    let described = client.ask("GET", "/v1", &[("Authorization", &bearer)], b"").await;
    assert_eq!(json_of(&described)["write"], json!(false));
}

#[tokio::test]
async fn the_description_names_every_route() {
    let server = start().await;
    let mut client = server.connect().await;
    let document = json_of(&client.ask("GET", "/v1/openapi.json", &[], b"").await);
    assert_eq!(document["openapi"], "3.1.0");
    let hex = "0".repeat(64);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 7, "{paths:?}");
    for (path, item) in paths {
        let real = path.replace("{key}", &hex).replace("{digest}", &hex).replace("{function}", "blake3");
        let real = real.replace("{upload}", &hex);
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"] {
            let documented = item.get(method.to_lowercase());
            let answer = client.ask(method, &real, &[], b"").await;
            let refused = answer.status == 405;
            assert_eq!(refused, documented.is_none(), "{method} {path}: {}", answer.status);
            let Some(documented) = documented else { continue };
            assert!(
                documented["responses"].get(answer.status.to_string()).is_some(),
                "{method} {path} answers {}, which is not documented",
                answer.status
            );
        }
    }
    // Other protocols and instances may live beside it.
    assert_eq!(client.ask("PUT", &format!("/v1/ac/{hex}"), &[], b"x").await.status, 200);
    let nowhere = client.ask("GET", "/v1/entries/a/b", &[], b"").await;
    assert_eq!((nowhere.status, nowhere.header("content-type")), (404, Some("application/problem+json")));
}
