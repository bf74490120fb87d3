//! Which files a command makes, and how they get into the store.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::base::normalize;
use cache_core::stat::permissions;
use cache_core::{Output, OutputKind, RelPath};
use cache_fs::FsStore;
use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem::Finder;

/// More files than this are no result of one command; somebody's `-o` is wrong.
const MAX_OUTPUTS: usize = 1_000_000;

/// A declared output: a file, a directory, or a glob.
#[derive(Clone, Debug)]
pub struct OutputPattern {
    /// As it was written.
    text: String,
    /// The path, or the longest part of the glob that has no wildcard, relative to the base; the base itself if nothing.
    root: Option<RelPath>,
    /// What the whole path, relative to the base, must look like.
    glob: Option<GlobMatcher>,
    /// Written with a `/` at its end: the directory belongs to the command, and what is not a result is removed from it.
    owned: bool,
}

/// Why a declaration of outputs makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the output `{pattern}` {why}")]
pub struct OutputPatternError {
    pattern: String,
    why: String,
}

/// Why outputs could not be taken into the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The command did not make what was declared.
    #[error("declared output {0} is missing · correct the -o, or make the command write it")]
    Missing(String),
    /// There is something that is neither file, directory nor link.
    #[error("output {0} is a device, socket or pipe, which cannot be cached · exclude it from -o")]
    Special(String),
    /// There is more than is allowed.
    #[error("outputs are larger than {limit} bytes · raise --max-entry or declare less")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A path cannot be stored.
    #[error("{0} · rename it")]
    Path(#[from] cache_core::PathError),
    /// The system refused.
    #[error("cannot read the output {path}: {source}")]
    Io {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store refused. The command is fine.
    #[error(transparent)]
    Store(#[from] cache_core::Error),
}

impl OutputPattern {
    /// Returns the output that `text` declares, seen from `cwd`, below `base`; both absolute.
    ///
    /// # Errors
    /// If it lies outside of `base`, is `base` itself, or is no glob.
    pub fn parse(base: &Path, cwd: &Path, text: &str) -> Result<Self, OutputPatternError> {
        let fail = |why: &str| OutputPatternError { pattern: text.to_owned(), why: why.to_owned() };
        let has_wildcard = text.contains(['*', '?', '[', '{']);
        let owned = text.ends_with('/');
        if text.is_empty() {
            return Err(fail("is empty"));
        }
        if has_wildcard && owned {
            return Err(fail(
                "is a glob, and only one directory can be owned: write it without the `/` at its end",
            ));
        }
        let absolute = normalize(cwd, Path::new(text));
        let below = absolute.strip_prefix(base).map_err(|_| {
            fail(&format!(
                "lies outside of the base directory {}: use --base with a directory above both",
                base.display()
            ))
        })?;
        let whole = RelPath::from_path(below)
            .map_err(|_| fail("is the base directory itself: name what the command makes in it"))?;
        if !has_wildcard {
            return Ok(Self { text: text.to_owned(), root: Some(whole), glob: None, owned });
        }
        let pattern =
            std::str::from_utf8(whole.as_bytes()).map_err(|_| fail("is a glob that is not Unicode"))?;
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|error| fail(&format!("is no glob: {}", error.kind())))?
            .compile_matcher();
        let fixed: Vec<&str> =
            pattern.split('/').take_while(|part| !part.contains(['*', '?', '[', '{'])).collect();
        let root = RelPath::new(fixed.join("/")).ok();
        Ok(Self { text: text.to_owned(), root, glob: Some(glob), owned: false })
    }

    /// Returns the pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the directory that belongs to the command, if this declares one.
    pub fn owned_dir(&self) -> Option<&RelPath> {
        self.root.as_ref().filter(|_| self.owned)
    }

    /// Gives the command files of its own where an earlier restore left read-only links to the cache, as far as they
    /// are declared by name: written in place, a link would refuse, or change what is stored.
    pub fn unshare(&self, base: &Path) {
        let root = self.root.as_ref().filter(|_| self.glob.is_none()).and_then(|root| root.to_native().ok());
        let mut pending: Vec<PathBuf> = root.into_iter().map(|path| base.join(path)).collect();
        while let Some(path) = pending.pop() {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                pending.extend(list(&path).unwrap_or_default().iter().map(|name| path.join(name)));
            } else if is_shared(&metadata) {
                // What fails here fails for the command too, which says it better.
                let _ = replace_with_copy(&path);
            }
        }
    }

    /// Returns whether the command may make something at `path`.
    pub fn covers(&self, path: &RelPath) -> bool {
        match (&self.glob, &self.root) {
            (None, Some(root)) => path.starts_with(root),
            // A directory that a glob matches comes with all that is in it.
            (Some(glob), _) => {
                let mut candidate = Some(path.clone());
                std::iter::from_fn(|| {
                    let current = candidate.take()?;
                    candidate = current.parent();
                    Some(current)
                })
                .any(|path| path.to_native().is_ok_and(|native| glob.is_match(native)))
            }
            (None, None) => false,
        }
    }
}

