//! Large payloads: files of their own, named by the position of their record, that live as long as its segment.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cache_core::{Fingerprint, Fingerprinter};

use super::record::{Class, Worth};
use super::write::{Outcome, Put, Source};
use super::{Log, sys};
use crate::options::Durability;

/// Unit in which most disks give room, in bytes.
const BLOCK: u64 = 4096;
/// Room that a payload of unknown length books at a time, in bytes.
const STEP: u64 = 16 << 20;

/// Returns the bytes that a file of `len` bytes takes on most disks.
pub(super) fn disk_len(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// A large payload in the making. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct LargeFile {
    log: Arc<Log>,
    path: PathBuf,
    file: File,
    class: Class,
    len: u64,
    booked: u64,
    fingerprinter: Fingerprinter,
    done: bool,
}

impl Log {
    /// Begins a large payload of about `len` bytes.
    pub(crate) fn create_large(self: &Arc<Self>, len: u64, worth: Worth) -> io::Result<LargeFile> {
        let class = if worth == Worth::High { Class::Main } else { Class::Probation };
        let booked = disk_len(len);
        if !self.book_large(class, booked)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (file, path) = match sys::create_temp(&self.root.join("tmp"), "large") {
            Ok(created) => created,
            Err(e) => {
                self.unbook_large(class, booked);
                return Err(e);
            }
        };
        let fingerprinter = Fingerprinter::new();
        Ok(LargeFile { log: Arc::clone(self), path, file, class, len: 0, booked, fingerprinter, done: false })
    }

    /// Stores bytes, in the log or in a file of their own as their length asks.
    pub(crate) fn put_bytes(self: &Arc<Self>, put: &Put<'_>) -> io::Result<Outcome> {
        let Source::Bytes(bytes) = put.payload else { return self.put(put) };
        if bytes.len() as u64 <= self.max_inline() {
            return self.put(put);
        }
        let mut large = self.create_large(bytes.len() as u64, put.worth)?;
        large.write(bytes)?;
        large.finish(put)
    }
}

impl LargeFile {
    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let after = self.len + bytes.len() as u64;
        self.book(after)?;
        sys::write_at(&self.file, bytes, self.len)?;
        self.fingerprinter.update(bytes);
        self.len = after;
        Ok(())
    }

    /// Returns the file, for a clone into it, whose length and fingerprint are then told by [`cloned`](Self::cloned).
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Takes the file as it is, after something was cloned into it.
    pub(crate) fn cloned(&mut self, len: u64, fingerprinter: Fingerprinter) -> io::Result<()> {
        self.book(len)?;
        (self.len, self.fingerprinter) = (len, fingerprinter);
        Ok(())
    }

    /// Books room for `len` bytes in all.
    fn book(&mut self, len: u64) -> io::Result<()> {
        if disk_len(len) > self.booked {
            let more = (disk_len(len) - self.booked).max(STEP);
            if !self.log.book_large(self.class, more)? {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.booked += more;
        }
        Ok(())
    }

    /// Stores what was written as the payload of `put`.
    pub(crate) fn finish(mut self, put: &Put<'_>) -> io::Result<Outcome> {
        if self.log.settings.durability == Durability::Flush {
            sys::sync(&self.file)?;
        }
        let fingerprint: Fingerprint = self.fingerprinter.finish();
        let payload = Source::File { path: self.path.clone(), len: self.len, fingerprint, class: self.class };
        let Put { kind, key, meta, worth, expires, if_absent, .. } = *put;
        let outcome = self.log.put(&Put { kind, key, meta, payload, worth, expires, if_absent })?;
        if outcome != Outcome::Present {
            self.log.unbook_large(self.class, self.booked.saturating_sub(disk_len(self.len)));
            self.done = true;
        }
        Ok(outcome)
    }
}

impl Drop for LargeFile {
    fn drop(&mut self) {
        // The record has a name of its own for the file.
        let _ = sys::remove_file(&self.path);
        if !self.done {
            self.log.unbook_large(self.class, self.booked);
        }
    }
}
