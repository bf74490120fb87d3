//! A server on a real socket, and a client that sends exactly the bytes that it is told to.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part, and fails where it stands")]

pub(crate) mod tls;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cache_core::{Digest, Policy, Store};
use cache_memory::MemoryStore;
use cache_server::{Control, Drained, Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) control: Control,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

pub(crate) fn options() -> ServerOptions {
    ServerOptions {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()],
        ..ServerOptions::default()
    }
}

pub(crate) fn memory() -> Arc<dyn Store> {
    let policy = Policy { max_bytes: Some(1 << 30), ..Policy::unlimited() };
    Arc::new(MemoryStore::new(cache_memory::Options { policy, ..cache_memory::Options::default() }))
}

pub(crate) async fn start() -> Running {
    start_with(options(), memory()).await
}

pub(crate) async fn start_with(options: ServerOptions, store: Arc<dyn Store>) -> Running {
    let server = Server::bind(options, store).await.unwrap();
    let address = server.local_addr().unwrap();
    let control = server.control();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run_until(async {
        let _ = stopped.await;
    }));
    Running { address, control, stop, task }
}

impl Running {
    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client::new(stream)
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.connect().await.ask(method, path, headers, body).await
    }

    pub(crate) fn tell_to_stop(self) -> JoinHandle<Drained> {
        let _ = self.stop.send(());
        self.task
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // A header and a body are sent one after the other, and neither has to wait.
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request, with a length if there is a body or the method wants one, and returns the answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: cache\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if method == "PUT" || !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head.push_str("\r\n");
        // The server may answer and close before everything is sent.
        let _ = self.stream.write_all(head.as_bytes()).await;
        let _ = self.stream.write_all(body).await;
        self.answer(method == "HEAD").await.unwrap()
    }

    /// Reads an answer; nothing if the connection ends before there is a whole one.
    pub(crate) async fn answer(&mut self, is_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if is_head || matches!(status, 100 | 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await?;
            return Some(answer);
        }
        let len: usize = answer.header("content-length").expect("every answer has a length").parse().unwrap();
        self.at_least(len).await?;
        answer.body = self.buffer.drain(..len).collect();
        Some(answer)
    }

    async fn at_least(&mut self, len: usize) -> Option<()> {
        while self.buffer.len() < len {
            self.more().await?;
        }
        Some(())
    }

    async fn chunk_len(&mut self) -> Option<usize> {
        let end = loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let line = String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
        Some(usize::from_str_radix(line.trim_end(), 16).unwrap())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let len = self.chunk_len().await?;
            self.at_least(len + 2).await?;
            body.extend(self.buffer.drain(..len));
            self.buffer.drain(..2);
            if len == 0 {
                return Some(body);
            }
        }
    }

    /// Returns whether the server has closed the connection, and nothing more came.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.more().await.is_none() && self.buffer.is_empty()
    }

    async fn more(&mut self) -> Option<()> {
        let mut piece = vec![0; 64 << 10];
        let len = self.stream.read(&mut piece).await.ok().filter(|len| *len > 0)?;
        self.buffer.extend_from_slice(&piece[..len]);
        Some(())
    }
}

/// Returns a client that asked for far more than the system holds on the way, which comes in small pieces, and of which nothing is
/// read yet; and how much that is at least.
pub(crate) async fn large_answer(server: &Running) -> (Client, usize) {
    let value = content(4_000, 1);
    let digest = Digest::blake3(&value);
    let path = format!("/v1/blobs/blake3/{}", digest.to_hex());
    assert_eq!(server.ask("PUT", &path, &[], &value).await.status, 204);
    let blobs = vec![digest.to_string(); 2_000];
    let question = serde_json::json!({ "blobs": blobs }).to_string();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut client = Client::new(socket.connect(server.address).await.unwrap());
    let head = format!("POST /v1/batch HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n", question.len());
    client.send(head.as_bytes()).await;
    client.send(question.as_bytes()).await;
    (client, blobs.len() * value.len())
}

/// Returns content that does not compress, of any length.
pub(crate) fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8 ^ seed).collect()
}
