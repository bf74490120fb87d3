//! The other flags of `run`, and `why`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Lab, Ran};

#[test]
fn time_to_live() {
    let lab = Lab::new();
    let script = "echo x >> runs; wc -l < runs";
    lab.sh(&["--ttl", "1h"], script).expect("miss");
    assert_eq!(lab.sh(&["--ttl", "1h"], script).expect("hit").stdout, b"1\n");
    // The shorter time counts, whoever names it.
    let again = lab.sh(&["--ttl", "0s"], script).expect("miss");
    assert!(again.reasons().starts_with("expired"), "{}", again.reasons());
    lab.sh(&["--ttl", "1h"], script).expect("miss");
}

#[test]
fn stale_results_are_served_while_fresh_ones_are_made() {
    let lab = Lab::new();
    let done = lab.path("done");
    let made = std::process::Command::new("mkfifo").arg(&done).status().unwrap();
    assert!(made.success());
    lab.write("n", "1");
    let flags = ["--ttl", "0s", "--stale"];
    // The refresh in the background says through the pipe that it is at work; the first run finds nobody there.
    let script = "cat n; if [ $(cat n) = 2 ]; then echo refreshed > done; fi";
    lab.sh(&flags, script).expect("miss");
    lab.write("n", "2");
    let stale = lab.sh(&flags, script).expect("stale");
    assert_eq!(stale.stdout, b"1");
    assert_eq!(fs::read_to_string(done).unwrap(), "refreshed\n");
}

#[test]
fn modes() {
    let lab = Lab::new();
    lab.write("in", "1");
    let with = |mode: &str, flags: &[&str]| {
        let args = ["-i", "in"].iter().chain(flags).copied().chain([
            "--",
            "sh",
            "-c",
            "echo x >> runs; wc -l < runs",
        ]);
        Ran::from(lab.run_command(args).env("VITTE_CACHE", mode).output().unwrap())
    };
    with("off", &[]).expect("bypass");
    assert!(lab.command().args(["ls", "--json"]).output().unwrap().stdout.is_empty());
    with("ro", &[]).expect("not-stored");
    with("rw", &["--no-store"]).expect("not-stored");
    assert_eq!(with("rw", &[]).expect("miss").stdout, b"4\n");
    assert_eq!(with("ro", &[]).expect("hit").stdout, b"4\n");
    assert_eq!(with("refresh", &[]).expect("miss").stdout, b"5\n");
    assert_eq!(with("rw", &["--refresh"]).expect("miss").stdout, b"6\n");
    assert_eq!(with("rw", &[]).expect("hit").stdout, b"6\n");
    let wrong = with("sometimes", &[]);
    assert!(wrong.code == 125 && wrong.stderr.contains("VITTE_CACHE"), "{}", wrong.stderr);
}

#[test]
fn quick_results_can_be_left_out() {
    let lab = Lab::new();
    lab.write("in", "1");
    lab.sh(&["-i", "in", "--min-time", "1h"], "true").expect("not-stored");
}

#[test]
fn dry_runs_and_keys() {
    let lab = Lab::new();
    lab.write("in", "1");
    let (flags, script) = (["-n", "t", "-i", "in", "-o", "out"], "cp in out");
    let dry = |lab: &Lab| lab.sh(&["-n", "t", "-i", "in", "-o", "out", "--dry-run"], script);
    dry(&lab).expect("not-stored");
    assert!(!lab.path("out").exists());
    let key =
        || lab.run(["-n", "t", "-i", "in", "-o", "out", "--print-key", "--", "sh", "-c", script]).stdout;
    let first = key();
    assert_eq!(first.len(), 65);
    lab.sh(&flags, script).expect("miss");
    assert_eq!(key(), first);
    fs::remove_file(lab.path("out")).unwrap();
    dry(&lab).expect("hit");
    assert!(!lab.path("out").exists());
    lab.write("in", "2");
    assert_ne!(key(), first);
    // Also where the command would run in any case.
    lab.sh(&["-n", "t", "-i", "in", "-o", "out", "--dry-run", "--refresh"], script).expect("not-stored");
    lab.sh(&["-i", "**", "-o", "made/", "--dry-run"], "touch made").expect("not-stored");
    assert!(!lab.path("out").exists() && !lab.path("made").exists());
    assert_eq!(dry(&lab).expect("not-stored").reasons(), "in changed");
}

#[test]
fn standard_input_is_empty_or_keyed() {
    let lab = Lab::new();
    let run = |flags: &[&str], input: &str| {
        let args = flags.iter().copied().chain(["--ttl", "1h", "--", "cat"]);
        let mut command = lab.run_command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Whoever does not read it closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::from(child.wait_with_output().unwrap())
    };
    assert_eq!(run(&[], "ignored").expect("miss").stdout, b"");
    assert_eq!(run(&["--stdin=key"], "one").expect("miss").stdout, b"one");
    assert_eq!(run(&["--stdin=key"], "one").expect("hit").stdout, b"one");
    let other = run(&["--stdin=key"], "two").expect("miss");
    assert_eq!((other.stdout.as_slice(), other.reasons().as_str()), (&b"two"[..], "standard input changed"));
}

