//! What holds for each protocol alike.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::BTreeMap;
#[cfg(unix)]
use std::path::Path;

use cache_core::Digest;
use cache_server::{Protocol, ProtocolOptions, ServerOptions};
use common::{Client, content, memory, options, start, start_with};
use serde_json::Value;

/// Returns where a protocol has `value`, below a namespace.
fn place(protocol: Protocol, value: &[u8]) -> String {
    let sha256 = Digest::sha256(value).to_hex();
    match protocol {
        Protocol::Kv => "/kv/some/name".to_owned(),
        Protocol::Ccache => format!("/ccache/{}", &sha256[..40]),
        Protocol::Sccache => "/sccache/a/b/c/abc".to_owned(),
        Protocol::Bazel => format!("/cas/{sha256}"),
        Protocol::Gradle => "/cache/0123456789abcdef".to_owned(),
        Protocol::Maven => "/maven/v1/g/a/sum/buildinfo.xml".to_owned(),
        Protocol::Turborepo => "/v8/artifacts/0123456789abcdef".to_owned(),
        Protocol::Nx => "/v1/cache/12345".to_owned(),
        Protocol::Native => format!("/v1/blobs/blake3/{}", Digest::blake3(value).to_hex()),
        other => panic!("{other:?} has no place in this test"),
    }
}

fn only(protocol: Protocol, options: ProtocolOptions) -> BTreeMap<Protocol, ProtocolOptions> {
    BTreeMap::from([(protocol, options)])
}

async fn put(client: &mut Client, path: &str, value: &[u8]) -> u16 {
    client.ask("PUT", path, &[], value).await.status
}

