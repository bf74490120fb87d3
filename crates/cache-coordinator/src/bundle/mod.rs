//! A set of entries with their blobs as one file, for the cache of a CI service or for a colleague.
//!
//! ```
//! use cache_coordinator::bundle::{ImportOptions, Selection, export, import};
//! use cache_core::{Entry, Key, PutMode, Store};
//! use cache_testkit::MemoryStore;
//!
//! # cache_testkit::block_on(async {
//! let (here, there) = (MemoryStore::new(), MemoryStore::new());
//! let key = Key::from_bytes([7; 32]);
//! here.put(&key, &Entry { value: "value".into(), ..Entry::default() }, PutMode::Overwrite).await?;
//!
//! let mut file = Vec::new();
//! let exported = export(&here, &Selection::Keys(vec![key]), &mut file).await?;
//! assert_eq!(exported.entries, 1);
//! let imported = import(&there, &mut file.as_slice(), &ImportOptions::default()).await?;
//! assert!(imported.is_whole() && there.get(&key).await?.is_some());
//! # Ok::<(), cache_core::Error>(()) }).unwrap();
//! ```
//!
//! # The file
//! All numbers are little-endian. It begins with 16 bytes: magic `VTCX`, version (4 bytes, 1), 8 bytes of zeros. Then come
//! items, each a header of 48 bytes and its content:
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 1 | what: 1 contents, 2 blob, 3 entry, 4 left out, 5 end |
//! | 1 | 1 | of a blob its hash function, as in a digest; else 0 |
//! | 2 | 2 | 0 |
//! | 4 | 8 | bytes of content |
//! | 12 | 32 | of a blob its digest, of an entry or one that is left out its key; else 0 |
//! | 44 | 4 | CRC32C of bytes 0 to 43 |
//!
//! - **Contents**, the first items: at most 65,536 keys of 32 bytes that the file is about to hold, in their order. By these, a
//!   reader of a damaged file can tell what it lost.
//! - **Blob**: its bytes, which have the digest. Each blob comes once, before the first entry that names it.
//! - **Entry**: its [envelope](cache_core::envelope), signature included, if it has one.
//! - **Left out**: the entry under a key that was announced and was evicted meanwhile. No content.
//! - **End**, the last item: the number of entries and of blobs before it, 8 bytes each, and XXH3-128 of all bytes before this
//!   item, 16 bytes. Nothing follows.
//!
//! A reader believes nothing that it has not checked: a blob by its digest, an entry by the checksums of its envelope. Damaged
//! content costs that item, and the entries that name it; a damaged header costs the rest of the file, because nobody knows where
//! the next item begins.

mod read;
mod take_in;
mod write;

pub use take_in::{Flaw, ImportOptions, Imported, import};
pub use write::{Exported, Selection, export};

const MAGIC: [u8; 4] = *b"VTCX";
const VERSION: u32 = 1;
/// Bytes at the start of a file.
const START: usize = 16;
/// Bytes of the header of an item.
const HEADER: usize = 48;
/// Bytes of a key.
const KEY: usize = 32;
/// Keys in an item of contents: 2 MiB.
const KEYS: usize = 1 << 16;
/// Entries in a file: 32 MiB of keys, and more than a cache of 20 GB usually has.
const MOST_ENTRIES: usize = 1 << 20;
/// Bytes of a blob that is kept in memory on its way; a larger one goes through a file.
const IN_MEMORY: u64 = 8 << 20;
/// Bytes that are copied at a time.
const CHUNK: usize = 256 << 10;

const CONTENTS: u8 = 1;
const BLOB: u8 = 2;
const ENTRY: u8 = 3;
const LEFT_OUT: u8 = 4;
const END: u8 = 5;
/// Bytes of the content of the end.
const END_LEN: u64 = 32;
