//! Files that decide a value: what they contained when it was made, and whether they still do.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, PoisonError, RwLock};

use cache_core::files::{self, Links};
use cache_core::stat::{Kind, Stat, is_trustworthy};
use cache_core::{Clock, Digest, FileDependency, FileState, StatFingerprint, SystemClock, TreePath};

/// How many contents a process remembers: about 10 MB. Beyond that, all are forgotten and those in use learned again.
const MAX_KNOWN: usize = 1 << 16;

/// Which content proved to be behind a stat. Nothing is in it that breaks git's racy-clean rule, see [`Stat::settled`].
static KNOWN: LazyLock<RwLock<HashMap<StatFingerprint, Digest>>> = LazyLock::new(RwLock::default);

/// Files, sorted by path and each once.
pub(crate) struct Files(Vec<(TreePath, PathBuf)>);

/// What was seen of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    state: FileState,
    stat: Option<StatFingerprint>,
    /// Whether an equal stat later on proves equal content.
    settled: bool,
}

/// Equal before and after something means that the file stayed the same meanwhile. It may have settled by then.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        (self.state, self.stat) == (other.state, other.stat)
    }
}

impl Files {
    /// Returns the files at `paths`, relative ones from the current directory; nothing if one of them cannot be named in
    /// an entry.
    pub(crate) fn new(paths: &[PathBuf]) -> Option<Self> {
        let mut files = paths.iter().map(|path| named(path)).collect::<Option<Vec<_>>>()?;
        files.sort();
        files.dedup();
        Some(Self(files))
    }

    /// Returns whether the files are those of `recorded`, and contain the same. That takes one stat each, unless a file was
    /// touched since.
    pub(crate) fn are(&self, recorded: &[FileDependency]) -> bool {
        self.0.len() == recorded.len()
            && self.0.iter().zip(recorded).all(|((name, path), file)| *name == file.path && is(path, file))
    }

    /// Returns what the files contain; nothing if that cannot be told of one of them.
    pub(crate) fn look(&self) -> Option<Vec<Seen>> {
        self.0.iter().map(|(_, path)| look(path)).collect()
    }

    /// Returns what was seen as it is kept in an entry.
    pub(crate) fn record(&self, seen: &[Seen]) -> Vec<FileDependency> {
        let record = |((name, _), seen): (&(TreePath, PathBuf), &Seen)| FileDependency {
            path: name.clone(),
            state: seen.state,
            stat: seen.stat.filter(|_| seen.settled),
        };
        self.0.iter().zip(seen).map(record).collect()
    }
}

/// Returns a path as an entry names it, and where it is.
fn named(path: &Path) -> Option<(TreePath, PathBuf)> {
    let mut path = std::path::absolute(path).ok()?;
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        // Where `a/..` leads depends on whether `a` is a link.
        path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    }
    // Windows writes a path that it has looked up as `\\?\C:\…`, which names the same file as `C:\…`.
    if let Some(short) = path.to_str().and_then(|path| path.strip_prefix(r"\\?\")).filter(|_| cfg!(windows)) {
        path = PathBuf::from(short);
    }
    // Nothing lies below a path of one's own, so that the name is the whole path.
    Some((TreePath::new(&path.join("none"), &path).ok()?, path))
}

/// Returns what is at `path`, links followed.
fn stat(path: &Path) -> io::Result<Option<Stat>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stat::new(&metadata))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is(path: &Path, recorded: &FileDependency) -> bool {
    match stat(path) {
        Ok(Some(stat)) if recorded.stat == Some(stat.fingerprint) => true,
        Ok(Some(_)) => look(path).is_some_and(|seen| seen.state == recorded.state),
        Ok(None) => recorded.state == FileState::Absent,
        Err(_) => false,
    }
}

fn look(path: &Path) -> Option<Seen> {
    let now = SystemClock.now();
    let Some(stat) = stat(path).ok()? else {
        return Some(Seen { state: FileState::Absent, stat: None, settled: false });
    };
    if stat.kind != Kind::File {
        return None;
    }
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&stat.fingerprint).copied();
    let digest = known.map_or_else(|| read(path, &stat), Some)?;
    let settled = known.is_some() || (stat.settled(now) && is_trustworthy(path));
    if settled && known.is_none() {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(stat.fingerprint, digest);
    }
    let state = FileState::File { digest, executable: stat.executable };
    Some(Seen { state, stat: Some(stat.fingerprint), settled })
}

/// Returns the digest of a file that has been `stat` before and still is after it was read.
fn read(path: &Path, stat: &Stat) -> Option<Digest> {
    let content = files::content(path, Links::Follow).ok()?;
    (content.stat == *stat && content.len == stat.len).then_some(content.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&Path]) -> Files {
        Files::new(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>()).unwrap()
    }

    /// Returns what an entry would say about `files` now.
    fn record(files: &Files) -> Vec<FileDependency> {
        files.record(&files.look().unwrap())
    }

    #[test]
    fn files_are_told_apart_by_path_and_content() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "content").unwrap();
        fs::write(&two, "content").unwrap();
        let recorded = record(&files(&[&one]));
        assert!(files(&[&one]).are(&recorded) && !files(&[&two]).are(&recorded));
        assert!(!files(&[]).are(&recorded) && !files(&[&one, &two]).are(&recorded));
        fs::write(&one, "CONTENT").unwrap();
        assert!(!files(&[&one]).are(&recorded), "of the same length, a moment later");
        fs::write(&one, "content").unwrap();
        assert!(files(&[&one]).are(&recorded), "the content is what it was");
        fs::remove_file(&one).unwrap();
        assert!(!files(&[&one]).are(&recorded));
        let absent = record(&files(&[&one]));
        assert!(files(&[&one]).are(&absent));
        fs::write(&one, "").unwrap();
        assert!(!files(&[&one]).are(&absent), "what appears is a change");
    }

    #[test]
    fn the_order_of_files_and_the_way_to_them_mean_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let around = dir.path().join("none/../one");
        fs::create_dir(dir.path().join("none")).unwrap();
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let recorded = record(&files(&[&dir.join("one"), &dir.join("two")]));
        assert!(files(&[&dir.join("two"), &around, &dir.join("one")]).are(&recorded));
    }

    #[test]
    fn a_stat_is_believed_only_if_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let recorded = record(&files(&[&path]));
        assert_eq!(recorded[0].stat, None, "it was written a moment ago");
        let stat = stat(&path).unwrap().unwrap();
        let other = FileState::File { digest: Digest::blake3(b"other"), executable: false };
        let claimed = FileDependency { stat: Some(stat.fingerprint), state: other, ..recorded[0].clone() };
        assert!(files(&[&path]).are(&[claimed]), "what was recorded as settled is believed without reading");
    }

    #[test]
    fn of_a_directory_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert!(files(&[dir.path()]).look().is_none());
    }
}
