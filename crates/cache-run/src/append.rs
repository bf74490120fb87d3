//! Files of lines that several processes add to, and that never grow beyond two generations.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::regular;

/// Adds `line` to the file `current` with one write, so that processes need no lock. A file of more than `max_bytes`
/// becomes `older`, and a new one begins.
///
/// # Errors
/// What the file system reports.
pub(crate) fn append(current: &Path, older: &Path, line: &[u8], max_bytes: u64) -> io::Result<()> {
    let mut file = regular::open(current, OpenOptions::new().append(true).create(true))?;
    file.write_all(line)?;
    if file.metadata()?.len() > max_bytes {
        // Two processes may both do this; then one generation is short, and nothing is wrong.
        fs::rename(current, older)?;
    }
    Ok(())
}
