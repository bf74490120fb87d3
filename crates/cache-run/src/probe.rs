//! Runs a short helper program, with bounds on its time and output.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often a program that has closed its output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// What a helper may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    /// For standard output and standard error each.
    pub(crate) bytes: u64,
}

/// What a helper said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Its exit code; nothing if a signal ended it.
    pub(crate) code: Option<i32>,
}

/// Why a helper gave no answer, as the end of a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("cannot be started: {0}; install it or correct PATH")]
    Start(io::Error),
    #[error("did not end within {0:?}")]
    TimedOut(Duration),
    #[error("wrote more than {0} bytes")]
    TooMuch(u64),
    #[error("could not be listened to: {0}")]
    Io(io::Error),
}

/// Runs `command` to its end with an empty standard input and returns what it said.
pub(crate) fn run(command: &mut Command, limits: Limits) -> Result<Said, ProbeError> {
    let deadline = Instant::now() + limits.time;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn().map_err(ProbeError::Start)?;
    let result = listen(&mut child, limits, deadline);
    if result.is_err() {
        end(&mut child);
    }
    result
}

fn listen(child: &mut Child, limits: Limits, deadline: Instant) -> Result<Said, ProbeError> {
    let (sender, receiver) = mpsc::sync_channel(2);
    let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let err = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    for (at, pipe) in [out, err].into_iter().enumerate() {
        let (sender, mut pipe) = (sender.clone(), pipe.unwrap_or_else(|| Box::new(io::empty())));
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.as_mut().take(limits.bytes + 1).read_to_end(&mut bytes);
            // Nobody listens any more once the time is up.
            let _ = sender.send((at, read.map(|_| bytes)));
        });
    }
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(Instant::now());
        let (at, bytes) = receiver.recv_timeout(left).map_err(|_| ProbeError::TimedOut(limits.time))?;
        streams[at] = bytes.map_err(ProbeError::Io)?;
        if streams[at].len() as u64 > limits.bytes {
            return Err(ProbeError::TooMuch(limits.bytes));
        }
    }
    loop {
        if let Some(status) = child.try_wait().map_err(ProbeError::Io)? {
            let [stdout, stderr] = streams;
            return Ok(Said { stdout, stderr, code: status.code() });
        }
        if Instant::now() >= deadline {
            return Err(ProbeError::TimedOut(limits.time));
        }
        thread::sleep(POLL);
    }
}

/// Ends the child, and on Unix all that it started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { time: Duration::from_secs(20), bytes: 1000 };

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_and_the_code_are_heard() {
        let said = run(&mut sh("echo out; echo err >&2; exit 3"), SMALL).unwrap();
        assert_eq!((&said.stdout[..], &said.stderr[..], said.code), (&b"out\n"[..], &b"err\n"[..], Some(3)));
        assert_eq!(run(&mut sh("kill -9 $$"), SMALL).unwrap().code, None);
    }

    #[test]
    fn what_does_not_end_is_ended_with_all_that_it_started() {
        let limits = Limits { time: Duration::from_millis(50), ..SMALL };
        assert!(matches!(run(&mut sh("sleep 1000 & sleep 1000"), limits), Err(ProbeError::TimedOut(_))));
        // Its streams are closed, yet it lives on.
        assert!(matches!(run(&mut sh("exec >&- 2>&-; sleep 1000"), limits), Err(ProbeError::TimedOut(_))));
    }

    #[test]
    fn endless_output_is_cut_off() {
        assert!(matches!(run(&mut sh("yes"), SMALL), Err(ProbeError::TooMuch(1000))));
        assert!(matches!(run(&mut Command::new("/nonexistent/x"), SMALL), Err(ProbeError::Start(_))));
    }
}
