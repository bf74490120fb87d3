//! Many clients at a time, of which most do nothing, and a store that has been full for long.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::sync::Arc;

use cache_core::{Error, Store};
use cache_server::{Limits, ServerOptions};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation};
use common::{content, options, start, start_with};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

/// Connections that nobody uses.
const IDLE: usize = 1_000;
/// Connections that everybody uses at once, fewer than requests may run or wait.
const ACTIVE: usize = 200;

/// Returns whether this process may open so many files; both ends of each connection are in it.
#[cfg(unix)]
fn may_open(files: usize) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(files as u64);
    if limit.current.is_none() || limit.current >= wanted {
        return true;
    }
    setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum }).is_ok()
}

#[cfg(not(unix))]
fn may_open(_: usize) -> bool {
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_leave_room_for_two_hundred_active_ones() {
    if !may_open(2 * (IDLE + ACTIVE) + 200) {
        eprintln!("skipped: the system does not allow so many open files; `ulimit -n 4096` does");
        return;
    }
    let server = Arc::new(start().await);
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(server.connect().await);
    }
    let mut active = JoinSet::new();
    for id in 0..ACTIVE {
        let server = Arc::clone(&server);
        active.spawn(async move {
            let mut client = server.connect().await;
            let value = content(20_000 + id, id as u8);
            for turn in 0..5 {
                let path = format!("/kv/{id}/{turn}");
                assert_eq!(client.ask("PUT", &path, &[], &value).await.status, 200);
                let got = client.ask("GET", &path, &[], b"").await;
                assert!(got.status == 200 && got.body == value, "{path}: {}", got.status);
            }
        });
    }
    active.join_all().await;
    let status = server.ask("GET", "/status", &[], b"").await.text();
    assert!(status.contains("\"requests_shed\":0,"), "{status}");
    // Each of the idle ones is as good as new.
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.ask("GET", "/kv/0/0", &[], b"").await.status, 200);
    }
}

#[tokio::test]
async fn slow_readers_and_those_who_hang_up_keep_nobody_waiting() {
    let limits = Limits { requests: 20, ..Limits::default() };
    let server = start_with(ServerOptions { limits, ..options() }, common::memory()).await;
    let value = content(8 << 20, 1);
    assert_eq!(server.ask("PUT", "/kv/large", &[], &value).await.status, 200);
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut client = server.connect().await;
        client.send(b"GET /kv/large HTTP/1.1\r\nHost: c\r\n\r\n").await;
        // It has begun, and is read no further.
        client.stream.read_u8().await.unwrap();
        slow.push(client);
    }
    for turn in 0..50 {
        let mut client = server.connect().await;
        client.send(b"GET /kv/large HTTP/1.1\r\nHost: c\r\n\r\n").await;
        client.stream.read_u8().await.unwrap();
        // What was not read makes this a reset.
        drop(client);
        let mut client = server.connect().await;
        client.send(b"PUT /kv/broken HTTP/1.1\r\nHost: c\r\nContent-Length: 1000000\r\n\r\n").await;
        // Once while it is in memory, once while it is in a file.
        client.send(&value[..if turn % 2 == 0 { 3 } else { 700_000 }]).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
    }
    assert!(server.ask("GET", "/kv/large", &[], b"").await.body == value);
    assert_eq!(server.ask("GET", "/kv/broken", &[], b"").await.status, 404);
    drop(slow);
    let mut client = server.connect().await;
    loop {
        let status = client.ask("GET", "/status", &[], b"").await.text();
        if status.contains("\"requests_running\":0,") && status.contains("\"connections\":1,") {
            assert!(status.contains("\"spool_bytes\":0,"), "{status}");
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ten_thousand_requests_to_a_full_store_are_answered() {
    let store = Arc::new(FaultStore::new(MemoryStore::new()));
    let server = start_with(options(), Arc::clone(&store) as Arc<dyn Store>).await;
    let mut client = server.connect().await;
    let value = content(2_000, 1);
    assert_eq!(client.ask("PUT", "/kv/old", &[], &value).await.status, 200);
    let full = || Error::Full { place: "the test".to_owned(), why: "it says so".to_owned() };
    store.inject(Operation::Put, .., Fault::fail(full));
    store.inject(Operation::Write, .., Fault::fail(full));
    for turn in 0..5_000 {
        assert_eq!(client.ask("PUT", "/kv/new", &[], &value).await.status, 507, "{turn}");
        assert_eq!(client.ask("GET", "/kv/old", &[], b"").await.body, value, "{turn}");
    }
    store.heal();
    assert_eq!(client.ask("PUT", "/kv/new", &[], &value).await.status, 200);
}
