//! What a collector of traces is told. The spans are looked for in the bytes that it gets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Place, Running, answer};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What was posted: the path, and the body.
type Post = (String, Vec<u8>);

/// Listens as a collector does, and takes what is posted to it.
fn collector() -> (SocketAddr, Receiver<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, posts) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let send = send.clone();
            thread::spawn(move || take(stream.unwrap(), &send));
        }
    });
    (address, posts)
}

/// Takes what comes over one connection, to its end.
fn take(stream: TcpStream, send: &Sender<Post>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        // What is acknowledged has been passed on.
        if send.send((path, body)).is_err() {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        // A server that is gone has not waited for it.
        let _ = reader.get_mut().write_all(answer);
    }
}

/// A server that tells of its requests at the address, with these variables as well. That it does not log them is no matter.
fn serve(place: &Place, collector: SocketAddr, variables: &[(&str, &str)]) -> Running {
    let line = "serve --port 0 --log json --log-level info,vitte_cache::access=off";
    let mut command = place.command(line.split(' '));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.envs(variables.iter().copied());
    Running::start(&mut command)
}

fn get_as_part_of_a_trace(server: &Running, sampled: &str) {
    let mut stream = server.connect();
    let head = format!(
        "GET /kv/absent?secret=1 HTTP/1.1\r\nHost: c\r\nConnection: close\r\ntraceparent: 00-{TRACE}-{PARENT}-{sampled}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(answer(stream).0, 404);
}

/// Ends the server and returns all that was posted.
fn end(mut server: Running, posts: &Receiver<Post>) -> Vec<u8> {
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0), "{}", server.log);
    // Everything is here: the server has waited for its acknowledgement.
    let (path, mut all) = posts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(path, "/v1/traces");
    all.extend(posts.try_iter().flat_map(|(_, body)| body));
    all
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Returns an attribute as it is encoded: its key is the field 1, and its value the field 2.
fn attribute(key: &str, value: &str) -> Vec<u8> {
    let value = [&[0x0a, value.len() as u8], value.as_bytes()].concat();
    [&[0x0a, key.len() as u8], key.as_bytes(), &[0x12, value.len() as u8], &value].concat()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn each_request_is_a_span() {
    let place = Place::new();
    let (collector, posts) = collector();
    let server = serve(&place, collector, &[]);
    assert!((200..300).contains(&server.put("/ns/team/kv/a", None, b"value")));
    get_as_part_of_a_trace(&server, "01");
    let all = end(server, &posts);
    assert!(has(&all, &attribute("service.name", "vitte-cache")));
    for name in ["PUT kv", "GET kv"] {
        assert!(has(&all, &[&[0x2a, name.len() as u8], name.as_bytes()].concat()), "{name}");
    }
    for (key, value) in [
        ("http.request.method", "PUT"),
        ("url.path", "/ns/team/kv/a"),
        ("url.path", "/kv/absent"),
        ("client.address", "127.0.0.1"),
        ("vitte_cache.protocol", "kv"),
        ("vitte_cache.namespace", "team"),
    ] {
        assert!(has(&all, &attribute(key, value)), "{key} {value}");
    }
    // 404, as a number of variable length.
    assert!(has(&all, &[b"http.response.status_code".as_slice(), &[0x12, 0x03, 0x18, 0x94, 0x03]].concat()));
    assert!(has(&all, &from_hex(TRACE)) && has(&all, &from_hex(PARENT)));
    assert!(!has(&all, b"secret"));
}

#[test]
fn a_trace_that_is_not_sampled_gets_no_span() {
    let place = Place::new();
    let (collector, posts) = collector();
    let server = serve(&place, collector, &[("OTEL_SERVICE_NAME", "cache-of-berlin")]);
    get_as_part_of_a_trace(&server, "00");
    assert_eq!(server.get("/kv/other", None).0, 404);
    let all = end(server, &posts);
    assert!(has(&all, &attribute("service.name", "cache-of-berlin")));
    assert!(has(&all, &attribute("url.path", "/kv/other")));
    assert!(!has(&all, b"/kv/absent"));
}

#[test]
fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let place = Place::new();
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = serve(&place, gone, &[]);
    assert!((200..300).contains(&server.put("/kv/a", None, b"value")));
    assert_eq!(server.get("/kv/a", None), (200, b"value".to_vec()));
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0), "{}", server.log);
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let place = Place::new();
    // Connections are accepted by the system, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // Far longer than the test waits.
    let patient = [("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")];
    let mut server = serve(&place, silent.local_addr().unwrap(), &patient);
    assert_eq!(server.get("/kv/a", None).0, 404);
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0), "{}", server.log);
}

#[test]
fn what_cannot_be_spoken_is_said_and_the_cache_serves() {
    let place = Place::new();
    let (collector, posts) = collector();
    let mut server = serve(&place, collector, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!(server.get("/kv/a", None).0, 404);
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0), "{}", server.log);
    assert!(server.log.contains("OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not spoken"), "{}", server.log);
    assert!(posts.try_recv().is_err());
}
