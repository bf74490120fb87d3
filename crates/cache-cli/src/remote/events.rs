//! What is worth remembering of what happens to uploads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_coordinator::{ChainObserver, TierEvent};

/// Name of the tier that is the local cache.
pub(super) const LOCAL: &str = "local";

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Seen>);

/// The first of each, as the others follow from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Why something has not arrived yet.
    pub(super) failed: Option<String>,
    /// Why something is not sent at all.
    pub(super) left_out: Option<String>,
}

impl Events {
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChainObserver for Events {
    fn on_event(&self, event: &TierEvent<'_>) {
        let error = match event {
            TierEvent::Failed { tier, error, .. } if *tier != LOCAL => error,
            TierEvent::Journal { error } => error,
            TierEvent::NotPushed { why, .. } => {
                self.lock().left_out.get_or_insert_with(|| (*why).to_owned());
                return;
            }
            _ => return,
        };
        self.lock().failed.get_or_insert_with(|| error.to_string());
    }
}
