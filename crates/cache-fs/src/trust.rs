//! Whether a directory is a safe place for a cache.

use std::fs::Metadata;
use std::path::Path;

use cache_core::{Error, Result};

/// Refuses a directory in which somebody else could have put wrong bytes.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let meta = dir.symlink_metadata().map_err(|e| Error::io("cannot look at the cache directory", dir, e))?;
    if !meta.is_dir() {
        let what = format!("{} is not a directory; move it away or choose another --dir", dir.display());
        return Err(Error::Untrusted { what });
    }
    match flaw(&meta) {
        None => Ok(()),
        Some((why, remedy)) => Err(Error::Untrusted {
            what: format!(
                "the cache directory {} {why}, who could put wrong content there; {remedy}, or use it all the same \
                 with --trust-dir",
                dir.display()
            ),
        }),
    }
}

#[cfg(unix)]
fn flaw(meta: &Metadata) -> Option<(String, &'static str)> {
    use std::os::unix::fs::MetadataExt;
    // Writable by others. A group is somebody's decision: user-private groups make 0775 directories every day.
    const WORLD_WRITABLE: u32 = 0o002;
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        let why = format!("belongs to user {} and not to you, user {me}", meta.uid());
        return Some((why, "choose another --dir"));
    }
    (meta.mode() & WORLD_WRITABLE != 0)
        .then(|| ("can be written to by every user of this machine".to_owned(), "run chmod o-w on it"))
}

/// Access control lists need calls that the standard library does not have; profiles are private by default.
#[cfg(not(unix))]
fn flaw(_: &Metadata) -> Option<(String, &'static str)> {
    None
}
