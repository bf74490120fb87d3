//! The files of the segments, kept open for the next use.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::record::{Class, Position};
use super::sys;

/// Segments that are kept open: enough for 8 GiB, and far below the 1,024 descriptors that a process commonly has.
const OPEN: u64 = 128;

/// Highest number that a segment can have.
const MAX_NUMBER: u64 = Position::END / super::MIN_SEGMENT;

type Held = Option<(Class, u64, Arc<File>)>;

/// Opens segments by number.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    dir: PathBuf,
    writable: bool,
    open: Vec<RwLock<Held>>,
}

impl SegmentFiles {
    pub(super) fn new(dir: PathBuf, writable: bool) -> Self {
        Self { dir, writable, open: (0..OPEN).map(|_| RwLock::default()).collect() }
    }

    fn place(&self, class: Class, number: u64) -> &RwLock<Held> {
        &self.open[((number * 2 + class as u64) % OPEN) as usize]
    }

    pub(super) fn path(&self, class: Class, number: u64) -> PathBuf {
        self.dir.join(name(class, number))
    }

    /// Returns a segment; nothing if it is gone.
    pub(super) fn get(&self, class: Class, number: u64) -> io::Result<Option<Arc<File>>> {
        let place = self.place(class, number);
        if let Some((held, at, file)) = &*place.read().unwrap_or_else(PoisonError::into_inner)
            && (*held, *at) == (class, number)
        {
            return Ok(Some(Arc::clone(file)));
        }
        let file = sys::open_if_there(&self.path(class, number), self.writable)?;
        Ok(file.map(|file| self.keep(class, number, file)))
    }

    /// Returns a segment, and creates it if it is absent.
    pub(super) fn get_or_create(&self, class: Class, number: u64) -> io::Result<Arc<File>> {
        if let Some(file) = self.get(class, number)? {
            return Ok(file);
        }
        let path = self.path(class, number);
        let file = match sys::open_or_create(&path) {
            // Somebody has removed the directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                cache_core::files::create_private_dir(&self.dir)?;
                sys::open_or_create(&path)?
            }
            opened => opened?,
        };
        Ok(self.keep(class, number, file))
    }

    /// Returns the bytes that a segment and its seal take on the disk.
    pub(super) fn bytes(&self, class: Class, number: u64) -> u64 {
        let path = self.path(class, number);
        [path.with_extension("seal"), path]
            .iter()
            .filter_map(|path| path.symlink_metadata().ok())
            .map(|meta| blocks(&meta))
            .sum()
    }

    fn keep(&self, class: Class, number: u64, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let held = Some((class, number, Arc::clone(&file)));
        *self.place(class, number).write().unwrap_or_else(PoisonError::into_inner) = held;
        file
    }

    /// Removes a segment and its seal. Other processes may have it open: cutting it off gives its room back at once, and
    /// what they read of it then is too short to be a record.
    pub(super) fn remove(&self, class: Class, number: u64) -> io::Result<()> {
        let path = self.path(class, number);
        *self.place(class, number).write().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(file) = sys::open_if_there(&path, true)? {
            sys::set_len(&file, 0)?;
        }
        for path in [path.with_extension("seal"), path] {
            match sys::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the bytes that a file takes on the disk.
pub(super) fn blocks(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta).saturating_mul(512)
}

/// Returns the name of a segment, and of the directory of its large payloads.
pub(super) fn name(class: Class, number: u64) -> String {
    let class = match class {
        Class::Probation => "probation",
        Class::Main => "main",
    };
    format!("{class}-{number:08x}")
}

/// Returns the log and the number that `name` says, if it is the name of a segment.
fn parse(name: &str) -> Option<(Class, u64)> {
    let number = u64::from_str_radix(name.rsplit_once('-')?.1, 16).ok()?;
    if !(1..=MAX_NUMBER).contains(&number) {
        return None;
    }
    let class = Class::ALL.into_iter().find(|&class| self::name(class, number) == name)?;
    Some((class, number))
}

/// Returns the numbers of the segments of a log that are there, smallest first.
pub(super) fn numbers(dir: &Path, class: Class) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let items = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        items => items?,
    };
    for item in items {
        let name = item?.file_name();
        numbers
            .extend(name.to_str().and_then(parse).filter(|(of, _)| *of == class).map(|(_, number)| number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
