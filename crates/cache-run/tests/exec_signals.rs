//! Signals that reach this process while a command runs: the test binary runs itself and sends them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use cache_run::exec::{Command, Limits, Recording, Sink, Stdin, run};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

/// The test that is the other process; it runs the shell script of this variable through `exec`.
const HELPER: &str = "helper";
const SCRIPT: &str = "EXEC_TEST_SCRIPT";

#[test]
#[ignore = "the part of the other tests that runs in another process"]
fn helper() {
    let Some(script) = std::env::var_os(SCRIPT) else { return };
    let args: Vec<OsString> = vec!["-c".into(), script];
    let command = Command {
        program: Path::new("/bin/sh"),
        arg0: "sh".as_ref(),
        args: &args,
        cwd: None,
        env: &[("PATH".into(), std::env::var_os("PATH").unwrap())],
        stdin: Stdin::Inherit,
    };
    let limits = Limits { max_log: 1000, memory: 1000, spool_dir: None };
    let finished = run(&command, &limits, Sink::stdio().unwrap()).unwrap();
    let complete = matches!(finished.recording, Recording::Complete(_));
    println!(
        "\ncode={} signal={:?} interrupted={} complete={complete}",
        finished.code, finished.signal, finished.interrupted
    );
    std::io::stdout().flush().unwrap();
    // Ends with the pipe of the test, should nothing else end it.
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Helper {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Helper {
    fn start(script: &str, wrapper: &[&str]) -> Self {
        let own = std::env::current_exe().unwrap();
        // Under `nohup`, or in the background of a shell, the tests themselves are started with signals ignored, and so would be
        // whatever they start: nothing would ever end the wait for one.
        let reset: &[&str] = if cfg!(target_os = "linux") { &["env", "--default-signal"] } else { &[] };
        let mut words: Vec<OsString> = reset.iter().chain(wrapper).map(OsString::from).collect();
        words.push(own.into());
        words.extend(["--exact", HELPER, "--nocapture", "--ignored"].map(OsString::from));
        let mut child = std::process::Command::new(&words[0])
            .args(&words[1..])
            .env(SCRIPT, script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads on to a line that ends with `word`, or contains it for a line that the helper itself writes.
    fn expect(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the helper ended before it said {word}");
        }
        line
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Its standard input ends, and so does it, with all it still has to say.
        drop(self.child.stdin.take());
        let _ = std::io::copy(&mut self.lines, &mut std::io::sink());
        let _ = self.child.wait();
    }
}

#[test]
fn signals_are_passed_on_and_noted() {
    for (name, signal) in [("TERM", Signal::TERM), ("HUP", Signal::HUP)] {
        let mut helper = Helper::start(&format!("trap 'exit 7' {name}; echo ready; read line"), &[]);
        helper.expect("ready");
        helper.send(signal);
        let line = helper.expect("code=");
        assert_eq!(line.trim(), "code=7 signal=None interrupted=true complete=true");
    }
}

#[test]
fn signals_of_the_keyboard_are_passed_on_without_a_terminal() {
    // In a session of its own there is no terminal that could have sent it.
    let mut helper = Helper::start("trap 'exit 8' INT; echo ready; read line", &["setsid"]);
    helper.expect("ready");
    helper.send(Signal::INT);
    assert_eq!(helper.expect("code=").trim(), "code=8 signal=None interrupted=true complete=true");
}

#[test]
fn a_command_that_dies_of_it_and_one_that_does_not() {
    let mut dies = Helper::start("echo ready; read line", &[]);
    dies.expect("ready");
    dies.send(Signal::TERM);
    assert_eq!(dies.expect("code=").trim(), "code=143 signal=Some(15) interrupted=true complete=true");
    let mut lives = Helper::start("trap 'echo noted' TERM; echo ready; read line; read line; exit 0", &[]);
    lives.expect("ready");
    lives.send(Signal::TERM);
    lives.expect("noted");
    lives.child.stdin.as_mut().unwrap().write_all(b"\n\n").unwrap();
    assert_eq!(lives.expect("code=").trim(), "code=0 signal=None interrupted=true complete=true");
}

#[test]
fn after_the_run_signals_end_this_process_again() {
    let mut helper = Helper::start("exit 3", &[]);
    assert_eq!(helper.expect("code=").trim(), "code=3 signal=None interrupted=false complete=true");
    helper.send(Signal::TERM);
    assert_eq!(helper.end().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
#[cfg(target_os = "linux")]
fn what_was_ignored_stays_ignored() {
    let mut helper = Helper::start("kill -HUP $$; exit 4", &["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]);
    assert_eq!(helper.expect("code=").trim(), "code=4 signal=None interrupted=false complete=true");
}
