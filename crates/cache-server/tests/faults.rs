//! Clients that are slow, broken, greedy or gone, and a server that is told to stop.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use cache_server::{Drained, Limits, Protocol, ProtocolOptions, ServerOptions, Timeouts};
use common::{content, memory, options, start, start_with};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = start().await;
    for sent in [10, 700_000] {
        let mut client = server.connect().await;
        client.send(b"PUT /kv/broken HTTP/1.1\r\nHost: c\r\nContent-Length: 1000000\r\n\r\n").await;
        client.send(&content(sent, 1)).await;
        drop(client);
    }
    // The chunked body never gets to its end.
    let mut client = server.connect().await;
    client
        .send(b"PUT /kv/broken HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        .await;
    drop(client);
    let mut client = server.connect().await;
    loop {
        let status = client.ask("GET", "/status", &[], b"").await.text();
        if status.contains("\"connections\":1,") {
            assert!(status.contains("\"spool_bytes\":0"), "{status}");
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask("GET", "/kv/broken", &[], b"").await.status, 404);
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_refused() {
    let server = start().await;
    for head in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: identity, gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(format!("PUT /kv/x HTTP/1.1\r\nHost: c\r\n{head}\r\nabc").as_bytes()).await;
        let answer = client.answer(false).await.unwrap();
        assert_eq!(answer.status, 400, "{head}");
    }
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 404);
}

#[tokio::test]
async fn what_follows_a_request_with_two_kinds_of_length_is_never_read() {
    let server = start().await;
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 40",
    ] {
        let mut client = server.connect().await;
        let next = "PUT /kv/smuggled HTTP/1.1\r\nHost: c\r\nContent-Length: 1\r\n\r\nx";
        let request = format!("PUT /kv/x HTTP/1.1\r\nHost: c\r\n{both}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{next}");
        client.send(request.as_bytes()).await;
        assert_eq!(client.answer(false).await.unwrap().status, 200, "{both}");
        assert!(client.is_closed().await);
    }
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.body, b"abc");
    assert_eq!(server.ask("GET", "/kv/smuggled", &[], b"").await.status, 404);
}

