//! A store in trouble: reads are misses, writes say what happened, and nothing wrong is ever sent as whole.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Body, Capabilities, Collected, Digest, Entry, Error, Key, ListFilter, Page, PutMode, PutOutcome, Result,
    Store,
};
use cache_server::{ServerOptions, Timeouts};
use cache_testkit::{Fault, FaultStore, Gate, MemoryStore, Operation};
use common::{content, options, start_with};

#[tokio::test]
async fn a_read_that_fails_is_a_miss() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    client.ask("PUT", "/kv/large", &[], &content(100_000, 1)).await;
    for operation in [Operation::Get, Operation::Read] {
        store.inject(operation, .., Fault::unavailable());
        let answer = client.ask("GET", "/kv/large", &[], b"").await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{operation:?}");
        store.heal();
        assert_eq!(client.ask("GET", "/kv/large", &[], b"").await.status, 200);
    }
}

#[tokio::test]
async fn what_a_store_says_nothing_about_is_a_miss() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    let values = [content(10, 1), content(10, 2)];
    let digests = values.each_ref().map(|value| Digest::blake3(value));
    for (digest, value) in digests.iter().zip(&values) {
        let path = format!("/v1/blobs/blake3/{}", digest.to_hex());
        assert_eq!(client.ask("PUT", &path, &[], value).await.status, 204);
    }
    let [first, second] = digests;
    let question = format!("{{\"digests\":[\"{first}\",\"{second}\"]}}");
    for (few, missing) in
        [(0, format!("[\"{first}\",\"{second}\"]")), (1, format!("[\"{second}\"]")), (2, "[]".to_owned())]
    {
        store.inject(Operation::GetMany, .., Fault::Few(few));
        let answer = client.ask("POST", "/v1/missing", &[], question.as_bytes()).await;
        assert_eq!(answer.text(), format!("{{\"missing\":{missing}}}"), "{few}");
    }
}

#[tokio::test]
async fn a_write_that_fails_says_why_and_names_no_path() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    let full = || Error::Full { place: "/secret/place".to_owned(), why: "of the test".to_owned() };
    let broken = || Error::Io {
        what: "cannot write /secret/place".to_owned(),
        source: std::io::Error::other("broken"),
    };
    for (operation, fault, status) in [
        (Operation::Write, Fault::fail(full), 507),
        (Operation::Put, Fault::fail(full), 507),
        (Operation::Put, Fault::unavailable(), 503),
        (Operation::Write, Fault::fail(broken), 500),
        (Operation::Remove, Fault::fail(broken), 500),
    ] {
        store.inject(operation, .., fault);
        let method = if operation == Operation::Remove { "DELETE" } else { "PUT" };
        let answer = client.ask(method, "/kv/large", &[], &content(100_000, 1)).await;
        assert_eq!(answer.status, status, "{operation:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        store.heal();
        assert_eq!(client.ask("GET", "/kv/large", &[], b"").await.status, 404);
    }
}

fn impatient() -> ServerOptions {
    let store = Duration::from_millis(50);
    ServerOptions { timeouts: Timeouts { store, ..Timeouts::default() }, ..options() }
}

