//! How outputs come back into the tree: all of them or none.
//!
//! 1. *Check*: nothing may lead out of the base directory, or replace a directory.
//! 2. *Stage*: every file is fetched, verified and written to a temporary directory in the same file system.
//! 3. *Place*: renames, one by one. What was there before is kept until the last, and comes back if one fails.
//!
//! A crash in step 3 leaves a tree that is partly new. The next look-up says so, and another restore finishes the work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cache_core::{Digest, Hasher, Output, OutputKind, RelPath, Store};
use tempfile::{Builder, TempDir};

use super::files::is_gone;
use super::hit::Hit;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The content of an output is not in the store any more, or was damaged.
    #[error("the content of {0} is no longer in the cache, or was damaged; make it again")]
    Lost(RelPath),
    /// What was recorded contradicts itself or would write outside of the base directory.
    #[error("what was recorded would write {0}, which cannot be in the base directory; make it again")]
    Outside(RelPath),
    /// Something in the tree is in the way.
    #[error("{} is in the way: {why}", path.display())]
    Blocked {
        /// Where.
        path: PathBuf,
        /// What it is, and what to do.
        why: &'static str,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] cache_core::Error),
    /// The system refused. The tree is as it was.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RestoreError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Puts the outputs of `hit` into the tree at `base` that are not there as they were made.
pub(crate) async fn restore(store: &dyn Store, base: &Path, hit: &Hit) -> Result<(), RestoreError> {
    if let Some(path) = Output::contradiction(hit.outputs()) {
        return Err(RestoreError::Outside(path.clone()));
    }
    let mut placing = Placing::new(base);
    for output in hit.misplaced() {
        let to = placing.locate(&output.path)?;
        check_way(base, &output.path)?;
        check_free(&to, matches!(output.kind, OutputKind::Directory))?;
        let from = match &output.kind {
            OutputKind::Directory => None,
            OutputKind::Symlink { target } => {
                let from = placing.staged(&to)?;
                symlink(target, &from, &to).map_err(|source| RestoreError::io(&to, source))?;
                Some(from)
            }
            OutputKind::File { digest, len, mode, .. } => {
                let from = placing.staged(&to)?;
                stage(store, &from, &output.path, digest, *len, *mode).await?;
                Some(from)
            }
        };
        placing.steps.push((from, to, output.path.clone()));
    }
    placing.finish()
}

/// Directories between the base and an output must be real ones: a link among them leads elsewhere.
fn check_way(base: &Path, path: &RelPath) -> Result<(), RestoreError> {
    let mut above = path.parent();
    while let Some(dir) = above {
        let native = base.join(dir.to_native().map_err(|_| RestoreError::Outside(path.clone()))?);
        match fs::symlink_metadata(&native) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let why = "there has to be a directory, not a link to one; remove it";
                return Err(RestoreError::Blocked { path: native, why });
            }
            Err(error) if is_gone(&error) => {}
            Err(source) => return Err(RestoreError::io(&native, source)),
        }
        above = dir.parent();
    }
    Ok(())
}

/// A directory is never replaced by a file: it may hold what nobody can make again.
fn check_free(path: &Path, wants_dir: bool) -> Result<(), RestoreError> {
    let blocked = |why| Err(RestoreError::Blocked { path: path.to_owned(), why });
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && !wants_dir => blocked("it is a directory; remove it"),
        Ok(metadata) if !metadata.is_dir() && wants_dir => blocked("there has to be a directory; remove it"),
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(source) => Err(RestoreError::io(path, source)),
    }
}

/// Writes the verified content of one output to `from`.
async fn stage(
    store: &dyn Store,
    from: &Path,
    path: &RelPath,
    digest: &Digest,
    len: u64,
    mode: u32,
) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::io(from, source);
    let lost = || RestoreError::Lost(path.clone());
    let mut body = store.read(digest, None).await?.ok_or_else(lost)?;
    let mut file = create(from, mode).map_err(failed)?;
    let mut hasher = Hasher::new(digest.function());
    while let Some(piece) = body.next().await? {
        hasher.update(&piece);
        if hasher.len() > len {
            return Err(lost());
        }
        file.write_all(&piece).map_err(failed)?;
    }
    if hasher.len() != len || hasher.finish() != *digest { Err(lost()) } else { Ok(()) }
}

/// Creates a file with the mode that the output had, less what our own umask takes.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode & 0o777);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

