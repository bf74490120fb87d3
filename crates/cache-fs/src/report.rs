//! What the operations of a store answer.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cache_core::{Entry, MissReason};

/// What was found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is returned once and taken apart at once; a box would cost more"
)]
pub enum Lookup {
    /// The entry, whole: every blob that it names is there.
    Hit(Entry),
    /// Nothing, and why.
    Miss(MissReason),
}

impl Lookup {
    /// Returns the entry, if there is one.
    pub fn into_entry(self) -> Option<Entry> {
        match self {
            Self::Hit(entry) => Some(entry),
            Self::Miss(_) => None,
        }
    }
}

/// A blob whose content was just verified, or within [`Options::proof`](crate::Options::proof).
#[derive(Debug)]
pub struct Blob {
    /// Its length in bytes.
    pub len: u64,
    /// Its content.
    pub content: Content,
}

/// The content of a [`Blob`].
#[derive(Debug)]
pub enum Content {
    /// A file of its own.
    File {
        /// The file, positioned at its start.
        file: File,
        /// Where it can be opened again until it is evicted. Never a path to write to.
        path: PathBuf,
    },
    /// Bytes in memory: the blob has no file of its own.
    Bytes(Bytes),
}

impl Blob {
    /// Returns where the content can be opened again until it is evicted, if it has a file of its own. Never a path to write
    /// to.
    pub fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::File { path, .. } => Some(path),
            Content::Bytes(_) => None,
        }
    }
}

impl Read for Blob {
    /// Takes the next bytes out of it, as from a file.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::File { file, .. } => file.read(buffer),
            Content::Bytes(bytes) => {
                let piece = bytes.split_to(buffer.len().min(bytes.len()));
                buffer[..piece.len()].copy_from_slice(&piece);
                Ok(piece.len())
            }
        }
    }
}

/// How full a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes on disk, the store's own bookkeeping included. Never less than what is really used, short of a power
    /// failure.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// The limit, if there is one.
    pub max_bytes: Option<u64>,
    /// Bytes that are free on the disk, if the system tells.
    pub free: Option<u64>,
}

/// What a check of every byte found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Entries that were read.
    pub entries: u64,
    /// Blobs that were read.
    pub blobs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Number of damaged entries and blobs.
    pub corrupt: u64,
    /// Number of entries that name a blob which is not there or is damaged.
    pub incomplete: u64,
    /// Number of entries that a newer version wrote; they were left alone.
    pub newer: u64,
    /// What is wrong with what, for the first of them.
    pub details: Vec<String>,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Steps done.
    pub done: u32,
    /// Steps in all; each is about the same amount of work.
    pub of: u32,
    /// Bytes read so far.
    pub bytes: u64,
}

/// What a move from one layout to the other did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrateReport {
    /// Entries that were copied.
    pub entries: u64,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Entries and blobs that were damaged or incomplete, and are gone.
    pub unusable: u64,
    /// Entries and blobs for which there was no room, and which are gone.
    pub did_not_fit: u64,
    /// Entries and blobs that were copied and had to make room for others.
    pub evicted: u64,
}

/// How far a move from one layout to the other has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrateProgress {
    /// Entries and blobs done.
    pub done: u64,
    /// Entries and blobs in all.
    pub of: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// A file of the store, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Where it is.
    pub path: PathBuf,
    /// What a person may want to know about it.
    pub text: String,
}
