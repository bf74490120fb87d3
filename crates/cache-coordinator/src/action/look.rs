//! Looking at files: one `stat` for each, and a read only for those whose stat proves nothing.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use cache_core::files;
use cache_core::stat::Stat;
use cache_core::{Digest, FileState, Timestamp, TreePath};
use rayon::prelude::*;

use super::files::{FileError, FileStates, is_gone, link_bytes};
use super::view::{Claim, FileSight, Seen, Sight, View};

#[cfg(unix)]
type Native = Vec<u8>;
#[cfg(not(unix))]
type Native = std::path::PathBuf;

/// One thread's way to look at many files.
struct Looker<'a> {
    files: &'a FileStates,
    /// When looking began: what is touched from then on has not settled.
    now: Timestamp,
    /// The device of the last file, and whether its time stamps are believed: neighbours are mostly on one.
    device: Option<(u64, bool)>,
    /// Where the last path was, to be overwritten.
    native: Native,
    looks: u64,
}

impl FileStates {
    /// Looks at all paths of `view` that have not been looked at, in their order and on all of rayon's threads: what one
    /// target is made from mostly lies together, and the system finds neighbours a good deal faster one after the other.
    pub(crate) fn look(&self, view: &mut View) {
        let now = self.clock().now();
        let look = |looker: &mut Looker<'_>, path: &TreePath| looker.look(path);
        let (unseen, sights) = view.unseen();
        sights.par_extend(unseen.par_iter().map_init(|| Looker::new(self, now), look));
    }

    /// Finds out the contents of the files of `view` with these numbers, if nobody knows them: by what is claimed about
    /// them, by what is remembered, or by reading.
    pub(crate) fn resolve(&self, view: &mut View, wanted: HashMap<u32, Vec<Claim>>) {
        let unknown = |(number, claims): (u32, Vec<Claim>)| match view.sight(number)? {
            Sight::File(file) if file.digest.get().is_none() => {
                let sight = self.resolved(view.path(number)?, file, &claims)?;
                Some((number, sight))
            }
            _ => None,
        };
        let mut wanted: Vec<(u32, Vec<Claim>)> = wanted.into_iter().collect();
        wanted.sort_unstable_by_key(|(number, _)| *number);
        let read: Vec<(u32, Sight)> = wanted.into_par_iter().filter_map(unknown).collect();
        for (number, sight) in read {
            view.sights[number as usize] = sight;
        }
    }

    /// Returns what is at each of the paths `wanted`. What is proved by a claim is not read.
    pub(crate) fn view(&self, wanted: HashMap<TreePath, Vec<Claim>>) -> View {
        let mut wanted: Vec<(TreePath, Vec<Claim>)> = wanted.into_iter().collect();
        wanted.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut view = View::default();
        let number = |(path, claims): (TreePath, Vec<Claim>)| (view.add(path.anchor, &path.path), claims);
        let claims = wanted.into_iter().map(number).collect();
        self.look(&mut view);
        self.resolve(&mut view, claims);
        view
    }

    /// Returns what is at `path`.
    pub(crate) fn observe(&self, path: &TreePath) -> Result<Seen, FileError> {
        let sight = Looker::new(self, self.clock().now()).look(path);
        let resolved = match &sight {
            Sight::File(file) => self.resolved(path, file, &[]),
            _ => None,
        };
        let sight = resolved.unwrap_or(sight);
        match sight.seen() {
            Some(seen) => seen.map_err(Clone::clone),
            // Resolving a file makes its content known.
            None => Err(FileError::KeepsChanging { path: path.locate(self.base())? }),
        }
    }

    /// Makes known what `file`, at `path`, contains. Returns what to see there instead, if it had to be read.
    fn resolved(&self, path: &TreePath, file: &FileSight, claims: &[Claim]) -> Option<Sight> {
        let claimed = claims.iter().find(|(claimed, _)| *claimed == file.stat).map(|(_, digest)| *digest);
        if let Some(digest) = claimed.or_else(|| self.known(file.stat)) {
            file.prove(digest);
            return None;
        }
        let link = file.link.as_deref().copied();
        let seen =
            path.locate(self.base()).map_err(FileError::from).and_then(|native| self.read_at(&native, link));
        Some(Sight::Other(Box::new(seen)))
    }

