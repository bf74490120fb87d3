//! Writing: a temporary file with a reservation, which becomes visible whole or not at all.
//!
//! Nothing is forced onto the disk: what a power failure leaves behind is verified when it is read, and a miss if it is
//! not whole. Waiting for the disk at each put would cost more than the cache saves.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use cache_core::files::create_private_dir;
use cache_core::{Error, PutMode, PutOutcome, Result};
use tempfile::NamedTempFile;

use super::Files;
use super::address::{Address, Space};
use super::item::{self, Rank, Recency, cost};
use super::room::{Demand, Verdict};
use super::visit::EMPTY_DIR;

/// How often a put tries again when others take the room that it has just made.
const ATTEMPTS: u32 = 4;
/// What is said when that was in vain.
const OUTRUN: &str = "other processes fill it faster than room can be made; raise the size limit";

/// A file that is being written. Dropped, it is gone, and so is its reservation.
#[derive(Debug)]
pub(super) struct Temp {
    files: Arc<Files>,
    /// Nothing only once it is published.
    file: Option<NamedTempFile>,
    /// The shard that the reservation is made in.
    shard: u8,
    reserved: Demand,
    /// Whether room was made on a full disk already: once is enough.
    relieved: bool,
}

/// Returns the shard and the reservation in the name of a temporary file.
///
/// They are in the name so that whoever counts the shard while the file is being written, or after its writer died,
/// counts what is on its way.
pub(super) fn parse_name(name: &str) -> Option<(u8, Demand)> {
    let mut parts = name.splitn(4, '-');
    let shard = u8::from_str_radix(parts.next()?, 16).ok()?;
    let demand = Demand { bytes: parts.next()?.parse().ok()?, entries: parts.next()?.parse().ok()? };
    parts.next().map(|_| (shard, demand))
}

fn name_prefix(shard: u8, demand: Demand) -> String {
    format!("{shard:02x}-{}-{}-", demand.bytes, demand.entries)
}

impl Temp {
    /// Makes room for `len` bytes under `address`, or somewhere if that is not known yet, and creates the file.
    pub(super) fn create(files: &Arc<Files>, space: Space, id: Option<u8>, len: u64) -> Result<Self> {
        files.writable()?;
        let shard = id.unwrap_or(0);
        let needs_dir = id.is_none_or(|shard| !space.shard_dir(&files.root, shard).exists());
        let reserved = Demand {
            bytes: cost(len).saturating_add(if needs_dir { EMPTY_DIR } else { 0 }),
            entries: u64::from(space == Space::Entries),
        };
        files.check_size(reserved)?;
        let mut relieved = false;
        for _ in 0..ATTEMPTS {
            let file = match files.create_temporary(shard, reserved) {
                Err(e) if item::is_full(&e) && !relieved => {
                    relieved = true;
                    files.make_room_on_disk(reserved.bytes);
                    continue;
                }
                created => created
                    .map_err(|e| files.write_error("cannot create a file in", &files.root.join("tmp"), e))?,
            };
            if files.reserve(shard, reserved) {
                return Ok(Self { files: Arc::clone(files), file: Some(file), shard, reserved, relieved });
            }
            // Its name says that something comes; gone, it is not counted beside the demand.
            drop(file);
            files.make_room(reserved)?;
        }
        Err(files.full(OUTRUN.to_owned()))
    }

