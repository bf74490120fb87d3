//! What a run shows while it takes long.

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_run::{Ui, human};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// What takes less is over before anybody could read a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on standard error that appears when something takes longer than a moment, also if nothing moves meanwhile: one
/// large file is one step.
pub(crate) struct LateBar {
    started: Instant,
    /// Whether there is anybody to see it.
    watched: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was reported last, and is not over.
    step: Option<Step>,
    bar: Option<ProgressBar>,
    /// Whether somebody will draw the bar when the moment is over.
    awaited: bool,
}

struct Step {
    what: &'static str,
    done: u64,
    total: u64,
    text: String,
}

impl State {
    fn draw(&mut self) {
        let Some(step) = &self.step else { return };
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(step.total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(step.what);
            bar
        });
        bar.set_length(step.total);
        bar.set_message(step.text.clone());
        bar.set_position(step.done);
        bar.tick();
    }

    fn end(&mut self) {
        self.step = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl LateBar {
    pub(crate) fn new(quiet: bool) -> Self {
        let watched = !quiet && io::stderr().is_terminal();
        Self { started: Instant::now(), watched, state: Arc::default() }
    }

    /// Shows `done` of `total`, and `text`; all of `total` is the end.
    pub(crate) fn show(&self, what: &'static str, done: u64, total: u64, text: impl Fn() -> String) {
        if !self.watched {
            return;
        }
        let Ok(mut state) = self.state.lock() else { return };
        if done >= total {
            return state.end();
        }
        state.step = Some(Step { what, done, total, text: text() });
        let left = PATIENCE.saturating_sub(self.started.elapsed());
        if left.is_zero() {
            state.draw();
        } else if !std::mem::replace(&mut state.awaited, true) {
            let shared = Arc::clone(&self.state);
            // It draws what is reported by then, if that is not over; it ends with the process at the latest.
            std::thread::spawn(move || {
                std::thread::sleep(left);
                if let Ok(mut state) = shared.lock() {
                    state.draw();
                }
            });
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.end();
        }
    }
}

/// The terminal of a run.
pub(crate) struct Terminal {
    bar: LateBar,
    quiet: bool,
    /// Whether a fresh result could be stored. If not, making one in the background is in vain; worse, the copy of the
    /// command would find the same stale result and start a copy of its own, and so on without end.
    may_refresh: bool,
    waiting_said: AtomicBool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, may_refresh: bool) -> Self {
        Self { bar: LateBar::new(quiet), quiet, may_refresh, waiting_said: AtomicBool::new(false) }
    }
}

impl Ui for Terminal {
    fn progress(&self, done: u64, total: u64, bytes: u64) {
        self.bar.show("reading inputs", done, total, || human::size(bytes));
    }

    fn waiting(&self, label: &str) {
        self.bar.clear();
        if !self.quiet && !self.waiting_said.swap(true, Ordering::Relaxed) {
            output::note(&format!(
                "… {label}   another run of the same command is under way; waiting for it"
            ));
        }
    }

    fn refresh_in_background(&self) -> io::Result<()> {
        if !self.may_refresh {
            return Ok(());
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command.env("VITTE_CACHE", "refresh").env("VITTE_CACHE_STATUS", "never");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a process group of its own it outlives Ctrl-C.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(windows)]
        std::os::windows::process::CommandExt::creation_flags(&mut command, 0x0000_0008 | 0x0000_0200);
        command.spawn().map(drop)
    }
}
