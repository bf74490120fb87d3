//! File operations whose errors name the path.

use std::fs;
use std::path::{Path, PathBuf};

use crate::stop::{Result, Stop};

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Stop::io("read", path))
}

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Stop::io("read", path))
}

/// Writes a file, and the directories above it where they are missing.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result {
    if let Some(parent) = path.parent() {
        create_dirs(parent)?;
    }
    fs::write(path, content).map_err(Stop::io("write", path))
}

/// Copies a file, and creates the directories above the copy where they are missing.
pub(crate) fn copy(from: &Path, to: &Path) -> Result {
    if let Some(parent) = to.parent() {
        create_dirs(parent)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(Stop::io("copy", from))
}

pub(crate) fn create_dirs(path: &Path) -> Result {
    fs::create_dir_all(path).map_err(Stop::io("create", path))
}

/// Leaves an empty directory at `path`, whatever was there.
pub(crate) fn fresh_dir(path: &Path) -> Result {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Stop::io("remove", path))?;
    }
    create_dirs(path)
}

/// Returns every file of the repository that git does not ignore, relative to `root` and sorted.
/// Works in a checkout and in an unpacked archive alike.
pub(crate) fn of_repository(root: &Path) -> Result<Vec<PathBuf>> {
    let walk = ignore::WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .git_global(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| Stop::failed(format!("cannot list the repository: {error}")))?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            let path = entry.path();
            files.push(path.strip_prefix(root).unwrap_or(path).to_owned());
        }
    }
    files.sort();
    Ok(files)
}
