//! Requests that two servers could read differently, and other malformed ones, byte by byte: they are refused or the connection
//! is closed, nothing is stored, what follows in the body is never a request, and the server goes on.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use bytes::Bytes;
use common::{Running, start};
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request that must never be seen as one.
const HIDDEN: &str = "PUT /kv/hidden HTTP/1.1\r\nHost: c\r\nContent-Length: 1\r\n\r\nx";

/// Sends bytes, then nothing more, and returns the status codes of all answers until the server closes the connection.
async fn talk(server: &Running, bytes: &[u8]) -> Vec<u16> {
    let mut client = server.connect().await;
    // The server may close before everything is sent.
    let _ = client.stream.write_all(bytes).await;
    let _ = client.stream.shutdown().await;
    let mut answers = Vec::new();
    let _ = client.stream.read_to_end(&mut answers).await;
    let text = String::from_utf8_lossy(&answers).into_owned();
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

fn put(head: &str, body: &str) -> String {
    format!("PUT /kv/x HTTP/1.1\r\nHost: c\r\n{head}\r\n\r\n{body}{HIDDEN}")
}

/// Sends requests that have to be refused with one of `statuses`, once, or without an answer.
async fn refused(requests: &[String], statuses: &[u16]) {
    let server = start().await;
    for request in requests {
        let shown: String = request.chars().take(200).collect();
        let answers = talk(&server, request.as_bytes()).await;
        assert!(
            answers.len() <= 1 && answers.iter().all(|it| statuses.contains(it)),
            "{answers:?}: {shown:?}"
        );
        for path in ["/kv/x", "/kv/hidden"] {
            assert_eq!(server.ask("GET", path, &[], b"").await.status, 404, "{path}: {shown:?}");
        }
    }
    assert_eq!(server.ask("GET", "/livez", &[], b"").await.status, 200);
}

#[tokio::test]
async fn lengths_that_can_be_read_in_two_ways() {
    let heads = [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: 0x3",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 3;",
        "Content-Length: 3 3",
        "Content-Length: ",
        "Content-Length : 3",
        "Content-Length: 18446744073709551619",
        " Content-Length: 3",
    ];
    refused(&heads.map(|head| put(head, "abc")), &[400]).await;
}

#[tokio::test]
async fn transfer_codings_that_are_not_plainly_chunked() {
    let heads = [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: identity\r\nContent-Length: 3",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
    ];
    refused(&heads.map(|head| put(head, "3\r\nabc\r\n0\r\n\r\n")), &[400]).await;
    let old =
        format!("PUT /kv/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{HIDDEN}");
    refused(&[old], &[400]).await;
    // These are framed well, but their content is not what it seems.
    let unknown = ["gzip, chunked", "chunked\r\nTransfer-Encoding: chunked", "chunked, chunked"];
    let put = |coding| put(&format!("Transfer-Encoding: {coding}"), "3\r\nabc\r\n0\r\n\r\n");
    refused(&unknown.map(put), &[501]).await;
}

#[tokio::test]
async fn chunks_that_are_malformed() {
    let long = "x".repeat(70_000);
    let bodies = [
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\rabc\r0\r\r",
        "3\r\nabcX\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\n",
        "3\r\nabc0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        &format!("3;{long}\r\nabc\r\n0\r\n\r\n"),
        &format!("3\r\nabc\r\n0\r\nX: {long}\r\n\r\n"),
    ];
    let requests = bodies.map(|body| put("Transfer-Encoding: chunked", body));
    // A length that large is refused as such.
    refused(&requests, &[400, 413]).await;
}

#[tokio::test]
async fn headers_and_lines_that_are_malformed() {
    let long = "x".repeat(70_000);
    let length = "Content-Length: 3";
    let heads = [
        format!("X: y\r\n {length}"),
        format!("X: y\r\n\tfolded\r\n{length}"),
        format!("X: y\r{length}"),
        format!("X: \0y\r\n{length}"),
        format!("X\0: y\r\n{length}"),
        format!("X y: z\r\n{length}"),
        format!("X: \x7f\r\n{length}"),
        format!(": y\r\n{length}"),
        format!("X\r\n{length}"),
        // A second one.
        format!("Host: d\r\n{length}"),
        format!("{long}: y\r\n{length}"),
        format!("X: {long}\r\n{length}"),
        format!("{}{length}", "X: y\r\n".repeat(100)),
    ];
    let mut requests = heads.map(|head| put(&head, "abc")).to_vec();
    for line in [
        "PUT /kv/x HTTP/1.2",
        "PUT /kv/x HTTP/3.0",
        "PUT /kv/x",
        "PUT  /kv/x HTTP/1.1",
        "PUT /kv/x  HTTP/1.1",
        "PUT\t/kv/x HTTP/1.1",
        "PUT /kv/x y HTTP/1.1",
        "PUT /kv/x\0 HTTP/1.1",
        "PUT kv/x HTTP/1.1",
        "P\0T /kv/x HTTP/1.1",
        &format!("PUT /kv/{long} HTTP/1.1"),
    ] {
        requests.push(format!("{line}\r\nHost: c\r\n{length}\r\n\r\nabc{HIDDEN}"));
    }
    requests.push(format!("PUT /kv/x HTTP/1.1\r\n{length}\r\n\r\nabc{HIDDEN}"));
    refused(&requests, &[400, 431]).await;
}

#[tokio::test]
async fn what_is_refused_for_its_name_is_read_to_its_end() {
    let server = start().await;
    let next = "GET /livez HTTP/1.1\r\nHost: c\r\n\r\n";
    for (path, status) in [
        ("/kv/a%2Fb".to_owned(), 400),
        ("/kv/a%5cb".to_owned(), 400),
        ("/kv/%2e%2e/%2e%2e/x".to_owned(), 400),
        ("/kv/a%00".to_owned(), 400),
        ("/kv/a%0d%0aHost:%20d".to_owned(), 400),
        ("/kv/%".to_owned(), 400),
        ("/kv/%c0%af".to_owned(), 400),
        (format!("/kv/{}", "a".repeat(256)), 414),
        (format!("/kv/{}", "a/".repeat(1_100)), 414),
        (format!("/kv{}", "/a".repeat(32)), 414),
    ] {
        let request = format!("PUT {path} HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n", HIDDEN.len());
        // The body looks like a request and is none, and what follows it is one.
        let answers = talk(&server, format!("{request}{HIDDEN}{next}").as_bytes()).await;
        assert_eq!(answers, [status, 200], "{path}");
    }
    assert_eq!(server.ask("GET", "/kv/hidden", &[], b"").await.status, 404);
    assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 404);
}

