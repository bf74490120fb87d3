//! Where inputs come from: patterns, lists and git.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cache_core::Digest;

use super::pattern::{self, Pattern};
use super::walk::{Collector, is_gone};
use super::{InputError, Kind, Stat};
use crate::base::normalize;

/// The longest list that is read, in bytes: a million paths of 64.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// One pattern, or one alternative of it.
#[derive(Debug)]
struct Source {
    /// Which of the texts it comes from.
    text: usize,
    kind: SourceKind,
}

#[derive(Debug)]
enum SourceKind {
    /// A name without wildcards. Unless it is one of several alternatives, it must exist.
    Name { pattern: Pattern, required: bool },
    /// A glob.
    Glob(Pattern),
    /// What git lists below a path.
    Git(PathBuf),
}

/// All patterns of a run.
#[derive(Debug)]
pub(super) struct Sources {
    cwd: PathBuf,
    /// As the user wrote them, for messages.
    texts: Vec<String>,
    all: Vec<Source>,
    pub(super) excludes: Vec<Pattern>,
    /// The lists that were read, and what was in them.
    pub(super) lists: Vec<(PathBuf, Digest)>,
}

/// Walks that start at the same directory are one.
type Walks = BTreeMap<PathBuf, (Vec<Pattern>, Vec<usize>)>;

impl Sources {
    /// Returns what `patterns` mean in `cwd`.
    pub(super) fn parse<I>(cwd: PathBuf, patterns: I) -> Result<Self, InputError>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let (texts, all, excludes, lists) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut sources = Self { cwd, texts, all, excludes, lists };
        for pattern in patterns {
            let pattern = pattern.as_ref();
            match pattern.as_encoded_bytes().strip_prefix(b"@") {
                Some(rest) if !rest.starts_with(b"git:") => sources.add_list(pattern)?,
                _ => sources.add(pattern)?,
            }
        }
        Ok(sources)
    }

    /// Returns `path` as seen from the current directory, absolute.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        normalize(&self.cwd, path)
    }

    fn add(&mut self, pattern: &OsStr) -> Result<(), InputError> {
        let Some(text) = pattern.to_str() else { return self.add_bytes(pattern) };
        if let Some(excluded) = text.strip_prefix('!') {
            let pattern = pattern::parse(excluded, &self.cwd).map_err(|error| rename(error, text))?;
            self.excludes.extend(pattern);
            return Ok(());
        }
        let index = self.texts.len();
        self.texts.push(text.to_owned());
        if let Some(path) = text.strip_prefix("@git:") {
            let path = self.absolute(Path::new(path));
            self.all.push(Source { text: index, kind: SourceKind::Git(path) });
            return Ok(());
        }
        let patterns = pattern::parse(text, &self.cwd)?;
        let required = patterns.len() == 1;
        for pattern in patterns {
            let kind = if pattern.is_literal() {
                SourceKind::Name { pattern, required }
            } else {
                SourceKind::Glob(pattern)
            };
            self.all.push(Source { text: index, kind });
        }
        if pattern::has_wildcard(text) {
            let pattern = Pattern::literal(self.absolute(Path::new(text)));
            self.all.push(Source { text: index, kind: SourceKind::Name { pattern, required: false } });
        }
        Ok(())
    }

    /// Adds a pattern that is not Unicode, which can only be a name.
    fn add_bytes(&mut self, pattern: &OsStr) -> Result<(), InputError> {
        let bytes = pattern.as_encoded_bytes();
        if bytes.iter().any(|byte| b"*?[{\\".contains(byte)) || matches!(bytes.first(), Some(b'!' | b'@')) {
            let text = pattern.to_string_lossy();
            let why = "is not Unicode and has a `*`, `?`, `[`, `{`, `\\`, `!` or `@`; write a pattern that matches it, such as `*`";
            return Err(InputError::pattern(&text, why));
        }
        self.texts.push(pattern.to_string_lossy().into_owned());
        let pattern = Pattern::literal(self.absolute(Path::new(pattern)));
        let kind = SourceKind::Name { pattern, required: true };
        self.all.push(Source { text: self.texts.len() - 1, kind });
        Ok(())
    }

    /// Adds the list `@path` and the patterns in it.
    fn add_list(&mut self, pattern: &OsStr) -> Result<(), InputError> {
        let text = pattern.to_string_lossy();
        let Some(name) =
            pattern.to_str().and_then(|text| text.strip_prefix('@')).filter(|name| !name.is_empty())
        else {
            return Err(InputError::pattern(
                &text,
                "names no list; write @FILE, or ./@name for a file called that",
            ));
        };
        let path = self.absolute(Path::new(name));
        let fail = |error| InputError::io(&path, error);
        let file = File::open(&path).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(InputError::pattern(&text, "is no regular file; write the patterns into one"));
        }
        let mut content = Vec::new();
        file.take(MAX_LIST_BYTES + 1).read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 > MAX_LIST_BYTES {
            let why = format!("is a list of more than {MAX_LIST_BYTES} bytes; use patterns with wildcards");
            return Err(InputError::pattern(&text, why));
        }
        for line in content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if line.starts_with(b"@") && !line.starts_with(b"@git:") {
                let line = String::from_utf8_lossy(line);
                let why = format!("has the list `{line}` in it; name that on the command line instead");
                return Err(InputError::pattern(&text, why));
            }
            let why = "has a line that is not UTF-8; save it as UTF-8";
            self.add(os_str(line).ok_or_else(|| InputError::pattern(&text, why))?)?;
        }
        self.texts.push(text.into_owned());
        let source = SourceKind::Name { pattern: Pattern::literal(path.clone()), required: true };
        self.all.push(Source { text: self.texts.len() - 1, kind: source });
        self.lists.push((path, Digest::blake3(&content)));
        Ok(())
    }

    /// Gives all that matches to `collector` and returns the patterns that match nothing. With `strict` it is an error
    /// if something that is named does not exist.
    pub(super) fn collect(
        &self,
        collector: &mut Collector<'_>,
        strict: bool,
    ) -> Result<Vec<String>, InputError> {
        let mut matched = vec![false; self.texts.len()];
        let mut walks = Walks::new();
        for Source { text, kind } in &self.all {
            match kind {
                SourceKind::Glob(pattern) => plan(&mut walks, pattern.clone(), *text),
                SourceKind::Name { pattern, required } => {
                    let found = add_name(collector, &mut walks, &pattern.root, *text)?;
                    matched[*text] |= found;
                    if !found && *required && strict {
                        let pattern = self.texts[*text].clone();
                        return Err(InputError::NotFound { pattern, cwd: self.cwd.clone() });
                    }
                }
                SourceKind::Git(path) => {
                    if path.symlink_metadata().is_err_and(|error| is_gone(&error)) {
                        if strict {
                            let pattern = self.texts[*text].clone();
                            return Err(InputError::NotFound { pattern, cwd: self.cwd.clone() });
                        }
                        continue;
                    }
                    matched[*text] |= collector.add_git(path)?;
                }
            }
        }
        for (root, (patterns, texts)) in &walks {
            collector.walk(root, patterns, |at| matched[texts[at]] = true)?;
        }
        let missed = self.texts.iter().zip(matched).filter(|(_, matched)| !matched);
        Ok(missed.map(|(text, _)| text.clone()).collect())
    }
}

