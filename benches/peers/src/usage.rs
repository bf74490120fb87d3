//! What a store takes: disk, writes, memory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::peers::Result;

/// Of `st_blocks`, whatever the file system's own block is.
const BLOCK: u64 = 512;

/// Returns the disk space of all files below `dir`, allocated blocks and not lengths.
pub(crate) fn disk(dir: &Path) -> Result<u64> {
    disk_of(dir, &|_| true)
}

/// Returns the disk space of the files below `dir` whose name `wanted` accepts.
pub(crate) fn disk_of(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<u64> {
    let mut sum = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(|error| format!("cannot list {}: {error}", dir.display()))? {
            let entry = entry?;
            // A store may still remove files of its own.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            if wanted(&entry.file_name().to_string_lossy()) {
                sum += metadata.blocks() * BLOCK;
            }
        }
    }
    Ok(sum)
}

/// Returns how many bytes this process has passed to `write` so far. Linux only.
pub(crate) fn written() -> Option<u64> {
    number(&fs::read_to_string("/proc/self/io").ok()?, "wchar:")
}

/// Returns the memory of this process that is its own, in bytes. Linux only.
pub(crate) fn memory() -> Option<u64> {
    Some(number(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")? << 10)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
