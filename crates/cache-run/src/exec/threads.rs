//! Moves the output of a command on Windows: a thread for each stream, and one order for both.

use super::log::Recorder;
use super::{Command, Finished, GRACE, Recording, Sink, SpawnError, Stream, prepare, recording};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::AsHandle;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The most that is read from a pipe at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// More than a pipe holds, in bytes.
const PIPE_BYTES: u64 = 64 << 10;

/// What ends a process that is asked to stop while it runs no command: 128 + `SIGINT`.
const STOPPED: i32 = 130;

/// Set while no command runs.
static IDLE: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// How a stream ended, with the error if it could not be passed on.
type Ended = (Stream, Option<io::Error>);

/// The recorder while the command is listened to.
type Shared = Arc<Mutex<Option<Recorder>>>;

/// Returns the standard output and standard error of this process, without the buffers of the standard library.
pub(super) fn stdio() -> io::Result<[File; 2]> {
    let (out, err) = (io::stdout(), io::stderr());
    Ok([out.as_handle().try_clone_to_owned()?.into(), err.as_handle().try_clone_to_owned()?.into()])
}

pub(super) fn run(
    command: &Command<'_>,
    sink: Sink,
    recorder: Recorder,
    limit: u64,
) -> Result<Finished, SpawnError> {
    let program = || command.program.to_owned();
    let system = |source| SpawnError::System { program: program(), source };
    let stop = Stop::install().map_err(system)?;
    let started = Instant::now();
    let mut child = prepare(command, command.program, command.args.iter().map(OsString::as_os_str))
        .and_then(|mut prepared| prepared.spawn())
        .map_err(|error| SpawnError::from_io(command.program, command.cwd, error))?;
    let shared: Shared = Arc::new(Mutex::new(Some(recorder)));
    let (sender, ends) = mpsc::channel();
    let mut open = 0;
    if let Some(pipe) = child.stdout.take() {
        spawn(Stream::Stdout, pipe, sink.stdout, &shared, &sender).map_err(system)?;
        open += 1;
    }
    if let Some(pipe) = child.stderr.take() {
        spawn(Stream::Stderr, pipe, sink.stderr, &shared, &sender).map_err(system)?;
        open += 1;
    }
    // The console sends Ctrl-C to the command as well, so there is nothing to pass on.
    let status = child.wait().map_err(|source| SpawnError::Lost { program: program(), source })?;
    let wall = started.elapsed();
    let total = || shared.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Recorder::total);
    let at_end = total();
    let (mut last, mut failed) = (at_end, None);
    while open > 0 {
        if let Ok((stream, error)) = ends.recv_timeout(GRACE) {
            open -= 1;
            failed = failed.or(error.map(|source| (stream, source)));
            continue;
        }
        // What the pipes held at the end is the command's own: it is waited for while it moves.
        let now = total();
        if now == last || now - at_end > 2 * PIPE_BYTES {
            break;
        }
        last = now;
    }
    // A thread whose pipe a background process holds open goes on passing output, without a recorder.
    let recorder = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let recording = match (failed, recorder) {
        (Some((stream, source)), _) => Recording::NotForwarded { stream, source },
        (None, Some(recorder)) if open == 0 => recording(recorder, limit),
        (None, _) => Recording::HeldOpen,
    };
    let code = status.code().unwrap_or(1);
    Ok(Finished { code, signal: None, interrupted: stop.seen.load(Ordering::SeqCst), recording, wall })
}

fn spawn(
    stream: Stream,
    mut pipe: impl Read + Send + 'static,
    mut sink: Option<File>,
    shared: &Shared,
    sender: &Sender<Ended>,
) -> io::Result<()> {
    let (shared, sender) = (Arc::clone(shared), sender.clone());
    let work = move || {
        let mut buffer = vec![0; READ_BYTES];
        let error = loop {
            let len = match pipe.read(&mut buffer) {
                Ok(0) => break None,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(error),
            };
            // Recorded and passed on under one lock: the order on the terminal is the order of the recording.
            let mut recorder = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(recorder) = &mut *recorder {
                recorder.record(stream, &buffer[..len]);
            }
            if let Some(Err(error)) = sink.as_mut().map(|sink| sink.write_all(&buffer[..len])) {
                break Some(error);
            }
        };
        // Closed before the end is told, so that the command sees it while it still runs.
        drop(pipe);
        let _ = sender.send((stream, error));
    };
    std::thread::Builder::new().name("output".to_owned()).spawn(work).map(drop)
}

/// Notes Ctrl-C until it is dropped.
struct Stop {
    seen: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    ids: Vec<signal_hook::SigId>,
}

impl Stop {
    fn install() -> io::Result<Self> {
        let mut shared = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = if let Some(idle) = &*shared {
            Arc::clone(idle)
        } else {
            let idle = Arc::new(AtomicBool::new(true));
            for signal in [SIGINT, SIGTERM] {
                flag::register_conditional_shutdown(signal, STOPPED, Arc::clone(&idle))?;
            }
            *shared = Some(Arc::clone(&idle));
            idle
        };
        idle.store(false, Ordering::SeqCst);
        let mut stop = Self { seen: Arc::new(AtomicBool::new(false)), idle, ids: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            stop.ids.push(flag::register(signal, Arc::clone(&stop.seen))?);
        }
        Ok(stop)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
        self.idle.store(true, Ordering::SeqCst);
    }
}
