//! Whether a configuration file can be obeyed: one that somebody else wrote could name their commands.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Largest configuration file in bytes. A real one has a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// What makes a file trusted.
const TAKE_OVER: &str = "check it, then take it over with chown or chmod, or set VITTE_CACHE_TRUST_CONFIG=1";

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Content {
    Missing,
    Text(String),
    /// A file that is not to be obeyed: why, and what to do.
    Untrusted(String),
}

/// Reads the file at `path` if nobody but the user can have written it, or if `trusting`.
///
/// # Errors
/// In one sentence, if there is a file to obey and it cannot be read.
pub(crate) fn read(path: &Path, trusting: bool) -> Result<Content, String> {
    let shown = path.display();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Content::Missing);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !trusting => {
            return Ok(Content::Untrusted(
                "you may not read it; let its owner allow that, or call this as its owner".to_owned(),
            ));
        }
        Err(error) => return Err(format!("cannot read {shown}: {error}; make it readable or remove it")),
    };
    let wrong =
        |error: std::io::Error| format!("cannot read {shown}: {error}; make it readable or remove it");
    // What is open is what is checked: the name may lead elsewhere a moment later.
    let metadata = file.metadata().map_err(wrong)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file; make it one or remove it"));
    }
    if !trusting {
        if let Some(why) = flaw(&metadata, "it") {
            return Ok(Content::Untrusted(format!("{why}; {TAKE_OVER}")));
        }
        // Whoever may write to the directory can put another file in its place.
        let dir = path.parent().and_then(|dir| fs::metadata(dir).ok());
        if let Some(why) = dir.and_then(|dir| flaw(&dir, "its directory")) {
            return Ok(Content::Untrusted(format!("{why}; {TAKE_OVER}")));
        }
    }
    let mut text = String::new();
    let read = (&mut file).take(MAX_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > MAX_BYTES => {
            Err(format!("{shown} is larger than 1 MiB, which no configuration is; shorten it"))
        }
        Ok(_) => Ok(Content::Text(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(format!("{shown} is not a text in UTF-8; save it as one"))
        }
        Err(error) => Err(wrong(error)),
    }
}

/// Returns why somebody else could have written what `metadata` describes.
#[cfg(unix)]
fn flaw(metadata: &fs::Metadata, what: &str) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    // What belongs to root was put there by somebody who needs no trick.
    if metadata.uid() != user && metadata.uid() != 0 {
        return Some(format!("{what} belongs to another user"));
    }
    (metadata.mode() & 0o002 != 0).then(|| format!("everybody may write to {what}"))
}

/// Elsewhere, profiles are private unless their owner changes that.
#[cfg(not(unix))]
fn flaw(_: &fs::Metadata, _: &str) -> Option<String> {
    None
}
