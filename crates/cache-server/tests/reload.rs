//! Options that change while the server runs.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use cache_server::{
    Anonymous, Limits, Protocol, ProtocolOptions, Right, Rights, ServerError, ServerOptions, Timeouts, Token,
};
use common::{content, memory, options, start, start_with};

fn limits(limits: Limits) -> ServerOptions {
    ServerOptions { limits, ..options() }
}

#[tokio::test]
async fn rights_protocols_and_sizes_change_for_the_next_request() {
    let server = start().await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(100, 1)).await.status, 200);

    let (token, secret) = Token::create("test", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Read };
    let reloaded = server.control.reload(ServerOptions { rights, ..options() }).unwrap();
    assert_eq!(reloaded.needs_restart, Vec::<&str>::new());
    // On the same connection: what counts is when a request begins.
    assert_eq!(client.ask("PUT", "/kv/x", &[], b"x").await.status, 401);
    assert_eq!(client.ask("GET", "/kv/x", &[], b"").await.status, 200);
    let bearer = format!("Bearer {}", secret.reveal());
    assert_eq!(client.ask("PUT", "/kv/x", &[("Authorization", &bearer)], b"x").await.status, 200);

    let off = ProtocolOptions { enabled: false, ..ProtocolOptions::default() };
    let protocols = BTreeMap::from([(Protocol::Kv, off)]);
    let _ = server.control.reload(ServerOptions { protocols, ..options() }).unwrap();
    assert_eq!(client.ask("GET", "/kv/x", &[], b"").await.status, 404);

    let _ = server.control.reload(limits(Limits { max_value: 10, ..Limits::default() })).unwrap();
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(11, 1)).await.status, 413);
    let small = Limits { spool_bytes: 300_000, ..Limits::default() };
    let _ = server.control.reload(limits(small)).unwrap();
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(600_000, 1)).await.status, 507);
    let _ = server.control.reload(options()).unwrap();
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(600_000, 1)).await.status, 200);
}

#[tokio::test]
async fn numbers_of_requests_and_connections_shrink_and_grow() {
    let server = start().await;
    let timeouts = Timeouts { turn: Duration::ZERO, ..Timeouts::default() };
    let of = |requests, connections| ServerOptions {
        timeouts,
        ..limits(Limits { requests, connections, ..Limits::default() })
    };
    let _ = server.control.reload(of(1, 3)).unwrap();
    let mut busy = server.connect().await;
    busy.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 100);
    let mut other = server.connect().await;
    assert_eq!(other.ask("GET", "/kv/x", &[], b"").await.status, 503);
    let _ = server.control.reload(of(2, 2)).unwrap();
    assert_eq!(other.ask("GET", "/kv/x", &[], b"").await.status, 404);
    // Both connections are as many as allowed now.
    let mut third = server.connect().await;
    assert_eq!(third.answer(false).await.unwrap().status, 503);
    let _ = server.control.reload(of(2, 3)).unwrap();
    assert_eq!(server.ask("GET", "/livez", &[], b"").await.status, 200);
    // What was under way is not disturbed by any of it.
    busy.send(b"abc").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn what_cannot_change_is_named_and_the_rest_is_taken_over() {
    let server = start().await;
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = ServerOptions {
        listen: vec!["127.0.0.1:1".parse().unwrap()],
        spool_dir: Some(dir.path().join("spool")),
        ..limits(Limits { max_value: 10, ..Limits::default() })
    };
    let reloaded = server.control.reload(elsewhere.clone()).unwrap();
    assert_eq!(reloaded.needs_restart, ["listen", "spool_dir"]);
    // It is said each time, until the server starts again.
    assert_eq!(server.control.reload(elsewhere).unwrap(), reloaded);
    assert_eq!(server.ask("PUT", "/kv/x", &[], &content(11, 1)).await.status, 413);
    assert!(!dir.path().join("spool").exists());
}

#[tokio::test]
async fn what_is_invalid_changes_nothing() {
    let (token, _) = Token::create("test", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    let everywhere = vec!["0.0.0.0:0".parse().unwrap()];
    let server =
        start_with(ServerOptions { listen: everywhere.clone(), rights, ..options() }, memory()).await;
    for (wrong, is_open) in [
        // It does listen everywhere, whatever it is told now.
        (options(), true),
        (ServerOptions { listen: everywhere, ..options() }, true),
        (limits(Limits { requests: 0, ..Limits::default() }), false),
        (limits(Limits { connections: 0, ..Limits::default() }), false),
    ] {
        let error = server.control.reload(wrong).unwrap_err();
        assert_eq!(matches!(error, ServerError::Open { .. }), is_open, "{error}");
        assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_options_change() {
    let server = std::sync::Arc::new(start().await);
    let value = content(300_000, 3);
    let clients: Vec<_> = (0..4_u8)
        .map(|id| {
            let (server, value) = (std::sync::Arc::clone(&server), value.clone());
            tokio::spawn(async move {
                let mut client = server.connect().await;
                for turn in 0..60 {
                    // Every now and then on a new connection.
                    if turn % 10 == 9 {
                        client = server.connect().await;
                    }
                    let path = format!("/kv/{id}/{turn}");
                    assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 200);
                    let got = client.ask("GET", &path, &[], b"").await;
                    assert!(got.status == 200 && got.body == value);
                }
            })
        })
        .collect();
    let mut reloads = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let requests = if reloads % 2 == 0 { 8 } else { 256 };
        let _ = server.control.reload(limits(Limits { requests, ..Limits::default() })).unwrap();
        reloads += 1;
        tokio::task::yield_now().await;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(reloads > 10, "{reloads}");
}
