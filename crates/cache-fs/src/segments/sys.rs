//! The system calls of the engine, in one place so that a test can cut the power between any two of them.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

#[cfg(test)]
use super::tape;

/// How long a lock is waited for before it is asked for again: about as long as it is held, and then longer and longer.
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Opens a file that is there. Links are not followed, pipes not waited for.
pub(super) fn open(path: &Path, writable: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path)
}

/// Opens a file as [`open`] does; nothing if it is not there.
pub(super) fn open_if_there(path: &Path, writable: bool) -> io::Result<Option<File>> {
    match open(path, writable) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Creates a file for its owner alone that was not there, with a name beginning with `prefix` that nobody else has.
pub(super) fn create_temp(dir: &Path, prefix: &str) -> io::Result<(File, PathBuf)> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let path = dir.join(format!("{prefix}-{:016x}", super::random()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600).custom_flags(flags);
    let file = match options.open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            cache_core::files::create_private_dir(dir)?;
            options.open(&path)
        }
        opened => opened,
    };
    let file = file?;
    #[cfg(test)]
    tape::created(&path, &file);
    Ok((file, path))
}

/// Creates a file for its owner alone, or empties the one that is there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = open_or_create(path)?;
    set_len(&file, 0)?;
    Ok(file)
}

/// Opens a file, and creates it for its owner alone if it is absent.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    #[cfg(test)]
    let is_new = path.symlink_metadata().is_err();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    #[cfg(test)]
    if is_new {
        tape::created(path, &file);
    }
    Ok(file)
}

/// Returns whether a file has a name still.
pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fstat(file)?.st_nlink > 0)
}

/// Reads until `buffer` is full or the file ends; returns how much was read.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Reads at most `len` bytes into `out` from its byte `from` on, and returns how many there were. `out` only ever grows: one
/// that is used again is not filled with zeros again, and one that has no room yet is not filled with zeros at all.
pub(super) fn read_into(
    file: &File,
    out: &mut Vec<u8>,
    from: usize,
    len: usize,
    at: u64,
) -> io::Result<usize> {
    if out.capacity() < from + len {
        out.resize(from, 0);
        out.reserve_exact(len);
        if out.capacity() == from + len {
            return read_to_capacity(file, out, at);
        }
    }
    if out.len() < from + len {
        out.resize(from + len, 0);
    }
    read_at(file, &mut out[from..from + len], at)
}

/// Reads after the end of `out` until that is full or the file ends, and returns how many bytes there were.
fn read_to_capacity(file: &File, out: &mut Vec<u8>, at: u64) -> io::Result<usize> {
    let from = out.len();
    while out.len() < out.capacity() {
        let next = at + (out.len() - from) as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(out), next) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(out.len() - from)
}

pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)?;
    #[cfg(test)]
    tape::wrote(file, bytes, at);
    Ok(())
}

/// Writes `parts` one after the other.
pub(super) fn write_parts_at(file: &File, parts: [&[u8]; 3], at: u64) -> io::Result<()> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let written = match rustix::io::pwritev(file, &parts.map(IoSlice::new), at) {
        Ok(written) => written,
        Err(Errno::INTR) => 0,
        Err(e) => return Err(e.into()),
    };
    if written == total {
        #[cfg(test)]
        tape::wrote(file, &parts.concat(), at);
        return Ok(());
    }
    // A signal or a full disk cut it off: write the rest part by part, to learn why.
    let (mut skip, mut at) = (written, at + written as u64);
    for part in parts {
        let rest = &part[skip.min(part.len())..];
        skip = skip.saturating_sub(part.len());
        write_at(file, rest, at)?;
        at += rest.len() as u64;
    }
    Ok(())
}

/// Writes `len` zeros in as few calls as can be.
pub(super) fn write_zeros(file: &File, mut at: u64, mut len: u64) -> io::Result<()> {
    static ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while len > 0 {
        let mut parts = [IoSlice::new(&[]); 16];
        let mut left = len as usize;
        for part in &mut parts {
            *part = IoSlice::new(&ZEROS[..left.min(ZEROS.len())]);
            left -= part.len();
        }
        let written = match rustix::io::pwritev(file, &parts, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written as u64,
            Err(Errno::INTR) => 0,
            Err(e) => return Err(e.into()),
        };
        #[cfg(test)]
        tape::wrote(file, &vec![0; written as usize], at);
        (at, len) = (at + written, len.saturating_sub(written));
    }
    Ok(())
}

/// Gives the bytes from `from` to `to` of the file room on the disk, so that writing there cannot fail for lack of it.
pub(super) fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to.saturating_sub(from)) {
        Ok(()) => {
            #[cfg(test)]
            tape::resized(file);
            Ok(())
        }
        // Some file systems (ZFS) cannot; a full disk then shows at the write.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Returns the next byte from `at` on that is not in a hole; nothing if there is none.
pub(super) fn next_data(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(at) => Some(at),
        Err(Errno::NXIO) => None,
        // Where holes are not told, everything is data.
        Err(_) => Some(at),
    }
}

/// Lets all of a file read as zeros, and gives its room back. Who has it mapped must not find it cut off.
pub(super) fn blank(file: &File) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(file, flags, 0, file.metadata()?.len().max(1)) {
            Ok(()) => {
                #[cfg(test)]
                tape::blanked(file);
                return Ok(());
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    set_len(file, 0)
}

pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    #[cfg(test)]
    tape::resized(file);
    Ok(())
}

/// Forces the content of a file onto the disk, and what finds it there.
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(test)]
    tape::synced(file);
    Ok(())
}

/// Forces the names in a directory onto the disk.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    #[cfg(test)]
    tape::synced_names(path);
    Ok(())
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    #[cfg(test)]
    tape::renamed(from, to);
    Ok(())
}

pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    #[cfg(test)]
    tape::linked(from, to);
    Ok(())
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    #[cfg(test)]
    tape::removed(path);
    Ok(())
}

pub(super) fn remove_dir_all(path: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(path)?;
    #[cfg(test)]
    tape::removed(path);
    Ok(())
}

/// An exclusive lock among processes, held until it is dropped; the end of the process drops it too.
#[derive(Debug)]
pub(super) struct Flock<'a>(&'a File);

impl<'a> Flock<'a> {
    /// Waits for the lock, but not for ever: its holder may have been stopped.
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        let mut pause = SHORTEST_PAUSE;
        let mut waited = Duration::ZERO;
        loop {
            if let Some(held) = Self::try_new(file)? {
                return Ok(held);
            }
            if waited >= super::PATIENCE {
                let why = "another process holds a lock of the cache and does not let go of it";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Returns nothing if somebody else holds it.
    pub(super) fn try_new(file: &'a File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

impl Drop for Flock<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
