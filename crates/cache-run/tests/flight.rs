//! Single flight between real processes: this test binary runs itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use cache_run::flight::{Flight, FlightLock, MAX_NAME_BYTES, extend_active, is_held_by_ancestor};
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Long enough that only a broken lock reaches it.
const LONG: Duration = Duration::from_mins(5);
const KEY: &str = "00ff";

/// Starts this test binary as `test`, with its pipes for a handshake.
fn spawn(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--ignored"])
        .env("FLIGHT_TEST_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads until the child says `word` on a line of its own or at the end of the line that libtest began.
fn expect(lines: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.trim_end().ends_with(word) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended before it said {word}");
    }
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
#[ignore = "the part of `one_owner_at_a_time` that runs in other processes"]
fn child_flies_often() {
    let Some(dir) = std::env::var_os("FLIGHT_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    for _ in 0..50 {
        let flight = FlightLock::acquire(&dir.join("locks"), KEY, LONG, || {});
        let (Flight::Owner(guard) | Flight::Joined(guard)) = flight else { panic!("no lock: {flight:?}") };
        // Creating fails if anybody else is inside.
        let inside = dir.join("inside");
        OpenOptions::new().write(true).create_new(true).open(&inside).unwrap();
        let mut log = OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
        log.write_all(b".").unwrap();
        std::fs::remove_file(&inside).unwrap();
        drop(guard);
    }
}

#[test]
fn one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..8).map(|_| spawn("child_flies_often", dir.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::metadata(dir.path().join("log")).unwrap().len(), 8 * 50);
    #[cfg(unix)]
    assert_eq!(entries(&dir.path().join("locks")), 0);
}

#[test]
#[ignore = "the part of `a_killed_owner_is_noticed` that runs in another process"]
fn child_holds_on() {
    let Some(dir) = std::env::var_os("FLIGHT_TEST_DIR") else { return };
    let flight = FlightLock::acquire(Path::new(&dir), KEY, LONG, || {});
    assert!(matches!(flight, Flight::Owner(_)));
    println!("holding");
    std::io::stdout().flush().unwrap();
    // Ends with the parent's pipe, should the parent fail.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_killed_owner_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn("child_holds_on", dir.path());
    expect(&mut BufReader::new(child.stdout.take().unwrap()), "holding");
    let mut waits = 0;
    let flight = FlightLock::acquire(dir.path(), KEY, LONG, || {
        waits += 1;
        child.kill().unwrap();
    });
    assert!(matches!(flight, Flight::Joined(_)), "{flight:?}");
    assert_eq!(waits, 1);
    drop(flight);
    child.wait().unwrap();
    #[cfg(unix)]
    assert_eq!(entries(dir.path()), 0);
    assert!(matches!(FlightLock::acquire(dir.path(), KEY, LONG, || {}), Flight::Owner(_)));
}

#[test]
fn waiting_ends() {
    let dir = tempfile::tempdir().unwrap();
    let held = FlightLock::acquire(dir.path(), KEY, LONG, || {});
    let flight = FlightLock::acquire(dir.path(), KEY, Duration::from_millis(20), || {});
    assert!(matches!(flight, Flight::TimedOut), "{flight:?}");
    let other = FlightLock::acquire(dir.path(), "other", Duration::ZERO, || panic!("nobody holds it"));
    assert!(matches!(other, Flight::Owner(_)), "{other:?}");
    drop((held, other));
    // The thread that was left behind gives back what it gets, so this ends.
    let again = FlightLock::acquire(dir.path(), KEY, LONG, || {});
    assert!(matches!(again, Flight::Owner(_) | Flight::Joined(_)), "{again:?}");
}

#[test]
fn those_who_wait_go_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let held = FlightLock::acquire(dir.path(), KEY, LONG, || {});
    let (sender, waiting) = mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (sender, dir) = (sender.clone(), dir.path().to_owned());
            std::thread::spawn(move || {
                let flight = FlightLock::acquire(&dir, KEY, LONG, || sender.send(()).unwrap());
                matches!(flight, Flight::Joined(_))
            })
        })
        .collect();
    for _ in &threads {
        waiting.recv().unwrap();
    }
    drop(held);
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    #[cfg(unix)]
    assert_eq!(entries(dir.path()), 0);
}

#[test]
#[cfg(unix)]
fn a_lock_file_that_was_replaced_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = FlightLock::acquire(dir.path(), KEY, LONG, || {});
    std::fs::remove_file(dir.path().join("00ff.lock")).unwrap();
    let second = FlightLock::acquire(dir.path(), KEY, LONG, || {});
    assert!(matches!(second, Flight::Owner(_)));
    drop(first);
    let third = FlightLock::acquire(dir.path(), KEY, Duration::from_millis(1), || {});
    assert!(matches!(third, Flight::TimedOut), "{third:?}");
}

#[test]
fn where_there_is_no_lock_the_path_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Flight::Unavailable(error) = FlightLock::acquire(&file, KEY, LONG, || {}) else { panic!() };
    assert!(error.to_string().contains("00ff.lock"), "{error}");
    for name in ["", "../x", "a/b", &"a".repeat(MAX_NAME_BYTES + 1)] {
        assert!(matches!(FlightLock::acquire(dir.path(), name, LONG, || {}), Flight::Unavailable(_)));
    }
    assert_eq!(entries(dir.path()), 1);
}

#[test]
fn flights_of_ancestors() {
    let one = extend_active(None, "aa");
    let two = extend_active(Some(&one), "bb");
    assert_eq!(two, "aa:bb");
    assert!(is_held_by_ancestor(Some(&two), "aa") && is_held_by_ancestor(Some(&two), "bb"));
    assert!(!is_held_by_ancestor(Some(&two), "a") && !is_held_by_ancestor(None, "aa"));
    assert_eq!(extend_active(Some(OsStr::new("")), "aa"), "aa");
}