/// The outputs of a command, their content in the store.
#[derive(Debug, Default)]
pub struct Captured {
    /// Sorted by path.
    pub outputs: Vec<Output>,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Whether a file contains one of the needles that [`Capture::new`] was given.
    pub found_needle: bool,
}

/// Takes declared outputs into a store.
pub struct Capture<'a> {
    store: &'a FsStore,
    base: &'a Path,
    max_bytes: u64,
    needles: Vec<Finder<'a>>,
    found: Captured,
}

impl<'a> Capture<'a> {
    /// Returns a capture of what lies below `base`, of at most `max_bytes`, which notices files that contain one of
    /// `needles`.
    pub fn new(store: &'a FsStore, base: &'a Path, max_bytes: u64, needles: &'a [Vec<u8>]) -> Self {
        let needles = needles.iter().map(Finder::new).collect();
        Self { store, base, max_bytes, needles, found: Captured::default() }
    }

    /// Stores everything that `patterns` declare, and `optional` files where they exist.
    ///
    /// # Errors
    /// If something declared is missing, cannot be cached, is too large, or the store refuses.
    pub fn run(
        mut self,
        patterns: &[OutputPattern],
        optional: Option<&RelPath>,
    ) -> Result<Captured, CaptureError> {
        for pattern in patterns {
            let before = self.found.outputs.len();
            if let Some(glob) = &pattern.glob {
                self.glob(pattern.root.as_ref(), glob)?;
            } else if let Some(root) = &pattern.root {
                self.declared(root, pattern.owned)?;
            }
            if self.found.outputs.len() == before {
                return Err(CaptureError::Missing(pattern.text.clone()));
            }
        }
        if let Some(path) = optional
            && self.absolute(path)?.symlink_metadata().is_ok()
        {
            self.declared(path, false)?;
        }
        // Patterns may overlap; the same path is the same file.
        self.found.outputs.sort_by(|a, b| a.path.cmp(&b.path));
        self.found.outputs.dedup_by(|a, b| a.path == b.path);
        Ok(self.found)
    }

    fn absolute(&self, path: &RelPath) -> Result<PathBuf, CaptureError> {
        Ok(self.base.join(path.to_native()?))
    }

    fn declared(&mut self, path: &RelPath, owned: bool) -> Result<(), CaptureError> {
        let absolute = self.absolute(path)?;
        // `dir/` means the directory, also where `dir` is a link to one, as for cp and rsync.
        let found = if owned { fs::metadata(&absolute) } else { fs::symlink_metadata(&absolute) };
        match found {
            Ok(metadata) if owned && !metadata.is_dir() => Err(CaptureError::Missing(format!("{path}/"))),
            Ok(metadata) => self.item(path, &absolute, &metadata),
            Err(error) if is_missing(&error) => Ok(()),
            Err(source) => Err(CaptureError::Io { path: path.to_string(), source }),
        }
    }

    fn item(&mut self, path: &RelPath, absolute: &Path, metadata: &Metadata) -> Result<(), CaptureError> {
        let kind = if metadata.is_dir() {
            return self.directory(path, absolute);
        } else if metadata.is_symlink() {
            OutputKind::Symlink { target: read_link(absolute).map_err(|source| io_error(path, source))? }
        } else if metadata.is_file() {
            self.file(path, absolute, metadata)?
        } else {
            return Err(CaptureError::Special(path.to_string()));
        };
        self.push(Output { path: path.clone(), kind })
    }

