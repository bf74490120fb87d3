//! Moves the output of a command on Unix: one thread, `poll(2)`, and never a blocking call.

use super::log::Recorder;
use super::program::is_no_program;
use super::signals::{Signals, forward};
use super::{Command, Finished, GRACE, Recording, Sink, SpawnError, Stream, prepare, recording};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// The most that is read from a pipe at a time, in bytes: the capacity of a pipe on Linux.
const READ_BYTES: usize = 64 << 10;

/// The most that is written at a time to anything but a regular file, in bytes. A pipe that is ready takes this much
/// without blocking, and while nothing blocks, signals get through.
const WRITE_BYTES: usize = rustix::pipe::PIPE_BUF;

/// How often to look whether the command has ended even if no signal says so: the one that does may be blocked in
/// this process by its parent.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What runs a program without a `#!` line, as shells and `execvp` do.
const SHELL: &str = "/bin/sh";

/// Returns the standard output and standard error of this process, without the buffers of the standard library.
pub(super) fn stdio() -> io::Result<[File; 2]> {
    Ok([io::stdout().as_fd().try_clone_to_owned()?.into(), io::stderr().as_fd().try_clone_to_owned()?.into()])
}

pub(super) fn run(
    command: &Command<'_>,
    sink: Sink,
    recorder: Recorder,
    limit: u64,
) -> Result<Finished, SpawnError> {
    let program = || command.program.to_owned();
    let signals = Signals::install().map_err(|source| SpawnError::System { program: program(), source })?;
    let started = Instant::now();
    let mut child = spawn(command)?;
    let mut lanes = [
        Lane::new(Stream::Stdout, child.stdout.take().map(OwnedFd::from), sink.stdout),
        Lane::new(Stream::Stderr, child.stderr.take().map(OwnedFd::from), sink.stderr),
    ];
    let same_sink = matches!((&lanes[0].sink, &lanes[1].sink), (Some(a), Some(b)) if is_same_file(a, b));
    let mut pump = Pump { child, signals, recorder, started, ended: None, interrupted: false, same_sink };
    let outcome = pump.run(&mut lanes);
    // If the system refuses to poll, the command finds its output closed, which ends it soon.
    let failed =
        lanes.map(|lane| lane.failed.map(|source| (lane.stream, source))).into_iter().flatten().next();
    let (status, wall) = match pump.ended {
        Some(ended) => ended,
        None => match pump.child.wait() {
            Ok(status) => (status, started.elapsed()),
            Err(source) => return Err(SpawnError::Lost { program: program(), source }),
        },
    };
    let recording = match (outcome, failed) {
        (_, Some((stream, source))) => Recording::NotForwarded { stream, source },
        (Err(source), None) => Recording::NotForwarded { stream: Stream::Stdout, source },
        (Ok(Outcome::CutShort), None) => Recording::CutShort,
        (Ok(Outcome::HeldOpen), None) => Recording::HeldOpen,
        (Ok(Outcome::AllRead), None) => recording(pump.recorder, limit),
    };
    let signal = status.signal();
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1);
    Ok(Finished { code, signal, interrupted: pump.interrupted, recording, wall })
}

/// Starts the command, with the shell if it is a script that does not say what runs it.
fn spawn(command: &Command<'_>) -> Result<Child, SpawnError> {
    let explain = |error| SpawnError::from_io(command.program, command.cwd, error);
    let args = command.args.iter().map(OsString::as_os_str);
    let mut direct = prepare(command, command.program, args.clone()).map_err(explain)?;
    match direct.arg0(command.arg0).spawn() {
        Err(error) if is_no_program(&error) => {}
        other => return other.map_err(explain),
    }
    let args = std::iter::once(command.program.as_os_str()).chain(args);
    prepare(command, Path::new(SHELL), args).and_then(|mut shell| shell.spawn()).map_err(explain)
}

