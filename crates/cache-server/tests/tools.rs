//! What Gradle, Maven, Turborepo and Nx are answered, from the sheet of status codes that they accept.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cache_core::{Error, Store};
use cache_server::{
    Anonymous, Limits, Protocol, ProtocolOptions, Right, Rights, ServerOptions, Timeouts, Token,
};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation};
use common::{Client, content, memory, options, start, start_with};

/// A value that the server cannot drain in passing, so that a client which sends first and reads then needs it read.
const LARGE: usize = 3 << 20;

async fn statuses(client: &mut Client, rows: &[(&str, &str, &str, u16)]) {
    for (method, path, body, status) in rows {
        let answer = client.ask(method, path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn gradle() {
    let server = start().await;
    let mut client = server.connect().await;
    let key = "/cache/0123456789abcdef0123456789abcdef";
    let rows = [
        ("GET", key, "", 404),
        ("HEAD", key, "", 404),
        ("PUT", key, "one", 200),
        ("PUT", key, "two", 200),
        ("HEAD", key, "", 200),
        ("GET", "/cache//0123456789abcdef0123456789abcdef", "", 200),
        ("GET", "/ns/other/cache/0123456789abcdef0123456789abcdef", "", 404),
        ("DELETE", key, "", 405),
        ("POST", key, "x", 405),
        ("GET", "/cache/", "", 404),
        ("GET", "/cache/a/b", "", 404),
    ];
    for (method, path, body, status) in rows {
        let kind = [("Content-Type", "application/vnd.gradle.build-cache-artifact.v1")];
        let answer = client.ask(method, path, &kind, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    assert_eq!(client.ask("GET", key, &[], b"").await.body, b"two");
}

#[tokio::test]
async fn gradle_hears_how_large_a_value_may_be_after_sending_it() {
    let protocols = BTreeMap::from([(
        Protocol::Gradle,
        ProtocolOptions { max_value: Some(1_000), ..Default::default() },
    )]);
    let server = start_with(ServerOptions { protocols, ..options() }, memory()).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", "/cache/k", &[], &content(1_000, 1)).await.status, 200);
    let answer = client.ask("PUT", "/cache/l", &[], &content(LARGE, 1)).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("1000 bytes"), "{}", answer.text());
    // The connection is good for the next request, and other protocols have their own limit.
    assert_eq!(client.ask("GET", "/cache/l", &[], b"").await.status, 404);
    assert_eq!(client.ask("PUT", "/maven/l", &[], &content(1_001, 1)).await.status, 201);
}

#[tokio::test]
async fn maven() {
    let server = start().await;
    let mut client = server.connect().await;
    let build = "/maven/v1.1/org.example.group/a-module/1f2e3d4c/buildinfo.xml";
    let rows = [
        ("GET", build, "", 404),
        ("HEAD", build, "", 404),
        ("PUT", "/maven/v1.1/org.example.group/a-module/1f2e3d4c/a-module.jar", "jar", 201),
        ("PUT", build, "one", 201),
        ("PUT", build, "two", 201),
        ("HEAD", build, "", 200),
        ("GET", build, "", 200),
        ("GET", "/maven/v1.1/org.example.group/a-module/1f2e3d4c/", "", 404),
        ("GET", "/maven/", "", 404),
        ("PUT", "/maven/v1.1/", "x", 409),
        ("DELETE", build, "", 405),
        ("MKCOL", "/maven/v1.1/", "", 405),
    ];
    statuses(&mut client, &rows).await;
    assert_eq!(client.ask("GET", build, &[], b"").await.body, b"two");
    // With a `DAV` header here, older transports would make directories first.
    let answer = client.ask("OPTIONS", build, &[], b"").await;
    assert_eq!((answer.status, answer.header("dav")), (200, None));
}

#[tokio::test]
async fn maven_is_asked_for_its_password() {
    let (token, secret) = Token::create("ci", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
        let answer = client.ask(method, "/maven/v1/g/a/c/buildinfo.xml", &[], b"").await;
        assert_eq!(answer.status, 401, "{method}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="), "{method}");
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("any:{}", secret.reveal())));
    let basic = [("Authorization", basic.as_str())];
    assert_eq!(client.ask("PUT", "/maven/v1/g/a/c/buildinfo.xml", &basic, b"x").await.status, 201);
    assert_eq!(client.ask("GET", "/maven/v1/g/a/c/buildinfo.xml", &basic, b"").await.status, 200);
}

#[tokio::test]
async fn turborepo() {
    let server = start().await;
    let mut client = server.connect().await;
    let rows = [
        ("GET", "/v8/artifacts/status", "", 200),
        ("GET", "/v8/artifacts/status?teamId=team_1&slug=x", "", 200),
        ("PUT", "/v8/artifacts/status", "x", 405),
        ("POST", "/v8/artifacts/events?slug=x", "[{\"event\":\"HIT\"}]", 200),
        ("GET", "/v8/artifacts/events", "", 405),
        ("GET", "/v8/artifacts/0123456789abcdef", "", 404),
        ("HEAD", "/v8/artifacts/0123456789abcdef", "", 404),
        ("PUT", "/v8/artifacts/0123456789abcdef?slug=a", "of a", 200),
        ("PUT", "/v8/artifacts/0123456789abcdef?teamId=team_b", "of b", 200),
        ("GET", "/v8/artifacts/0123456789abcdef", "", 404),
        ("GET", "/v8/artifacts/0123456789abcdef?slug=a", "", 200),
        ("GET", "/v8/artifacts/0123456789abcdef?teamId=team_b", "", 200),
        ("GET", "/v8/artifacts/0123456789abcdef?slug=%ff", "", 400),
        ("DELETE", "/v8/artifacts/0123456789abcdef?slug=a", "", 405),
        ("GET", "/v8/artifacts", "", 405),
        ("GET", "/v8/artifacts/a/b", "", 404),
        ("GET", "/v8/nothing", "", 404),
    ];
    statuses(&mut client, &rows).await;
    let status = client.ask("GET", "/v8/artifacts/status", &[], b"").await;
    assert_eq!(status.text(), "{\"status\":\"enabled\"}");
    assert_eq!(status.header("content-type"), Some("application/json"));
    assert_eq!(
        client.ask("GET", "/v8/artifacts/0123456789abcdef?teamId=team_x&slug=a", &[], b"").await.body,
        b"of a"
    );
    let put = client.ask("PUT", "/v8/artifacts/k", &[], b"x").await;
    assert_eq!(put.text(), "{\"urls\":[]}");
}

#[tokio::test]
async fn turborepo_gets_its_headers_back_to_the_byte() {
    let server = start().await;
    let mut client = server.connect().await;
    let tag = "sWHVMqZcSfZgjh1+/Ds2KzvBz8ODgpNq2JbWdA==";
    let sent = [
        ("x-artifact-duration", "018"),
        ("X-Artifact-Tag", tag),
        ("x-artifact-sha", "abc"),
        ("x-artifact-dirty-hash", "def"),
        ("x-artifact-client-ci", "GITHUB_ACTIONS"),
    ];
    assert_eq!(client.ask("PUT", "/v8/artifacts/k?slug=t", &sent, b"tar").await.status, 200);
    for method in ["HEAD", "GET"] {
        let answer = client.ask(method, "/v8/artifacts/k?slug=t", &[], b"").await;
        assert_eq!(answer.header("x-artifact-duration"), Some("018"), "{method}");
        assert_eq!(answer.header("x-artifact-tag"), Some(tag), "{method}");
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"), "{method}");
        assert_eq!(answer.header("x-artifact-client-ci"), None, "{method}");
    }
    // An older client sends no length.
    client
        .send(b"PUT /v8/artifacts/old HTTP/1.1\r\nHost: c\r\nx-artifact-duration: 7\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send(b"3\r\ntar\r\n2\r\nba\r\n0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.unwrap().status, 200);
    let old = client.ask("GET", "/v8/artifacts/old", &[], b"").await;
    assert_eq!((old.header("x-artifact-tag"), old.body.as_slice()), (None, &b"tarba"[..]));

    let known = client
        .ask("POST", "/v8/artifacts?slug=t", &[], b"{\"hashes\":[\"k\",\"none\",\"k\"],\"more\":1}")
        .await;
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&known.body).unwrap(),
        serde_json::json!({
            "k": {"size": 3, "taskDurationMs": 18, "tag": tag, "sha": "abc", "dirtyHash": "def"},
            "none": null
        })
    );
    let other = client.ask("POST", "/v8/artifacts", &[], b"{\"hashes\":[\"k\",\"t/k\",\"old\"]}").await;
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&other.body).unwrap(),
        serde_json::json!({"k": null, "t/k": null, "old": {"size": 5, "taskDurationMs": 7}})
    );
}

