//! Large payloads: files of their own, named by the position of their record, that live as long as its segment.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{Fingerprint, Fingerprinter};

use super::record::{Class, Worth};
use super::write::{Outcome, Put, Source};
use super::{Log, sys};
use crate::options::Durability;

/// Room that a payload of unknown length books at a time, in bytes.
const STEP: u64 = 16 << 20;

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
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let class = if worth == Worth::High { Class::Main } else { Class::Probation };
        if !self.book_large(class, len)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let name = format!("large-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = self.root.join("tmp").join(name);
        let file = match sys::create(&path) {
            Ok(file) => file,
            Err(e) => {
                self.unbook_large(class, len);
                return Err(e);
            }
        };
        let fingerprinter = Fingerprinter::new();
        Ok(LargeFile {
            log: Arc::clone(self),
            path,
            file,
            class,
            len: 0,
            booked: len,
            fingerprinter,
            done: false,
        })
    }

    /// Stores bytes, in the log or in a file of their own as their length asks.
    pub(crate) fn put_bytes(self: &Arc<Self>, put: Put<'_>) -> io::Result<Outcome> {
        let Source::Bytes(bytes) = put.payload else { return self.put(&put) };
        if bytes.len() as u64 <= self.max_inline() {
            return self.put(&put);
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
        if len > self.booked {
            let more = (len - self.booked).max(STEP);
            if !self.log.book_large(self.class, more)? {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.booked += more;
        }
        Ok(())
    }

    /// Stores what was written as the payload of `put`.
    pub(crate) fn finish(mut self, put: Put<'_>) -> io::Result<Outcome> {
        if self.log.settings.durability == Durability::Flush {
            self.file.sync_data()?;
        }
        let fingerprint: Fingerprint = self.fingerprinter.finish();
        let payload = Source::File { path: self.path.clone(), len: self.len, fingerprint, class: self.class };
        let outcome = self.log.put(&Put { payload, ..put })?;
        if outcome != Outcome::Present {
            self.log.unbook_large(self.class, self.booked.saturating_sub(self.len));
            self.done = true;
        }
        Ok(outcome)
    }
}

impl Drop for LargeFile {
    fn drop(&mut self) {
        // The record has a name of its own for the file.
        let _ = std::fs::remove_file(&self.path);
        if !self.done {
            self.log.unbook_large(self.class, self.booked);
        }
    }
}
