//! The suite that every [`Store`] passes, ours and anybody else's.
//!
//! Give [`all`] a way to make a fresh, empty store, and it reports by name what holds and what does not:
//!
//! ```
//! use std::sync::Arc;
//!
//! use cache_testkit::conformance::{self, Suite};
//! use cache_testkit::{MemoryStore, block_on};
//!
//! let suite = Suite::new(|| async { Arc::new(MemoryStore::new()) as Arc<dyn cache_core::Store> })
//!     .without("blob_of_200_mib");
//! let report = block_on(conformance::all(&suite));
//! assert!(report.is_ok(), "{report}");
//! ```
//!
//! A store under test has no limits that the suite could meet (it stores about 250 MiB and 2,000 entries), no default
//! time to live, and a clock that shows the real time. What its capabilities rule out is skipped.
//!
//! Stores that need a runtime bring it: run the suite inside it, and say how a task is started with
//! [`Suite::spawner`]. Otherwise each task is a thread.

mod batch;
mod blobs;
mod cancel;
mod concurrency;
mod entries;
mod gc;
mod lifecycle;
mod listing;
mod refusals;
mod samples;

pub use batch::{batch_of_10_000, batch_of_nothing};
pub use blobs::{
    blob_body_kinds, blob_deleted, blob_of_200_mib, blob_ranges, blob_round_trip, blob_written_again,
};
pub use cancel::{cancelled_delete, cancelled_put, cancelled_reads, cancelled_remove, cancelled_write};
pub use concurrency::{concurrent_blob_writers, concurrent_if_absent, concurrent_overwrite};
pub use entries::{
    entry_expires, entry_modes, entry_needs_its_blobs, entry_removed, entry_round_trip, entry_signature,
    entry_values,
};
pub use gc::{collected_entries, collected_unreferenced, collecting_while_writing};
pub use lifecycle::{closed_twice, flushed_twice, used_after_close};
pub use listing::{list_filters, list_pages, list_while_writing};
pub use refusals::{abandoned_write, digest_mismatch, incomplete_entry, length_mismatch};

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, Store};

use crate::task::{BoxFuture, catch_panic, start};

type Make = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>;
type Pass = Box<dyn Fn(Duration) + Send + Sync>;
type Spawn = Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// What one check found: nothing wrong, or why it stopped.
pub type Outcome = Result<(), Stop>;

/// Why a check stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The store does not keep the contract; says how.
    Failed(String),
    /// The store says that it cannot do what is checked.
    Skipped(&'static str),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("an operation that should succeed fails: {error}"))
    }
}

/// How to make the stores under test, and how to run things at the same time.
pub struct Suite {
    make: Make,
    spawn: Spawn,
    pass: Option<Pass>,
    without: Vec<String>,
}

impl Suite {
    /// Returns a suite for the stores that `make` makes: a fresh, empty one each time.
    pub fn new<F, Fut>(make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Arc<dyn Store>> + Send + 'static,
    {
        Self {
            make: Box::new(move || Box::pin(make())),
            spawn: Box::new(|task| {
                std::thread::spawn(move || futures_executor::block_on(task));
            }),
            pass: None,
            without: Vec::new(),
        }
    }

    /// Starts tasks with `spawn` instead of on threads of their own.
    #[must_use]
    pub fn spawner(mut self, spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        self.spawn = Box::new(spawn);
        self
    }

    /// Lets time pass for all stores with `pass`, by a clock of theirs that starts at the real time. Without it, what takes
    /// time is not checked.
    #[must_use]
    pub fn passing(mut self, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.pass = Some(Box::new(pass));
        self
    }

    /// Leaves the check called `name` out of [`all`], which reports it as skipped.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }

    async fn store(&self) -> Arc<dyn Store> {
        (self.make)().await
    }

    /// Starts `task`; waiting for the result fails if the task panics.
    fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Stop>> {
        let started = start(&*self.spawn, Box::pin(task));
        Box::pin(async move {
            started.await.map_err(|panic| Stop::Failed(format!("an operation panics: {panic}")))
        })
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("without", &self.without).finish_non_exhaustive()
    }
}

type Check = for<'a> fn(&'a Suite) -> BoxFuture<'a, Outcome>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// Every check with its name, in the order in which [`all`] runs them.
        const CHECKS: &[(&str, Check)] = &[$((stringify!($name), |suite| Box::pin($name(suite)))),*];
    };
}

checks![
    entry_round_trip,
    entry_signature,
    entry_values,
    entry_modes,
    entry_removed,
    entry_expires,
    entry_needs_its_blobs,
    blob_round_trip,
    blob_body_kinds,
    blob_ranges,
    blob_written_again,
    blob_deleted,
    digest_mismatch,
    length_mismatch,
    abandoned_write,
    incomplete_entry,
    list_pages,
    list_filters,
    list_while_writing,
    batch_of_nothing,
    batch_of_10_000,
    concurrent_if_absent,
    concurrent_overwrite,
    concurrent_blob_writers,
    collected_entries,
    collected_unreferenced,
    collecting_while_writing,
    cancelled_put,
    cancelled_remove,
    cancelled_write,
    cancelled_delete,
    cancelled_reads,
    flushed_twice,
    closed_twice,
    used_after_close,
    blob_of_200_mib,
];

/// Runs every check on stores of its own, one after the other, and goes on after failures and panics.
///
/// # Cancel safety
/// Dropping the future ends the check that is running.
pub async fn all(suite: &Suite) -> Report {
    let mut report = Report::default();
    for (name, check) in CHECKS {
        let outcome = if suite.without.iter().any(|without| without == name) {
            Err(Stop::Skipped("left out by the caller"))
        } else {
            catch_panic(check(suite))
                .await
                .unwrap_or_else(|panic| Err(Stop::Failed(format!("an operation panics: {panic}"))))
        };
        report.outcomes.push((name, outcome));
    }
    report
}

/// What the suite found.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    outcomes: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// Returns whether nothing failed.
    pub fn is_ok(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Returns the names of all checks and what they found.
    pub fn outcomes(&self) -> &[(&'static str, Outcome)] {
        &self.outcomes
    }

    /// Returns the names of the checks that failed, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.outcomes.iter().filter_map(|(name, outcome)| match outcome {
            Err(Stop::Failed(why)) => Some((*name, why.as_str())),
            _ => None,
        })
    }

    /// Returns the names of the checks that were skipped, and why.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.outcomes.iter().filter_map(|(name, outcome)| match outcome {
            Err(Stop::Skipped(why)) => Some((*name, *why)),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.outcomes {
            match outcome {
                Ok(()) => writeln!(f, "ok       {name}")?,
                Err(Stop::Skipped(why)) => writeln!(f, "skipped  {name}: {why}")?,
                Err(Stop::Failed(why)) => writeln!(f, "FAILED   {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Stop::Failed(format!($($message)+)));
        }
    };
}
use ensure;
