//! A random number per cache directory, with which values that may be secret are hashed before they are kept.

use std::io::{Read, Write};
use std::path::Path;

use crate::regular;

/// Returns the salt kept in `dir`, made on first use. If it can be neither read nor made, one for this process alone:
/// then values cannot be compared with earlier ones, and show as changed.
pub(crate) fn load(dir: &Path) -> [u8; 32] {
    let path = dir.join("salt");
    let read = || {
        let mut bytes = Vec::new();
        regular::read(&path).ok()?.take(33).read_to_end(&mut bytes).ok()?;
        <[u8; 32]>::try_from(bytes).ok()
    };
    if let Some(salt) = read() {
        return salt;
    }
    let mut salt = [0; 32];
    if getrandom::fill(&mut salt).is_err() {
        return salt;
    }
    // Of several processes that make one, the first wins and the others read it.
    let made = tempfile::Builder::new().prefix(".salt-").tempfile_in(dir).and_then(|mut file| {
        file.write_all(&salt)?;
        file.persist_noclobber(&path).map_err(|error| error.error)
    });
    match made {
        Ok(_) => salt,
        Err(_) => read().unwrap_or(salt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_and_differs_between_directories() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(load(one.path()), load(one.path()));
        assert_ne!(load(one.path()), load(two.path()));
        assert_ne!(load(&one.path().join("missing")), [0; 32]);
    }
}
