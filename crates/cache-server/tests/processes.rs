//! Servers in processes of their own: how much memory a large value takes, and what is left when one is killed under load.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails where it stands, and its child speaks to it"
)]
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Policy;
use cache_fs::{FsStore, Layout};
use cache_server::{Server, ServerOptions};
use common::{Client, content, options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Bytes that are sent and read at a time.
const CHUNK: usize = 1 << 20;
/// Clients at work when a server is killed, and names that each of them writes.
const CLIENTS: u64 = 6;
const NAMES: u64 = 20;
/// Rounds of killing; more if `VITTE_CACHE_TEST_SLOW` is set.
const ROUNDS: u64 = 6;
const SLOW_ROUNDS: u64 = 60;

fn is_slow() -> bool {
    std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some()
}

/// A server in a process of its own. It ends with this, or with the test.
struct Process {
    child: Child,
    address: SocketAddr,
    /// The test's own program writes there as well after a minute, and ends if nobody could read it.
    _output: BufReader<ChildStdout>,
}

#[test]
#[ignore = "run by the other tests"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let dir = PathBuf::from(variable("CACHE_SERVER_TEST_DIR"));
    let layout =
        if variable("CACHE_SERVER_TEST_LAYOUT") == "segments" { Layout::Segments } else { Layout::Files };
    let data: u64 = variable("CACHE_SERVER_TEST_DATA").parse().unwrap();
    if data > 0 {
        let maximum = getrlimit(Resource::Data).maximum;
        setrlimit(Resource::Data, Rlimit { current: Some(data), maximum }).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store_options =
            cache_fs::Options { policy: Some(Policy::unlimited()), layout, ..cache_fs::Options::default() };
        let store = FsStore::open(&dir.join("cache"), store_options).unwrap();
        let options = ServerOptions { spool_dir: Some(dir.join("spool")), ..options() };
        let server = Server::bind(options, Arc::new(store)).await.unwrap();
        println!("listening on {}", server.local_addr().unwrap());
        let (gone, parent) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = gone.send(());
        });
        let _ = server
            .run_until(async {
                let _ = parent.await;
            })
            .await;
    });
}

impl Process {
    /// Starts a server of what is in `dir` that may have `data` bytes of its own, or any number if 0.
    fn start(dir: &Path, layout: &str, data: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("CACHE_SERVER_TEST_DIR", dir)
            .env("CACHE_SERVER_TEST_LAYOUT", layout)
            .env("CACHE_SERVER_TEST_DATA", data.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = output.by_ref().lines().map(Result::unwrap).find_map(|line| {
            line.split_once("listening on ").map(|(_, address)| address.trim().parse().unwrap())
        });
        Self { child, address: address.expect("it listens"), _output: output }
    }

    async fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Returns the most memory in bytes that the process has ever had at once.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already if it was killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes `chunk` differ from those at all other places of the value.
fn number(chunk: &mut [u8], at: u64) {
    chunk[..8].copy_from_slice(&at.to_le_bytes());
}

/// A value much larger than the memory that the process can get at all goes up and comes down, to the byte. The bound is the
/// operating system's for what the process allocates, and ours for all that it has in memory, code and mapped files with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_may_be_larger_than_the_memory() {
    let (chunks, bound) = if is_slow() { (5 << 10, 256 << 20) } else { (300, 64 << 20) };
    let dir = tempfile::tempdir().unwrap();
    let server = Process::start(dir.path(), "files", bound);
    let mut client = server.connect().await;
    let mut chunk = content(CHUNK, 1);
    let len = chunks * CHUNK as u64;
    client
        .send(format!("PUT /kv/large HTTP/1.1\r\nHost: c\r\nContent-Length: {len}\r\n\r\n").as_bytes())
        .await;
    for at in 0..chunks {
        number(&mut chunk, at);
        client.send(&chunk).await;
    }
    assert_eq!(client.answer(false).await.unwrap().status, 200);
    client.send(b"GET /kv/large HTTP/1.1\r\nHost: c\r\n\r\n").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {len}\r\n")),
        "{head}"
    );
    let mut arrived = vec![0; CHUNK];
    for at in 0..chunks {
        number(&mut chunk, at);
        client.stream.read_exact(&mut arrived).await.unwrap();
        assert!(arrived == chunk, "chunk {at}");
    }
    let peak = server.peak();
    assert!(peak < bound, "{peak} bytes of memory for a value of {len}");
}

