//! When a result is not stored, and what is said about it. In each case the command's own result stands.

use std::fs;
use std::process::Stdio;

use crate::support::{Lab, Ran};

#[track_caller]
fn refused(ran: &Ran, words: &str) {
    assert_eq!((ran.code, ran.outcome()), (0, "not-stored"), "{}", ran.stderr);
    assert!(ran.refusal().contains(words), "{}", ran.refusal());
}

#[test]
fn neither_inputs_nor_a_time_to_live() {
    let lab = Lab::new();
    let ran = lab.sh(&[], "echo ran > out");
    assert_eq!(ran.code, 125);
    assert!(ran.stderr.contains("-i 'src/**'") && ran.stderr.contains("--ttl"), "{}", ran.stderr);
    assert!(!lab.path("out").exists());
}

#[test]
fn the_command_wrote_an_input() {
    let lab = Lab::new();
    lab.write("src/a", "1");
    refused(
        &lab.sh(&["-i", "**"], "echo new > state; mkdir -p .cache; echo 1 > .cache/state.json"),
        "wrote its own input .cache/state.json",
    );
    // The remedy that is named works.
    lab.sh(
        &["-i", "**", "-i", "!.cache/**", "-i", "!state"],
        "echo new > state; date +%N > .cache/state.json",
    )
    .expect("miss");
    lab.sh(
        &["-i", "**", "-i", "!.cache/**", "-i", "!state"],
        "echo new > state; date +%N > .cache/state.json",
    )
    .expect("hit");
    refused(&lab.sh(&["-i", "src/a", "-o", "src/a"], "echo x >> src/a"), "wrote its own input src/a");
}

#[test]
fn an_input_changed_while_the_command_ran() {
    let lab = Lab::new();
    lab.write("in", "1");
    refused(&lab.sh(&["-i", "in"], "echo 2 > in"), "input in changed while it ran");
    refused(&lab.sh(&["-i", "i*"], "rm in"), "input in went away while it ran");
    // Touched, but with the same content: nothing happened.
    lab.write("in", "1");
    lab.sh(&["-i", "in"], "cp in x; mv x in").expect("miss");
}

#[test]
fn a_file_that_changes_under_every_run_is_the_commands_own() {
    let lab = Lab::new();
    lab.write("src/a", "1");
    lab.write(".cache/state.json", "0");
    let run = || lab.sh(&["-n", "t", "-i", "**"], "echo x >> .cache/state.json");
    refused(&run(), "input .cache/state.json changed while it ran · run again, or if the command writes it");
    refused(&run(), "wrote its own input .cache/state.json · add -i '!.cache/**'");
}

#[test]
fn patterns_that_match_nothing() {
    let lab = Lab::new();
    let nothing = lab.sh(&["-i", "src/**", "-i", "!x"], "true");
    assert!(nothing.code == 125 && nothing.stderr.contains("no file matches `src/**"), "{}", nothing.stderr);
    lab.sh(&["-i", "src/**", "--ttl", "1h"], "true").expect("miss");
    lab.write("in", "1");
    let some = lab.sh(&["-i", "in", "-i", "src/**"], "true").expect("miss");
    assert!(some.status["warnings"][0].as_str().unwrap().contains("`src/**` matches nothing"));
}

#[test]
fn an_output_is_missing() {
    let lab = Lab::new();
    lab.write("in", "1");
    refused(&lab.sh(&["-i", "in", "-o", "out"], "true"), "declared output out is missing");
    refused(&lab.sh(&["-i", "in", "-o", "gen/"], "echo > gen"), "declared output gen/ is missing");
    refused(&lab.sh(&["-i", "in", "-o", "*.o"], "true"), "declared output *.o is missing");
}

#[test]
fn an_output_that_cannot_be_cached() {
    let lab = Lab::new();
    lab.write("in", "1");
    refused(
        &lab.sh(&["-i", "in", "-o", "out/"], "mkdir out; mkfifo out/pipe"),
        "out/pipe is a device, socket or pipe",
    );
    refused(
        &lab.sh(&["-i", "in", "-o", "big", "--max-entry", "1kB"], "head -c 2000 /dev/zero > big"),
        "larger than 1000 bytes",
    );
    refused(&lab.sh(&["-i", "in", "--max-entry", "1kB"], "head -c 2000 /dev/zero"), "printed more than");
}

