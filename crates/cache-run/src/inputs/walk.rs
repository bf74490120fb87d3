//! Walking directories along patterns, without entering what cannot match.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_core::{Anchor, RelPath, TreePath};
use rayon::prelude::*;

use super::pattern::{Pattern, States, is_vcs};
use super::{Found, InputError, Kind, MAX_INPUTS, Stat};
use crate::base::canonical;

/// After so many entries of directories, several threads read what is left: two milliseconds of work were done by then,
/// so there is likely more of it than it takes to start the threads.
const MANY_ENTRIES: usize = 1000;
/// How many directories must be left for that, so that each thread gets some.
const ENOUGH_DIRECTORIES: usize = 8;

/// Collects files.
pub(super) struct Collector<'a> {
    pub(super) base: &'a Path,
    pub(super) excludes: &'a [Pattern],
    pub(super) files: Vec<Found>,
    /// How many files were found by all collectors of one listing.
    pub(super) total: &'a AtomicUsize,
}

/// What a walk follows.
struct Route<'a> {
    patterns: &'a [Pattern],
    enters_vcs: bool,
}

/// A directory that is to be read.
struct Directory {
    path: PathBuf,
    anchor: Anchor,
    /// The path from the anchor, with a `/` behind it unless it is empty.
    prefix: Vec<u8>,
    /// Where each of the walk's patterns is.
    states: Vec<States>,
}

