//! What is worth remembering of what happens to uploads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_coordinator::{ChainObserver, TierEvent};

/// Name of the tier that is the local cache.
pub(super) const LOCAL: &str = "local";

/// The first of each, as sentences.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Seen>);

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Why something will never arrive.
    pub(super) refused: Option<String>,
    /// Why something has not arrived yet.
    pub(super) failed: Option<String>,
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
        match event {
            TierEvent::NotPushed { why, .. } => {
                self.lock().refused.get_or_insert_with(|| (*why).to_owned());
            }
            TierEvent::Failed { tier, error, .. } if *tier != LOCAL => {
                self.lock().failed.get_or_insert_with(|| error.to_string());
            }
            TierEvent::Journal { error } => {
                self.lock().failed.get_or_insert_with(|| error.to_string());
            }
            _ => {}
        }
    }
}
