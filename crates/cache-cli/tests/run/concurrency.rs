//! Many processes at once.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::{Lab, Ran, kill_group};

const PROCESSES: usize = 16;

fn mkfifo(lab: &Lab, name: &str) {
    assert!(Command::new("mkfifo").arg(lab.path(name)).status().unwrap().success());
}

#[test]
fn one_executes_and_the_others_wait_and_replay() {
    let lab = Lab::new();
    lab.write("in", "1");
    mkfifo(&lab, "gate");
    let script = "echo x >> runs; read line < gate; echo result; cp in out";
    let start = || {
        let mut command = lab.run_command(["-i", "in", "-o", "out", "--", "sh", "-c", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    // All but one say that they wait; only then may the one go on.
    let (sender, receiver) = std::sync::mpsc::channel();
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let (stderr, sender) = (child.stderr.take().unwrap(), sender.clone());
            std::thread::spawn(move || {
                let mut text = String::new();
                for line in BufReader::new(stderr).lines() {
                    let line = line.unwrap();
                    if line.contains("waiting") {
                        sender.send(()).unwrap();
                    }
                    text += &line;
                    text += "\n";
                }
                text
            })
        })
        .collect();
    for _ in 0..PROCESSES - 1 {
        receiver.recv().unwrap();
    }
    fs::OpenOptions::new().write(true).open(lab.path("gate")).unwrap().write_all(b"go\n").unwrap();
    let mut outcomes = Vec::new();
    for (child, reader) in children.into_iter().zip(readers) {
        let output = child.wait_with_output().unwrap();
        let stderr = reader.join().unwrap().into_bytes();
        let ran = Ran::from(std::process::Output { stderr, ..output });
        assert_eq!(ran.stdout, b"result\n", "{}", ran.stderr);
        outcomes.push(ran.outcome().to_owned());
    }
    assert_eq!(lab.read("runs"), "x\n");
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "hit").count(), PROCESSES - 1);
}

#[test]
fn a_crashed_owner_is_noticed() {
    let lab = Lab::new();
    lab.write("in", "1");
    mkfifo(&lab, "gate");
    // The first one hangs for ever; the pipe tells when it is at work.
    let script = "if [ ! -e first ]; then touch first; echo at work > gate; exec sleep 600; fi; echo done";
    let command = || lab.run_command(["-i", "in", "--", "sh", "-c", script]);
    let mut owner = command().process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(fs::read_to_string(lab.path("gate")).unwrap(), "at work\n");
    let mut waiter = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(waiter.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("waiting"), "{line}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    let output = waiter.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"done\n"[..]));
    // What the owner had started is an orphan now.
    kill_group(owner.id());
}

#[test]
fn waiting_has_an_end() {
    let lab = Lab::new();
    lab.write("in", "1");
    mkfifo(&lab, "gate");
    mkfifo(&lab, "end");
    let script = "if [ ! -e first ]; then touch first; echo at work > gate; read line < end; fi; echo done";
    let command = || lab.run_command(["-i", "in", "--wait", "10ms", "--", "sh", "-c", script]);
    let owner = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(fs::read_to_string(lab.path("gate")).unwrap(), "at work\n");
    let impatient = Ran::from(command().output().unwrap());
    assert_eq!(impatient.stdout, b"done\n");
    assert!(impatient.stderr.contains("not waiting longer"), "{}", impatient.stderr);
    fs::OpenOptions::new().write(true).open(lab.path("end")).unwrap().write_all(b"\n").unwrap();
    assert!(owner.wait_with_output().unwrap().status.success());
}

#[test]
fn a_command_that_runs_itself_does_not_wait_for_itself() {
    let lab = Lab::new();
    lab.write("in", "1");
    let exe = env!("CARGO_BIN_EXE_vitte-cache");
    let script = format!(
        "if [ ! -e nested ]; then touch nested; '{exe}' run -i in --wait 3s -- sh -c \"$0\" \"$0\"; fi; echo done"
    );
    let ran = lab.run(["-i", "in", "--", "sh", "-c", &script, &script]);
    assert_eq!((ran.code, &ran.stdout[..]), (0, &b"done\ndone\n"[..]), "{}", ran.stderr);
    assert!(!ran.stderr.contains("waiting"), "{}", ran.stderr);
}

#[test]
fn many_processes_share_one_directory() {
    let lab = Lab::new();
    let rounds = if crate::support::slow() { 40 } else { 6 };
    for n in 0..4 {
        lab.write(&format!("in{n}"), format!("{n}"));
    }
    std::thread::scope(|scope| {
        for worker in 0..PROCESSES {
            let lab = &lab;
            scope.spawn(move || {
                let tree = lab.other_tree(&format!("tree{worker}"));
                for round in 0..rounds {
                    let n = (worker + round) % 4;
                    crate::support::write(&tree.join("in"), format!("{n}"));
                    let script =
                        "head -c 100000 /dev/zero | tr '\\0' \"$(cat in)\" > out; cat in; cat in >&2";
                    let mut command = lab.run_command(["-i", "in", "-o", "out", "--", "sh", "-c", script]);
                    let ran = Ran::from(command.current_dir(&tree).output().unwrap());
                    assert_eq!((ran.code, &ran.stdout[..]), (0, n.to_string().as_bytes()), "{}", ran.stderr);
                    let expected = vec![b'0' + n as u8; 100_000];
                    assert!(fs::read(tree.join("out")).unwrap() == expected, "wrong bytes in round {round}");
                }
            });
        }
    });
}
