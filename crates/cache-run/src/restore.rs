//! How the outputs of an entry come back into the tree: all of them or none.
//!
//! 1. *Plan*: the entry is checked against the declared outputs, and the tree is looked at. What is right already
//!    stays. Anything odd ends here, with the tree as it was.
//! 2. *Stage*: every other file is fetched, verified and written to a temporary place in the same file system.
//! 3. *Place*: renames, links and directories; then stale files in owned directories go.
//!
//! A crash in step 3 leaves a tree that is partly new. The next run finds the same entry and finishes the work.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{Digest, Output, OutputKind, RelPath};
use cache_fs::{Content, FsStore};
use tempfile::{Builder, TempDir};

use crate::memory::Memory;
use crate::outputs::OutputPattern;
use crate::spec::{MtimeMode, RestoreMode};

/// Files up to this size are read whole; larger ones are cloned or copied from file to file.
const SMALL: u64 = 1 << 20;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The content of an output is not in the store any more, or was damaged.
    #[error("the content of {0} is no longer in the cache, or was damaged")]
    Gone(RelPath),
    /// The entry does not fit what was declared: it would write where it must not.
    #[error("the stored result would write {0}, which is not a declared output")]
    Outside(RelPath),
    /// Something in the tree is in the way.
    #[error("{0} is in the way: {1}")]
    Blocked(PathBuf, &'static str),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] cache_core::Error),
    /// The system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How to restore.
#[derive(Debug)]
pub struct Restore<'a> {
    /// Where the content is.
    pub store: &'a FsStore,
    /// A directory for temporary files, used if it is in the file system of the outputs.
    pub staging: &'a Path,
    /// Where the outputs go.
    pub base: &'a Path,
    /// What the command may make.
    pub patterns: &'a [OutputPattern],
    /// What it may make besides: the depfile.
    pub optional: Option<&'a RelPath>,
    /// Clones and copies, or links.
    pub mode: RestoreMode,
    /// Which modification time they get.
    pub mtime: MtimeMode,
    /// Modification time of the youngest input; files that are right already stay untouched if they are not older.
    pub newest_input: Option<SystemTime>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files, links and directories of the entry.
    pub items: usize,
    /// How many of them were right already.
    pub untouched: usize,
    /// Stale things removed from owned directories.
    pub removed: usize,
}

/// A file that waits to be renamed to its place.
struct Staged {
    from: PathBuf,
    to: PathBuf,
}