    fn push(&mut self, output: Output) -> Result<(), CaptureError> {
        self.found.outputs.push(output);
        if self.found.outputs.len() > MAX_OUTPUTS || self.found.bytes > self.max_bytes {
            return Err(CaptureError::TooLarge { limit: self.max_bytes });
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &RelPath,
        absolute: &Path,
        metadata: &Metadata,
    ) -> Result<OutputKind, CaptureError> {
        // Checked before a byte is copied: a file over the limit must not evict half of the cache first.
        self.found.bytes = self.found.bytes.saturating_add(metadata.len());
        if self.found.bytes > self.max_bytes {
            return Err(CaptureError::TooLarge { limit: self.max_bytes });
        }
        let (digest, len) = self.store.import_file(absolute)?;
        if !self.found.found_needle && !self.needles.is_empty() {
            self.found.found_needle =
                contains(absolute, &self.needles).map_err(|source| io_error(path, source))?;
        }
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        Ok(OutputKind::File { digest, len, mode: permissions(metadata), modified_ns })
    }

    /// Takes all that is in a directory; the depth is bounded by the length of a path.
    fn directory(&mut self, path: &RelPath, absolute: &Path) -> Result<(), CaptureError> {
        let names = list(absolute).map_err(|source| io_error(path, source))?;
        if names.is_empty() {
            return self.push(Output { path: path.clone(), kind: OutputKind::Directory });
        }
        for name in names {
            let (child, absolute) = (path.join(&name)?, absolute.join(&name));
            let metadata = fs::symlink_metadata(&absolute).map_err(|source| io_error(&child, source))?;
            self.item(&child, &absolute, &metadata)?;
        }
        Ok(())
    }

    fn glob(&mut self, root: Option<&RelPath>, glob: &GlobMatcher) -> Result<(), CaptureError> {
        let mut pending = vec![root.cloned()];
        while let Some(dir) = pending.pop() {
            let absolute = dir.as_ref().map_or_else(|| Ok(self.base.to_owned()), |dir| self.absolute(dir))?;
            let names = match list(&absolute) {
                Ok(names) => names,
                Err(error) if is_missing(&error) || error.kind() == io::ErrorKind::NotADirectory => continue,
                Err(source) => return Err(CaptureError::Io { path: absolute.display().to_string(), source }),
            };
            for name in names {
                let path = match &dir {
                    Some(dir) => dir.join(&name)?,
                    None => RelPath::from_path(Path::new(&name))?,
                };
                let absolute = absolute.join(&name);
                let metadata = fs::symlink_metadata(&absolute).map_err(|source| io_error(&path, source))?;
                if glob.is_match(path.to_native()?) {
                    self.item(&path, &absolute, &metadata)?;
                } else if metadata.is_dir() {
                    pending.push(Some(path));
                }
            }
        }
        Ok(())
    }
}

fn io_error(path: &RelPath, source: io::Error) -> CaptureError {
    CaptureError::Io { path: path.to_string(), source }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn list(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Reads a file in pieces and looks for each needle, also across the borders of pieces.
fn contains(path: &Path, needles: &[Finder<'_>]) -> io::Result<bool> {
    use std::io::Read;
    const PIECE: usize = 256 << 10;
    let overlap = needles.iter().map(|finder| finder.needle().len()).max().unwrap_or(0).saturating_sub(1);
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; overlap + PIECE];
    let mut kept = 0;
    loop {
        let read = file.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if needles.iter().any(|finder| finder.find(&buffer[..filled]).is_some()) {
            return Ok(true);
        }
        kept = filled.min(overlap);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// Returns whether this looks like a link that a restore made.
#[cfg(unix)]
fn is_shared(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.is_file() && metadata.nlink() > 1 && metadata.mode() & 0o222 == 0
}

#[cfg(not(unix))]
fn is_shared(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.permissions().readonly()
}

fn replace_with_copy(path: &Path) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut copy = tempfile::Builder::new().prefix(".vitte-restore-").tempfile_in(dir)?;
    io::copy(&mut fs::File::open(path)?, &mut copy)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode();
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(mode | 0o200))?;
    }
    copy.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(unix)]
fn read_link(path: &Path) -> io::Result<Vec<u8>> {
    Ok(std::os::unix::ffi::OsStringExt::into_vec(fs::read_link(path)?.into_os_string()))
}

#[cfg(not(unix))]
fn read_link(path: &Path) -> io::Result<Vec<u8>> {
    let target = fs::read_link(path)?;
    let text = target.to_str().ok_or_else(|| io::Error::other("its target is not valid Unicode"))?;
    Ok(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OutputPattern, OutputPatternError> {
        OutputPattern::parse(Path::new("/base"), Path::new("/base/sub"), text)
    }

    fn covers(pattern: &str, path: &str) -> bool {
        parse(pattern).unwrap().covers(&RelPath::new(path).unwrap())
    }

    #[test]
    fn what_a_pattern_covers() {
        assert!(covers("out.txt", "sub/out.txt") && !covers("out.txt", "out.txt"));
        assert!(covers("gen/", "sub/gen/a/b") && !covers("gen/", "sub/general"));
        assert!(covers("../top", "top"));
        assert!(covers("*.o", "sub/a.o") && !covers("*.o", "sub/x/a.o") && !covers("*.o", "a.o"));
        assert!(covers("x/**/*.o", "sub/x/y/z/a.o") && covers("d*", "sub/dir/file"));
    }

    #[test]
    fn what_is_no_output() {
        for bad in ["", "..", "../", "../..", "/etc/passwd", "../../etc", "*/", "[z-a]"] {
            let error = parse(bad).map(|p| p.text).unwrap_err();
            assert!(error.to_string().starts_with("the output `"), "{error}");
        }
    }

    #[test]
    fn needles_are_found_across_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for at in [0, (256 << 10) - 3, 256 << 10, 600_000] {
            let mut content = vec![b'x'; 700_000];
            content[at..at + 7].copy_from_slice(b"/my/dir");
            fs::write(&path, content).unwrap();
            assert!(contains(&path, &[Finder::new(b"/my/dir")]).unwrap(), "{at}");
            assert!(!contains(&path, &[Finder::new(b"/my/dirs")]).unwrap());
        }
    }
}
