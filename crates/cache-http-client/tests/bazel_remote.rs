//! A real server of Bazel's HTTP cache that is not ours: bazel-remote, which parses and checks what is stored.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do, and say what they skip"
)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{env, fs};

use cache_core::envelope::Compression;
use cache_core::{Digest, Entry, Key, Output, OutputKind, PutMode, PutOutcome, RelPath, Store};
use cache_http_client::{Backend, HttpOptions, HttpStore};
use cache_testkit::{content, in_pieces};
use tempfile::TempDir;

use common::ours::passing;
use common::{WITHOUT_LISTS, conforms};

/// Whoever has a loaded machine waits this long for it to listen.
const START: Duration = Duration::from_secs(20);

/// A bazel-remote on a port and in a directory of its own. It ends with this.
struct BazelRemote {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

/// Returns the program that `cargo xtask setup` installs.
fn program() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools =
        named("VITTE_CACHE_TOOLS").or_else(|| Some(named("HOME")?.join(".cache/vitte-cache-tools")))?;
    let dirs = fs::read_dir(tools).ok()?.filter_map(Result::ok);
    let mut dirs = dirs.filter(|dir| dir.file_name().to_string_lossy().starts_with("bazel-remote-"));
    dirs.find_map(|dir| Some(dir.path().join("bazel-remote")).filter(|program| program.exists()))
}

impl BazelRemote {
    /// Starts one. Nothing if there is none here, which is not allowed in CI.
    fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(
                env::var("CI").as_deref() != Ok("true"),
                "bazel-remote is needed by this test: cargo xtask setup"
            );
            eprintln!("skipped: there is no bazel-remote here; `cargo xtask setup` installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let deadline = Instant::now() + START;
        loop {
            // Somebody may take the port before it does: it ends then, and gets another one.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let mut child = Command::new(&program)
                .arg("--dir")
                .arg(dir.path())
                .args(["--max_size", "4", "--grpc_address", "none", "--access_log_level", "none"])
                .args(["--enable_ac_key_instance_mangling", "--http_address"])
                .arg(address.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self { child, dir, address });
                }
                assert!(Instant::now() < deadline, "bazel-remote does not listen");
                std::thread::yield_now();
            }
            assert!(Instant::now() < deadline, "bazel-remote does not start");
        }
    }

    fn store(&self, instance: &str) -> HttpStore {
        Self::store_at(self.address, instance)
    }

    /// Returns a store that finds the server at `address`.
    fn store_at(address: SocketAddr, instance: &str) -> HttpStore {
        let mut options = HttpOptions::new(format!("http://{address}/{instance}"));
        options.backend = Backend::Bazel;
        // It sends what it has in zstd to whoever reads that.
        options.compression = Compression::Zstd;
        // Two cores with everything else of a test run on them.
        options.timeout = Duration::from_mins(2);
        options.stall = Duration::from_mins(1);
        HttpStore::open(options).unwrap()
    }
}

impl Drop for BazelRemote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes() {
    let Some(server) = BazelRemote::start() else { return };
    conforms(move |number| server.store(&format!("store{number}")), &WITHOUT_LISTS).await;
}

#[tokio::test]
async fn downloads_are_compressed() {
    let Some(server) = BazelRemote::start() else { return };
    let (address, moved) = passing(server.address, u64::MAX).await;
    let store = BazelRemote::store_at(address, "a");
    for len in [100_000, 3_000_000] {
        let blob = bytes::Bytes::from(vec![7; len as usize]);
        let digest = Digest::blake3(&blob);
        store.write(&digest, len, blob.clone().into()).await.unwrap();
        let before = moved.back.load(Ordering::SeqCst);
        let read = store.read(&digest, None).await.unwrap().unwrap();
        assert!(read.into_bytes(len).await.unwrap() == blob);
        assert!(moved.back.load(Ordering::SeqCst) - before < len / 2);
    }
}

#[tokio::test]
async fn what_the_server_lost_is_never_data() {
    let Some(server) = BazelRemote::start() else { return };
    let store = server.store("a");
    let blob = content(1, 300_000);
    let (digest, key) = (Digest::blake3(&blob), Key::from_bytes([7; 32]));
    store.write(&digest, 300_000, in_pieces(&blob, 10_000)).await.unwrap();
    let path = RelPath::new("out").unwrap();
    let kind = OutputKind::File { digest, len: 300_000, mode: 0o644, modified_ns: 0 };
    let entry = Entry { value: content(2, 1000), outputs: vec![Output { path, kind }], ..Entry::default() };
    assert_eq!(store.put(&key, &entry, PutMode::Overwrite).await.unwrap(), PutOutcome::Stored);
    assert_eq!(store.get(&key).await.unwrap(), Some(entry));
    // The content goes behind its back, as by eviction.
    let mut removed = 0;
    let mut dirs = vec![server.dir.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for found in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if found.file_type().unwrap().is_dir() {
                dirs.push(found.path());
            } else if found.path().to_string_lossy().contains("/cas.v2/") {
                fs::remove_file(found.path()).unwrap();
                removed += 1;
            }
        }
    }
    assert!(removed > 0, "where bazel-remote keeps contents has changed");
    // It knows from its memory what it has, and finds out when it is asked for the content.
    assert!(!matches!(store.read(&digest, None).await, Ok(Some(_))));
}
