//! What the system tells the server.

use crate::failure::{Failure, Result};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// To stop: the name of the signal, and the exit code of who ends by it at once.
    Stop(&'static str, i32),
    /// To read the settings anew.
    Reload,
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::failed(format_args!(
        "cannot listen for signals: {error}; without them the server could not be stopped"
    ))
}

#[cfg(unix)]
mod system {
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::{Result, Signal, failed};

    /// Signals, from the moment that this exists.
    #[derive(Debug)]
    pub(crate) struct Signals {
        hangup: Stream,
        interrupt: Stream,
        terminate: Stream,
    }

    impl Signals {
        pub(crate) fn new() -> Result<Self> {
            let stream = |kind| signal(kind).map_err(|error| failed(&error));
            Ok(Self {
                hangup: stream(SignalKind::hangup())?,
                interrupt: stream(SignalKind::interrupt())?,
                terminate: stream(SignalKind::terminate())?,
            })
        }

        /// Returns the next signal.
        ///
        /// # Cancel safety
        /// No signal is lost.
        pub(crate) async fn next(&mut self) -> Signal {
            tokio::select! {
                Some(()) = self.terminate.recv() => Signal::Stop("SIGTERM", 143),
                Some(()) = self.interrupt.recv() => Signal::Stop("SIGINT", 130),
                Some(()) = self.hangup.recv() => Signal::Reload,
                else => std::future::pending().await,
            }
        }
    }
}

#[cfg(windows)]
mod system {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlShutdown, ctrl_break, ctrl_c, ctrl_shutdown};

    use super::{Result, Signal, failed};

    /// Signals, from the moment that this exists. None of them asks for new settings: changed files do.
    #[derive(Debug)]
    pub(crate) struct Signals {
        interrupt: CtrlC,
        quit: CtrlBreak,
        shutdown: CtrlShutdown,
    }

    impl Signals {
        pub(crate) fn new() -> Result<Self> {
            Ok(Self {
                interrupt: ctrl_c().map_err(|error| failed(&error))?,
                quit: ctrl_break().map_err(|error| failed(&error))?,
                shutdown: ctrl_shutdown().map_err(|error| failed(&error))?,
            })
        }

        /// Returns the next signal.
        ///
        /// # Cancel safety
        /// No signal is lost.
        pub(crate) async fn next(&mut self) -> Signal {
            tokio::select! {
                Some(()) = self.interrupt.recv() => Signal::Stop("Ctrl-C", 130),
                Some(()) = self.quit.recv() => Signal::Stop("Ctrl-Break", 130),
                Some(()) = self.shutdown.recv() => Signal::Stop("shutdown", 143),
                else => std::future::pending().await,
            }
        }
    }
}

pub(super) use system::Signals;