    /// Returns what is at `path`, where there is a file, or a link with the target `link` to one.
    fn read_at(&self, path: &Path, link: Option<Digest>) -> Result<Seen, FileError> {
        // Taken before anything is read: what is touched from now on has not settled.
        let now = self.clock().now();
        let files::Content { digest, stat, len } = self.read_file(path)?;
        let proven = self.trusts(stat.dev, path) && stat.settled(now) && len == stat.len;
        if proven {
            self.learn(stat.fingerprint, digest);
        }
        let behind = FileState::File { digest, executable: stat.executable };
        let own = link.map_or(behind, |target| FileState::Symlink { target });
        Ok(Seen { own, behind, stat: proven.then_some(stat.fingerprint) })
    }
}

impl<'a> Looker<'a> {
    fn new(files: &'a FileStates, now: Timestamp) -> Self {
        Self { files, now, device: None, native: Native::default(), looks: 0 }
    }

    fn look(&mut self, path: &TreePath) -> Sight {
        self.try_look(path).unwrap_or_else(|error| Sight::Other(Box::new(Err(error))))
    }

    fn try_look(&mut self, path: &TreePath) -> Result<Sight, FileError> {
        self.looks += 1;
        let metadata = self.at(path, Path::symlink_metadata)?;
        let Some(metadata) = metadata else { return Ok(Sight::Absent) };
        if !metadata.is_symlink() {
            return self.found(path, &metadata, None);
        }
        let target = self.at(path, Path::read_link)?;
        // Gone meanwhile.
        let Some(target) = target else { return Ok(Sight::Absent) };
        let target = Digest::blake3(&link_bytes(&target));
        self.looks += 1;
        // The stat is that of the file behind, so a link that is turned elsewhere does not go unnoticed.
        match self.at(path, Path::metadata)? {
            Some(metadata) => self.found(path, &metadata, Some(target)),
            None => Ok(known(FileState::Absent, Some(target))),
        }
    }

    fn found(
        &mut self,
        path: &TreePath,
        metadata: &Metadata,
        link: Option<Digest>,
    ) -> Result<Sight, FileError> {
        if metadata.is_dir() {
            return Ok(known(FileState::Directory, link));
        }
        if !metadata.is_file() {
            return Err(FileError::Special { path: path.locate(self.files.base())? });
        }
        let stat = Stat::new(metadata);
        if !self.trusts(stat.dev, path)? {
            let seen = self.files.read_at(&path.locate(self.files.base())?, link)?;
            return Ok(Sight::Other(Box::new(Ok(seen))));
        }
        Ok(Sight::File(FileSight {
            stat: stat.fingerprint,
            settled: stat.settled(self.now),
            executable: stat.executable,
            link: link.map(Box::new),
            digest: OnceLock::new(),
        }))
    }

    fn trusts(&mut self, dev: u64, path: &TreePath) -> Result<bool, FileError> {
        if let Some((last, trusted)) = self.device
            && last == dev
        {
            return Ok(trusted);
        }
        let trusted = self.files.trusts(dev, &path.locate(self.files.base())?);
        self.device = Some((dev, trusted));
        Ok(trusted)
    }

    /// Returns what `ask` tells about `path`; nothing if there is nothing.
    fn at<T>(
        &mut self,
        path: &TreePath,
        ask: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<Option<T>, FileError> {
        let native = self.locate(path)?;
        match ask(native) {
            Ok(told) => Ok(Some(told)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(FileError::io(native, error)),
        }
    }

    /// Returns where `path` is, as [`TreePath::locate`] does, without an allocation for each.
    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems have names that mean nothing")]
    fn locate(&mut self, path: &TreePath) -> Result<&Path, FileError> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        self.native.clear();
        if path.anchor == cache_core::Anchor::Base {
            self.native.extend_from_slice(self.files.base().as_os_str().as_bytes());
        }
        self.native.push(b'/');
        self.native.extend_from_slice(path.path.as_bytes());
        Ok(Path::new(OsStr::from_bytes(&self.native)))
    }

    #[cfg(not(unix))]
    fn locate(&mut self, path: &TreePath) -> Result<&Path, FileError> {
        self.native = path.locate(self.files.base())?;
        Ok(&self.native)
    }
}

impl Drop for Looker<'_> {
    fn drop(&mut self) {
        self.files.count_looks(self.looks);
    }
}

/// Returns what is to be seen of something without content.
fn known(behind: FileState, link: Option<Digest>) -> Sight {
    let own = link.map_or(behind, |target| FileState::Symlink { target });
    Sight::Other(Box::new(Ok(Seen { own, behind, stat: None })))
}
