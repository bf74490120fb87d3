//! Where the keys of a ring come from: a text, the environment, a file.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::str::FromStr;

use crate::files::{self, Links};
use crate::{Error, Result};

use super::{Keyring, ParseSigningKeyError, SigningKey};

/// Directory of what belongs to a workspace.
const WORKSPACE: &str = ".vitte";
/// The file in it with the keys.
const FILE: &str = "signing-key";
/// How many keys a ring from a text may have. Each costs a look-up in every store, and more than two are rarely needed.
const MAX_KEYS: usize = 8;
/// Bytes of a file with keys that are read: eight keys take 520, and some remain for empty lines.
const MAX_FILE: u64 = 4096;

/// Says why a text is no ring of keys. It repeats nothing of the text, which may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseKeyringError {
    /// There is nothing in it.
    #[error("there is no signing key in it; a key has 64 digits of 0-9 a-f")]
    Empty,
    /// There are more than can be needed.
    #[error("there are more than {MAX_KEYS} signing keys in it; remove those that are out of use")]
    TooMany,
    /// Something in it is no key.
    #[error("signing key number {0} is none: {ParseSigningKeyError}")]
    Malformed(usize),
}

impl FromStr for Keyring {
    type Err = ParseKeyringError;

    /// Returns the ring of the keys in `text`, which stand in lines of their own or between commas. The first one signs.
    fn from_str(text: &str) -> Result<Self, ParseKeyringError> {
        let mut ring: Option<Self> = None;
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        for (number, word) in (1..).zip(words) {
            if number > MAX_KEYS {
                return Err(ParseKeyringError::TooMany);
            }
            let key: SigningKey = word.parse().map_err(|_| ParseKeyringError::Malformed(number))?;
            ring = Some(match ring {
                None => Self::new(key),
                Some(ring) => ring.accepting(key),
            });
        }
        ring.ok_or(ParseKeyringError::Empty)
    }
}

impl Keyring {
    /// Returns the ring in the environment variable `name`, such as `VITTE_SIGNING_KEY`, or nothing if that is not set or
    /// empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it does not hold keys.
    pub fn from_env(name: &str) -> Result<Option<Self>> {
        let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let text = text.to_str().ok_or(ParseKeyringError::Malformed(1));
        text.and_then(str::parse).map(Some).map_err(|error| {
            Error::Invalid(format!("the environment variable {name} cannot be used: {error}"))
        })
    }

    /// Returns the ring in the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Invalid`] if it does not hold keys, [`Error::Untrusted`] if anybody but
    /// its owner can read or write it, as far as the permission bits of Unix say; other systems are not asked.
    pub fn from_file(path: &Path) -> Result<Self> {
        let failed = |error| Error::io("cannot read the signing key", path, error);
        let file = files::open(path, Links::Follow).map_err(failed)?;
        // Of what is open, and not of whatever may be at the path by now.
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(Error::Invalid(format!("the signing key {} is no regular file", path.display())));
        }
        ensure_private(path, &meta)?;
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        text.parse().map_err(|error| {
            Error::Invalid(format!("the signing key {} cannot be used: {error}", path.display()))
        })
    }

    /// Returns the ring of the workspace at `dir`, in `.vitte/signing-key` there. If there is none yet, a key is made; of
    /// several processes that do so at the same time, all get the same one. To replace a key, put a new one in a line above
    /// it, and remove the old one when what it signed is no longer needed.
    ///
    /// The key is for this machine, so a new one is also named in `.vitte/.gitignore`, unless there is such a file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), and if the file cannot be made.
    pub fn for_workspace(dir: &Path) -> Result<Self> {
        let dir = dir.join(WORKSPACE);
        let path = dir.join(FILE);
        match Self::from_file(&path) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                make(&dir, &path)?;
                Self::from_file(&path)
            }
            done => done,
        }
    }
}

/// Puts a new key to `path` in `dir`, unless somebody else just did.
fn make(dir: &Path, path: &Path) -> Result<()> {
    let failed = |error| Error::io("cannot make the signing key", path, error);
    fs::create_dir_all(dir).map_err(failed)?;
    // Before there is a key that could be committed.
    match OpenOptions::new().write(true).create_new(true).open(dir.join(".gitignore")) {
        Ok(mut file) => writeln!(file, "/{FILE}").map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let key = SigningKey::generate()?;
    let written = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".signing-key-").tempfile_in(dir)?;
        writeln!(file, "{}", key.to_hex())?;
        // A key that is lost in a power failure is a cache that is lost.
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    };
    match written() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        done => done.map_err(failed),
    }
}

