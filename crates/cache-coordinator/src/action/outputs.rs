//! What an execution made: found in the tree, compared with it, kept in a store.

use std::fs::{self, Metadata};
use std::io;
use std::time::UNIX_EPOCH;

use cache_core::files::{self, Links};
use cache_core::stat::permissions;
use cache_core::{
    Anchor, Body, Digest, Entry, EntryMeta, FileState, HashFunction, Key, KeyBuilder, Namespace, Output,
    OutputKind, PutMode, RelPath, Store, TreePath,
};

use super::files::{FileError, FileStates, is_gone, link_bytes};
use super::{RecordError, offload};

/// More than this is not the result of one action.
const MAX_OUTPUTS: usize = 100_000;
/// Kind of entries that hold outputs, so that collecting garbage finds their blobs in use.
pub(crate) const KIND: &str = "outputs";

/// Returns where `path` is, as an input of somebody else would name it.
pub(crate) fn in_tree(path: &RelPath) -> TreePath {
    TreePath { anchor: Anchor::Base, path: path.clone() }
}

/// Returns whether `state` is what `output` needs.
pub(crate) fn is_right(output: &Output, state: FileState) -> bool {
    match (&output.kind, state) {
        (OutputKind::File { digest, mode, .. }, FileState::File { digest: found, executable }) => {
            // Which bits others have is the business of the umask; whether it can be executed is a fact about the result.
            *digest == found && (cfg!(not(unix)) || executable == (mode & 0o111 != 0))
        }
        (OutputKind::Directory, FileState::Directory) => true,
        (OutputKind::Symlink { target }, FileState::Symlink { target: found }) => {
            Digest::blake3(target) == found
        }
        _ => false,
    }
}

/// Returns one digest of all that `outputs` put into a tree. Their modification times are no part of it.
pub(crate) fn digest(outputs: &[Output]) -> Digest {
    let key = KeyBuilder::new(&Namespace::default(), KIND).list(outputs, |key, output| {
        let key = key.bytes(output.path.as_bytes());
        match &output.kind {
            OutputKind::File { digest, len, mode, .. } => {
                key.text("file").digest(digest).number(*len).number(u64::from(mode & 0o111 != 0))
            }
            OutputKind::Directory => key.text("directory"),
            OutputKind::Symlink { target } => key.text("symlink").bytes(target),
        }
    });
    Digest::new(HashFunction::Blake3, *key.finish().as_bytes())
}

/// Returns what is at `paths` and below, sorted by path.
pub(crate) fn capture(files: &FileStates, paths: &[RelPath]) -> Result<Vec<Output>, RecordError> {
    let mut outputs = Vec::new();
    let mut pending = paths.to_vec();
    while let Some(path) = pending.pop() {
        if outputs.len() + pending.len() >= MAX_OUTPUTS {
            return Err(RecordError::TooMany { limit: MAX_OUTPUTS });
        }
        let native = files.base().join(path.to_native().map_err(FileError::from)?);
        let fail = |error| FileError::io(&native, error);
        let metadata = match fs::symlink_metadata(&native) {
            Ok(metadata) => metadata,
            Err(error) if is_gone(&error) => return Err(RecordError::OutputMissing { path }),
            Err(error) => return Err(fail(error).into()),
        };
        let kind = if metadata.is_dir() {
            let mut is_empty = true;
            for entry in fs::read_dir(&native).map_err(fail)? {
                is_empty = false;
                pending.push(path.join(&entry.map_err(fail)?.file_name()).map_err(FileError::from)?);
                if outputs.len() + pending.len() >= MAX_OUTPUTS {
                    return Err(RecordError::TooMany { limit: MAX_OUTPUTS });
                }
            }
            if !is_empty {
                continue;
            }
            OutputKind::Directory
        } else if metadata.is_symlink() {
            OutputKind::Symlink { target: link_bytes(&fs::read_link(&native).map_err(fail)?) }
        } else {
            file(files, &path, &metadata)?
        };
        outputs.push(Output { path, kind });
    }
    // A file may be named and lie in a directory that is named as well.
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    outputs.dedup_by(|a, b| a.path == b.path);
    Ok(outputs)
}

fn file(files: &FileStates, path: &RelPath, metadata: &Metadata) -> Result<OutputKind, RecordError> {
    let FileState::File { digest, .. } = files.observe(&in_tree(path))?.own else {
        // It was a file a moment ago.
        return Err(RecordError::OutputMissing { path: path.clone() });
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(OutputKind::File {
        digest,
        len: metadata.len(),
        mode: permissions(metadata),
        modified_ns: modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
    })
}

/// Stores the content of `outputs`, and an entry that names it. The store checks that it is what was digested.
pub(crate) async fn keep(
    store: &dyn Store,
    files: &FileStates,
    meta: EntryMeta,
    outputs: &[Output],
) -> Result<(), RecordError> {
    let digests: Vec<Digest> = outputs.iter().filter_map(blob).map(|(digest, _)| digest).collect();
    if digests.is_empty() {
        return Ok(());
    }
    let mut missing = store.missing(&digests).await?;
    missing.sort_unstable();
    missing.dedup();
    for output in outputs {
        let Some((digest, len)) = blob(output) else { continue };
        // Of several files with one content, one is stored.
        let Ok(at) = missing.binary_search(&digest) else { continue };
        missing.remove(at);
        let path = files.base().join(output.path.to_native().map_err(FileError::from)?);
        let opened = offload({
            let path = path.clone();
            move || files::open(&path, Links::Follow)
        })
        .await;
        let file = opened
            .unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()))
            .map_err(|error| FileError::io(&path, error))?;
        store.write(&digest, len, Body::File { file, len, path: None }).await?;
    }
    let key = self::key(&meta.namespace, &self::digest(outputs));
    let entry = Entry { meta, outputs: outputs.to_vec(), ..Entry::default() };
    let _ = store.put(&key, &entry, PutMode::Overwrite).await?;
    Ok(())
}

/// Returns where the entry is that names the content of the outputs with this digest.
pub(crate) fn key(namespace: &Namespace, digest: &Digest) -> Key {
    KeyBuilder::new(namespace, KIND).digest(digest).finish()
}

/// Returns the blob of `output`, and its length.
pub(crate) fn blob(output: &Output) -> Option<(Digest, u64)> {
    match output.kind {
        OutputKind::File { digest, len, .. } => Some((digest, len)),
        OutputKind::Directory | OutputKind::Symlink { .. } => None,
    }
}
