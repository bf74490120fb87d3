//! What a command read besides its declared inputs, as its depfile tells.
//!
//! A depfile is known only after the command ran. So a result is found in two steps: the key of the declared inputs
//! leads to at most sixteen sets of (path, state), and the first set of which every path is in its state leads to the
//! result. The states include *absence*: what would have been read instead, had it been there.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cache_core::{Anchor, Digest, FileState, RelPath, TreePath};

use crate::base::normalize;
use crate::depfile;
use crate::inputs::observe;
use crate::memory::Memory;
use crate::shadow::{self, Compile};
use crate::value::DepSet;

/// More files than this are read by no single command; a depfile that names more is no depfile.
const MAX_FILES: usize = 100_000;
/// How long to wait for the clock of the file system to tick; the slowest kernels tick every 10 ms.
const MAX_TICK: Duration = Duration::from_millis(100);

/// The command that wrote the depfile.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Base directory.
    pub(crate) base: &'a Path,
    /// Working directory of the command.
    pub(crate) cwd: &'a Path,
    /// Its arguments.
    pub(crate) args: &'a [OsString],
    /// Its environment.
    pub(crate) env: &'a [(OsString, OsString)],
}

/// A moment in the time of the file system: what was modified later has a later time stamp.
///
/// Time stamps of files come from a clock that stands still between ticks of some milliseconds. The moment is taken,
/// and then a tick is awaited, so that no later modification can carry the same time stamp.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(SystemTime);

impl Moment {
    /// Returns the moment now, taken in the directory `dir`, which must be writable.
    ///
    /// # Errors
    /// If no file can be made there, or the clock stands still.
    pub(crate) fn now(dir: &Path) -> io::Result<Self> {
        let file = tempfile::NamedTempFile::new_in(dir)?;
        let first = file.as_file().metadata()?.modified()?;
        let started = std::time::Instant::now();
        while started.elapsed() < MAX_TICK {
            std::thread::sleep(Duration::from_millis(1));
            io::Write::write_all(&mut file.as_file(), b".")?;
            if file.as_file().metadata()?.modified()? > first {
                return Ok(Self(first));
            }
        }
        Err(io::Error::other("the clock of its file system does not tick"))
    }

    /// Returns whether a file was modified later.
    fn is_before(self, metadata: &Metadata) -> bool {
        changed(metadata).is_none_or(|changed| changed > self.0)
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    // The change time cannot be set back, as `touch -d` and `tar -x` do with the modification time.
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds + nanos)
}

#[cfg(not(unix))]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

impl Context<'_> {
    /// Returns what the command read, in the states in which it read it.
    ///
    /// # Errors
    /// A sentence that says why the result cannot be stored, and what to do: the depfile is missing or damaged, or a
    /// file in it was modified after `started`.
    pub(crate) fn collect(
        &self,
        depfile: &Path,
        started: Moment,
        is_output: impl Fn(&RelPath) -> bool,
        memory: &mut Memory,
    ) -> Result<DepSet, String> {
        let parsed = depfile::read(&self.cwd.join(depfile)).map_err(|error| error.to_string())?;
        let mut read = Vec::new();
        let mut paths = Vec::new();
        for dep in parsed.deps {
            let absolute = normalize(self.cwd, &dep);
            let Ok(path) = TreePath::new(self.base, &absolute) else {
                return Err(format!("the depfile names {}, which cannot be part of a key", dep.display()));
            };
            // What the command made itself (a generated header, the target of a phony rule) is no input.
            if path.anchor == Anchor::Base && is_output(&path.path) {
                continue;
            }
            read.push(dep);
            paths.push((path, absolute));
        }
        if paths.len() > MAX_FILES {
            return Err(format!(
                "the depfile names more than {MAX_FILES} files · use -i instead of --depfile"
            ));
        }
        let natives: Vec<_> = paths.iter().map(|(_, native)| native.clone()).collect();
        let observed = observe(&natives, memory, &()).map_err(|error| error.to_string())?;
        let mut files = Vec::with_capacity(paths.len());
        for ((path, native), observed) in paths.into_iter().zip(observed) {
            if observed.state == FileState::Absent {
                return Err(format!(
                    "{path}, which the depfile names, is not there after the run · run again"
                ));
            }
            let unmoved = || fs::metadata(&native).is_ok_and(|metadata| !started.is_before(&metadata));
            if observed.state != FileState::Directory && !unmoved() {
                return Err(format!("{path} changed while the command ran · run again when nobody edits it"));
            }
            files.push((path, observed.state));
        }
        let env = |name: &str| {
            let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
            Some(value.clone())
        };
        let compile = Compile { args: self.args, env: &env, deps: &read, cwd: self.cwd };
        let shadows = shadow::candidates(&compile).map_err(|error| error.to_string())?;
        for path in shadows.absent {
            if let Ok(path) = TreePath::new(self.base, &normalize(self.cwd, &path)) {
                files.push((path, FileState::Absent));
            }
        }
        for path in shadows.response_files {
            let native = normalize(self.cwd, &path);
            let observed =
                observe(std::slice::from_ref(&native), memory, &()).map_err(|error| error.to_string())?;
            if let (Ok(path), Some(observed)) = (TreePath::new(self.base, &native), observed.first()) {
                files.push((path, observed.state));
            }
        }
        files.sort_unstable();
        files.dedup();
        // In loose mode the compiler may see variables that no depfile lists.
        let named = parsed.env.iter().map(|dep| dep.name.to_string_lossy().into_owned());
        let searched = shadow::ENV_NAMES.iter().map(|name| (*name).to_owned());
        let mut env: Vec<_> =
            named.chain(searched).map(|name| (name.clone(), self.env_digest(&name))).collect();
        env.sort_unstable();
        env.dedup();
        Ok(DepSet { files, env, ..DepSet::empty() })
    }

    /// Returns the digest of the value that a variable has for the command; nothing if it is unset.
    pub(crate) fn env_digest(&self, name: &str) -> Option<Digest> {
        let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
        Some(Digest::blake3(value.as_encoded_bytes()))
    }

    /// Returns the first thing that is not in the state that `set` wants, with its state now; nothing if all are.
    pub(crate) fn first_change(&self, set: &DepSet, memory: &mut Memory) -> Option<Change> {
        if let Some((name, _)) = set.env.iter().find(|(name, value)| self.env_digest(name) != *value) {
            return Some(Change::Env(name.clone()));
        }
        let natives: Option<Vec<_>> = set.files.iter().map(|(path, _)| path.locate(self.base).ok()).collect();
        let observed = natives.and_then(|natives| observe(&natives, memory, &()).ok());
        let Some(observed) = observed else {
            // Something cannot be read, so nothing is proved.
            let (path, before) = set.files.first().cloned()?;
            return Some(Change::File { path, before, after: None });
        };
        let moved = set.files.iter().zip(observed).find(|((_, wanted), now)| now.state != *wanted)?;
        let ((path, before), now) = moved;
        Some(Change::File { path: path.clone(), before: *before, after: Some(now.state) })
    }
}

/// Why a set does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A variable has another value.
    Env(String),
    /// A path is in another state.
    File {
        /// Which one.
        path: TreePath,
        /// The state in the set.
        before: FileState,
        /// The state now, if it can be told.
        after: Option<FileState>,
    },
}
