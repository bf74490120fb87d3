//! The directory that a store is in, whatever its layout.

use std::path::{Path, PathBuf};

use cache_core::files::create_private_dir;
use cache_core::{Error, Policy, Result};

use crate::options::{Layout, Options};
use crate::report::Note;
use crate::trust;
use crate::{disk, marker};

/// What the names of the layouts' roots begin with, each followed by its version, and the newest that is known.
const ROOTS: [(&str, u32); 2] = [("files-v", 1), ("segments-v", 1)];

/// Below this limit the least that can be evicted at a time, a segment, is too large a part of the store.
const MIN_SEGMENTED: u64 = 64 << 20;

/// Below this limit there cannot be segments at all.
#[cfg(unix)]
const LEAST_SEGMENTED: u64 = crate::segments::MIN_LIMIT;
/// Where there are no segments, no limit makes a difference.
#[cfg(not(unix))]
const LEAST_SEGMENTED: u64 = MIN_SEGMENTED;

/// A directory that was looked at.
#[derive(Debug)]
pub(crate) struct Place {
    /// Without symbolic links.
    pub(crate) dir: PathBuf,
    pub(crate) policy: Policy,
    pub(crate) read_only: bool,
}

impl Place {
    /// Creates the directory if it is absent, and refuses one in which somebody else could have put wrong content.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self> {
        if !options.read_only {
            create_private_dir(dir).map_err(|e| Error::io("cannot create the cache directory", dir, e))?;
        }
        // A symbolic link to the directory may be anybody's; the directory that is used is what is checked.
        let dir = dir.canonicalize().map_err(|e| Error::io("cannot open the cache directory", dir, e))?;
        if !options.trust_dir {
            trust::check(&dir)?;
            for (name, version) in ROOTS {
                let root = dir.join(format!("{name}{version}"));
                if root.symlink_metadata().is_ok() {
                    trust::check(&root)?;
                }
            }
        }
        let policy = options.policy.clone().unwrap_or_else(|| match disk::space(&dir) {
            Some(space) => Policy::for_disk(space.total),
            None => Policy { free_space_floor: 0, ..Policy::default() },
        });
        Ok(Self { dir, policy, read_only: options.read_only })
    }

    /// Returns the layout that `wish` means here: what is there stays, and a new store gets what suits the disk.
    pub(crate) fn layout(&self, wish: Layout) -> Layout {
        let is_there = |name: &str, version: u32| self.dir.join(format!("{name}{version}/format")).exists();
        let [(files, files_version), (segments, segments_version)] = ROOTS;
        match wish {
            Layout::Files | Layout::Segments => wish,
            // A directory may have been copied to another file system since.
            Layout::Auto if !suits_segments(&self.dir) => Layout::Files,
            Layout::Auto if self.policy.max_bytes.is_some_and(|max| max < LEAST_SEGMENTED) => Layout::Files,
            Layout::Auto if is_there(segments, segments_version) => Layout::Segments,
            Layout::Auto if is_there(files, files_version) => Layout::Files,
            Layout::Auto if self.policy.max_bytes.is_some_and(|max| max < MIN_SEGMENTED) => Layout::Files,
            Layout::Auto => Layout::Segments,
        }
    }

    /// Tells backup programs to leave the directory out.
    pub(crate) fn tag(&self, read_only: bool) {
        if !read_only {
            marker::tag(&self.dir);
        }
    }

    /// Returns a directory for a caller's own files.
    pub(crate) fn side_dir(&self, name: &str) -> Result<PathBuf> {
        let simple = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let taken = ROOTS.iter().any(|(root, _)| name.starts_with(root));
        if name.is_empty() || !name.bytes().all(simple) || taken {
            return Err(Error::Invalid(format!(
                "`{name}` cannot be the name of a directory beside the cache"
            )));
        }
        let dir = self.dir.join(name);
        if !self.read_only {
            create_private_dir(&dir).map_err(|e| Error::io("cannot create", &dir, e))?;
        }
        Ok(dir)
    }

    /// Returns what newer versions have left beside this one.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let Ok(dir) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut notes: Vec<Note> = dir
            .filter_map(|item| {
                let item = item.ok()?;
                let name = item.file_name();
                let newer = |&(root, known): &(&str, u32)| {
                    let version: u32 = name.to_str()?.strip_prefix(root)?.parse().ok()?;
                    (version > known).then_some(version)
                };
                let version = ROOTS.iter().find_map(newer)?;
                let text = format!("made by a newer version (layout {version}); it is left alone");
                Some(Note { path: item.path(), text })
            })
            .collect();
        notes.extend(layout_note(&self.dir));
        notes.sort_by(|a, b| a.path.cmp(&b.path));
        notes
    }
}

/// Says why the faster layout is not used where that has a reason.
#[cfg(unix)]
fn layout_note(dir: &Path) -> Option<Note> {
    let verdict = crate::filesystem::suits_segments(dir);
    let text = format!("one file per entry is used here: {}", verdict.reason());
    (!verdict.segments).then(|| Note { path: dir.to_owned(), text })
}

#[cfg(not(unix))]
fn layout_note(_: &Path) -> Option<Note> {
    None
}

#[cfg(unix)]
fn suits_segments(dir: &Path) -> bool {
    crate::filesystem::suits_segments(dir).segments
}

/// Segments need locks and reads that only Unix systems are known to have.
#[cfg(not(unix))]
fn suits_segments(_: &Path) -> bool {
    false
}
