//! The format marker: a line that says which layout a directory has, and in which version.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use cache_core::{Error, Result};

/// Longest marker that is read, in bytes.
const MAX: usize = 100;

/// Returns whether `root` has the marker of the layout `name` in the version `known`; refuses what it does not know.
pub(crate) fn is_there(root: &Path, name: &str, known: u32) -> Result<bool> {
    let path = root.join("format");
    let fail = |e| Error::io("cannot read", &path, e);
    let mut marker = Vec::new();
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => {
            let mut file = fs::File::open(&path).map_err(fail)?;
            marker.resize(MAX, 0);
            let read = file.read(&mut marker).map_err(fail)?;
            marker.truncate(read);
        }
        Ok(_) => return Err(Error::Invalid(format!("{} is not a regular file; remove it", path.display()))),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(e) => return Err(fail(e)),
    }
    // Nothing forces the marker onto the disk: a power failure may leave it empty or zeroed.
    if marker.iter().all(|&byte| byte == 0) {
        return Ok(false);
    }
    let marker = String::from_utf8_lossy(&marker);
    let number = marker.trim_end().strip_prefix(&format!("vitte-cache {name} "));
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(found) if found == known => Ok(true),
        Some(found) => {
            let what = format!("the cache in {}", root.display());
            Err(Error::NewerFormat { what, found, known })
        }
        None => Err(Error::Invalid(format!(
            "{} does not say that this is a cache; move {} away or choose another --dir",
            path.display(),
            root.display()
        ))),
    }
}

/// Puts the marker into `root` if it is not there.
pub(crate) fn write(root: &Path, name: &str, version: u32) -> Result<()> {
    if is_there(root, name, version)? {
        return Ok(());
    }
    let path = root.join("format");
    // With a rename, so that another process never reads a part of it. What several write at once is the same.
    let written = tempfile::Builder::new().prefix("format-").tempfile_in(root).and_then(|mut file| {
        file.write_all(format!("vitte-cache {name} {version}\n").as_bytes())?;
        file.persist(&path).map(drop).map_err(|e| e.error)
    });
    written.map_err(|e| Error::io("cannot write", &path, e))
}

/// Tells backup programs to leave a directory out, where they can be told.
pub(crate) fn tag(dir: &Path) {
    /// <https://bford.info/cachedir/>
    const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
        # This directory is a cache made by vitte-cache. It can be removed at any time.\n\
        # What this file means: https://bford.info/cachedir/\n";
    let _ = create_new(&dir.join("CACHEDIR.TAG")).and_then(|mut file| file.write_all(TAG));
}

/// Creates a file for its owner alone.
pub(crate) fn create_new(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
