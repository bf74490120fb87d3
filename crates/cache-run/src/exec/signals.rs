//! The signals that end a process, while it runs a command.

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The signals that ask to stop, in the order in which they are passed on.
const STOPPING: [(i32, Signal); 4] =
    [(SIGHUP, Signal::HUP), (SIGINT, Signal::INT), (SIGQUIT, Signal::QUIT), (SIGTERM, Signal::TERM)];

/// What all runs of this process share. A handler cannot be taken away again, so the default is emulated in between.
struct Shared {
    runs: usize,
    idle: Arc<AtomicBool>,
    /// Bit `n - 1` is set for a signal `n` that was ignored before the first run.
    ignored: u64,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// Catches the signals until it is dropped.
pub(super) struct Signals {
    wake: UnixStream,
    stopping: Vec<(Signal, Arc<AtomicBool>)>,
    ids: Vec<SigId>,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let ignored = enter()?;
        // From here on dropping undoes what was done.
        let mut signals = Self { wake, stopping: Vec::new(), ids: Vec::new() };
        for (number, signal) in STOPPING {
            if ignored & (1 << (number - 1)) == 0 {
                let seen = Arc::new(AtomicBool::new(false));
                // In this order, so that whoever is woken finds the flag.
                signals.ids.push(flag::register(number, Arc::clone(&seen))?);
                signals.ids.push(low_level::pipe::register(number, waker.try_clone()?)?);
                signals.stopping.push((signal, seen));
            }
        }
        signals.ids.push(low_level::pipe::register(SIGCHLD, waker)?);
        Ok(signals)
    }

    /// Returns the signals that have come since the last call.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        let mut buffer = [0; 64];
        while self.wake.read(&mut buffer).is_ok_and(|len| len == buffer.len()) {}
        let seen = self.stopping.iter().filter(|(_, seen)| seen.swap(false, Ordering::SeqCst));
        seen.map(|(signal, _)| *signal).collect()
    }
}

impl AsFd for Signals {
    /// Becomes readable when a signal has come or a child has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
        if let Some(shared) = &mut *SHARED.lock().unwrap_or_else(PoisonError::into_inner) {
            shared.runs -= 1;
            shared.idle.store(shared.runs == 0, Ordering::SeqCst);
        }
    }
}

/// Begins a run; returns the signals that are ignored.
fn enter() -> io::Result<u64> {
    let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        let (ignored, idle) = (ignored(), Arc::new(AtomicBool::new(true)));
        for (number, _) in STOPPING {
            if ignored & (1 << (number - 1)) == 0 {
                flag::register_conditional_default(number, Arc::clone(&idle))?;
            }
        }
        *guard = Some(Shared { runs: 0, idle, ignored });
    }
    let Some(shared) = &mut *guard else { return Ok(0) };
    shared.runs += 1;
    shared.idle.store(false, Ordering::SeqCst);
    Ok(shared.ignored)
}

/// Returns the mask of ignored signals. A handler would take the place of the ignoring, and the command would inherit
/// the default: `nohup` would do nothing. Only Linux tells it without unsafe code.
fn ignored() -> u64 {
    let status =
        if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/self/status") } else { return 0 };
    let status = status.unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Passes a signal on to the command, unless the terminal has sent it to the command too: Ctrl-C and Ctrl-\ go to all
/// processes of the terminal's foreground group, of which the command is one if this process is.
pub(super) fn forward(signal: Signal, child: Pid) {
    let from_terminal = matches!(signal, Signal::INT | Signal::QUIT) && in_foreground();
    if !from_terminal {
        // It fails only for a command that has changed its user or has just ended.
        let _ = rustix::process::kill_process(child, signal);
    }
}

/// A group that began outside of this process's PID namespace has the number 0 here, which rustix holds for impossible:
/// hence nix. Such a group never counts as the foreground: a signal that comes twice is better than one that is lost.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    let own = nix::unistd::getpgrp().as_raw();
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group.as_raw_nonzero().get() == own)
}