/// Returns the value that `seed` stands for: which one it is, and then any number of bytes.
fn value(name: u64, seed: u64) -> Vec<u8> {
    let len = match seed % 4 {
        0 => 1 + seed as usize % 1_000,
        1 | 2 => 10_000 + seed as usize * 31 % 100_000,
        // Too large for memory, so that it goes through a file.
        _ => 300_000 + seed as usize * 31 % 300_000,
    };
    [&name.to_le_bytes()[..], &seed.to_le_bytes(), &content(len, seed as u8)].concat()
}

/// What a client knows about a name.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The last value whose upload was answered.
    stored: Option<u64>,
    /// The one whose upload was not.
    sent: Option<u64>,
}

/// Writes values until the server is gone, and tells of each one that is stored.
async fn write(
    address: SocketAddr,
    client: u64,
    seeds: Arc<AtomicU64>,
    done: mpsc::UnboundedSender<()>,
) -> Vec<(u64, Known)> {
    let mut known: BTreeMap<u64, Known> = BTreeMap::new();
    let mut connection = Client::new(TcpStream::connect(address).await.unwrap());
    loop {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        let name = client * NAMES + seed % NAMES;
        let known_here = known.entry(name).or_default();
        known_here.sent = Some(seed);
        let value = value(name, seed);
        let head = format!("PUT /kv/{name} HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n", value.len());
        let _ = connection.stream.write_all(head.as_bytes()).await;
        let _ = connection.stream.write_all(&value).await;
        let Some(answer) = connection.answer(false).await else { return known.into_iter().collect() };
        assert_eq!(answer.status, 200);
        *known_here = Known { stored: Some(seed), sent: None };
        let _ = done.send(());
    }
}

/// Checks that what is served under each name is what was put there last, or what was on its way when the server was killed, and
/// returns the values that were, although nobody was told that they are stored.
async fn check(server: &Process, all: &mut BTreeMap<u64, Known>) -> usize {
    let mut client = server.connect().await;
    let mut unanswered = 0;
    for (&name, known) in all {
        let answer = client.ask("GET", &format!("/kv/{name}"), &[], b"").await;
        if answer.status == 404 {
            assert_eq!(known.stored, None, "what was stored is gone: {name}");
            known.sent = None;
            continue;
        }
        assert_eq!(answer.status, 200);
        let seed = u64::from_le_bytes(answer.body[8..16].try_into().unwrap());
        assert!(known.stored == Some(seed) || known.sent == Some(seed), "{name} has {seed}");
        assert!(answer.body == value(name, seed), "a wrong byte in {name}");
        unanswered += usize::from(known.stored != Some(seed));
        *known = Known { stored: Some(seed), sent: None };
    }
    unanswered
}

async fn killed_under_load(layout: &str) {
    let dir = tempfile::tempdir().unwrap();
    let seeds = Arc::new(AtomicU64::new(0));
    let mut all: BTreeMap<u64, Known> = BTreeMap::new();
    for round in 0..if is_slow() { SLOW_ROUNDS } else { ROUNDS } {
        let server = Process::start(dir.path(), layout, 0);
        check(&server, &mut all).await;
        let (done, mut stored) = mpsc::unbounded_channel();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(write(server.address, client, Arc::clone(&seeds), done.clone()));
        }
        for _ in 0..20 + round * 13 % 50 {
            stored.recv().await.unwrap();
        }
        server.kill();
        for (name, known) in clients.join_all().await.into_iter().flatten() {
            let before = all.entry(name).or_default();
            *before = Known { stored: known.stored.or(before.stored), sent: known.sent };
        }
    }
    let server = Process::start(dir.path(), layout, 0);
    check(&server, &mut all).await;
    assert!(all.values().filter(|known| known.stored.is_some()).count() > 10, "something was stored");
    // Spools have no names: nothing of what broke off is left.
    assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_files_is_killed_under_load_and_serves_nothing_wrong_afterwards() {
    killed_under_load("files").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_segments_is_killed_under_load_and_serves_nothing_wrong_afterwards() {
    killed_under_load("segments").await;
}