#[tokio::test]
async fn what_the_rules_allow_has_one_meaning() {
    // RFC 9112: a line may end with LF alone (2.2), equal lengths may be repeated (6.3), chunks may have extensions (7.1.1).
    for request in [
        put("Content-Length: 3\r\nContent-Length: 3", "abc"),
        put("X: y\nContent-Length: 3", "abc"),
        put("Content-Length: \t3 ", "abc"),
        put("Transfer-Encoding: Chunked", "3\r\nabc\r\n0\r\n\r\n"),
        put("Transfer-Encoding: chunked", "3;a=b;c\r\nabc\r\n0\r\n\r\n"),
        put("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n"),
        format!("\r\nPUT /kv/x HTTP/1.1\nHost: c\nContent-Length: 3\n\nabc{HIDDEN}"),
        format!("PUT http://c/kv/x HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\nabc{HIDDEN}"),
    ] {
        let server = start().await;
        assert_eq!(talk(&server, request.as_bytes()).await, [200, 200], "{request:?}");
        assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.body, b"abc", "{request:?}");
        assert_eq!(server.ask("GET", "/kv/hidden", &[], b"").await.body, b"x", "{request:?}");
    }
}

#[tokio::test]
async fn lengths_that_are_wrong_over_http_2() {
    let server = start().await;
    for (announced, sent) in [("5", "abc"), ("2", "abc")] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::put(format!("http://{}/kv/x", server.address))
            .header("content-length", announced)
            .body(Full::new(Bytes::from_static(sent.as_bytes())))
            .unwrap();
        let answer = sender.send_request(request).await;
        assert!(answer.is_err_and(|error| !error.is_timeout()), "{announced}");
        drop(sender);
        let _ = connection.await;
        assert_eq!(server.ask("GET", "/kv/x", &[], b"").await.status, 404, "{announced}");
    }
}