fn is_same_file(a: &File, b: &File) -> bool {
    let id = |file: &File| file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// One stream on its way from the command to whoever watches.
struct Lane {
    stream: Stream,
    pipe: Option<OwnedFd>,
    sink: Option<File>,
    /// What was read and recorded but not yet passed on.
    pending: Vec<u8>,
    passed: usize,
    write_bytes: usize,
    failed: Option<io::Error>,
    /// The bytes that were in the pipe when the command ended, less what was read since: they are its own.
    owed: u64,
}

impl Lane {
    fn new(stream: Stream, pipe: Option<OwnedFd>, sink: Option<File>) -> Self {
        let regular = sink.as_ref().is_some_and(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        let write_bytes = if regular { READ_BYTES } else { WRITE_BYTES };
        Self { stream, pipe, sink, pending: Vec::new(), passed: 0, write_bytes, failed: None, owed: 0 }
    }

    fn waits_for_sink(&self) -> bool {
        self.passed < self.pending.len()
    }

    fn is_done(&self) -> bool {
        self.pipe.is_none() && !self.waits_for_sink()
    }

    /// Reads once what has arrived; closes the pipe at its end.
    fn read(&mut self, buffer: &mut [u8], recorder: &mut Recorder) {
        let Some(pipe) = &self.pipe else { return };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => self.pipe = None,
            Ok(len) => {
                let bytes = &buffer[..len];
                self.owed = self.owed.saturating_sub(len as u64);
                recorder.record(self.stream, bytes);
                if self.sink.is_some() {
                    self.pending.clear();
                    self.passed = 0;
                    self.pending.extend_from_slice(bytes);
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => self.fail(error.into()),
        }
    }

    /// Writes once as much as the sink takes without blocking.
    fn write(&mut self) {
        let Some(sink) = &self.sink else { return };
        let rest = &self.pending[self.passed..];
        match rustix::io::write(sink, &rest[..rest.len().min(self.write_bytes)]) {
            Ok(len) => self.passed += len,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => self.fail(error.into()),
        }
    }

    /// Closes the pipe, so that the command sees what it would see without us: nobody reads.
    fn fail(&mut self, error: io::Error) {
        self.pipe = None;
        self.pending.clear();
        self.passed = 0;
        self.owed = 0;
        self.failed.get_or_insert(error);
    }
}

enum Outcome {
    AllRead,
    HeldOpen,
    CutShort,
}

struct Pump {
    child: Child,
    signals: Signals,
    recorder: Recorder,
    started: Instant,
    /// How the command ended, and after what time.
    ended: Option<(ExitStatus, Duration)>,
    interrupted: bool,
    /// Both streams go to one terminal or file: what was read first is passed on first, and whole.
    same_sink: bool,
}

impl Pump {
    fn run(&mut self, lanes: &mut [Lane; 2]) -> io::Result<Outcome> {
        let mut buffer = vec![0; READ_BYTES];
        let (mut deadline, mut last_look) = (None::<Instant>, false);
        loop {
            if self.attend_signals() {
                return Ok(Outcome::CutShort);
            }
            if self.ended.is_none()
                && let Some(status) = self.child.try_wait()?
            {
                self.ended = Some((status, self.started.elapsed()));
                deadline = Some(Instant::now() + GRACE);
                for lane in &mut *lanes {
                    lane.owed = lane.pipe.as_ref().map_or(Ok(0), rustix::io::ioctl_fionread)?;
                }
            }
            if self.ended.is_some() && lanes.iter().all(Lane::is_done) {
                return Ok(Outcome::AllRead);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut timeout = left.unwrap_or(HEARTBEAT).min(HEARTBEAT);
            let mut owed_only = false;
            if timeout.is_zero() {
                if lanes.iter().any(|lane| lane.owed > 0 || lane.waits_for_sink()) {
                    (timeout, owed_only) = (HEARTBEAT, true);
                } else if last_look {
                    return Ok(Outcome::HeldOpen);
                } else {
                    // After a slow sink, the end of the output may have been waiting to be seen.
                    last_look = true;
                }
            }
            for (lane, ready) in self.wait(lanes, timeout, owed_only)? {
                match ready {
                    Ready::Read if self.same_sink && lanes.iter().any(Lane::waits_for_sink) => {}
                    Ready::Read => lanes[lane].read(&mut buffer, &mut self.recorder),
                    Ready::Write => lanes[lane].write(),
                }
            }
        }
    }

    /// Passes signals on; returns whether one came after the command had ended.
    fn attend_signals(&mut self) -> bool {
        let seen = self.signals.take();
        if seen.is_empty() {
            return false;
        }
        self.interrupted = true;
        // A command that was waited for is gone, and its number may belong to somebody else.
        if self.ended.is_none() {
            for signal in seen {
                forward(signal, Pid::from_child(&self.child));
            }
        }
        self.ended.is_some()
    }

    /// Waits until something can be done; returns which lanes can do what. With `owed_only`, what a background process
    /// goes on writing stays where it is.
    fn wait(&self, lanes: &[Lane; 2], timeout: Duration, owed_only: bool) -> io::Result<Vec<(usize, Ready)>> {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let mut actions = Vec::new();
        let held = self.same_sink && lanes.iter().any(Lane::waits_for_sink);
        for (index, lane) in lanes.iter().enumerate() {
            if lane.waits_for_sink() {
                if let Some(sink) = &lane.sink {
                    fds.push(PollFd::from_borrowed_fd(sink.as_fd(), PollFlags::OUT));
                    actions.push((index, Ready::Write));
                }
            } else if let Some(pipe) = lane.pipe.as_ref().filter(|_| !held && (!owed_only || lane.owed > 0)) {
                fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
                actions.push((index, Ready::Read));
            }
        }
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        // Any event will do: what is wrong with a descriptor shows when it is used. macOS cannot poll terminals and says
        // so with an event as well; there the write may block.
        let ready = fds[1..].iter().zip(actions).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(_, action)| action).collect())
    }
}

/// What a lane can do.
#[derive(Clone, Copy)]
enum Ready {
    Read,
    Write,
}