#[test]
fn an_input_in_an_owned_output() {
    let lab = Lab::new();
    lab.write("gen/mine", "precious");
    refused(&lab.sh(&["-i", "**", "-o", "gen/"], "echo 1 > gen/out"), "gen/mine lies in the output gen/");
    assert_eq!(lab.read("gen/mine"), "precious");
}

#[test]
fn failures_are_not_stored_unless_asked() {
    let lab = Lab::new();
    lab.write("in", "1");
    for _ in 0..2 {
        assert_eq!(lab.sh(&["-i", "in"], "exit 3").expect("not-stored").code, 3);
    }
    assert_eq!(lab.sh(&["-i", "in", "--cache-failures=3"], "exit 3").expect("miss").code, 3);
    assert_eq!(lab.sh(&["-i", "in", "--cache-failures=3"], "exit 3").expect("hit").code, 3);
    assert_eq!(lab.sh(&["-i", "in", "--cache-failures=4"], "exit 3").expect("not-stored").code, 3);
    assert_eq!(lab.sh(&["-i", "in", "--cache-failures"], "kill -9 $$").expect("not-stored").code, 137);
}

#[test]
fn an_interrupted_run_is_never_stored() {
    let lab = Lab::new();
    lab.write("in", "1");
    // The command survives the signal and ends well; even so nobody knows what it left out.
    let script = "trap 'echo caught; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let child = lab.run_command(["-i", "in", "--", "sh", "-c", script]);
    let mut child = { child }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.outcome(), &ran.stdout[..]),
        (0, "not-stored", &b"caught\n"[..]),
        "{}",
        ran.stderr
    );
    let listed = lab.command().args(["ls", "--json"]).output().unwrap();
    assert!(listed.status.success() && listed.stdout.is_empty());
}

#[test]
fn a_background_process_that_keeps_the_output_does_not_hang_the_run() {
    let lab = Lab::new();
    lab.write("in", "1");
    let ran = lab.sh(&["-i", "in"], "sleep 60 & echo started");
    assert_eq!(ran.stdout, b"started\n");
    refused(&ran, "background process");
}

#[test]
fn usage_that_makes_no_sense_is_refused_before_anything_starts() {
    let lab = Lab::new();
    lab.write("in", "1");
    let outside = lab.other_tree("elsewhere");
    let absolute = outside.join("out");
    for (flags, words) in [
        (vec!["-i", "missing.txt"], "missing.txt"),
        (vec!["-i", "in", "-o", "../out"], "outside of the base directory"),
        (vec!["-i", "in", "-o", absolute.to_str().unwrap()], "outside of the base directory"),
        (vec!["-i", "in", "-o", "."], "base directory itself"),
        (vec!["-i", "in", "-e", "A B*C"], "declares no environment variable"),
        (vec!["-i", "in", "--tool", "nonsense"], "no way to identify a program"),
        (vec!["-i", "in", "--ttl", "soon"], "soon"),
        (vec!["-i", "in", "--max-entry", "much"], "much"),
        (vec!["-i", "in", "--unknown-flag"], "--unknown-flag"),
        (vec!["-i", "in", "--stale"], "--ttl"),
        (vec!["-i", "@git:."], "git"),
    ] {
        let ran = lab.sh(&flags, "echo ran > ran");
        assert_eq!(ran.code, 125, "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{flags:?}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains("panicked") && ran.stderr.trim_end().lines().count() <= 2,
            "{}",
            ran.stderr
        );
        assert!(!fs::exists(lab.path("ran")).unwrap());
    }
    assert_eq!(lab.run(["-i", "in", "--", "no-such-program"]).code, 127);
    lab.write("text", "x");
    assert_eq!(lab.run(["-i", "in", "--", "./text"]).code, 126);
}
