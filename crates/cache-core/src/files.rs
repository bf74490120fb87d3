//! Files that others may be changing, and files of our own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::stat::{Kind, Stat};
use crate::{Digest, HashFunction};

/// How often a file is read that changes meanwhile, before that is an error.
const ATTEMPTS: usize = 3;

/// What becomes of a symbolic link in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed.
    Follow,
    /// It is an error.
    Refuse,
}

/// The content of a file that did not change while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its BLAKE3.
    pub digest: Digest,
    /// What the file system says about it, before and after it was read.
    pub stat: Stat,
    /// How many bytes were read. Files such as those in `/proc` have another length than their stat says.
    pub len: u64,
}

/// Why it cannot be told what a file contains.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// It is a FIFO, socket or device.
    #[error("it is a FIFO, socket or device, which has no content")]
    Special,
    /// It did not stay the same while it was read.
    #[error("it keeps changing while it is read")]
    KeepsChanging,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens a file to be read. A pipe that somebody put in its place does not make us wait for a writer.
///
/// # Errors
/// What the system says, without the path.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = match links {
            Links::Follow => OFlags::NONBLOCK,
            Links::Refuse => OFlags::NONBLOCK | OFlags::NOFOLLOW,
        };
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    #[cfg(not(unix))]
    if links == Links::Refuse && path.symlink_metadata()?.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    options.open(path)
}

/// Reads the file at `path` until it has stayed the same for as long as that took, three times at most.
///
/// # Errors
/// If it is no file, keeps changing or cannot be read.
pub fn content(path: &Path, links: Links) -> Result<Content, ContentError> {
    for _ in 0..ATTEMPTS {
        let file = open(path, links)?;
        let stat = Stat::new(&file.metadata()?);
        match stat.kind {
            Kind::File => {}
            Kind::Directory => return Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
            Kind::Symlink | Kind::Special => return Err(ContentError::Special),
        }
        let (digest, len) = Digest::of_file(HashFunction::Blake3, &file)?;
        if Stat::new(&file.metadata()?) == stat {
            return Ok(Content { digest, stat, len });
        }
    }
    Err(ContentError::KeepsChanging)
}

/// Makes the directory `dir`, and what is above it, for its owner alone. Fine if it exists, whoever may use it.
///
/// # Errors
/// What the system says, without the path.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Puts a file with `content` in the place of what is at `path`, in one step: whoever reads it meanwhile, or after a crash of
/// this process, finds the old one or the new one. It is made for its owner alone, and so are directories that are not there.
///
/// # Errors
/// What the system says, without the path. What is there stays then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_dir(dir)?;
    // Nothing but the new file may be in its place: a temporary one is made under a name that is not there yet.
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_the_stat_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let content = content(&path, Links::Refuse).unwrap();
        assert_eq!((content.digest, content.len), (Digest::blake3(b"content"), 7));
        assert_eq!(content.stat, Stat::new(&path.metadata().unwrap()));
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let kind = |path: &Path| match content(path, Links::Follow) {
            Err(ContentError::Io(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(dir.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&dir.path().join("nothing")), io::ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_only_if_that_is_wanted_and_nobody_waits_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (link, fifo) = (dir.path().join("link"), dir.path().join("fifo"));
        std::fs::write(dir.path().join("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert!(content(&link, Links::Follow).is_ok());
        assert!(matches!(content(&link, Links::Refuse), Err(ContentError::Io(_))));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert!(matches!(content(&fifo, Links::Follow), Err(ContentError::Special)));
    }

    #[test]
    fn a_replaced_file_leaves_nothing_else_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/file");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert!(replace(dir.path(), b"three").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_private_directory_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        create_private_dir(&inner).unwrap();
        create_private_dir(&inner).unwrap();
        assert_eq!(inner.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.path().join("a").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
