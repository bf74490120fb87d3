//! The vocabulary of vitte-cache: what is stored ([`Entry`], blobs by [`Digest`]), where ([`Store`]), under which
//! address ([`Key`]), in which bytes ([`envelope`]), vouched for by whom ([`signing`]), and for how long ([`Policy`]).
//!
//! This crate opens no socket and starts no runtime. A back end depends on it and on nothing else of ours.
//!
//! ```
//! use cache_core::{Digest, KeyBuilder, Namespace};
//!
//! let blob = Digest::blake3(b"int main() { return 0; }");
//! let key = KeyBuilder::new(&Namespace::default(), "compile").digest(&blob).text("-O2").finish();
//! assert_ne!(key, KeyBuilder::new(&Namespace::default(), "compile").digest(&blob).text("-O3").finish());
//! ```

mod body;
mod checksum;
mod clock;
pub mod coding;
mod dependencies;
mod digest;
mod entry;
pub mod envelope;
mod error;
mod event;
pub mod files;
mod hex;
pub mod human;
mod key;
mod namespace;
mod path;
mod policy;
pub mod signing;
pub mod stat;
mod store;

pub use body::Body;
pub use checksum::{Fingerprint, Fingerprinter, crc32c, crc32c_append};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use dependencies::{Dependencies, EnvDependency, FileDependency, FileState, StatFingerprint};
pub use digest::{Digest, HashFunction, Hasher, ParseDigestError};
pub use entry::{Entry, EntryMeta, Output, OutputKind};
pub use error::{Error, Result};
pub use event::{Event, MissReason, Observer, Observers};
pub use key::{Key, KeyBuilder, ParseKeyError};
pub use namespace::{Namespace, NamespaceError};
pub use path::{Anchor, PathError, RelPath, TreePath};
pub use policy::{Policy, Priority};
pub use store::{Capabilities, Collected, ListFilter, Listed, Page, PutMode, PutOutcome, Store};
