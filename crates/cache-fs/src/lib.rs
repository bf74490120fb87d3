//! A content-addressed cache in a directory, shared by any number of threads and processes without a daemon.
//!
//! [`FsStore`] keeps [entries](cache_core::Entry) and blobs. Its promises, in this order: what cannot be proved right is
//! a miss; a limit is a limit from the first put on; nothing waits for long.
//!
//! How the content lies on the disk is one of two [layouts](Layout). By default a new store gets segments on the local
//! file systems that are known to suit them, and files elsewhere; [`FsStore::migrate`] moves it from one to the other.
//!
//! | | files | segments |
//! |---|---|---|
//! | where | every file system, network file systems included | local file systems of Unix |
//! | an entry or a blob | a file | a record in a log; large ones a file |
//! | get | opens, reads and closes a file | looks into the index, and reads from a file that is open |
//! | put | makes, writes and renames a file | writes to a file that is open, and into the index |
//! | goes first | what was not used for the longest time | the oldest segment, but for what was used in it |
//! | an open store has in memory | nothing per entry | nothing per entry |
//!
//! The version is in the name of a layout's directory, so that versions and layouts live side by side, beside
//! `CACHEDIR.TAG`, which tells backup programs to leave all of it out. Directories have mode 0700, files 0600. All numbers
//! are little-endian. Names that are not of these forms are left alone.
//!
//! # The segments layout, version 1
//!
//! | path | what |
//! |---|---|
//! | `segments-v1/format` | the text `vitte-cache segments 1` and a newline |
//! | `segments-v1/control` | how far the logs have come, and what they take |
//! | `segments-v1/index` | which record a key leads to |
//! | `segments-v1/log/probation-<number>` | a segment of what was stored for the first time |
//! | `segments-v1/log/main-<number>` | a segment of what has proved to be used again |
//! | `segments-v1/log/….seal` | what is in a segment |
//! | `segments-v1/large/<segment>/<offset>` | a payload that is a file of its own |
//! | `segments-v1/locks/` | empty files, locked for moments |
//! | `segments-v1/tmp/` | what is being written |
//!
//! **Reading** finds the record's position in the index, reads the record, and believes it if its key, its position and
//! its checksums are right. The index is a hint: where it is wrong or lost, there is a miss, or it is made anew from the
//! segments.
//!
//! **Writing** appends a record to a piece of a segment that the process has leased, and then lets the index lead there.
//!
//! **Eviction** removes the oldest segment as a whole. What was used in it is moved to the main log first, as in S3-FIFO
//! (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! `docs/format-segments.md` draws every byte, and says what a crash leaves.
//!
//! ## The log by itself
//!
//! [`Segments`] is the engine without entries and blobs: a map from 32-byte keys to bytes.
//!
//! ```
//! # #[cfg(unix)] {
//! use cache_fs::{SegmentOptions, Segments};
//!
//! let dir = tempfile::tempdir()?;
//! let mut options = SegmentOptions::default();
//! options.max_bytes = Some(64 << 20);
//! let map = Segments::open(&dir.path().join("cache"), options)?;
//! let key = *cache_core::Digest::blake3(b"the question").as_bytes();
//! map.put(&key, b"42")?;
//! // The buffer can be used again for the next one: then a get allocates nothing.
//! let mut buffer = Vec::new();
//! assert_eq!(map.get_into(&key, &mut buffer)?, Some(&b"42"[..]));
//! assert!(map.remove(&key)? && !map.contains(&key)?);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The files layout, version 1
//!
//! | path | what |
//! |---|---|
//! | `files-v1/format` | the text `vitte-cache files 1` and a newline |
//! | `files-v1/entries/ab/<62 digits>` | an entry, in an [envelope](cache_core::envelope), under its key |
//! | `files-v1/blobs/blake3/ab/<62 digits>` | a blob, its raw content, under its digest; `sha256` likewise |
//! | `files-v1/tmp/ab-<bytes>-<entries>-…` | what is being written, with the shard and what is reserved for it |
//! | `files-v1/quarantine/` | damaged files, at most 32 and 64 MiB |
//! | `files-v1/usage` | how much each shard holds |
//! | `files-v1/usage.lock` | locked by the process that changes it |
//! | `files-v1/evicted` | what went lately, so that a miss can say so |
//! | `files-v1/evict.lock` | locked by the process that evicts |
//!
//! **Reading** opens a file without following links or waiting for pipes, reads it (never maps it: another process may
//! cut it off), and verifies it: an entry by the checksum of its envelope and the key in it, a blob by its digest. What is
//! wrong is moved into quarantine and is a miss.
//!
//! **Writing** makes room, creates a temporary file, adds to `usage`, writes, and renames the file to its place while it
//! holds `usage.lock`, so that what it replaces is subtracted exactly once. Nothing is forced onto the disk: a file
//! that a power failure cut off fails its verification.
//!
//! **Recency** is the modification time of a file, set on writing and, if it is more than 30 seconds old, on use. Its
//! microseconds tell the priority: 111 low, 222 normal, 333 high, anything else undecided.
//!
//! **Eviction** begins halfway between the low-water mark and a limit, a batch of shards at a time, and never removes what
//! changed within the last minute. See [`Options::protect`].
//!
//! ## `usage`
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 8 | magic `VTCUSAGE` |
//! | 8 | 4 | version, 1 |
//! | 12 | 1 | shard at which eviction goes on |
//! | 13 | 3 | 0 |
//! | 16 | 8 | when a shard was last looked after, in milliseconds since 1970 |
//! | 24 | 8 | bytes in quarantine |
//! | 32 | 28 | 0 |
//! | 60 | 4 | CRC32C of bytes 0 to 59 |
//! | 64 | 256 × 32 | one record per shard |
//! | 8256 | 256 × 1 | not 0 if a shard was changed by somebody who could not get the lock, and is to be counted |
//!
//! A record: bytes (8), entries (4), blobs (4), number of changes (4), 1 if it is known and 0 if it is to be counted
//! (4), 0 (4), CRC32C of the 28 bytes before (4). A record whose check fails is to be counted.
//!
//! ## `evicted`
//!
//! 4096 slots of 24 bytes: the first 8 bytes of the address (the last of them xor the number of the hash function, for a
//! blob), the time in milliseconds (8), CRC32C of these 16 bytes (4), 0 (4). The slot of an address is the number in its
//! bytes 8 and 9, modulo 4096.
//!
//! # Limits of other systems
//! Without `statvfs` (Windows) the free-space floor is not kept and the default limit is that of a large disk. Without
//! file locks (some network file systems) two processes may evict at once, and `usage` is exact only after a shard was
//! counted.

mod async_store;
mod dear;
mod disk;
mod files;
#[cfg(unix)]
mod filesystem;
mod lease;
#[cfg(unix)]
mod logged;
mod marker;
mod migrate;
mod options;
mod place;
mod quota;
mod report;
#[cfg(unix)]
mod segments;
mod store;
mod trust;

pub use lease::Lease;
pub use options::{DEFAULT_PROTECT, Durability, Layout, Options};
pub use report::{
    Blob, Content, Lookup, MigrateProgress, MigrateReport, Note, Usage, VerifyProgress, VerifyReport,
};
#[doc(hidden)]
#[cfg(all(unix, feature = "fuzzing"))]
pub use segments::fuzzing;
#[cfg(unix)]
pub use segments::{Counters, SegmentOptions, SegmentStats, Segments};
pub use store::FsStore;