#[tokio::test]
async fn a_store_that_hangs_is_a_miss_on_read_and_503_on_write() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(impatient(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    let (small, large) = (content(10, 1), content(100_000, 1));
    client.ask("PUT", "/kv/large", &[], &large).await;
    client.ask("PUT", "/kv/small", &[], &small).await;
    for (operation, method, path, status) in [
        (Operation::Get, "GET", "/kv/small", 404),
        (Operation::Get, "HEAD", "/kv/small", 404),
        (Operation::Read, "GET", "/kv/large", 404),
        (Operation::Put, "PUT", "/kv/small", 503),
        (Operation::Write, "PUT", "/kv/large", 503),
        (Operation::Remove, "DELETE", "/kv/small", 503),
    ] {
        store.inject(operation, .., Fault::Wait(Gate::new()));
        let body = if path == "/kv/large" { &large } else { &small };
        let body = if method == "PUT" { &body[..] } else { b"" };
        let answer = client.ask(method, path, &[], body).await;
        assert_eq!(answer.status, status, "{operation:?}");
        assert_eq!(answer.header("retry-after"), (status == 503).then_some("1"), "{operation:?}");
        store.heal();
        assert_eq!(client.ask("GET", path, &[], b"").await.status, 200, "{operation:?}");
    }
    let status = client.ask("GET", "/status", &[], b"").await.text();
    assert!(status.contains("\"store_failures\":6,\"store_timeouts\":6,"), "{status}");
}

#[tokio::test]
async fn a_store_that_hangs_does_not_keep_the_server_from_stopping() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let timeouts = Timeouts { drain: Duration::from_millis(50), ..Timeouts::default() };
    let options = ServerOptions { timeouts, ..options() };
    let server = start_with(options, Arc::clone(&store) as Arc<dyn Store>).await;
    store.inject(Operation::Flush, .., Fault::Wait(Gate::new()));
    assert_eq!(server.tell_to_stop().await.unwrap().cut_off, 0);
}

/// A store whose contents come as far as the first piece, and then nothing more.
#[derive(Debug)]
struct Stuck(MemoryStore);

#[async_trait::async_trait]
impl Store for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.0.get(key).await
    }
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        self.0.get_many(keys).await
    }
    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        self.0.put(key, entry, mode).await
    }
    async fn remove(&self, key: &Key) -> Result<bool> {
        self.0.remove(key).await
    }
    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.0.list(filter, after, limit).await
    }
    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.0.missing(digests).await
    }
    async fn read(&self, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Result<Option<Body>> {
        let Some(mut body) = self.0.read(digest, range).await? else { return Ok(None) };
        let first = body.next().await?.map(|all| all.slice(..10));
        Ok(Some(Body::Stream(Box::pin(OnePiece(first)))))
    }
    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.0.write(digest, len, body).await
    }
    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.0.delete(digest).await
    }
    async fn gc(&self) -> Result<Collected> {
        self.0.gc().await
    }
    async fn flush(&self) -> Result<()> {
        self.0.flush().await
    }
    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

struct OnePiece(Option<Bytes>);

impl futures_core::Stream for OnePiece {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))))
    }
}

#[tokio::test]
async fn content_that_stops_coming_cuts_the_connection_off() {
    let server = start_with(impatient(), Arc::new(Stuck(MemoryStore::new()))).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("PUT", "/kv/large", &[], &content(100_000, 1)).await.status, 200);
    client.send(b"GET /kv/large HTTP/1.1\r\nHost: c\r\n\r\n").await;
    assert!(client.answer(false).await.is_none());
}

#[tokio::test]
async fn content_that_ends_too_early_cuts_the_connection_off() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    client.ask("PUT", "/kv/large", &[], &content(100_000, 1)).await;
    store.inject(Operation::Read, .., Fault::Truncate(50_000));
    client.send(b"GET /kv/large HTTP/1.1\r\nHost: c\r\n\r\n").await;
    assert!(client.answer(false).await.is_none());
}

#[tokio::test]
async fn the_same_content_through_two_protocols_is_written_once() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let value = content(100_000, 1);
    let cas = format!("/cas/{}", cache_core::Digest::sha256(&value).to_hex());
    let blob = cache_core::Digest::blake3(&value);
    assert_eq!(server.ask("PUT", &cas, &[], &value).await.status, 200);
    assert_eq!(store.inner().missing(&[blob]).await.unwrap(), []);
    assert_eq!(server.ask("PUT", "/kv/same", &[], &value).await.status, 200);
    assert!(store.delete(&blob).await.unwrap());
    for path in [cas.as_str(), "/kv/same"] {
        assert_eq!(server.ask("GET", path, &[], b"").await.status, 404);
    }
}