#[cfg(unix)]
fn ensure_private(path: &Path, meta: &fs::Metadata) -> Result<()> {
    /// What the group and all others may do.
    const OTHERS: u32 = 0o077;
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let path = path.display();
    let what = format!(
        "the signing key {path} has mode {mode:04o}, so that others can use or replace it; run chmod 600 on it, or \
         remove it if others may have read it, and make a new one"
    );
    Err(Error::Untrusted { what })
}

/// Access control lists need calls that the standard library does not have; profiles are private by default.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Unix")]
fn ensure_private(_: &Path, _: &fs::Metadata) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(ring: &Keyring) -> String {
        ring.current().to_hex()
    }

    #[test]
    fn the_first_key_signs_and_all_count() {
        let keys: Vec<_> = (0..9).map(|n| SigningKey::from_bytes([n; 32])).collect();
        let texts: Vec<_> = keys.iter().map(SigningKey::to_hex).collect();
        let ring = |text: &str| text.parse::<Keyring>();
        assert_eq!(ring(&texts[0]), Ok(Keyring::new(keys[0].clone())));
        let three = Keyring::new(keys[2].clone()).accepting(keys[0].clone()).accepting(keys[1].clone());
        assert_eq!(ring(&format!("{}\n\n{}\r\n {}\n", texts[2], texts[0], texts[1])), Ok(three.clone()));
        assert_eq!(ring(&format!("{},{}, {},", texts[2], texts[0], texts[1])), Ok(three));
        assert_eq!(ring(&texts[..8].join(",")).unwrap().ids().count(), 8);
        assert_eq!(ring(&texts.join(",")), Err(ParseKeyringError::TooMany));
        assert_eq!(ring(" ,\n"), Err(ParseKeyringError::Empty));
        assert_eq!(ring(&format!("{},{}0", texts[0], texts[1])), Err(ParseKeyringError::Malformed(2)));
    }

    #[test]
    fn no_variable_is_no_ring() {
        assert_eq!(Keyring::from_env("VITTE_CACHE_TEST_NO_SUCH_VARIABLE").unwrap(), None);
        // One that is set everywhere, and is no key.
        let error = Keyring::from_env("PATH").unwrap_err().to_string();
        assert!(error.contains("PATH") && error.contains("64 digits"), "{error}");
    }

    #[test]
    fn a_workspace_keeps_the_key_that_is_made_on_first_use() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ring = Keyring::for_workspace(one.path()).unwrap();
        assert_eq!(Keyring::for_workspace(one.path()).unwrap(), ring);
        assert_ne!(Keyring::for_workspace(two.path()).unwrap(), ring);
        let dir = one.path().join(".vitte");
        let path = dir.join("signing-key");
        assert_eq!(fs::read_to_string(&path).unwrap(), text(&ring) + "\n");
        assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), "/signing-key\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "something is left");
        // A new key above the old one.
        let new = SigningKey::generate().unwrap();
        fs::write(&path, format!("{}\n{}\n", new.to_hex(), text(&ring))).unwrap();
        let both = Keyring::for_workspace(one.path()).unwrap();
        assert_eq!(both, Keyring::new(new).accepting(ring.current().clone()));
        // What is damaged is not replaced: all that it signed would be lost.
        fs::write(&path, "x").unwrap();
        let error = Keyring::for_workspace(one.path()).unwrap_err().to_string();
        assert!(error.contains("signing-key") && error.contains("number 1"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
    }

    #[test]
    fn all_who_make_one_at_once_get_the_same() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(8);
            let keys: BTreeSet<String> = std::thread::scope(|scope| {
                let make = || {
                    start.wait();
                    text(&Keyring::for_workspace(dir.path()).unwrap())
                };
                let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(keys.len(), 1);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::for_workspace(dir.path()).unwrap();
        let path = dir.path().join(".vitte/signing-key");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        for wrong in [0o640, 0o620, 0o604, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let error = Keyring::for_workspace(dir.path()).unwrap_err();
            assert!(matches!(error, Error::Untrusted { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600") && !error.to_string().contains(&text(&ring)));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(Keyring::from_file(&path).unwrap(), ring);
    }

    #[test]
    fn what_is_no_file_is_refused_and_nothing_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Keyring::from_file(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
        assert!(Keyring::from_file(dir.path()).is_err());
    }
}
