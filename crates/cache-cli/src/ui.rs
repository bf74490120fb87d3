//! What a run shows while it takes long.

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_run::{Ui, human};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// What takes less is over before anybody could read a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on standard error that appears when something takes longer than a moment.
pub(crate) struct LateBar {
    started: Instant,
    /// Whether there is anybody to see it.
    watched: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl LateBar {
    pub(crate) fn new(quiet: bool) -> Self {
        let watched = !quiet && io::stderr().is_terminal();
        Self { started: Instant::now(), watched, bar: Mutex::new(None) }
    }

    /// Shows `done` of `total`, and `text`.
    pub(crate) fn show(&self, what: &'static str, done: u64, total: u64, text: impl Fn() -> String) {
        if !self.watched || self.started.elapsed() < PATIENCE {
            return;
        }
        // Whoever finds it taken need not wait: another thread is drawing something nearly as new.
        let Ok(mut slot) = self.bar.try_lock() else { return };
        let bar = slot.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what);
            bar
        });
        bar.set_length(total);
        bar.set_message(text());
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Ok(slot) = self.bar.lock()
            && let Some(bar) = &*slot
        {
            bar.finish_and_clear();
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