async fn get(client: &mut Client, path: &str) -> (u16, Vec<u8>) {
    let answer = client.ask("GET", path, &[], b"").await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn each_has_its_own_largest_value() {
    let (fits, too_large) = (content(10, 1), content(11, 2));
    for limited in Protocol::ALL {
        let protocols = only(limited, ProtocolOptions { max_value: Some(10), ..Default::default() });
        let server = start_with(ServerOptions { protocols, ..options() }, memory()).await;
        let mut client = server.connect().await;
        for protocol in Protocol::ALL {
            let path = place(protocol, &too_large);
            let status = put(&mut client, &path, &too_large).await;
            if protocol != limited {
                assert!((200..300).contains(&status), "{path} {status}");
                continue;
            }
            // A client of Nx would fail the build over 413.
            assert_eq!(status, if protocol == Protocol::Nx { 403 } else { 413 }, "{path}");
            assert_eq!(get(&mut client, &path).await.0, 404, "{path}");
            let path = place(protocol, &fits);
            let status = put(&mut client, &path, &fits).await;
            assert!((200..300).contains(&status), "{path} {status}");
        }
    }
}

#[tokio::test]
async fn each_can_be_switched_off() {
    let value = content(100, 1);
    for off in Protocol::ALL {
        let protocols = only(off, ProtocolOptions { enabled: false, ..Default::default() });
        let server = start_with(ServerOptions { protocols, ..options() }, memory()).await;
        let mut client = server.connect().await;
        for protocol in Protocol::ALL {
            let path = place(protocol, &value);
            let (stored, (status, found)) =
                (put(&mut client, &path, &value).await, get(&mut client, &path).await);
            if protocol == off {
                assert_eq!((stored, status), (if off == Protocol::Nx { 403 } else { 404 }, 404), "{path}");
            } else {
                assert!((200..300).contains(&stored) && status == 200 && found == value, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn each_counts_for_itself() {
    let server = start().await;
    let mut client = server.connect().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let value = content(100 + number, 1);
        let path = place(protocol, &value);
        assert_eq!(get(&mut client, &path).await.0, 404, "{path}");
        put(&mut client, &path, &value).await;
        assert_eq!(get(&mut client, &path).await.0, 200, "{path}");
    }
    let status: Value = serde_json::from_slice(&get(&mut client, "/status").await.1).unwrap();
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let found = &status["protocols"][protocol.name()];
        let bytes = 100 + number;
        let expected = serde_json::json!({
            "hits": 1, "misses": 1, "stored": 1, "deleted": 0, "refused": 0,
            "bytes_read": bytes, "bytes_stored": bytes,
        });
        assert_eq!(*found, expected, "{protocol:?}");
    }
}

#[tokio::test]
async fn each_keeps_namespaces_apart() {
    let server = start().await;
    let mut client = server.connect().await;
    let value = content(50_000, 1);
    for protocol in Protocol::ALL {
        let path = place(protocol, &value);
        let inside = format!("/ns/team{path}");
        assert!((200..300).contains(&put(&mut client, &inside, &value).await), "{path}");
        assert_eq!(get(&mut client, &path).await.0, 404, "{path}");
        assert_eq!(get(&mut client, &format!("/ns/default{path}")).await.0, 404, "{path}");
        assert_eq!(get(&mut client, &format!("/ns/tea{path}")).await.0, 404, "{path}");
        assert_eq!(get(&mut client, &inside).await, (200, value.clone()), "{path}");
    }
}

#[tokio::test]
async fn none_takes_a_name_that_a_file_system_could_misunderstand() {
    let server = start().await;
    let mut client = server.connect().await;
    for protocol in Protocol::ALL {
        let path = place(protocol, b"x");
        let (below, _) = path.rsplit_once('/').unwrap();
        let long = "a".repeat(256);
        for (name, status) in [
            ("..", 400),
            ("%2e%2e", 400),
            ("%2E%2e/%2e%2e/etc/passwd", 400),
            ("a%2Fb", 400),
            ("a%5cb", 400),
            ("a%00", 400),
            ("a%0d%0ab", 400),
            ("%", 400),
            ("%ff", 400),
            (&long, 414),
        ] {
            for method in ["GET", "PUT", "DELETE"] {
                let answer = client.ask(method, &format!("{below}/{name}"), &[], b"").await;
                assert_eq!(answer.status, status, "{method} {below}/{name}: {}", answer.text());
            }
        }
    }
    let status: Value = serde_json::from_slice(&get(&mut client, "/status").await.1).unwrap();
    for protocol in Protocol::ALL {
        assert_eq!(status["protocols"][protocol.name()]["stored"], 0, "{protocol:?}");
    }
}

/// Returns what the files below `dir` take of the disk, in bytes.
#[cfg(unix)]
fn size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| match entry.metadata().unwrap() {
        found if found.is_dir() => size(&entry.path()),
        // The system counts in units of 512 bytes, whatever the blocks of the disk are.
        found => found.blocks() * 512,
    });
    sizes.sum()
}

#[cfg(unix)]
#[tokio::test]
async fn the_same_bytes_through_all_of_them_are_on_the_disk_once() {
    use cache_fs::{FsStore, Layout, Options};
    use std::sync::Arc;

    let value = content(1 << 20, 1);
    for layout in [Layout::Files, Layout::Segments] {
        let dir = tempfile::tempdir().unwrap();
        let store = FsStore::open(dir.path(), Options { layout, ..Options::default() }).unwrap();
        let server = start_with(options(), Arc::new(store)).await;
        let mut client = server.connect().await;
        let empty = size(dir.path());
        assert_eq!(put(&mut client, "/kv/first", &value).await, 200);
        let once = size(dir.path());
        let len = value.len() as u64;
        assert!(once - empty >= len, "{layout:?}");
        for below in ["", "/ns/team"] {
            for protocol in Protocol::ALL {
                let path = format!("{below}{}", place(protocol, &value));
                assert!((200..300).contains(&put(&mut client, &path, &value).await), "{path}");
                assert!(get(&mut client, &path).await == (200, value.clone()), "{path}");
            }
        }
        // An entry for each, and no content.
        let grown = size(dir.path()) - once;
        assert!(grown < len / 4, "{layout:?}: {grown}");
    }
}
