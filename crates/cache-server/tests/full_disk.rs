//! A server on a disk that is really full.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use cache_core::Policy;
use cache_fs::{FsStore, Layout};
use cache_server::ServerOptions;
use cache_testkit::SmallDisk;
use common::{Running, content, options, start_with};
use tokio::task::JoinSet;

/// Values that are there before the disk is full.
const OLD: usize = 20;
/// Clients at a time, and how often each of them stores and reads something: 1,000 requests together, 10,000 if
/// `VITTE_CACHE_TEST_SLOW` is set.
const CLIENTS: usize = 4;
const TURNS: usize = 125;
const SLOW_TURNS: usize = 1_250;

async fn serve(disk: &SmallDisk, layout: Layout, protect: Duration) -> Running {
    let policy = Some(Policy::unlimited());
    let store_options = cache_fs::Options { policy, layout, protect, ..cache_fs::Options::default() };
    let store = FsStore::open(&disk.path().join("cache"), store_options).unwrap();
    let options = ServerOptions { spool_dir: Some(disk.path().join("spool")), ..options() };
    start_with(options, Arc::new(store)).await
}

/// Values of every kind: in the entry, in a blob, and through a file.
fn old(number: usize) -> Vec<u8> {
    content([300, 20_000, 300_000][number % 3] + number, number as u8)
}

fn new(client: usize, turn: usize) -> Vec<u8> {
    content([500, 2_000, 30_000, 400_000][turn % 4] + turn, (client + turn) as u8)
}

/// Asks with the disk full, half of it to store something. Returns the reads of old values that were misses, and the
/// uploads that were stored.
async fn ask(server: Arc<Running>) -> (usize, usize) {
    let slow = std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some();
    let turns = if slow { SLOW_TURNS } else { TURNS };
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            let (mut missed, mut stored) = (0, 0);
            let mut client = server.connect().await;
            for turn in 0..turns {
                let (path, value) = (format!("/kv/new/{id}/{}", turn % 50), new(id, turn));
                match client.ask("PUT", &path, &[], &value).await.status {
                    200 => {
                        stored += 1;
                        let got = client.ask("GET", &path, &[], b"").await;
                        // Somebody else's upload may have needed the room.
                        assert!(got.status == 404 || (got.status == 200 && got.body == value), "{path}");
                    }
                    status => assert_eq!(status, 507, "{path}"),
                }
                let number = (id + turn) % OLD;
                let got = client.ask("GET", &format!("/kv/old/{number}"), &[], b"").await;
                match got.status {
                    404 => missed += 1,
                    status => assert!(status == 200 && got.body == old(number), "{status}: {number}"),
                }
            }
            (missed, stored)
        });
    }
    clients.join_all().await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Fills a disk with values and then with what is not ours, asks, and makes room again.
async fn full(layout: Layout, protect: Duration) -> Option<(usize, usize)> {
    let disk = SmallDisk::mount(16)?;
    let server = Arc::new(serve(&disk, layout, protect).await);
    for number in 0..OLD {
        let answer = server.ask("PUT", &format!("/kv/old/{number}"), &[], &old(number)).await;
        assert_eq!(answer.status, 200, "{number}");
    }
    disk.fill();
    let counted = ask(Arc::clone(&server)).await;
    let mut client = server.connect().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.ask("GET", path, &[], b"").await.status, 200, "{path}");
    }
    let status = client.ask("GET", "/status", &[], b"").await.text();
    assert!(status.contains("\"spool_bytes\":0,"), "{status}");
    disk.empty();
    assert_eq!(client.ask("PUT", "/kv/last", &[], &old(2)).await.status, 200);
    assert!(client.ask("GET", "/kv/last", &[], b"").await.body == old(2));
    drop(client);
    Some(counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_protected_is_served_from_a_full_disk_of_files() {
    let Some((missed, _)) = full(Layout::Files, Duration::from_hours(1)).await else { return };
    assert_eq!(missed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_files_makes_room_for_what_is_new() {
    let Some((_, stored)) = full(Layout::Files, Duration::ZERO).await else { return };
    assert!(stored > 0, "old values went, and new ones came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_segments_makes_room_for_what_is_new() {
    let Some((_, stored)) = full(Layout::Segments, Duration::ZERO).await else { return };
    assert!(stored > 0, "old values went, and new ones came");
}