/// Adds what is called `path`; returns whether there is anything.
fn add_name(
    collector: &mut Collector<'_>,
    walks: &mut Walks,
    path: &Path,
    text: usize,
) -> Result<bool, InputError> {
    let stat = match path.symlink_metadata() {
        Ok(metadata) => Stat::new(&metadata),
        Err(error) if is_gone(&error) || error.kind() == std::io::ErrorKind::InvalidInput => {
            return Ok(false);
        }
        Err(error) => return Err(InputError::io(path, error)),
    };
    let is_directory = stat.kind == Kind::Directory || (stat.kind == Kind::Symlink && path.is_dir());
    if is_directory {
        plan(walks, Pattern::everything_below(path.to_path_buf()), text);
    }
    if stat.kind != Kind::Directory && !collector.is_excluded(path) {
        collector.add(path, stat)?;
    }
    Ok(true)
}

/// Adds a pattern to the walk that starts at its root.
fn plan(walks: &mut Walks, pattern: Pattern, text: usize) {
    let (patterns, texts) = walks.entry(pattern.root.clone()).or_default();
    patterns.push(pattern);
    texts.push(text);
}

/// Makes an error about a part of a pattern one about all of it.
fn rename(error: InputError, text: &str) -> InputError {
    match error {
        InputError::BadPattern { why, .. } => InputError::pattern(text, why),
        other => other,
    }
}

/// Returns the name that the system gives as `bytes`; nothing where names must be Unicode and it is not.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "bytes may be no name on other systems")]
pub(super) fn os_str(bytes: &[u8]) -> Option<&OsStr> {
    Some(std::os::unix::ffi::OsStrExt::from_bytes(bytes))
}

/// Returns the name that the system gives as `bytes`; nothing where names must be Unicode and it is not.
#[cfg(not(unix))]
pub(super) fn os_str(bytes: &[u8]) -> Option<&OsStr> {
    std::str::from_utf8(bytes).ok().map(OsStr::new)
}
