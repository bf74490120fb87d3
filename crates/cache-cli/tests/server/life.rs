//! From the start to the end.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Running, answer, finish, head};

#[test]
fn a_port_and_a_directory_are_enough() {
    let place = Place::new();
    let mut server = place.serve("");
    assert!(server.address().ip().is_loopback());
    assert!((200..300).contains(&server.put("/kv/greeting", None, b"hello")));
    assert_eq!(server.get("/kv/greeting", None), (200, b"hello".to_vec()));
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0));
    assert!(server.log.contains("\"access\":\"everybody reads and writes\""), "{}", server.log);
}

#[test]
fn what_is_under_way_at_the_end_is_finished() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut upload = server.connect();
    upload.write_all(head("PUT", "/kv/late", None, 8).as_bytes()).unwrap();
    upload.write_all(b"half").unwrap();
    // Another request proves that the first one has arrived: connections are accepted in their order.
    assert_eq!(server.get("/kv/none", None).0, 404);
    server.signal(Signal::TERM);
    server.wait_for("\"message\":\"stopping");
    upload.write_all(b"more").unwrap();
    assert!((200..300).contains(&answer(upload).0));
    assert_eq!(server.end().code(), Some(0));
    assert!(server.log.contains("\"cut_off\":0"), "{}", server.log);
    let again = place.serve("");
    assert_eq!(again.get("/kv/late", None), (200, b"halfmore".to_vec()));
}

#[test]
fn what_does_not_end_in_time_is_cut_off_and_that_is_no_failure() {
    let place = Place::new();
    let mut server = place.serve("--drain-timeout 10ms");
    let mut upload = server.connect();
    upload.write_all(head("PUT", "/kv/never", None, 8).as_bytes()).unwrap();
    assert_eq!(server.get("/kv/none", None).0, 404);
    server.signal(Signal::INT);
    assert_eq!(server.end().code(), Some(0));
    assert!(server.log.contains("\"cut_off\":1"), "{}", server.log);
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let place = Place::new();
    let mut server = place.serve("--drain-timeout 1h");
    let mut upload = server.connect();
    upload.write_all(head("PUT", "/kv/never", None, 8).as_bytes()).unwrap();
    assert_eq!(server.get("/kv/none", None).0, 404);
    server.signal(Signal::TERM);
    server.wait_for("\"message\":\"stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(143));
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    let place = Place::new();
    let server = place.serve("");
    let large = vec![7; 3 << 20];
    for number in 0..20 {
        assert!((200..300).contains(&server.put(
            &format!("/kv/{number}"),
            None,
            number.to_string().as_bytes()
        )));
    }
    assert!((200..300).contains(&server.put("/kv/large", None, &large)));
    // Dropping it kills it.
    drop(server);
    let server = place.serve("");
    for number in 0..20 {
        assert_eq!(server.get(&format!("/kv/{number}"), None), (200, number.to_string().into_bytes()));
    }
    assert_eq!(server.get("/kv/large", None), (200, large));
}

#[test]
fn it_listens_at_several_places() {
    let place = Place::new();
    let socket = place.path("http.sock");
    let server = place.serve(&format!("--listen 127.0.0.1 --listen unix:{} --memory none", socket.display()));
    assert!((200..300).contains(&server.put("/kv/a", None, b"same")));
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(head("GET", "/kv/a", None, 0).as_bytes()).unwrap();
    assert_eq!(answer(stream), (200, b"same".to_vec()));
}

#[test]
fn limits_and_protocols_are_settings() {
    let place = Place::new();
    let config =
        place.write("server.toml", "[server]\ndisable = ['sccache']\nmax_value = ['1MB', 'kv=4B']\n");
    let server = place.serve(&format!("--config {}", config.display()));
    assert_eq!(server.put("/kv/five", None, b"12345"), 413);
    assert!((200..300).contains(&server.put("/kv/four", None, b"1234")));
    assert!((200..300).contains(&server.put(&format!("/ccache/{}", "a".repeat(40)), None, b"12345")));
    assert_eq!(server.put("/sccache/a/b/c/abc", None, b"1"), 404);
}

#[test]
fn people_get_lines_with_colours_where_they_want_them() {
    let place = Place::new();
    for (color, painted) in [("always", true), ("never", false)] {
        let mut command = place.command(["serve", "--port", "0", "--color", color]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        log.read_line(&mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(first.contains("serving http://127.0.0.1:"), "{first}");
        assert_eq!(first.contains("\u{1b}["), painted, "{first}");
    }
}

#[test]
fn another_server_may_stand_behind_it() {
    let (behind, first, second) = (Place::new(), Place::new(), Place::new());
    let secret = behind.token("site --read-write");
    let behind = behind.serve("");
    let config =
        format!("[server]\nremote_url = 'http://{}/ns/site'\nremote_token = '{secret}'\n", behind.address());
    let serve = |place: &Place| -> Running {
        let config = place.write("server.toml", &config);
        place.serve(&format!("--config {}", config.display()))
    };
    let large = vec![7; 1 << 20];
    let mut server = serve(&first);
    assert!((200..300).contains(&server.put("/kv/small", None, b"small")));
    assert!((200..300).contains(&server.put("/kv/large", None, &large)));
    // What is not sent yet is sent before the end.
    server.signal(Signal::TERM);
    assert_eq!(server.end().code(), Some(0));
    let server = serve(&second);
    assert_eq!(server.get("/kv/small", None), (200, b"small".to_vec()));
    assert_eq!(server.get("/kv/large", None), (200, large));
    let shown =
        finish(second.command(["config", "--json"]).env("VITTE_SERVER_REMOTE_TOKEN", &secret)).code(0);
    assert!(shown.stdout.contains("(not shown)") && !shown.stdout.contains(&secret), "{shown:?}");
}

#[test]
fn a_server_behind_it_that_is_gone_keeps_nobody_from_storing() {
    let place = Place::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = place.write("server.toml", format!("[server]\nremote_url = 'http://{gone}'\n"));
    let server = place.serve(&format!("--config {}", config.display()));
    // What Nx stores is to be the first under its name.
    for path in ["/kv/x", "/v1/cache/12345"] {
        assert_eq!(server.get(path, None).0, 404, "{path}");
        assert_eq!(server.put(path, None, b"value"), 200, "{path}");
        assert_eq!(server.get(path, None), (200, b"value".to_vec()), "{path}");
    }
    assert_eq!(server.put("/v1/cache/12345", None, b"other"), 409);
    assert_eq!(server.get("/v1/cache/12345", None), (200, b"value".to_vec()));
}
