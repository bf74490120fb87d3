//! A store in trouble: reads are misses, writes say what happened, and nothing wrong is ever sent as whole.

mod common;

use std::sync::Arc;

use cache_core::{Error, Store};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation};
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