impl Collector<'_> {
    /// Returns whether an exclusion covers `path`.
    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        self.excludes.iter().any(|pattern| pattern.excludes(path))
    }

    /// Adds the file or link at `path`.
    pub(super) fn add(&mut self, path: &Path, stat: Stat) -> Result<(), InputError> {
        let tree_path = TreePath::new(self.base, path)?;
        self.push(tree_path, path, stat)
    }

    fn push(&mut self, tree_path: TreePath, path: &Path, stat: Stat) -> Result<(), InputError> {
        match stat.kind {
            Kind::File | Kind::Symlink => {}
            Kind::Directory => return Ok(()),
            Kind::Special => return Err(InputError::Special { path: path.to_path_buf() }),
        }
        self.found(tree_path, stat)?;
        if stat.kind == Kind::Symlink {
            self.add_behind(path)?;
        }
        Ok(())
    }

    /// Adds the file behind the link at `path`, if there is one: what reads the link reads that file.
    fn add_behind(&mut self, path: &Path) -> Result<(), InputError> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
        let stat = Stat::new(&metadata);
        if stat.kind != Kind::File {
            return Ok(());
        }
        let Ok(target) = canonical(path) else { return Ok(()) };
        if self.is_excluded(&target) {
            return Ok(());
        }
        self.found(TreePath::new(self.base, &target)?, stat)
    }

    /// Adds all files below `root` that match one of `patterns`, which start there, and tells `matched` which did.
    /// A root that is no directory has no files below it.
    pub(super) fn walk(
        &mut self,
        root: &Path,
        patterns: &[Pattern],
        mut matched: impl FnMut(usize),
    ) -> Result<(), InputError> {
        if self.excludes.iter().any(|pattern| pattern.excludes_below(root)) {
            return Ok(());
        }
        let route = Route { patterns, enters_vcs: patterns.iter().any(|pattern| pattern.names_vcs) };
        let start = patterns.iter().map(Pattern::start).collect();
        let mut pending = vec![self.directory(root.to_path_buf(), start)?];
        let mut hit = vec![false; patterns.len()];
        let mut entries = 0;
        while let Some(directory) = pending.pop() {
            entries += self.read(&directory, &route, &mut pending, &mut hit)?;
            if entries < MANY_ENTRIES || pending.len() < ENOUGH_DIRECTORIES {
                continue;
            }
            let parts = std::mem::take(&mut pending).into_par_iter().map(|directory| {
                let mut part = Collector { files: Vec::new(), ..*self };
                let (mut pending, mut hit) = (vec![directory], vec![false; patterns.len()]);
                while let Some(directory) = pending.pop() {
                    part.read(&directory, &route, &mut pending, &mut hit)?;
                }
                Ok((part.files, hit))
            });
            for (files, hits) in parts.collect::<Result<Vec<_>, InputError>>()? {
                self.files.extend(files);
                hit.iter_mut().zip(hits).for_each(|(hit, also)| *hit |= also);
            }
        }
        (0..patterns.len()).filter(|at| hit[*at]).for_each(&mut matched);
        Ok(())
    }

    /// Adds the entries of one directory that match, and puts the directories in it that may have more on `pending`.
    /// Returns how many entries it has.
    fn read(
        &mut self,
        directory: &Directory,
        route: &Route<'_>,
        pending: &mut Vec<Directory>,
        hit: &mut [bool],
    ) -> Result<usize, InputError> {
        let entries = match fs::read_dir(&directory.path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(0),
            Err(error) => return Err(InputError::io(&directory.path, error)),
        };
        let exclusions: Vec<_> = self.excludes.iter().filter_map(|p| p.enter(&directory.path)).collect();
        let mut next = vec![0; route.patterns.len()];
        let mut seen = 0;
        for entry in entries {
            seen += 1;
            let entry = entry.map_err(|error| InputError::io(&directory.path, error))?;
            let name = entry.file_name();
            if is_vcs(&name) && !route.enters_vcs {
                continue;
            }
            let mut alive = 0;
            for (at, pattern) in route.patterns.iter().enumerate() {
                next[at] = pattern.step(directory.states[at], &name);
                alive |= next[at];
            }
            if alive == 0 {
                continue;
            }
            let is_directory = match entry.file_type() {
                Ok(file_type) => file_type.is_dir(),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(InputError::io(&entry.path(), error)),
            };
            if exclusions.iter().any(|exclusion| exclusion.excludes(&name, is_directory)) {
                continue;
            }
            if is_directory {
                pending.push(self.below(directory, &name, next.clone())?);
                continue;
            }
            let mut accepted = false;
            for (at, pattern) in route.patterns.iter().enumerate() {
                if pattern.accepts(next[at]) {
                    accepted = true;
                    hit[at] = true;
                }
            }
            if accepted {
                self.add_entry(directory, &name, &entry)?;
            }
        }
        Ok(seen)
    }

    /// Takes note of another file.
    fn found(&mut self, path: TreePath, stat: Stat) -> Result<(), InputError> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= MAX_INPUTS {
            return Err(InputError::TooMany);
        }
        self.files.push(Found { path, stat });
        Ok(())
    }

    fn add_entry(&mut self, directory: &Directory, name: &OsStr, entry: &DirEntry) -> Result<(), InputError> {
        let stat = match entry.metadata() {
            Ok(metadata) => Stat::new(&metadata),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(InputError::io(&entry.path(), error)),
        };
        let tree_path =
            TreePath { anchor: directory.anchor, path: RelPath::new(extended(directory, name, 0)?)? };
        if stat.kind == Kind::File {
            return self.found(tree_path, stat);
        }
        self.push(tree_path, &entry.path(), stat)
    }

    /// Returns the directory at `path`, with its place in the tree.
    fn directory(&self, path: PathBuf, states: Vec<States>) -> Result<Directory, InputError> {
        let (anchor, mut prefix) = if path == self.base {
            (Anchor::Base, Vec::new())
        } else if path.parent().is_none() {
            // On Windows a path from the root begins with the drive.
            let drive = if cfg!(windows) { path.to_string_lossy().replace('\\', "") } else { String::new() };
            (Anchor::Root, drive.into_bytes())
        } else {
            let TreePath { anchor, path } = TreePath::new(self.base, &path)?;
            (anchor, Vec::from(path))
        };
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        Ok(Directory { path, anchor, prefix, states })
    }

    /// Returns the directory `name` in `parent`.
    fn below(&self, parent: &Directory, name: &OsStr, states: Vec<States>) -> Result<Directory, InputError> {
        let path = parent.path.join(name);
        if parent.anchor == Anchor::Root {
            // It may be the base, or a directory above it.
            return self.directory(path, states);
        }
        let mut prefix = extended(parent, name, 1)?;
        prefix.push(b'/');
        Ok(Directory { path, anchor: parent.anchor, prefix, states })
    }
}

/// Returns the path of `name` in `directory`, with room for `spare` more bytes.
fn extended(directory: &Directory, name: &OsStr, spare: usize) -> Result<Vec<u8>, InputError> {
    if cfg!(windows) && name.to_str().is_none() {
        // Reports the name as what it is: not Unicode.
        RelPath::from_path(Path::new(name))?;
    }
    let name = name.as_encoded_bytes();
    let mut bytes = Vec::with_capacity(directory.prefix.len() + name.len() + spare);
    bytes.extend_from_slice(&directory.prefix);
    bytes.extend_from_slice(name);
    Ok(bytes)
}

/// Returns whether an error says that there is nothing, or no directory, at a path.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
