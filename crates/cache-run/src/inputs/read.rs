//! Reading a file that others may be writing.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use cache_core::{Digest, HashFunction};

use super::{InputError, Kind, Stat};

/// How often a file is read that changes meanwhile, before that is an error.
const ATTEMPTS: usize = 3;

/// A file whose stat was the same before and after it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) digest: Digest,
    pub(crate) stat: Stat,
    /// How many bytes were read. Files such as those in `/proc` have another length than their stat says.
    pub(crate) len: u64,
}

/// Returns the digest of the file at `path`. A link in place of the file is an error, unless `follow`.
pub(crate) fn read_file(path: &Path, follow: bool) -> Result<Read, InputError> {
    let fail = |error| InputError::io(path, error);
    for _ in 0..ATTEMPTS {
        let file = open(path, follow).map_err(fail)?;
        let stat = Stat::new(&file.metadata().map_err(fail)?);
        match stat.kind {
            Kind::File => {}
            Kind::Directory => return Err(fail(io::ErrorKind::IsADirectory.into())),
            Kind::Symlink | Kind::Special => return Err(InputError::Special { path: path.to_path_buf() }),
        }
        let (digest, len) = Digest::of_file(HashFunction::Blake3, &file).map_err(fail)?;
        if Stat::new(&file.metadata().map_err(fail)?) == stat {
            return Ok(Read { digest, stat, len });
        }
    }
    Err(InputError::KeepsChanging { path: path.to_path_buf() })
}

#[cfg(unix)]
fn open(path: &Path, follow: bool) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;

    // NONBLOCK: opening a FIFO that took the file's place must not wait for a writer.
    let flags = if follow { OFlags::NONBLOCK } else { OFlags::NONBLOCK | OFlags::NOFOLLOW };
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path, _follow: bool) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}
