//! Inputs: the files that decide what a command makes.
//!
//! A pattern is relative to the current directory and is one of
//!
//! | pattern | stands for |
//! |---|---|
//! | `path/file` | that file. It must exist |
//! | `path/dir` | every file below it. It must exist |
//! | `src/**/*.rs`, `{a,b}/[x-z]?` | the files that match: `*` and `?` stay within a component, `**` does not. A directory does not match, unless the pattern ends in `/`: then everything below it does |
//! | `!pattern` | not these, whatever else matches and in whatever order. A directory is left out with all that is below |
//! | `@list` | the patterns in the file `list`, one per line; `#` begins a comment. The list is an input too |
//! | `@git:path` | what git tracks below `path`, and what is new there and not ignored |
//!
//! `\` takes away the meaning of the next character (not on Windows, where `./` in front does for `!` and `@`). A
//! pattern with wildcards that is also the name of something stands for both, so that `pages/[id].tsx` is not missed.
//!
//! What is an input and what is not:
//!
//! - Hidden files are. The directories of version control (`.git`, `.hg`, `.jj`, `.svn`) are not walked into unless a
//!   pattern names them.
//! - A symbolic link is an input with its target as content, and so is the file behind it. Links to directories are not
//!   followed in a walk; a pattern that names one stands for the link and all that is behind it.
//! - Directories are not inputs, so an empty one is none.
//! - FIFOs, sockets and devices that match are an error.
//! - `..` is resolved by the letter, before links.
//!
//! Directories are read with `std::fs::read_dir` rather than the `ignore` crate's walker: a file is looked at only once
//! a pattern matches its name, its stat is taken relative to the open directory, and threads start only for large trees.

mod digest;
mod error;
mod git;
mod pattern;
mod read;
mod source;
mod walk;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use cache_core::{Digest, FileState, HashFunction, KeyBuilder, Namespace, StatFingerprint, TreePath};

pub use cache_core::stat::is_trustworthy;
pub(crate) use cache_core::stat::{Kind, Stat};
pub use digest::{Amount, Observed, Progress, observe};
pub use error::InputError;
use pattern::Pattern;
pub(crate) use read::read_file;

use crate::memory::Memory;
use source::Sources;
use walk::Collector;

/// How many files may be inputs of one run. More is a pattern that matches what it should not.
pub const MAX_INPUTS: usize = 1_000_000;

/// Patterns, ready to be matched against the tree as often as needed.
#[derive(Debug)]
pub struct Inputs {
    base: PathBuf,
    sources: Sources,
}

/// What the patterns match, and what the file system says about it. Nothing has been read yet.
#[derive(Debug)]
pub struct Listing {
    /// Sorted by path, each once.
    files: Vec<Found>,
    unmatched: Vec<String>,
}

/// A file or link that a pattern matches.
#[derive(Debug, Clone)]
struct Found {
    path: TreePath,
    stat: Stat,
}

/// The inputs of a run, with their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputSet {
    /// Sorted by path, each once.
    pub files: Vec<Input>,
    /// The lengths of all files together, in bytes.
    pub total_bytes: u64,
    /// Patterns, as they were given, that match nothing. That is no error, but may be a mistake.
    pub unmatched: Vec<String>,
    /// The latest modification time of all files.
    pub newest: Option<SystemTime>,
}

/// A file or link that a command may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub path: TreePath,
    /// What is there: [`FileState::File`] or [`FileState::Symlink`].
    pub state: FileState,
    /// Its stat, if an equal one later on proves equal content.
    pub stat: Option<StatFingerprint>,
    /// Its length in bytes; that of the target for a link.
    pub len: u64,
}

/// What happened to an input while the command ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is, or was.
    pub path: TreePath,
    /// What happened.
    pub kind: ChangeKind,
}

/// How an input differs from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It has other content, another target, or may be executed where it could not, or the reverse.
    Changed,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
}

