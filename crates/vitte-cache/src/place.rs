//! Which cache it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What caches are told apart by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The directory under one name, whatever name it was opened by; nothing in memory.
    dir: Option<Arc<Path>>,
    /// A number that no other cache in the memory of this process has.
    number: u64,
}

impl Place {
    #[cfg(feature = "fs")]
    pub(crate) fn on_disk(dir: &Path) -> Self {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self { dir: Some(dir.into()), number: 0 }
    }

    #[cfg(feature = "memory")]
    pub(crate) fn in_memory() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { dir: None, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dir() {
            Some(dir) => write!(f, "the cache in {}", dir.display()),
            None => f.write_str("the cache in memory"),
        }
    }
}