#[tokio::test]
async fn garbage_is_answered_or_cut_off_and_harms_nobody() {
    let server = start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(garbage).await;
        assert!(client.answer(false).await.is_none_or(|answer| answer.status == 400));
    }
    let header = format!("GET /kv/x HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let mut client = server.connect().await;
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, header.as_bytes()).await;
    assert!(client.answer(false).await.is_none_or(|answer| answer.status == 431));
    assert_eq!(server.ask("GET", "/livez", &[], b"").await.status, 200);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_and_while_it_comes() {
    let limits = Limits { max_value: 1_000, ..Limits::default() };
    let protocols = BTreeMap::from([
        (Protocol::Ccache, ProtocolOptions { max_value: Some(10), ..ProtocolOptions::default() }),
        (Protocol::Sccache, ProtocolOptions { enabled: false, ..ProtocolOptions::default() }),
    ]);
    let server = start_with(ServerOptions { limits, protocols, ..options() }, memory()).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(1_000, 1)).await.status, 200);
    // The connection can be used further, because what was refused is read.
    assert_eq!(client.ask("PUT", "/kv/x", &[], &content(1_001, 1)).await.status, 413);
    assert_eq!(
        client.ask("PUT", &format!("/ccache/{}", "0".repeat(40)), &[], &content(11, 1)).await.status,
        413
    );
    assert_eq!(client.ask("PUT", "/sccache/x", &[], b"x").await.status, 404);
    client.send(b"PUT /kv/y HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001)).as_bytes()).await;
    assert_eq!(client.answer(false).await.unwrap().status, 413);
    client
        .send(b"PUT /kv/y HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        .await;
    assert_eq!(client.answer(false).await.unwrap().status, 413);
    assert_eq!(server.ask("GET", "/kv/y", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_full_spool_takes_no_more() {
    let limits = Limits { spool_bytes: 1 << 20, ..Limits::default() };
    let server = start_with(ServerOptions { limits, ..options() }, memory()).await;
    assert_eq!(server.ask("PUT", "/kv/x", &[], &content(900_000, 1)).await.status, 200);
    assert_eq!(server.ask("PUT", "/kv/x", &[], &content(1_600_000, 2)).await.status, 507);
    assert!(server.ask("GET", "/kv/x", &[], b"").await.body == content(900_000, 1));
    assert!(server.ask("GET", "/status", &[], b"").await.text().contains("\"spool_bytes\":0"));
}

#[tokio::test]
async fn who_sends_nothing_or_too_little_is_cut_off() {
    let timeouts = Timeouts { header: SHORT, idle: SHORT, ..Timeouts::default() };
    let server = start_with(ServerOptions { timeouts, ..options() }, memory()).await;
    for sent in
        [&b""[..], b"GET /kv", b"GET /kv/x HTTP/1.1\r\nHost: c\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut client = server.connect().await;
        client.send(sent).await;
        while client.stream.readable().await.is_ok() {
            let mut piece = [0; 1024];
            if matches!(client.stream.try_read(&mut piece), Ok(0)) {
                break;
            }
        }
    }
    let mut client = server.connect().await;
    client.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(client.answer(false).await.is_none_or(|answer| answer.status >= 400));
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let timeouts = Timeouts { body: SHORT, ..Timeouts::default() };
    let server = start_with(ServerOptions { timeouts, ..options() }, memory()).await;
    let mut client = server.connect().await;
    client.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(client.answer(false).await.unwrap().status, 408);
}

#[tokio::test]
async fn too_much_is_shed_but_the_server_still_says_that_it_lives() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let timeouts = Timeouts { turn: Duration::ZERO, ..Timeouts::default() };
    let server = start_with(ServerOptions { limits, timeouts, ..options() }, memory()).await;
    let mut busy = server.connect().await;
    busy.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 100);
    let refused = server.ask("GET", "/kv/x", &[], b"").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(server.ask("GET", "/livez", &[], b"").await.status, 200);
    busy.send(b"abc").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 200);
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.body, b"abc");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = start_with(ServerOptions { limits, ..options() }, memory()).await;
    let mut first = server.connect().await;
    assert_eq!(first.ask("GET", "/livez", &[], b"").await.status, 200);
    let mut second = server.connect().await;
    assert_eq!(second.answer(false).await.map(|answer| answer.status), Some(503));
    assert!(second.is_closed().await);
    assert_eq!(first.ask("GET", "/livez", &[], b"").await.status, 200);
}

#[tokio::test]
async fn stopping_lets_requests_end_and_idle_connections_go() {
    let server = start().await;
    let address = server.address;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask("GET", "/readyz", &[], b"").await.status, 200);
    let mut silent = server.connect().await;
    let mut busy = server.connect().await;
    busy.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 100);
    let stopped = server.tell_to_stop();
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    busy.send(b"abc").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 200);
    assert!(busy.is_closed().await);
    assert_eq!(stopped.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off() {
    let timeouts = Timeouts { drain: SHORT, ..Timeouts::default() };
    let server = start_with(ServerOptions { timeouts, ..options() }, memory()).await;
    let mut busy = server.connect().await;
    busy.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(busy.answer(false).await.unwrap().status, 100);
    assert_eq!(server.tell_to_stop().await.unwrap(), Drained { cut_off: 1 });
    assert!(busy.is_closed().await);
}

#[tokio::test]
async fn http_2_in_clear_text_on_the_same_port() {
    let server = start().await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let value = content(2_000_000, 9);
    let request = |method, body: &[u8]| {
        let uri = format!("http://{}/kv/h2", server.address);
        Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(bytes::Bytes::copy_from_slice(body)))
            .unwrap()
    };
    assert_eq!(sender.send_request(request("PUT", &value)).await.unwrap().status(), 200);
    let (one, two) =
        (sender.clone().send_request(request("GET", b"")), sender.send_request(request("GET", b"")));
    for answer in [one.await.unwrap(), two.await.unwrap()] {
        assert_eq!(answer.status(), 200);
        assert!(answer.into_body().collect().await.unwrap().to_bytes() == value);
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}
