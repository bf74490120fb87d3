//! Blobs: raw content under its digest.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cache_core::files::{self, Links};
use cache_core::{Digest, Error, Event, HashFunction, Result};

use super::address::{Address, Space};
use super::item::{self, Found, Rank, Recency};
use super::temp::Temp;
use super::{BlobWriter, Files};
use crate::report::{Blob, Content};

/// Bytes that are copied at a time: enough that BLAKE3 can use several threads.
const CHUNK: usize = 1 << 20;
/// From this many bytes on, cloning a file is cheaper than copying it.
const CLONE_FROM: u64 = 64 << 10;

impl Files {
    /// Returns the content of a blob.
    pub(crate) fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        let address = Address::blob(digest);
        let Some((file, meta)) = self.open_item(&address)? else { return Ok(None) };
        if meta.len() > limit {
            return Err(Error::TooLarge { what: format!("the blob {digest}"), size: meta.len(), limit });
        }
        let content = read_exactly(&file, meta.len()).map_err(|e| self.read_error(&address, e))?;
        if content.len() as u64 != meta.len() || Digest::of(digest.function(), &content) != *digest {
            self.put_aside(&address, Some(&meta), "its content does not have its digest");
            return Ok(None);
        }
        self.touch_open(&file, &meta, Rank::Undecided);
        Ok(Some(content.into()))
    }

    /// Returns an open blob after all of it was read and found right.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        let address = Address::blob(digest);
        let Some((mut file, meta)) = self.open_item(&address)? else { return Ok(None) };
        let fail = |e| self.read_error(&address, e);
        let (found, len) = Digest::of_file(digest.function(), &file).map_err(fail)?;
        if found != *digest {
            self.put_aside(&address, Some(&meta), "its content does not have its digest");
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        self.touch_open(&file, &meta, Rank::Undecided);
        let content = Content::File { file, path: self.path(&address) };
        Ok(Some(Blob { len, content }))
    }

    /// Stores `content` and returns its digest under `function`.
    pub(crate) fn write_blob(self: &Arc<Self>, function: HashFunction, content: &[u8]) -> Result<Digest> {
        self.writable()?;
        let digest = Digest::of(function, content);
        if self.has_blob(&digest, Some(content.len() as u64)) {
            return Ok(digest);
        }
        let len = content.len() as u64;
        let mut temp = Temp::create(self, Space::Blobs(function), Some(digest.as_bytes()[0]), len)?;
        temp.write_all(content)?;
        self.publish_blob(temp, &digest, len)?;
        Ok(digest)
    }

    /// Stores what `reader` gives.
    pub(crate) fn write_blob_from(
        self: &Arc<Self>,
        function: HashFunction,
        expected: Option<Digest>,
        len: Option<u64>,
        like: u64,
        mut reader: impl Read,
    ) -> Result<(Digest, u64)> {
        let mut writer = BlobWriter::new(self, function, expected, len, like)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match fill(&mut reader, &mut buffer) {
                Ok(0) => return writer.finish(),
                Ok(filled) => writer.write(&buffer[..filled])?,
                Err(source) => {
                    let what = "cannot read what is to be stored".to_owned();
                    return Err(Error::Io { what, source });
                }
            }
        }
    }

    /// Stores the content of a file. If it changes meanwhile, what was stored is what has the digest.
    pub(crate) fn import_file(self: &Arc<Self>, path: &Path) -> Result<(Digest, u64)> {
        self.writable()?;
        let fail = |e| Error::io("cannot read", path, e);
        let source = files::open(path, Links::Follow).map_err(fail)?;
        let meta = source.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(Error::Invalid(format!(
                "{} is not a regular file; it cannot be stored",
                path.display()
            )));
        }
        if meta.len() >= CLONE_FROM
            && !self.no_reflinks.load(Ordering::Relaxed)
            && let Some(stored) = self.import_clone(&source, meta.len())?
        {
            return Ok(stored);
        }
        // The length is a hint for the reservation only: the file may grow or shrink while it is read.
        let function = HashFunction::Blake3;
        if meta.len() < CLONE_FROM {
            let mut content = Vec::with_capacity(meta.len() as usize + 1);
            (&source).take(CHUNK as u64).read_to_end(&mut content).map_err(fail)?;
            if content.len() < CHUNK {
                return Ok((self.write_blob(function, &content)?, content.len() as u64));
            }
            return self.write_blob_from(function, None, None, CHUNK as u64, content.chain(&source));
        }
        self.write_blob_from(function, None, None, meta.len(), &source)
    }

    /// Stores a clone of `source`; nothing if the file system cannot clone.
    fn import_clone(self: &Arc<Self>, source: &File, len: u64) -> Result<Option<(Digest, u64)>> {
        let mut temp = Temp::create(self, Space::Blobs(HashFunction::Blake3), None, len)?;
        if reflink_copy::reflink_file(source, temp.file()?).is_err() {
            self.no_reflinks.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        let mut file = temp.file()?;
        let place = self.root.join("tmp");
        let (digest, found) = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| Digest::of_file(HashFunction::Blake3, file))
            .map_err(|e| Error::io("cannot read a clone in", &place, e))?;
        if found > len {
            temp.grow(found - len)?;
        }
        self.publish_blob(temp, &digest, found)?;
        Ok(Some((digest, found)))
    }

    /// Removes a blob.
    pub(crate) fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        self.remove_item(&Address::blob(digest))
    }

    /// Returns whether a blob is there, with this length if one is given, and counts that as a use.
    pub(crate) fn has_blob(&self, digest: &Digest, len: Option<u64>) -> bool {
        self.use_item(&Address::blob(digest), len, Rank::Undecided)
    }

    /// Tells that a blob was announced which is there already.
    pub(crate) fn deduplicated(&self, digest: &Digest, len: u64) {
        self.emit(|| Event::Blob { digest, len, deduplicated: true });
    }

    /// Opens a stored file. What is no regular file is put aside.
    pub(super) fn open_item(&self, address: &Address) -> Result<Option<(File, Metadata)>> {
        match item::open(&self.path(address)) {
            Ok(Found::File(file, meta)) => Ok(Some((file, meta))),
            Ok(Found::Absent) => Ok(None),
            Ok(Found::Foreign) => {
                self.put_aside(address, None, "it is not a regular file");
                Ok(None)
            }
            Err(e) => Err(self.read_error(address, e)),
        }
    }

    pub(super) fn read_error(&self, address: &Address, source: io::Error) -> Error {
        Error::io("cannot read", &self.path(address), source)
    }

    /// Returns whether a file is there, and notes its use.
    pub(super) fn use_item(&self, address: &Address, len: Option<u64>, rank: Rank) -> bool {
        let path = self.path(address);
        let Ok(meta) = path.symlink_metadata() else { return false };
        if !meta.is_file() || len.is_some_and(|len| len != meta.len()) {
            return false;
        }
        let recency = Recency::of(&meta);
        if !self.read_only && (recency.rank < rank || recency.is_stale(self.clock.now())) {
            match item::open(&path) {
                Ok(Found::File(file, meta)) => self.touch_open(&file, &meta, rank),
                // It went between the two looks.
                Ok(_) => return false,
                Err(_) => {}
            }
        }
        true
    }

    /// Notes the use of an open file. That it cannot be noted, as on a read-only mount, takes nothing from the hit.
    pub(super) fn touch_open(&self, file: &File, meta: &Metadata, rank: Rank) {
        let recency = Recency::of(meta);
        let now = self.clock.now();
        if !self.read_only && (recency.rank < rank || recency.is_stale(now)) {
            let _ = Recency { used: now, rank: recency.rank.max(rank) }.write(file);
        }
    }

    /// Removes a stored file; returns whether there was one.
    pub(super) fn remove_item(&self, address: &Address) -> Result<bool> {
        self.writable()?;
        let path = self.path(address);
        let removed = self.ledger.update(|books| {
            let meta = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => return Ok(false),
                Ok(meta) => meta,
                Err(e) if item::is_absent(&e) => return Ok(false),
                Err(e) => return Err(e),
            };
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    let is_entry = address.space == Space::Entries;
                    let (entries, blobs) = (u32::from(is_entry), u32::from(!is_entry));
                    books.shard(address.shard()).subtract(item::cost(meta.len()), entries, blobs);
                    Ok(meta.is_file())
                }
                Err(e) if item::is_absent(&e) => Ok(false),
                Err(e) => Err(e),
            }
        });
        self.evicted.forget(address);
        removed.map_err(|e| Error::io("cannot remove", &path, e))
    }
}

/// Reads a file that has `len` bytes; what it grew by meanwhile shows as one byte more.
pub(super) fn read_exactly(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or(0).saturating_add(1));
    file.take(len.saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads until `buffer` is full or the input ends.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