impl Inputs {
    /// Returns the inputs that `patterns` describe to somebody in the directory `cwd`. Keys get their paths relative
    /// to `base` where they lie below it, and absolute elsewhere. List files are read now, everything else later.
    ///
    /// # Errors
    /// If a pattern or a list makes no sense, a list cannot be read, or `base` or `cwd` does not exist.
    pub fn new<I>(base: &Path, cwd: &Path, patterns: I) -> Result<Self, InputError>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let canonical = |dir| crate::base::canonical(dir).map_err(|error| InputError::io(dir, error));
        Ok(Self { base: canonical(base)?, sources: Sources::parse(canonical(cwd)?, patterns)? })
    }

    /// Leaves out `path` and all that is below it, whatever the patterns say: the cache's own directory.
    #[must_use]
    pub fn without(mut self, path: &Path) -> Self {
        // A path that does not exist yet is taken by the letter.
        let path = crate::base::canonical(path).unwrap_or_else(|_| self.sources.absolute(path));
        self.sources.excludes.push(Pattern::literal(path));
        self
    }

    /// Returns the base directory, without symbolic links.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Returns whether `path` is left out by an exclusion.
    pub fn is_excluded(&self, path: &Path) -> bool {
        let path = self.sources.absolute(path);
        self.sources.excludes.iter().any(|pattern| pattern.excludes(&path))
    }

    /// Returns what the patterns match now.
    ///
    /// # Errors
    /// If something that is named does not exist or cannot be listed, or there are more than [`MAX_INPUTS`].
    pub fn resolve(&self) -> Result<Listing, InputError> {
        self.list(true)
    }

    /// Lists; with `strict` it is an error if something that is named does not exist.
    fn list(&self, strict: bool) -> Result<Listing, InputError> {
        let total = AtomicUsize::new(0);
        let mut collector = Collector {
            base: &self.base,
            excludes: &self.sources.excludes,
            files: Vec::new(),
            total: &total,
        };
        let unmatched = self.sources.collect(&mut collector, strict)?;
        let mut files = collector.files;
        // Within a directory and across neighbours the order is nearly right already, which this sort makes use of.
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Listing { files, unmatched })
    }

    /// Returns the inputs with their content. Reads only files that `memory` does not know, on several threads where
    /// that pays, and tells `progress` about those.
    ///
    /// # Errors
    /// If a file cannot be read, keeps changing, or has gone since it was listed.
    pub fn digest(
        &self,
        listing: Listing,
        memory: &mut Memory,
        progress: &dyn Progress,
    ) -> Result<InputSet, InputError> {
        let newest = listing.files.iter().filter_map(|found| found.stat.modified()).max();
        let files = digest::inputs(&self.base, listing.files, memory, progress)?;
        self.check_lists(&files)?;
        let total_bytes = files.iter().map(|input| input.len).sum();
        Ok(InputSet { files, total_bytes, unmatched: listing.unmatched, newest })
    }

    /// Makes sure that the lists still say what was made of them.
    fn check_lists(&self, files: &[Input]) -> Result<(), InputError> {
        for (path, read) in &self.sources.lists {
            let Ok(tree_path) = TreePath::new(&self.base, path) else { continue };
            let Ok(at) = files.binary_search_by(|input| input.path.cmp(&tree_path)) else { continue };
            if matches!(files[at].state, FileState::File { digest, .. } if digest != *read) {
                return Err(InputError::KeepsChanging { path: path.clone() });
            }
        }
        Ok(())
    }

    /// Returns how the inputs differ from `before`, sorted by path. Reads only files whose stat does not prove that
    /// they are as before; a file that was written with the content that it had is no change.
    ///
    /// # Errors
    /// If an input cannot be listed or read any more, or still changes.
    pub fn changed_since(&self, before: &InputSet, memory: &mut Memory) -> Result<Vec<Change>, InputError> {
        let now = self.list(false)?.files;
        let mut changes = Vec::new();
        let mut suspects = Vec::new();
        let (mut old, mut new) = (before.files.iter().peekable(), now.into_iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.path.cmp(&new.path),
            };
            let was = if order.is_le() { old.next() } else { None };
            let is = if order.is_ge() { new.next() } else { None };
            match (was, is) {
                (Some(was), Some(is)) if was.stat == Some(is.stat.fingerprint) => {}
                (Some(was), Some(is)) => suspects.push((was, is)),
                (Some(was), None) => {
                    changes.push(Change { path: was.path.clone(), kind: ChangeKind::Removed });
                }
                (None, Some(is)) => changes.push(Change { path: is.path, kind: ChangeKind::Added }),
                (None, None) => {}
            }
        }
        let (was, is): (Vec<_>, Vec<_>) = suspects.into_iter().unzip();
        for (was, is) in was.into_iter().zip(digest::inputs(&self.base, is, memory, &())?) {
            if was.state != is.state {
                changes.push(Change { path: is.path, kind: ChangeKind::Changed });
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }
}

impl Listing {
    /// Returns how many inputs there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &TreePath> {
        self.files.iter().map(|found| &found.path)
    }
}

impl InputSet {
    /// Returns one digest of all paths and what is there: the part of a key that the inputs are.
    pub fn digest(&self) -> Digest {
        /// Upper bound of what an input takes besides its path.
        const FIXED: usize = 1 + 8 + 1 + 33;
        let paths: usize = self.files.iter().map(|input| input.path.path.as_bytes().len()).sum();
        // One buffer and one hash over it take a fifth of the time of five small parts for each input.
        let mut bytes = Vec::with_capacity(paths + self.files.len() * FIXED);
        for Input { path, state, .. } in &self.files {
            bytes.push(path.anchor as u8);
            bytes.extend_from_slice(&(path.path.as_bytes().len() as u64).to_le_bytes());
            bytes.extend_from_slice(path.path.as_bytes());
            let (kind, digest) = match state {
                FileState::File { digest, executable } => (u8::from(*executable), Some(digest)),
                FileState::Symlink { target } => (2, Some(target)),
                FileState::Directory => (3, None),
                FileState::Absent => (4, None),
            };
            bytes.push(kind);
            if let Some(digest) = digest {
                bytes.push(digest.function().id());
                bytes.extend_from_slice(digest.as_bytes());
            }
        }
        let key =
            KeyBuilder::new(&Namespace::default(), "inputs").number(self.files.len() as u64).bytes(&bytes);
        Digest::new(HashFunction::Blake3, *key.finish().as_bytes())
    }

    /// Returns the input at `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Input> {
        let at = self.files.binary_search_by(|input| input.path.cmp(path)).ok()?;
        Some(&self.files[at])
    }
}
