//! Tokens, anonymous readers and namespaces.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cache_core::Namespace;
use cache_server::{Anonymous, Right, Rights, Secret, Server, ServerError, ServerOptions, Token};
use common::{memory, options, start, start_with};

fn token(right: Right, namespace: Option<&str>) -> (Token, Secret) {
    Token::create("test", right, namespace.map(|name| Namespace::new(name).unwrap())).unwrap()
}

fn bearer(secret: &Secret) -> String {
    format!("Bearer {}", secret.reveal())
}

#[tokio::test]
async fn beyond_loopback_a_credential_is_needed() {
    let everywhere = ServerOptions { listen: vec!["0.0.0.0:0".parse().unwrap()], ..options() };
    let error = Server::bind(everywhere.clone(), memory()).await.unwrap_err();
    assert!(matches!(error, ServerError::Open { .. }));
    assert!(error.to_string().contains("--insecure-anonymous"), "{error}");
    let told = ServerOptions { insecure_anonymous: true, ..everywhere.clone() };
    assert!(Server::bind(told, memory()).await.is_ok());
    let rights = Rights { tokens: vec![token(Right::Read, None).0], anonymous: Anonymous::Off };
    assert!(Server::bind(ServerOptions { rights, ..everywhere }, memory()).await.is_ok());
}

#[tokio::test]
async fn tokens_read_or_write_in_every_form() {
    let ((reader, read), (writer, write)) = (token(Right::Read, None), token(Right::ReadWrite, None));
    let rights = Rights { tokens: vec![reader, writer], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let basic =
        |engine: &dyn Fn(&str) -> String| format!("Basic {}", engine(&format!("any:{}", write.reveal())));
    let standard = basic(&|text| STANDARD.encode(text));
    let url = basic(&|text| URL_SAFE_NO_PAD.encode(text));
    let (read, write) = (bearer(&read), bearer(&write));
    for (method, authorization, status) in [
        ("GET", None, 401),
        ("PUT", None, 401),
        ("PUT", Some("Bearer vc_wrong"), 401),
        ("PUT", Some(read.as_str()), 403),
        ("DELETE", Some(&read), 403),
        ("GET", Some(&read), 404),
        ("PUT", Some(&write), 200),
        ("GET", Some(&standard), 200),
        ("PUT", Some(&url), 200),
        ("GET", Some(&read), 200),
    ] {
        let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        let answer = client.ask(method, "/kv/x", &headers, b"").await;
        assert_eq!(answer.status, status, "{method} {authorization:?}");
        if status == 401 {
            assert_eq!(answer.header("content-type"), Some("text/plain"));
            assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="));
        }
    }
    for path in ["/livez", "/readyz", "/status"] {
        assert_eq!(client.ask("GET", path, &[], b"").await.status, 200);
    }
    assert!(!client.ask("GET", "/status", &[], b"").await.text().contains("hits"));
    assert!(client.ask("GET", "/status", &[("Authorization", &read)], b"").await.text().contains("hits"));
}

#[tokio::test]
async fn namespaces_are_apart_and_tokens_stay_in_theirs() {
    let ((all, everywhere), (team, inside)) =
        (token(Right::ReadWrite, None), token(Right::ReadWrite, Some("team")));
    let rights = Rights { tokens: vec![all, team], anonymous: Anonymous::Read };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let (everywhere, inside) = (bearer(&everywhere), bearer(&inside));
    for (method, path, authorization, status) in [
        ("PUT", "/kv/x", Some(&inside), 200),
        ("GET", "/kv/x", Some(&inside), 200),
        ("GET", "/ns/team/kv/x", Some(&inside), 200),
        ("GET", "/ns/default/kv/x", Some(&inside), 403),
        ("GET", "/ns/team/kv/x", Some(&everywhere), 200),
        ("GET", "/kv/x", Some(&everywhere), 404),
        ("GET", "/ns/team/kv/x", None, 401),
        ("GET", "/kv/x", None, 404),
        ("PUT", "/kv/x", None, 401),
        ("PUT", "/kv/x", Some(&everywhere), 200),
        ("GET", "/kv/x", None, 200),
        ("GET", "/ns/a%20b/kv/x", Some(&everywhere), 400),
        ("GET", "/ns", Some(&everywhere), 400),
        ("GET", "/ns/team/status", None, 200),
    ] {
        let headers: Vec<_> =
            authorization.map(|value| ("Authorization", value.as_str())).into_iter().collect();
        let answer = client.ask(method, path, &headers, b"").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn web_pages_cannot_write_where_no_token_is_needed() {
    let server = start().await;
    let page = [("Origin", "http://evil.example")];
    assert_eq!(server.ask("PUT", "/kv/x", &page, b"x").await.status, 403);
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 404);
}

#[tokio::test]
async fn failures_are_throttled() {
    let rights = Rights { tokens: vec![token(Right::Read, None).0], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let mut client = server.connect().await;
    let mut answer = client.ask("GET", "/kv/x", &[("Authorization", "Bearer wrong")], b"").await;
    for _ in 0..100 {
        answer = client.ask("GET", "/kv/x", &[("Authorization", "Bearer wrong")], b"").await;
    }
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
}