impl Restore<'_> {
    /// Puts `outputs` into the tree.
    ///
    /// # Errors
    /// If the content is not there, does not fit the declaration, or cannot be written. Unless the last step has
    /// begun, the tree is as it was.
    pub fn run(&self, outputs: &[Output], memory: &mut Memory) -> Result<Restored, RestoreError> {
        self.check(outputs)?;
        let mut staging = Staging::new(self.staging.to_owned());
        let mut done = Restored { items: outputs.len(), ..Restored::default() };
        let mut checked = BTreeSet::new();
        let mut staged = Vec::new();
        let mut touch = Vec::new();
        let now = SystemTime::now();
        for output in outputs {
            let to = self.locate(&output.path)?;
            self.check_way(&output.path, &mut checked)?;
            let OutputKind::File { digest, len, mode, modified_ns } = &output.kind else {
                check_free(&to, matches!(output.kind, OutputKind::Directory))?;
                continue;
            };
            check_free(&to, false)?;
            let wanted = match self.mtime {
                MtimeMode::Preserve => UNIX_EPOCH.checked_add(Duration::from_nanos(*modified_ns)),
                MtimeMode::Auto | MtimeMode::Now => Some(now),
            };
            if let Some(metadata) = is_right(&to, *len, *mode, digest, memory) {
                done.untouched += 1;
                if let Some(time) = self.mtime_in_place(&metadata, wanted) {
                    touch.push((to, time));
                }
                continue;
            }
            let from = staging.path_for(&to, self.base)?;
            self.stage(&from, &output.path, digest, *len, *mode, wanted)?;
            staged.push(Staged { from, to });
        }
        self.place(outputs, staged, &mut done)?;
        for (path, time) in touch {
            // A time that cannot be set (another owner) costs a rebuild at most.
            let _ = File::open(&path).and_then(|file| file.set_modified(time));
        }
        done.removed = self.remove_stale(outputs)?;
        Ok(done)
    }

    /// The entry is not trusted to stay within the declared outputs, nor to be free of contradictions.
    fn check(&self, outputs: &[Output]) -> Result<(), RestoreError> {
        let declared = |path: &RelPath| {
            self.patterns.iter().any(|pattern| pattern.covers(path)) || self.optional == Some(path)
        };
        let undeclared = outputs.iter().map(|output| &output.path).find(|path| !declared(path));
        let outside = undeclared.or_else(|| Output::contradiction(outputs));
        outside.map_or(Ok(()), |path| Err(RestoreError::Outside(path.clone())))
    }

    fn locate(&self, path: &RelPath) -> Result<PathBuf, RestoreError> {
        let native = path.to_native().map_err(|_| RestoreError::Outside(path.clone()))?;
        Ok(self.base.join(native))
    }

    /// Directories between a declared directory and the file must be real ones: a link among them leads elsewhere.
    /// Above the declaration, links are the user's own layout and are followed, as the command does.
    fn check_way(&self, path: &RelPath, checked: &mut BTreeSet<RelPath>) -> Result<(), RestoreError> {
        let mut above = path.parent();
        while let Some(dir) = above {
            above = dir.parent();
            if checked.contains(&dir) || !self.patterns.iter().any(|pattern| pattern.covers(&dir)) {
                return Ok(());
            }
            let native = self.locate(&dir)?;
            let is_root_of_owned = self.patterns.iter().any(|pattern| pattern.owned_dir() == Some(&dir));
            match fs::symlink_metadata(&native) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) if is_root_of_owned && native.is_dir() => {}
                Ok(_) => {
                    return Err(RestoreError::Blocked(native, "a directory was stored there; remove it"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(source) => return Err(RestoreError::Io { path: native, source }),
            }
            checked.insert(dir);
        }
        Ok(())
    }

    fn mtime_in_place(&self, metadata: &fs::Metadata, wanted: Option<SystemTime>) -> Option<SystemTime> {
        if self.mode == RestoreMode::HardlinkReadOnly {
            // It may be the stored file itself, whose time says when it was last used.
            return None;
        }
        let current = metadata.modified().ok()?;
        match self.mtime {
            MtimeMode::Now => wanted,
            MtimeMode::Preserve => wanted.filter(|wanted| *wanted != current),
            MtimeMode::Auto => wanted.filter(|_| self.newest_input.is_some_and(|newest| newest > current)),
        }
    }

    /// Writes the verified content of one output to `from`.
    fn stage(
        &self,
        from: &Path,
        path: &RelPath,
        digest: &Digest,
        len: u64,
        mode: u32,
        mtime: Option<SystemTime>,
    ) -> Result<(), RestoreError> {
        let gone = || RestoreError::Gone(path.clone());
        let failed = |source| RestoreError::Io { path: from.to_owned(), source };
        if self.mode == RestoreMode::HardlinkReadOnly {
            let blob = self.store.open_blob(digest)?.ok_or_else(gone)?;
            if let Content::File { file, path } = blob.content {
                let metadata = file.metadata().map_err(failed)?;
                // All links of a file have one mode, so that two outputs of equal content and other modes cannot share it.
                if can_share(&metadata, mode) && fs::hard_link(&path, from).is_ok() {
                    return set_read_only(from, mode).map_err(failed);
                }
            }
            // Otherwise, and on another file system, a copy is the best there is; so it is for a small file, which may have
            // none of its own in the store.
        }
        let mut file = create(from, mode).map_err(failed)?;
        if len <= SMALL {
            let content = self.store.read_blob(digest, SMALL)?.ok_or_else(gone)?;
            file.write_all(&content).map_err(failed)?;
        } else {
            match self.store.open_blob(digest)?.ok_or_else(gone)?.content {
                Content::File { file: mut blob, .. } => clone_or_copy(&mut blob, &mut file),
                Content::Bytes(bytes) => file.write_all(&bytes),
            }
            .map_err(failed)?;
        }
        match mtime {
            Some(time) if self.mtime == MtimeMode::Preserve => file.set_modified(time).map_err(failed),
            _ => Ok(()),
        }
    }

    fn place(
        &self,
        outputs: &[Output],
        staged: Vec<Staged>,
        done: &mut Restored,
    ) -> Result<(), RestoreError> {
        for Staged { from, to } in staged {
            let failed = |source| RestoreError::Io { path: to.clone(), source };
            make_parent(&to).map_err(failed)?;
            fs::rename(&from, &to).map_err(failed)?;
        }
        for output in outputs {
            let to = self.locate(&output.path)?;
            let failed = |source| RestoreError::Io { path: to.clone(), source };
            match &output.kind {
                OutputKind::File { .. } => {}
                OutputKind::Directory => {
                    done.untouched += usize::from(to.is_dir());
                    fs::create_dir_all(&to).map_err(failed)?;
                }
                OutputKind::Symlink { target } => {
                    let target = native_target(target);
                    if fs::read_link(&to).is_ok_and(|current| current == target) {
                        done.untouched += 1;
                        continue;
                    }
                    make_parent(&to).map_err(failed)?;
                    match fs::remove_file(&to) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                        _ => symlink(&target, &to).map_err(failed)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes from owned directories what is not a result of the command.
    fn remove_stale(&self, outputs: &[Output]) -> Result<usize, RestoreError> {
        let mut removed = 0;
        for owned in self.patterns.iter().filter_map(OutputPattern::owned_dir) {
            let mut keep = BTreeSet::new();
            for output in outputs.iter().filter(|output| output.path.starts_with(owned)) {
                let mut path = Some(output.path.clone());
                while let Some(current) = path.filter(|path| path.starts_with(owned)) {
                    path = current.parent();
                    keep.insert(current);
                }
            }
            // An emptied directory stays a directory.
            keep.insert(owned.clone());
            removed += self.sweep(owned, &keep)?;
        }
        Ok(removed)
    }

    fn sweep(&self, dir: &RelPath, keep: &BTreeSet<RelPath>) -> Result<usize, RestoreError> {
        let native = self.locate(dir)?;
        let failed = |source| RestoreError::Io { path: native.clone(), source };
        let mut removed = 0;
        for entry in fs::read_dir(&native).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_dir = entry.file_type().map_err(failed)?.is_dir();
            // A name that no output can have is stale for certain.
            match dir.join(&entry.file_name()) {
                Ok(path) if keep.contains(&path) => {
                    if is_dir {
                        removed += self.sweep(&path, keep)?;
                    }
                }
                _ if is_dir => {
                    fs::remove_dir_all(entry.path()).map_err(failed)?;
                    removed += 1;
                }
                _ => {
                    fs::remove_file(entry.path()).map_err(failed)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Returns the file's metadata if nothing needs to be written there.
fn is_right(path: &Path, len: u64, mode: u32, digest: &Digest, memory: &mut Memory) -> Option<fs::Metadata> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let same = metadata.is_file() && metadata.len() == len && same_mode(&metadata, mode);
    (same && memory.digest_file(path).ok()? == *digest).then_some(metadata)
}

/// A directory is never replaced by a file: it may hold what nobody can make again.
fn check_free(path: &Path, wants_dir: bool) -> Result<(), RestoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && !wants_dir => {
            Err(RestoreError::Blocked(path.to_owned(), "it is a directory; remove it"))
        }
        Ok(metadata) if !metadata.is_dir() && wants_dir && !path.is_dir() => {
            Err(RestoreError::Blocked(path.to_owned(), "a directory was stored there; remove it"))
        }
        _ => Ok(()),
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Temporary places, one per file system.
struct Staging {
    /// In the cache, if that is in the same file system as the outputs.
    central: PathBuf,
    dirs: Vec<(u64, TempDir)>,
    count: usize,
}

impl Staging {
    fn new(central: PathBuf) -> Self {
        remove_leftovers(&central);
        Self { central, dirs: Vec::new(), count: 0 }
    }

    /// Returns an unused path from which a file can be renamed to `to`.
    fn path_for(&mut self, to: &Path, base: &Path) -> Result<PathBuf, RestoreError> {
        let existing = to.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(base);
        let failed = |source| RestoreError::Io { path: to.to_owned(), source };
        let device = device(existing).map_err(failed)?;
        self.count += 1;
        let name = self.count.to_string();
        if let Some((_, dir)) = self.dirs.iter().find(|(known, _)| *known == device) {
            return Ok(dir.path().join(name));
        }
        // After a crash, leftovers there are found again; elsewhere they would lie in the user's tree.
        let _ = cache_core::files::create_private_dir(&self.central);
        let central = device_of_writable(&self.central).is_some_and(|of| of == device);
        let place = if central { &self.central } else { existing };
        let dir = Builder::new().prefix(".vitte-restore-").tempdir_in(place).map_err(failed)?;
        let path = dir.path().join(name);
        self.dirs.push((device, dir));
        Ok(path)
    }
}

/// Removes what a killed process left behind. Nobody stages for a day.
fn remove_leftovers(dir: &Path) {
    const DAY: Duration = Duration::from_hours(24);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > DAY)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn device_of_writable(dir: &Path) -> Option<u64> {
    tempfile::tempfile_in(dir).ok()?;
    device(dir).ok()
}

#[cfg(unix)]
fn device(path: &Path) -> io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::dev(&fs::metadata(path)?))
}

/// Without device numbers every drive letter is a device.
#[cfg(not(unix))]
fn device(path: &Path) -> io::Result<u64> {
    use std::path::{Component, Prefix};
    match fs::canonicalize(path)?.components().next() {
        Some(Component::Prefix(prefix)) => Ok(match prefix.kind() {
            Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => u64::from(letter),
            _ => 0,
        }),
        _ => Ok(0),
    }
}

/// Creates a file with the mode that the command gave it, less what our own umask takes, as the command would have.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode | 0o200);
    let file = options.open(path)?;
    #[cfg(unix)]
    if mode & 0o200 == 0 {
        let actual = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(actual & mode))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn clone_or_copy(from: &mut File, to: &mut File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(&*to, &*from).is_ok() {
        return Ok(());
    }
    io::copy(from, to).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn clone_or_copy(from: &mut File, to: &mut File) -> io::Result<()> {
    io::copy(from, to).map(drop)
}

#[cfg(unix)]
fn same_mode(metadata: &fs::Metadata, mode: u32) -> bool {
    // Which bits others have is the business of the umask; whether it can be executed is a fact about the result.
    let actual = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    let (executable, extra) = ((actual ^ mode) & 0o100 != 0, (actual & !mode) & 0o077 != 0);
    !executable && !extra
}

#[cfg(not(unix))]
fn same_mode(_: &fs::Metadata, _: u32) -> bool {
    true
}

/// Returns the mode of a link to the cache: nobody may write, and nobody may read who could not read the output.
#[cfg(unix)]
fn link_mode(mode: u32) -> u32 {
    (mode & 0o555) | 0o400
}

#[cfg(unix)]
fn can_share(stored: &fs::Metadata, mode: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    stored.nlink() == 1 || stored.mode() & 0o777 == link_mode(mode)
}

#[cfg(not(unix))]
fn can_share(_: &fs::Metadata, _: u32) -> bool {
    true
}

#[cfg(unix)]
fn set_read_only(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(link_mode(mode)))
}

#[cfg(not(unix))]
fn set_read_only(path: &Path, _: u32) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

#[cfg(unix)]
fn native_target(target: &[u8]) -> PathBuf {
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(target.to_vec()))
}

#[cfg(not(unix))]
fn native_target(target: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(target).into_owned())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    let resolved = link.parent().map_or_else(|| target.to_owned(), |parent| parent.join(target));
    if resolved.is_dir() {
        std::os::windows::fs::symlink_dir(target, link)
    } else {
        std::os::windows::fs::symlink_file(target, link)
    }
}