    /// Makes room for so many bytes more.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<()> {
        let demand = Demand { bytes, entries: 0 };
        self.files.check_size(Demand { bytes: self.reserved.bytes.saturating_add(bytes), entries: 0 })?;
        for _ in 0..ATTEMPTS {
            if self.files.reserve(self.shard, demand) {
                self.reserved.bytes = self.reserved.bytes.saturating_add(bytes);
                return Ok(());
            }
            self.files.make_room(demand)?;
        }
        Err(self.files.full(OUTRUN.to_owned()))
    }

    /// Returns the open file.
    pub(super) fn file(&self) -> Result<&File> {
        self.file
            .as_ref()
            .map(NamedTempFile::as_file)
            .ok_or_else(|| Error::Invalid("written already".to_owned()))
    }

    /// Writes all of `bytes`; evicts once if the disk is full, and then gives up.
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.file()?.write(bytes) {
                Ok(0) => return Err(self.error(io::ErrorKind::WriteZero.into())),
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if item::is_full(&e) && !self.relieved => {
                    self.relieved = true;
                    // What is still to come is reserved; what was written has its room.
                    self.files.make_room_on_disk(self.reserved.bytes.max(bytes.len() as u64));
                }
                Err(e) => return Err(self.error(e)),
            }
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> Error {
        let tmp = self.files.root.join("tmp");
        let path = self.file.as_ref().map_or(tmp.as_path(), |file| file.path());
        self.files.write_error("cannot write", path, source)
    }

    /// Makes the file visible under `address`, with `len` bytes.
    pub(super) fn publish(
        mut self,
        address: &Address,
        len: u64,
        rank: Rank,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        let files = Arc::clone(&self.files);
        let Some(file) = self.file.take() else { return Ok(PutOutcome::Present) };
        let recency = Recency { used: files.clock.now(), rank };
        let path = files.path(address);
        let dir = address.space.shard_dir(&files.root, address.shard());
        let is_entry = address.space == Space::Entries;
        let counts = |there: bool| (u32::from(there && is_entry), u32::from(there && !is_entry));
        let published = files.ledger.update(|books| {
            // The lock makes this exact: nobody else replaces or removes the old file at the same time.
            let old = path.symlink_metadata().ok().filter(fs::Metadata::is_file);
            let (made_dir, moved) = rename(file, &dir, &path, mode);
            if let Ok(file) = &moved {
                // Not earlier: the time of a temporary file tells whether its writer is alive. A failure costs recency,
                // not content.
                let _ = recency.write(file);
                let (entries, blobs) = counts(true);
                let dir = if made_dir { EMPTY_DIR } else { 0 };
                books.shard(address.shard()).add(cost(len).saturating_add(dir), entries, blobs);
                let (entries, blobs) = counts(old.is_some());
                books.shard(address.shard()).subtract(old.map_or(0, |old| cost(old.len())), entries, blobs);
            }
            books.shard(self.shard).subtract(self.reserved.bytes, self.reserved.entries as u32, 0);
            moved.map(|_| files.needs_tending(books))
        });
        self.reserved = Demand::default();
        match published {
            Ok(needs_tending) => {
                if needs_tending {
                    files.tend();
                }
                Ok(PutOutcome::Stored)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && mode == PutMode::IfAbsent => {
                Ok(PutOutcome::Present)
            }
            Err(e) => Err(files.write_error("cannot write", &path, e)),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // The reservation goes first: who counts the shard in between finds the file, and counts too much, not too little.
        if self.reserved != Demand::default() {
            let (shard, reserved) = (self.shard, self.reserved);
            self.files.ledger.update(|books| {
                books.shard(shard).subtract(reserved.bytes, reserved.entries as u32, 0);
            });
        }
        drop(self.file.take());
    }
}

/// Moves `file` to `path`, in `dir`, which may be missing or go away; returns whether it
/// made the directory, and the open file.
fn rename(file: NamedTempFile, dir: &Path, path: &Path, mode: PutMode) -> (bool, io::Result<File>) {
    let persist = |file: NamedTempFile| match mode {
        PutMode::Overwrite => file.persist(path),
        PutMode::IfAbsent => file.persist_noclobber(path),
    };
    let (mut file, mut made_dir) = (file, false);
    // Where locks do not work, an evictor may remove the directory while it is still empty.
    for _ in 0..ATTEMPTS {
        match persist(file) {
            Ok(file) => return (made_dir, Ok(file)),
            Err(failed) if failed.error.kind() == io::ErrorKind::NotFound => file = failed.file,
            Err(failed) => return (made_dir, Err(failed.error)),
        }
        if let Err(e) = create_private_dir(dir) {
            return (made_dir, Err(e));
        }
        made_dir = true;
    }
    (made_dir, Err(io::ErrorKind::NotFound.into()))
}

impl Files {
    /// Creates an empty temporary file, and the directory for it if somebody removed it.
    fn create_temporary(&self, shard: u8, reserved: Demand) -> io::Result<NamedTempFile> {
        let dir = self.root.join("tmp");
        let create = || tempfile::Builder::new().prefix(&name_prefix(shard, reserved)).tempfile_in(&dir);
        match create() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.create_layout().map_err(io::Error::other)?;
                create()
            }
            created => created,
        }
    }

    /// Adds `demand` to a shard if it fits, and evicts a batch if it is time to.
    fn reserve(&self, shard: u8, demand: Demand) -> bool {
        let verdict = self.ledger.update(|books| {
            let verdict = self.judge(books.totals(), demand);
            if !matches!(verdict, Verdict::Over(_)) {
                books.shard(shard).add(demand.bytes, demand.entries as u32, 0);
            }
            verdict
        });
        if verdict == Verdict::Tight {
            // If another process is at it, all the better.
            self.relieve(&|totals| self.surplus(totals, Demand::default()));
        }
        !matches!(verdict, Verdict::Over(_))
    }

    /// Returns the error for a write that failed on `path`.
    pub(super) fn write_error(&self, what: &str, path: &Path, source: io::Error) -> Error {
        if item::is_full(&source) {
            let why = format!(
                "{what} {} ({source}); free some space on the disk or raise the quota",
                path.display()
            );
            return self.full(why);
        }
        Error::io(what, path, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reservation_is_in_the_name() {
        let demand = Demand { bytes: 4256, entries: 1 };
        assert_eq!(parse_name(&(name_prefix(255, demand) + "Xy_-z")), Some((255, demand)));
        for foreign in ["", "ff", "ff-", "100-1-0-a", "zz-1-0-a", "ff--0-a", "ff-x-0-a", "ff-1-0"] {
            assert_eq!(parse_name(foreign), None, "{foreign}");
        }
    }
}
