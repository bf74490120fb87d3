//! A server on a Unix socket, beside TCP and alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cache_server::{Listen, Server, ServerError, ServerOptions};
use common::{memory, options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

fn at(path: &Path) -> ServerOptions {
    ServerOptions { listen: vec![Listen::Unix(path.to_owned())], ..options() }
}

async fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"Content-Length: 2\r\n\r\nhi").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn one_store_over_a_socket_and_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listen = vec![Listen::Unix(path.clone()), "127.0.0.1:0".parse().unwrap()];
    let server = Server::bind(ServerOptions { listen, ..options() }, memory()).await.unwrap();
    let address = server.local_addr().unwrap();
    assert_eq!(server.local_addrs(), [Listen::Unix(path.clone()), address.into()]);
    assert_ne!(address.port(), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run_until(async { drop(stopped.await) }));
    assert!(ask(&path, "PUT /kv/x").await.starts_with("HTTP/1.1 200"));
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET /kv/x HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
    stop.send(()).unwrap();
    assert_eq!(task.await.unwrap().cut_off, 0);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // Closing a listener leaves its file, as kill -9 does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Server::bind(at(&path), memory()).await.unwrap();
    assert_eq!(first.local_addr(), None);
    let error = Server::bind(at(&path), memory()).await.unwrap_err();
    assert!(matches!(&error, ServerError::SocketInUse { path: found } if *found == path), "{error}");
    // Whoever comes after it has another file, which it leaves alone.
    std::fs::remove_file(&path).unwrap();
    let second = Server::bind(at(&path), memory()).await.unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

// Elsewhere, a socket with too many waiting cannot be told from that of a dead server.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_with_too_many_waiting_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let _listener = socket.listen(0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path).await {
        waiting.push(stream);
    }
    let error = Server::bind(at(&path), memory()).await.unwrap_err();
    assert!(matches!(&error, ServerError::SocketInUse { .. }), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_no_socket_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "mine").unwrap();
    let error = Server::bind(at(&path), memory()).await.unwrap_err().to_string();
    assert!(error.contains("precious is there and is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let nowhere = dir.path().join("none").join("s");
    let error = Server::bind(at(&nowhere), memory()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on unix:{}", nowhere.display())), "{error}");
    let long = dir.path().join("x".repeat(200));
    assert!(matches!(Server::bind(at(&long), memory()).await, Err(ServerError::Listen { .. })));
}

#[tokio::test]
async fn a_server_listens_somewhere() {
    let nowhere = ServerOptions { listen: Vec::new(), ..options() };
    assert!(matches!(Server::bind(nowhere, memory()).await, Err(ServerError::Nowhere)));
}