#[tokio::test]
async fn turborepo_may_send_its_token_after_asking() {
    let (token, secret) = Token::create("ci", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let bearer = format!("Bearer {}", secret.reveal());
    for path in ["/v8/artifacts/k", "/v8/artifacts/events", "/v8/artifacts/status", "/v8/artifacts"] {
        let headers = [("Authorization", bearer.as_str()), ("Access-Control-Request-Method", "PUT")];
        let answer = server.ask("OPTIONS", path, &headers, b"").await;
        let allowed = answer.header("access-control-allow-headers").unwrap();
        assert!(answer.status == 200 && allowed.split(", ").any(|name| name == "Authorization"), "{path}");
        assert!(allowed.contains("x-artifact-tag") && answer.header("location").is_none(), "{path}");
        // A page in a browser is not asked in.
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn turborepo_reads_errors_as_json() {
    let ((reader, read), (writer, write)) = (
        Token::create("read", Right::Read, None).unwrap(),
        Token::create("write", Right::ReadWrite, None).unwrap(),
    );
    let rights = Rights { tokens: vec![reader, writer], anonymous: Anonymous::Off };
    let protocols =
        BTreeMap::from([(Protocol::Turborepo, ProtocolOptions { max_value: Some(9), ..Default::default() })]);
    let server = start_with(ServerOptions { rights, protocols, ..options() }, memory()).await;
    let (read, write) = (format!("Bearer {}", read.reveal()), format!("Bearer {}", write.reveal()));
    let mut client = server.connect().await;
    let long = "x".repeat(300);
    let many = format!("{{\"hashes\":[{}\"\"]}}", "\"a\",".repeat(1_000));
    let vast = " ".repeat((256 << 10) + 1);
    for (method, path, authorization, header, body, status, code) in [
        ("GET", "k", "", ("x-a", ""), "", 401, "unauthorized"),
        ("GET", "k", "Bearer wrong", ("x-a", ""), "", 401, "unauthorized"),
        ("PUT", "k", &read, ("x-a", ""), "x", 403, "forbidden"),
        ("PUT", "k", &write, ("x-a", ""), "0123456789", 413, "too_large"),
        ("PUT", "k", &write, ("x-artifact-duration", "1.5"), "x", 400, "bad_request"),
        ("PUT", "k", &write, ("x-artifact-duration", "+1"), "x", 400, "bad_request"),
        ("PUT", "k", &write, ("x-artifact-tag", &long), "x", 400, "bad_request"),
        ("PUT", "k", &write, ("x-artifact-tag", "\u{e9}"), "x", 400, "bad_request"),
        ("POST", "", &read, ("x-a", ""), "", 400, "bad_request"),
        ("POST", "", &read, ("x-a", ""), "[\"k\"]", 400, "bad_request"),
        ("POST", "", &read, ("x-a", ""), &many, 400, "bad_request"),
        ("POST", "", &read, ("x-a", ""), &vast, 413, "too_large"),
    ] {
        let headers = [("Authorization", authorization), header];
        let answer = client.ask(method, &format!("/v8/artifacts/{path}"), &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {header:?} {body:.20}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["error"]["code"], code, "{json}");
        assert!(!json["error"]["message"].as_str().unwrap().is_empty());
    }
    let headers = [("Authorization", read.as_str())];
    assert_eq!(client.ask("GET", "/v8/artifacts/k", &headers, b"").await.status, 404);
    // Statistics are no change.
    assert_eq!(client.ask("POST", "/v8/artifacts/events", &headers, b"[]").await.status, 200);
}

#[tokio::test]
async fn nx() {
    let server = start().await;
    let mut client = server.connect().await;
    let rows = [
        ("GET", "/v1/cache/12345", "", 404),
        ("PUT", "/v1/cache/12345", "one", 200),
        ("PUT", "/v1/cache/12345", "two", 409),
        ("GET", "/v1/cache/12345", "", 200),
        ("HEAD", "/v1/cache/12345", "", 200),
        ("GET", "/ns/other/v1/cache/12345", "", 404),
        ("PUT", "/ns/other/v1/cache/12345", "three", 200),
        ("DELETE", "/v1/cache/12345", "", 405),
        ("GET", "/v1/cache/", "", 404),
        ("GET", "/v1/cache/a/b", "", 404),
        ("GET", "/v1/cache/..", "", 400),
    ];
    statuses(&mut client, &rows).await;
    assert_eq!(client.ask("GET", "/v1/cache/12345", &[], b"").await.body, b"one");
    // It is all there already, and the client may only read the answer when it has sent everything.
    assert_eq!(client.ask("PUT", "/v1/cache/12345", &[], &content(LARGE, 1)).await.status, 409);
    client
        .send(b"PUT /v1/cache/6 HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer(false).await.unwrap().status, 411);
    assert_eq!(client.ask("GET", "/v1/cache/6", &[], b"").await.status, 404);
}

#[tokio::test]
async fn nx_upload_that_breaks_off_can_be_done_again() {
    let server = start().await;
    let mut client = server.connect().await;
    client.send(b"PUT /v1/cache/7 HTTP/1.1\r\nHost: c\r\nContent-Length: 9\r\n\r\nfour").await;
    drop(client);
    let mut client = server.connect().await;
    while !client.ask("GET", "/status", &[], b"").await.text().contains("\"connections\":1,") {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask("PUT", "/v1/cache/7", &[], b"the whole").await.status, 200);
    assert_eq!(client.ask("GET", "/v1/cache/7", &[], b"").await.body, b"the whole");
}

#[tokio::test]
async fn nx_takes_no_other_answer_for_a_token_than_401_as_text_and_403() {
    let (token, secret) = Token::create("read", Right::Read, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let bearer = format!("Bearer {}", secret.reveal());
    for (method, authorization, len, status) in [
        ("GET", "Bearer wrong", 0, 401),
        ("PUT", "", 1, 401),
        ("GET", bearer.as_str(), 0, 404),
        ("PUT", &bearer, 1, 403),
        ("PUT", &bearer, LARGE, 403),
    ] {
        let mut client = server.connect().await;
        let headers = [("Authorization", authorization)];
        let answer = client.ask(method, "/v1/cache/1", &headers, &content(len, 1)).await;
        assert_eq!(answer.status, status, "{method} {authorization}");
        if status == 401 {
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert!(!answer.text().is_empty());
        }
    }
}

#[tokio::test]
async fn nx_goes_on_where_its_protocol_is_switched_off() {
    let protocols =
        BTreeMap::from([(Protocol::Nx, ProtocolOptions { enabled: false, ..Default::default() })]);
    let server = start_with(ServerOptions { protocols, ..options() }, memory()).await;
    assert_eq!(server.ask("GET", "/v1/cache/1", &[], b"").await.status, 404);
    assert_eq!(server.ask("PUT", "/v1/cache/1", &[], b"x").await.status, 403);
}

#[tokio::test]
async fn a_store_in_trouble_is_a_miss_and_for_nx_no_reason_to_fail() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    let paths = ["/cache/k", "/maven/v1/k", "/v8/artifacts/k", "/v1/cache/1"];
    for path in paths {
        assert!(client.ask("PUT", path, &[], &content(100_000, 1)).await.status < 300);
    }
    for operation in [Operation::Get, Operation::Read] {
        store.inject(operation, .., Fault::unavailable());
        for path in paths {
            assert_eq!(client.ask("GET", path, &[], b"").await.status, 404, "{path} {operation:?}");
        }
        store.heal();
    }
    let full = || Error::Full { place: "here".to_owned(), why: "of the test".to_owned() };
    store.inject(Operation::Write, .., Fault::fail(full));
    for (path, status) in
        [("/cache/l", 507), ("/maven/v1/l", 507), ("/v8/artifacts/l", 507), ("/v1/cache/2", 403)]
    {
        assert_eq!(client.ask("PUT", path, &[], &content(100_000, 1)).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn too_much_to_do_is_a_miss_for_those_who_take_it_hard() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let timeouts = Timeouts { turn: Duration::ZERO, ..Timeouts::default() };
    let protocols =
        BTreeMap::from([(Protocol::Nx, ProtocolOptions { max_value: Some(9), ..Default::default() })]);
    let server = start_with(ServerOptions { limits, timeouts, protocols, ..options() }, memory()).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", "/v1/cache/1", &[], b"0123456789").await.status, 403);
    let mut slow = server.connect().await;
    slow.send(b"PUT /kv/slow HTTP/1.1\r\nHost: c\r\nContent-Length: 9\r\n\r\n").await;
    while !client.ask("GET", "/status", &[], b"").await.text().contains("\"requests_running\":1,") {
        tokio::task::yield_now().await;
    }
    for (method, path, status) in [
        ("GET", "/kv/k", 503),
        ("GET", "/cache/k", 404),
        ("PUT", "/cache/k", 503),
        ("GET", "/v1/cache/1", 404),
        ("GET", "/ns/team/v1/cache/1", 404),
        ("PUT", "/v1/cache/1", 403),
        ("GET", "/v8/artifacts/k", 503),
        ("GET", "/maven/k", 503),
    ] {
        assert_eq!(client.ask(method, path, &[], b"").await.status, status, "{method} {path}");
    }
}
