//! `get`: gives back what `put` stored.

use std::io::{self, Read, Write};
use std::path::Path;

use cache_core::{Entry, MissReason};
use cache_fs::{FsStore, Lookup};

use super::value::key;
use super::{Context, ago};
use crate::args::GetArgs;
use crate::failure::{Failure, Result};
use crate::{output, place};

pub(super) fn run(context: &Context, args: &GetArgs) -> Result {
    let store = place::open(&context.config)?;
    let entry = match store.get(&key(&context.config.namespace(), &args.key))? {
        Lookup::Hit(entry) => entry,
        Lookup::Miss(reason) => return Err(missing(&args.key, reason)),
    };
    let mut value = open(&store, &entry, &args.key)?;
    match &args.output {
        None => {
            let mut out = output::stdout();
            io::copy(&mut value, &mut out)?;
            Ok(out.flush()?)
        }
        Some(path) => write_whole(&mut value, path).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}; it is as it was before", path.display()))
        }),
    }
}

fn missing(name: &str, reason: MissReason) -> Failure {
    let name = output::visible(name);
    Failure::failed(match reason {
        MissReason::Expired { at } => format!("`{name}` expired {} ago", ago(at)),
        MissReason::Evicted { at } => {
            format!("`{name}` was evicted {} ago to keep the cache within its limits", ago(at))
        }
        MissReason::Incomplete { .. } => {
            format!("`{name}` is not in the cache any more: its content was evicted")
        }
        MissReason::Corrupt => format!("`{name}` was damaged and has been put aside"),
        MissReason::NewerFormat => format!("`{name}` was stored by a newer version of this program"),
        _ => format!("`{name}` is not in the cache"),
    })
}

/// Returns the value of `entry`, verified.
fn open(store: &FsStore, entry: &Entry, name: &str) -> Result<Box<dyn Read>> {
    let Some((digest, _)) = entry.blobs().next() else {
        return Ok(Box::new(io::Cursor::new(entry.value.clone())));
    };
    match store.open_blob(digest)? {
        Some(blob) => Ok(Box::new(blob)),
        None => Err(missing(name, MissReason::Incomplete { digest: *digest, evicted: None })),
    }
}

/// Writes `content` to `path` so that there is all of it or what was there before.
fn write_whole(content: &mut dyn Read, path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        // A device or a pipe, such as /dev/stdout, takes bytes; it must not be replaced by a file.
        let mut out = std::fs::OpenOptions::new().write(true).open(path)?;
        io::copy(content, &mut out)?;
        return Ok(());
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // What the user's umask takes away is taken away by the system.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".vitte-cache-").tempfile_in(dir)?;
    io::copy(content, &mut file)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
