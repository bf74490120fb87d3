//! Writes the access log.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use cache_core::{Event, Observer};

use super::line;
use crate::append::append;
use crate::regular;

/// Bytes of one generation; there are two. About 600,000 accesses each.
const MAX_BYTES: u64 = 64 << 20;

/// An observer that adds every access to a file.
///
/// Each is one write, so that any number of processes may record to the same file. At 64 MiB the file gets `.1` after its
/// name, in place of an older one of that name, and a new one begins.
#[derive(Debug)]
pub struct AccessLog {
    current: PathBuf,
    older: PathBuf,
    max_bytes: u64,
    /// Set at the first error. A recording is no reason to trouble a build a thousand times.
    failed: AtomicBool,
}

impl AccessLog {
    /// Returns the log at `path`, and makes the file if there is none.
    ///
    /// # Errors
    /// If it is no regular file, or cannot be written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        regular::open(path, OpenOptions::new().append(true).create(true))?;
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        let failed = AtomicBool::new(false);
        Ok(Self { current: path.to_owned(), older: older.into(), max_bytes: MAX_BYTES, failed })
    }
}

impl Observer for AccessLog {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        // The file is opened each time: another process may have begun a new one.
        if let Some(line) = line(SystemTime::now().into(), event)
            && append(&self.current, &self.older, &line, self.max_bytes).is_err()
        {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, Op};
    use cache_core::Key;
    use std::fs;

    fn accesses(path: &Path) -> Vec<Access> {
        let text = fs::read(path).unwrap();
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Access::parse(line).unwrap())
            .collect()
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = AccessLog { max_bytes: 1000, ..AccessLog::open(&path).unwrap() };
        let key = &Key::from_bytes([7; 32]);
        for bytes in 0..200 {
            log.on_event("fs", &Event::Put { key, bytes });
            let sizes =
                [&log.current, &log.older].map(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
            assert!(sizes.iter().all(|size| *size < 1100), "{sizes:?}");
        }
        let mut all = accesses(&dir.path().join("log.1"));
        if path.exists() {
            all.extend(accesses(&path));
        }
        let first = 200 - all.len() as u64;
        let expected: Vec<Op> = (first..200).map(|bytes| Op::Put { bytes }).collect();
        assert_eq!(all.iter().map(|access| access.op).collect::<Vec<_>>(), expected);
        assert!(all.len() > 10 && all.iter().all(|access| access.at.as_millis() > 0));
    }

    #[test]
    fn what_goes_wrong_later_is_swallowed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AccessLog::open(dir.path()).is_err());
        assert!(AccessLog::open(&dir.path().join("no/such/directory")).is_err());
        let path = dir.path().join("log");
        let log = AccessLog::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let key = &Key::from_bytes([7; 32]);
        log.on_event("fs", &Event::Removed { key });
        fs::remove_dir(&path).unwrap();
        log.on_event("fs", &Event::Removed { key });
        assert!(!path.exists(), "after an error it stays silent");
    }
}
