//! Clients that ask for much and take next to nothing of it.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::time::Duration;

use cache_server::{ServerOptions, Timeouts};
use common::{Client, Running, large_answer, memory, options, start_with};
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;

/// Long enough for what is sent and taken at once.
const SHORT: Duration = Duration::from_millis(500);

async fn impatient() -> Running {
    let timeouts = Timeouts { body: SHORT, ..Timeouts::default() };
    start_with(ServerOptions { timeouts, ..options() }, memory()).await
}

async fn slow_readers(client: &mut Client) -> u64 {
    let status = client.ask("GET", "/status", &[], b"").await;
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    status["slow_readers"].as_u64().unwrap()
}

#[tokio::test]
async fn who_takes_a_byte_now_and_then_is_cut_off() {
    let server = impatient().await;
    let mut other = server.connect().await;
    let (mut slow, len) = large_answer(&server).await;
    let mut read = 0;
    while slow_readers(&mut other).await == 0 {
        read += usize::from(slow.stream.read_u8().await.is_ok());
    }
    let mut rest = Vec::new();
    // It may end as if that were all, or as broken.
    let _ = slow.stream.read_to_end(&mut rest).await;
    assert!(read + rest.len() < len);
    let metrics = other.ask("GET", "/metrics", &[], b"").await.text();
    assert!(metrics.contains("\nvitte_cache_slow_readers_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nvitte_cache_requests_running 0\n"), "{metrics}");
}

#[tokio::test]
async fn who_takes_nothing_of_a_stream_is_cut_off_however_busy_the_connection_is() {
    let server = impatient().await;
    assert_eq!(server.ask("PUT", "/kv/x", &[], b"value").await.status, 200);
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(5))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}/kv/x", server.address);
    let request = Request::get(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Nothing but the server ends it: the answer is held, and so is the right to ask for more.
    let _ = connection.await.unwrap();
    drop((answer, sender));
    assert_eq!(slow_readers(&mut server.connect().await).await, 1);
}
