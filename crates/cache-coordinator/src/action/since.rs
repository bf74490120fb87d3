//! Files that turn out to be inputs only when the work is done: what was in them all the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_core::stat::{Kind, Stat};
use cache_core::{Anchor, FileDependency, Timestamp, TreePath};
use rayon::prelude::*;

use super::files::{FileError, FileStates, is_gone};

/// How far the wall clock may fall behind the one that only goes forward. Clocks are slewed by half a millisecond in a
/// second; with this and the second in which some file systems count, an edit still gets a stamp less than the two seconds
/// before the mark that [`Stat::settled`] asks for.
const DRIFT: Duration = Duration::from_millis(500);
/// How many links are followed on the way to one file, as in Linux.
const MAX_LINKS: usize = 40;
/// Whether a file that is moved gets a new change time. POSIX leaves that open; the local file systems of Linux do it.
const MOVES_ARE_STAMPED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A moment in the time of a checkout, from [`FileStates::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: Timestamp,
    instant: Instant,
}

/// A name on the way to a file.
struct Step {
    /// What is there itself; nothing if nothing is.
    kind: Option<Kind>,
    /// Whether it was left alone since the mark.
    is_old: bool,
}

/// What was found out about the names on the way to some files.
struct Walk<'a> {
    files: &'a FileStates,
    since: Timestamp,
    steps: HashMap<PathBuf, Step>,
}

impl FileStates {
    /// Returns this moment. Take it before something runs whose inputs are known only afterwards.
    pub fn mark(&self) -> Mark {
        Mark { at: self.clock().now(), instant: Instant::now() }
    }

    /// Returns the state that each of `paths` has had ever since `mark`, links followed, sorted by path and each once: what a
    /// compiler read that ran in the meantime, as its depfile tells. What was touched since is refused.
    ///
    /// Where the inputs are known before, [`snapshot`](Self::snapshot) is better: it refuses less.
    ///
    /// # Why it is right
    /// The kernel stamps a file with a change time (`ctime`) when its content changes, and no program can choose that. So a
    /// file whose change time is before the mark *after* it was read here has had this content ever since. That the name led
    /// to this file all the time is checked for every name on the way, from the base directory or the root on, links
    /// included: what is moved or linked to a name is stamped itself (on Linux; elsewhere this is not relied upon), and the
    /// directory in which a name comes or goes is stamped. So one of the two must be old, and for a path at which there is
    /// nothing the directory.
    ///
    /// A stamp may be earlier than the edit: by a tick of the kernel's clock, or by the second in which a file system counts.
    /// So what was touched in the **two seconds before** the mark is refused as well. A clock that was set back since the mark
    /// would stamp edits too early, and is noticed by the clock that only goes forward. Time stamps that cannot be believed,
    /// such as those of network file systems, are refused, and so is everything on systems without a change time (Windows).
    ///
    /// What it cannot notice: a clock that is set back and forth again in between, or back while the machine sleeps; a file
    /// system that is mounted over a directory, or a base directory that is replaced; writes through a shared memory map that
    /// the kernel has not stamped yet.
    ///
    /// # Errors
    /// [`FileError::Touched`], [`FileError::NoTimes`] or [`FileError::ClockSetBack`] if it cannot be told what was there; or as
    /// [`snapshot`](Self::snapshot).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; reading goes on in the background to the end of the files.
    pub async fn snapshot_since(
        self: &Arc<Self>,
        mark: &Mark,
        paths: &[TreePath],
    ) -> Result<Vec<FileDependency>, FileError> {
        // What is read comes first, so that the stamps that are looked at then vouch for it.
        let states = self.snapshot(paths).await?;
        let (files, mark) = (Arc::clone(self), *mark);
        let checked = super::offload(move || {
            let check = |walk: &mut Walk<'_>, file: &FileDependency| walk.check(&file.path);
            let walk = || Walk { files: &files, since: mark.at, steps: HashMap::new() };
            states.par_iter().map_init(walk, check).collect::<Result<(), FileError>>()?;
            // Last, so that no stamp that was believed is later than this.
            files.check_clock(&mark)?;
            Ok(states)
        });
        let interrupted = || FileError::io(self.base(), io::ErrorKind::Interrupted.into());
        checked.await.unwrap_or_else(|| Err(interrupted()))
    }

    fn check_clock(&self, mark: &Mark) -> Result<(), FileError> {
        let now = self.clock().now();
        let passed = mark.instant.elapsed();
        if now < mark.at || now.since(mark.at).saturating_add(DRIFT) < passed {
            return Err(FileError::ClockSetBack);
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Makes sure that `path` has led to the same file since the mark, and that this was left alone.
    fn check(&mut self, path: &TreePath) -> Result<(), FileError> {
        let named = path.locate(self.files.base())?;
        let touched = |touched| FileError::Touched { path: named.clone(), touched };
        let mut at = match path.anchor {
            Anchor::Base => self.files.base().to_owned(),
            Anchor::Root => named.ancestors().last().unwrap_or(&named).to_owned(),
        };
        // What is still to go, the next name last.
        let mut way = names(named.strip_prefix(&at).unwrap_or(&named));
        let mut links = 0;
        while let Some(name) = way.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let above = self.step(&at)?.is_old;
            let step = self.step(&next)?;
            let is_bound = above || (MOVES_ARE_STAMPED && step.kind.is_some() && step.is_old);
            if !is_bound {
                return Err(touched(next));
            }
            match step.kind {
                // There was nothing all the time, and so nothing behind it.
                None => return Ok(()),
                Some(Kind::Directory) => at = next,
                Some(Kind::Symlink) => {
                    links += 1;
                    // The whole way was found a moment ago, with fewer links.
                    if links > MAX_LINKS {
                        return Err(touched(next));
                    }
                    // Where a link leads cannot be changed but by another one in its place.
                    let target = next.read_link().map_err(|error| FileError::io(&next, error))?;
                    if target.is_absolute() {
                        target.ancestors().last().unwrap_or(&target).clone_into(&mut at);
                    }
                    way.extend(names(&target));
                }
                Some(Kind::File | Kind::Special) if step.is_old => return Ok(()),
                Some(Kind::File | Kind::Special) => return Err(touched(next)),
            }
        }
        Ok(())
    }

    fn step(&mut self, path: &Path) -> Result<&Step, FileError> {
        let entry = match self.steps.entry(path.to_owned()) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let step = match path.symlink_metadata() {
            Ok(metadata) => {
                let stat = Stat::new(&metadata);
                // A link itself has no file system that could be asked; what it is in was asked already.
                if cfg!(not(unix)) || (stat.kind != Kind::Symlink && !self.files.trusts(stat.dev, path)) {
                    return Err(FileError::NoTimes { path: path.to_owned() });
                }
                Step { kind: Some(stat.kind), is_old: stat.settled(self.since) }
            }
            Err(error) if is_gone(&error) => Step { kind: None, is_old: false },
            Err(error) => return Err(FileError::io(path, error)),
        };
        Ok(entry.insert(step))
    }
}

/// Returns the names of which `path` consists, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}
