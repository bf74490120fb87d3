//! How fast bodies have to go.

use std::time::Duration;

use tokio::time::Instant;

use crate::Timeouts;

/// The rule for what goes in either direction: it has some time for itself, and what it takes at [`Timeouts::BODY_RATE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    patience: Duration,
}

impl Pace {
    /// Returns the pace of what begins now.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { start: Instant::now(), patience }
    }

    /// Returns until when one waits while there are so many bytes.
    pub(crate) fn deadline(&self, bytes: u64) -> Instant {
        self.start + self.patience + Duration::from_secs(bytes / Timeouts::BODY_RATE)
    }
}
