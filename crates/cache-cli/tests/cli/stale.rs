//! `run --stale`: what happens in the background.

#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::Place;

/// Longer than any background run of a test takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a command line with `--stale` and returns when it and everything it started in the background has ended: all of
/// them hold the write end of the pipe that is read here.
fn run_to_the_last(place: &Place, flags: &str) {
    let line =
        format!("exec \"$0\" run -q -n it --ttl 1ms --stale {flags} -- sh -c 'echo x >> count' 3>&1 >&2");
    let model = place.command([""; 0]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &line, env!("CARGO_BIN_EXE_vitte-cache")]).current_dir(&place.work).env_clear();
    shell.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let output = receiver.recv_timeout(PATIENCE).expect("something is still running in the background");
    assert!(output.status.success(), "{output:?}");
}

fn executed(place: &Place) -> usize {
    fs::read_to_string(place.work.join("count")).unwrap().lines().count()
}

#[test]
fn a_stale_result_is_served_once_and_made_anew_behind() {
    let place = Place::new();
    run_to_the_last(&place, "");
    assert_eq!(executed(&place), 1);
    run_to_the_last(&place, "");
    assert_eq!(executed(&place), 2);
    let stats = place.run("stats --json").ok().json();
    assert_eq!((stats["runs"].as_u64(), stats["hits"].as_u64()), (Some(3), Some(1)), "{stats}");
}

#[test]
fn where_nothing_can_be_stored_nothing_is_started() {
    let place = Place::new();
    run_to_the_last(&place, "");
    run_to_the_last(&place, "--no-store");
    assert_eq!(executed(&place), 1);
    let stats = place.run("stats --json").ok().json();
    assert_eq!((stats["runs"].as_u64(), stats["hits"].as_u64()), (Some(2), Some(1)), "{stats}");
}