#[cfg(unix)]
fn symlink(target: &[u8], link: &Path, _to: &Path) -> io::Result<()> {
    let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target);
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(target: &[u8], link: &Path, to: &Path) -> io::Result<()> {
    let target = std::str::from_utf8(target).map_err(io::Error::other)?;
    if to.parent().is_some_and(|parent| parent.join(target).is_dir()) {
        std::os::windows::fs::symlink_dir(target, link)
    } else {
        std::os::windows::fs::symlink_file(target, link)
    }
}

/// Files that wait to be renamed to their places, and the way back.
struct Placing<'a> {
    base: &'a Path,
    /// Temporary directories, one for each file system.
    dirs: Vec<(u64, TempDir)>,
    count: usize,
    /// What to put where; a directory if there is nothing to put.
    steps: Vec<(Option<PathBuf>, PathBuf, RelPath)>,
    /// What was done, in its order.
    done: Vec<Done>,
}

enum Done {
    MadeDir(PathBuf),
    Placed {
        at: PathBuf,
        /// What was there before.
        before: Option<PathBuf>,
    },
}

impl<'a> Placing<'a> {
    fn new(base: &'a Path) -> Self {
        Self { base, dirs: Vec::new(), count: 0, steps: Vec::new(), done: Vec::new() }
    }

    fn locate(&self, path: &RelPath) -> Result<PathBuf, RestoreError> {
        let native = path.to_native().map_err(|_| RestoreError::Outside(path.clone()))?;
        Ok(self.base.join(native))
    }

    /// Returns an unused path from which something can be renamed to `to`, and back.
    fn staged(&mut self, to: &Path) -> Result<PathBuf, RestoreError> {
        let existing = to.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(self.base);
        let failed = |source| RestoreError::io(existing, source);
        let device = device(existing).map_err(failed)?;
        self.count += 1;
        let name = self.count.to_string();
        if let Some((_, dir)) = self.dirs.iter().find(|(known, _)| *known == device) {
            return Ok(dir.path().join(name));
        }
        let is_base = self::device(self.base).is_ok_and(|of| of == device);
        let place = if is_base { self.base } else { existing };
        let dir = Builder::new().prefix(".vitte-restore-").tempdir_in(place).map_err(failed)?;
        let path = dir.path().join(name);
        self.dirs.push((device, dir));
        Ok(path)
    }

    /// Puts everything in its place, or nothing.
    fn finish(mut self) -> Result<(), RestoreError> {
        for (from, to, path) in std::mem::take(&mut self.steps) {
            let placed = self.place(from.as_deref(), &to, &path);
            if let Err(error) = placed {
                self.undo();
                return Err(error);
            }
        }
        Ok(())
    }

    fn place(&mut self, from: Option<&Path>, to: &Path, path: &RelPath) -> Result<(), RestoreError> {
        let failed = |source| RestoreError::io(to, source);
        // Looked at again, as fetching the content may have taken a while.
        check_way(self.base, path)?;
        check_free(to, from.is_none())?;
        let Some(from) = from else { return self.make_dirs(to) };
        if let Some(parent) = to.parent() {
            self.make_dirs(parent)?;
        }
        let before = match fs::symlink_metadata(to) {
            Ok(_) => {
                let aside = self.staged(to)?;
                // A link beside it, so that there is never a moment without a file. Not every system can link a link.
                fs::hard_link(to, &aside).or_else(|_| fs::rename(to, &aside)).map_err(failed)?;
                Some(aside)
            }
            Err(error) if is_gone(&error) => None,
            Err(source) => return Err(failed(source)),
        };
        let at = to.to_owned();
        self.done.push(Done::Placed { at, before });
        fs::rename(from, to).map_err(failed)
    }

    fn make_dirs(&mut self, dir: &Path) -> Result<(), RestoreError> {
        let mut new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
        while let Some(dir) = new.pop() {
            match fs::create_dir(dir) {
                Ok(()) => self.done.push(Done::MadeDir(dir.to_owned())),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(source) => return Err(RestoreError::io(dir, source)),
            }
        }
        Ok(())
    }

    /// Goes back as far as the system lets us; the error that made it necessary is the one to tell.
    fn undo(&mut self) {
        while let Some(done) = self.done.pop() {
            let _ = match done {
                Done::MadeDir(dir) => fs::remove_dir(dir),
                Done::Placed { at, before: Some(before) } => fs::rename(before, at),
                Done::Placed { at, before: None } => fs::remove_file(at),
            };
        }
    }
}

#[cfg(unix)]
fn device(path: &Path) -> io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::dev(&fs::metadata(path)?))
}

/// Without device numbers, each output is staged below the base directory.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "other systems may fail to tell")]
fn device(_path: &Path) -> io::Result<u64> {
    Ok(0)
}