#[test]
fn verifying_a_hit_finds_what_is_not_deterministic() {
    let lab = Lab::new();
    lab.write("in", "1");
    let flags = ["-n", "t", "-i", "in", "-o", "same", "-o", "differs", "--verify"];
    let script = "cp in same; echo x >> runs; cp runs differs; wc -l < runs";
    lab.sh(&flags, script).expect("miss");
    let verified = lab.sh(&flags, script);
    assert_eq!(verified.status["differing"], serde_json::json!(["differs", "standard output"]));
    let stats = lab.command().args(["stats", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&stats.stdout).contains("\"t\""), "kept per label");
    let steady = ["-n", "s", "-i", "in", "-o", "same", "--verify=100"];
    lab.sh(&steady, "cp in same").expect("miss");
    assert_eq!(lab.sh(&steady, "cp in same").status["differing"], serde_json::json!([]));
}

#[test]
fn the_status_line() {
    let lab = Lab::new();
    lab.write("in", "1");
    let line = |flags: &[&str]| {
        let args = ["run"].iter().chain(flags).copied().chain(["-n", "t", "-i", "in", "--", "true"]);
        String::from_utf8(lab.command().args(args).output().unwrap().stderr).unwrap()
    };
    assert!(line(&[]).starts_with("○ miss t   first run · ran "));
    assert!(line(&[]).starts_with("● hit  t   "));
    assert_eq!((line(&["-q"]).as_str(), line(&["--status", "never"]).as_str()), ("", ""));
    lab.write("in", "2");
    let explained = line(&["--explain"]);
    assert!(explained.starts_with("○ miss t   in changed") && explained.contains(" → "), "{explained}");
}

#[test]
fn an_evicted_result_says_so() {
    let remove_blob = |lab: &Lab| {
        let mut blobs = lab.stored_files("/blobs/").into_iter();
        fs::remove_file(blobs.find(|path| fs::read(path).unwrap() == b"1").unwrap()).unwrap();
    };
    // Twice what there is room for.
    let fill = |lab: &Lab| {
        for number in 0..160 {
            lab.write("filler", format!("{number:09}\n").repeat(20_000));
            let put = lab.command().args(["put", &format!("filler {number}"), "filler"]).output().unwrap();
            assert!(put.status.success(), "{put:?}");
        }
    };
    let [files, segments] = Lab::of_each_layout();
    // What was written a moment ago is protected from eviction in files, and its loss looks the same.
    for (lab, evict) in [(files, &remove_blob as &dyn Fn(&Lab)), (segments, &fill)] {
        lab.write("in", "1");
        let (flags, script) = (["-n", "t", "-i", "in", "-o", "out"], "cp in out");
        lab.sh(&flags, script).expect("miss");
        evict(&lab);
        let gone = lab.sh(&flags, script).expect("miss");
        assert!(gone.reasons().starts_with("evicted"), "{}", gone.reasons());
        lab.sh(&flags, script).expect("hit");
    }
}

#[test]
fn why_names_what_changed_between_runs() {
    let lab = Lab::new();
    lab.write("in", "1");
    lab.sh(&["-n", "t", "-i", "in"], "cat in").expect("miss");
    lab.write("in", "2");
    lab.write("other", "3");
    lab.sh(&["-n", "t", "-i", "in", "-i", "other"], "cat in").expect("miss");
    let why = |args: &[&str]| {
        let output = lab.command().arg("why").args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    for args in [vec!["t"], vec![]] {
        let (code, text) = why(&args);
        assert!(code == 0 && text.contains("in") && text.contains("other"), "{text}");
    }
    let (_, json) = why(&["t", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["differences"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(why(&["no-such-label"]).0, 1);
}

#[test]
fn what_a_run_is_compared_with_survives_a_collection() {
    let lab = Lab::new();
    lab.write("in", "1");
    lab.sh(&["-n", "t", "-i", "in"], "cat in").expect("miss");
    assert!(lab.command().arg("gc").status().unwrap().success());
    lab.write("in", "2");
    assert_eq!(lab.sh(&["-n", "t", "-i", "in"], "cat in").expect("miss").reasons(), "in changed");
}

#[test]
fn unchanged_files_are_not_read_again() {
    let lab = Lab::new();
    // A file that is old in truth: its change time cannot be set back.
    lab.sh(&["-i", "/etc/passwd"], "true").expect("miss");
    let memories = lab.stored_files("/run/memory/");
    assert_eq!(memories.len(), 1);
    assert!(fs::metadata(&memories[0]).unwrap().len() > 32);
}

#[test]
fn a_project_file_names_a_run() {
    let lab = Lab::new();
    lab.write("src/a", "1");
    lab.write(
        ".vitte/config.toml",
        "[run.build]\ninputs = ['src/**']\noutputs = ['out']\nenv = ['MODE']\ncommand = ['sh', '-c', 'cat src/* > out']\n",
    );
    let build = || Ran::from(lab.command().args(["run", "--status", "json", "build"]).output().unwrap());
    build().expect("miss");
    fs::remove_file(lab.path("out")).unwrap();
    build().expect("hit");
    assert_eq!(lab.read("out"), "1");
    // A file that others could have written does not decide what is executed.
    fs::set_permissions(lab.path(".vitte/config.toml"), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .unwrap();
    let refused = build();
    assert!(refused.code == 125 && refused.stderr.contains("config.toml"), "{}", refused.stderr);
}
