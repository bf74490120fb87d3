//! Reading a file that others may be writing.

use std::path::Path;

use cache_core::files::{self, Content, ContentError, Links};

use super::InputError;

/// Returns the content of the file at `path`.
pub(crate) fn read_file(path: &Path, links: Links) -> Result<Content, InputError> {
    files::content(path, links).map_err(|error| match error {
        ContentError::Special => InputError::Special { path: path.to_path_buf() },
        ContentError::KeepsChanging => InputError::KeepsChanging { path: path.to_path_buf() },
        ContentError::Io(error) => InputError::io(path, error),
        other => InputError::io(path, std::io::Error::other(other)),
    })
}
