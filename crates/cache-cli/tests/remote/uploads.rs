//! What is uploaded, when, and what happens to the rest.

use std::time::{Duration, Instant};

use crate::server::{Odd, Real};
use crate::site::Machine;

fn machine(url: &str) -> Machine {
    let machine = Machine::new(url, "readwrite");
    machine.write("src/in", "1");
    machine
}

#[test]
fn what_is_left_goes_with_the_next_run() {
    let server = Real::start();
    let one = machine(&server.url());
    // No time at all for uploads.
    let one = one.set("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "0s");
    let first = one.build(&[]).expect("miss", None);
    assert_eq!(first.number("uploaded") + first.number("left"), 1, "{}", first.stderr);
    assert!(first.warnings().is_empty(), "{}", first.stderr);
    // The next one is a hit, and needs nothing from the server; what was left goes all the same.
    let one = one.set("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "20s");
    let second = one.build(&[]).expect("hit", Some("local"));
    assert_eq!(second.number("uploaded"), first.number("left"), "{}", second.stderr);
    assert_eq!(one.build(&[]).number("uploaded"), 0, "once");
    machine(&server.url()).build(&[]).expect("hit", Some("remote"));
}

#[test]
fn a_server_that_takes_nothing_holds_nobody_up() {
    // Look-ups are not made, so the upload is what it stalls.
    let silent = Odd::stalled();
    let one = machine(&silent.url()).set("VITTE_REMOTE_CACHE_MODE", "write");
    let one = one.set("VITTE_REMOTE_CACHE_TIMEOUT", "100s").set("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "300ms");
    let started = Instant::now();
    let done = one.build(&[]).expect("miss", None);
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    assert_eq!((done.number("uploaded"), done.number("left")), (0, 1), "{}", done.stderr);
}

#[test]
fn what_is_meant_for_one_server_is_not_sent_to_another() {
    let silent = Odd::stalled();
    let one = machine(&silent.url()).set("VITTE_REMOTE_CACHE_MODE", "write");
    let one = one.set("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "0s");
    assert_eq!(one.build(&[]).expect("miss", None).number("left"), 1);
    let other = Real::start();
    let one = one.set("VITTE_REMOTE_CACHE_URL", &other.url()).set("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "20s");
    let done = one.build(&[]).expect("hit", Some("local"));
    assert_eq!((done.number("uploaded"), done.number("left")), (0, 0), "{}", done.stderr);
    machine(&other.url()).build(&[]).expect("miss", None);
}

#[test]
fn a_token_that_may_only_read_is_one_warning_and_no_more() {
    let (server, read, write) = Real::with_tokens();
    let one = machine(&server.url()).set("VITTE_REMOTE_CACHE_TOKEN", read.reveal());
    let first = one.build(&[]).expect("miss", None);
    assert_eq!(first.warnings().len(), 1, "{}", first.stderr);
    assert!(first.warnings()[0].contains("(403)"), "{}", first.stderr);
    one.write("src/in", "2");
    let second = one.build(&[]).expect("miss", None);
    assert!(second.warnings().is_empty(), "{}", second.stderr);
    assert_eq!((second.number("uploaded"), second.number("left")), (0, 0), "{}", second.stderr);
    // It reads what others wrote all the same.
    let two = machine(&server.url()).set("VITTE_REMOTE_CACHE_TOKEN", write.reveal());
    two.write("src/in", "3");
    assert_eq!(two.build(&[]).expect("miss", None).number("uploaded"), 1);
    one.write("src/in", "3");
    one.build(&[]).expect("hit", Some("remote"));
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let server = Real::start();
    let one = machine(&server.url());
    one.build(&[]).expect("miss", None);
    let back = server.again();
    drop(server);
    let two = machine(&back.url());
    two.build(&[]).expect("hit", Some("remote"));
}

#[test]
fn what_the_server_does_not_take_is_said_and_not_tried_for_ever() {
    let server = Real::with_limit(100_000);
    let one = machine(&server.url());
    one.write("src/in", vec![b'x'; 200_000]);
    let done = one.build(&[]).expect("miss", None);
    assert_eq!((done.number("uploaded"), done.number("left")), (0, 0), "{}", done.stderr);
    let why = done.status["remote"]["trouble"].as_str().unwrap_or_default();
    assert!(why.contains("not uploaded") && why.contains("too large"), "{}", done.stderr);
    assert!(done.warnings().is_empty(), "{}", done.stderr);
    // Others go there all the same.
    one.write("src/in", "small");
    assert_eq!(one.build(&[]).expect("miss", None).number("uploaded"), 1);
}
