//! Actions: what a build tool runs, and whether it has to run again.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cache_coordinator::action::{ActionCache, ActionId, ActionKind, ActionMetadata, ActionRun, FileStates, Miss};
//! use cache_core::{Anchor, Digest, Namespace, RelPath, TreePath};
//! use cache_testkit::MemoryStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { cache_testkit::block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # std::fs::write(dir.path().join("main.c"), "int main() {}")?;
//! let files = Arc::new(FileStates::new(dir.path())?);
//! let cache = ActionCache::new(Arc::new(MemoryStore::new()), files, Namespace::default());
//!
//! let id = ActionId::new("//app:main", ActionKind::Compile, Digest::blake3(b"cc -c main.c"))?;
//! let metadata = ActionMetadata { flags: vec!["-O2".to_owned()], ..ActionMetadata::default() };
//! assert_eq!(cache.look_up(&id, &metadata).await, Err(Miss::Absent));
//!
//! let source = TreePath { anchor: Anchor::Base, path: RelPath::new("main.c")? };
//! let inputs = cache.files().snapshot(&[source]).await?;
//! std::fs::write(dir.path().join("main.o"), "object")?; // The action runs.
//! let outputs = vec![RelPath::new("main.o")?];
//! let run = ActionRun { inputs, outputs, metadata: metadata.clone(), success: true, cost_ms: 120 };
//! cache.record(&id, &run).await?;
//! assert!(cache.is_cached(&id, &metadata).await);
//!
//! std::fs::remove_file(dir.path().join("main.o"))?;
//! let hit = cache.look_up(&id, &metadata).await?;
//! assert!(!hit.is_in_place());
//! cache.restore(&hit).await?;
//! assert_eq!(std::fs::read(dir.path().join("main.o"))?, b"object");
//! # Ok(()) }) }
//! ```

mod batch;
mod cache;
mod check;
mod error;
mod files;
mod flaky;
mod hit;
mod id;
mod kind;
mod ledger;
mod look;
mod metadata;
mod miss;
mod offload;
mod outputs;
mod record;
mod restore;
mod since;
mod stats;
mod trim;
mod view;

pub use batch::BatchReport;
pub use cache::{ActionCache, ActionRequest, ActionRun};
pub use error::RecordError;
pub use files::{FileError, FileStates};
pub use flaky::Nondeterministic;
pub use hit::{Hit, Recording};
pub use id::{ActionId, ActionIdError};
pub use kind::{ActionKind, CustomKind};
pub use metadata::ActionMetadata;
pub use miss::Miss;
pub use record::{History, Variant};
pub use restore::RestoreError;
pub use since::Mark;
pub use stats::{RecordKindStats, RecordStats};
pub use trim::Trimmed;

pub(crate) use check::{Proved, changed, claim, differing_upstream};
pub(crate) use files::is_gone;
pub(crate) use id::{Escaped, checked};
pub(crate) use ledger::{Execution, Ledger, Wanted};
pub(crate) use metadata::Recorded;
pub(crate) use offload::offload;
pub(crate) use record::Record;
pub(crate) use restore::restore;
pub(crate) use stats::Counters;
pub(crate) use view::{Claim, View};
