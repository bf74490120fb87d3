//! A server in trouble costs its time once and one warning, and never the command.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::server::{Odd, Real, nobody};
use crate::site::{Done, Machine};

/// What a run may take: many times the timeout of the tests, and far less than it would be to wait for ever.
const IN_TIME: Duration = Duration::from_mins(1);

fn machine(url: &str) -> Machine {
    let machine = Machine::new(url, "readwrite").set("VITTE_REMOTE_CACHE_TIMEOUT", "1s");
    machine.write("src/in", "1");
    machine
}

/// Runs a command that must succeed, in time, with one warning.
#[track_caller]
fn survives(machine: &Machine) -> Done {
    let started = Instant::now();
    let done = machine.build(&[]).expect("miss", None);
    assert!(started.elapsed() < IN_TIME, "{:?}", started.elapsed());
    assert_eq!(done.warnings().len(), 1, "{}", done.stderr);
    assert_eq!(machine.read("out/data"), b"11");
    done
}

#[test]
fn nobody_there_silence_garbage_and_refusals() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
    let broken = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let denied = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    for (name, url, warning) in [
        ("nobody", nobody(), "not used for now"),
        ("silence", Odd::stalled().url(), "not used for now"),
        ("garbage", Odd::saying(b"\x00\xff\x13garbage\r\n\r\n").url(), "not used for now"),
        ("a page", Odd::saying(page).url(), "no result of this program"),
        ("broken", Odd::saying(broken).url(), "503"),
        ("denied", Odd::saying(denied).url(), "(401)"),
        (
            "TLS",
            Odd::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").url().replace("http:", "https:"),
            "not used for now",
        ),
    ] {
        let machine = machine(&url);
        let done = survives(&machine);
        assert!(done.warnings()[0].contains(warning), "{name}: {}", done.stderr);
        machine.build(&[]).expect("hit", Some("local"));
    }
}

#[test]
fn the_next_runs_do_not_wait_for_it_again() {
    let server = Odd::stalled();
    let machine = machine(&server.url());
    survives(&machine);
    let asked = server.seen.load(Ordering::SeqCst);
    assert!(asked > 0);
    for content in ["2", "3"] {
        machine.write("src/in", content);
        let done = machine.build(&[]).expect("miss", None);
        assert!(done.warnings().is_empty(), "it was said before: {}", done.stderr);
        let why = done.status["remote"]["trouble"].as_str().unwrap();
        assert!(why.contains("tried again in"), "{why}");
    }
    assert_eq!(server.seen.load(Ordering::SeqCst), asked);
}

#[test]
fn killed_while_it_sends_a_result() {
    let server = Real::start();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let one = Machine::new(&server.url(), "readwrite");
    one.write("src/in", &big);
    let first = one.build(&[]).expect("miss", None);
    assert_eq!(first.number("uploaded"), 1, "{}", first.stderr);
    // Before the entry, within it, between it and the files, within the files.
    for bytes in [0, 100, 1500, 3_000, 100_000, 4_000_000] {
        let proxy = Odd::dying(&server, bytes);
        let two = Machine::new(&proxy.url(), "read").set("VITTE_REMOTE_CACHE_TIMEOUT", "2s");
        two.write("src/in", &big);
        let started = Instant::now();
        let done = two.build(&[]).expect("miss", None);
        assert!(started.elapsed() < IN_TIME);
        assert_eq!((done.warnings().len(), two.ran()), (1, 1), "after {bytes} bytes: {}", done.stderr);
        assert_eq!(two.read("out/data"), one.read("out/data"));
        two.build(&[]).expect("hit", Some("local"));
    }
}

#[test]
fn a_result_with_other_bytes_is_not_used() {
    let server = Real::start();
    // Over a protocol that takes anything under any name.
    let url = format!("http://{}/kv/team", server.address);
    let machine = |mode| Machine::new(&url, mode).set("VITTE_REMOTE_CACHE_BACKEND", "generic");
    let one = machine("readwrite");
    one.write("src/in", "right");
    one.build(&[]).expect("miss", None);
    // Every blob of the server gets other bytes of the same length.
    let files = [(b"rightright".as_slice(), "wrongwrong"), (b"x", "y")];
    for (content, wrong) in files {
        let digest = cache_core::Digest::blake3(content).to_hex();
        let url = format!("{url}/b/blake3/{}/{digest}", &digest[..2]);
        put(&url, wrong);
    }
    let two = machine("read");
    two.write("src/in", "right");
    let done = two.build(&[]).expect("miss", None);
    assert_eq!((two.ran(), done.warnings().len()), (1, 1), "{}", done.stderr);
    assert_eq!(two.read("out/data"), b"rightright");
    assert!(done.status["reasons"][0].as_str().unwrap().contains("in the remote cache"), "{}", done.stderr);
}

/// Puts `text` to `url`, by hand.
fn put(url: &str, text: &str) {
    use std::io::{Read, Write};
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let len = text.len();
    write!(
        stream,
        "PUT /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{text}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}
