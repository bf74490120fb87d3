//! Dependency files: what compilers write with `-MD`, `--emit=dep-info` and the like.
//!
//! The syntax is the part of Make that compilers emit. Where writers and readers disagree, this parser follows
//! what gcc (`libcpp/mkdeps.cc`), clang (`DependencyFile.cpp`) and rustc write, and reads as Ninja does
//! (`depfile_parser.in.cc`):
//!
//! - `2N+1` backslashes before a space or tab are `N` backslashes and that character, `2N` are `2N` and end the name;
//! - `\#` is `#`, `\:` is `:`, `$$` is `$`; every other backslash and dollar stands for itself;
//! - an odd number of backslashes at the end of a line continues the line and ends the name;
//! - a colon ends a target only where blank space follows, so `C:\x` and `C:/x` are names;
//! - a rule without dependencies whose target is a dependency elsewhere (gcc's `-MP`) is not a target.
//!
//! A name that was written without the escapes it needs comes out as another name, which then does not exist. A
//! caller must treat a dependency that does not exist as a reason not to store.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest dependency file that is read, in bytes. A Chromium object file lists about 3,000 headers, 300 kB.
pub const MAX_DEPFILE_BYTES: u64 = 64 << 20;

/// The longest name taken for a path, in bytes: Linux allows 4 KiB, Windows 64 KiB. Anything longer is not a path.
pub const MAX_NAME_BYTES: usize = 64 << 10;

/// What a dependency file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depfile {
    /// What was made: the left sides of all rules, each once, in order of appearance.
    pub targets: Vec<PathBuf>,
    /// The files that were read: the right sides of all rules, each once, in order of appearance, as spelled.
    pub deps: Vec<PathBuf>,
    /// The environment variables that were read (`# env-dep:` lines of rustc), in order of appearance.
    pub env: Vec<EnvDep>,
}

/// An environment variable that the compiler looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvDep {
    /// The name of the variable.
    pub name: OsString,
    /// The value that was seen; `None` when the variable was not set.
    pub value: Option<OsString>,
}

/// Why a dependency file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepfileError {
    /// The file cannot be read.
    #[error(
        "cannot read the dependency file {}: {source}; check that the command writes it and that --depfile names it",
        path.display()
    )]
    Io {
        /// The dependency file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is longer than [`MAX_DEPFILE_BYTES`].
    #[error("the dependency file {} is larger than {MAX_DEPFILE_BYTES} bytes; it is hardly a dependency file", path.display())]
    TooLarge {
        /// The dependency file.
        path: PathBuf,
    },
    /// A line is no rule: it has no colon after its targets.
    #[error(
        "line {line} of the dependency file has no `target:`; it is damaged or not a Make dependency file"
    )]
    MissingColon {
        /// The line on which the rule begins, from 1.
        line: usize,
    },
    /// The file ends in the middle of an escape.
    #[error("the dependency file ends in the middle of line {line}; the command did not finish writing it")]
    Truncated {
        /// The last line, from 1.
        line: usize,
    },
    /// A name holds a NUL byte, is longer than [`MAX_NAME_BYTES`], or is not Unicode where paths must be.
    #[error(
        "line {line} of the dependency file has a name that cannot be a path; it is damaged or not a dependency file"
    )]
    BadName {
        /// The line, from 1.
        line: usize,
    },
}

/// Returns what the dependency file at `path` says.
///
/// # Errors
/// As [`parse`], and [`DepfileError::Io`], [`DepfileError::TooLarge`].
pub fn read(path: &Path) -> Result<Depfile, DepfileError> {
    let io = |source| DepfileError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_DEPFILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_DEPFILE_BYTES {
        return Err(DepfileError::TooLarge { path: path.to_owned() });
    }
    parse(&bytes)
}

/// Returns what the contents of a dependency file say, in time linear in their length.
///
/// # Errors
/// [`DepfileError::MissingColon`], [`DepfileError::Truncated`] or [`DepfileError::BadName`].
pub fn parse(bytes: &[u8]) -> Result<Depfile, DepfileError> {
    let mut parser = Parser { bytes, at: 0, line: 1 };
    let mut found = Collector::default();
    while parser.skip_to_rule() {
        if parser.peek(0) == Some(b'#') {
            let line = parser.line;
            if let Some(text) = env_text(parser.rest_of_line()) {
                found.out.env.push(env_dep(text).ok_or(DepfileError::BadName { line })?);
            }
        } else {
            parser.rule(&mut found)?;
        }
    }
    Ok(found.finish())
}

#[derive(Default)]
struct Collector {
    out: Depfile,
    seen_deps: HashSet<PathBuf>,
    seen_targets: HashSet<PathBuf>,
    /// Targets of rules without dependencies: gcc's `-MP` writes one for each header.
    bare: HashSet<PathBuf>,
}

impl Collector {
    fn add_rule(&mut self, targets: Vec<PathBuf>, has_deps: bool) {
        for target in targets {
            if has_deps {
                self.bare.remove(&target);
            } else if !self.seen_targets.contains(&target) {
                self.bare.insert(target.clone());
            }
            if self.seen_targets.insert(target.clone()) {
                self.out.targets.push(target);
            }
        }
    }

    fn add_dep(&mut self, dep: PathBuf) {
        if self.seen_deps.insert(dep.clone()) {
            self.out.deps.push(dep);
        }
    }

    fn finish(mut self) -> Depfile {
        self.out.targets.retain(|target| !(self.bare.contains(target) && self.seen_deps.contains(target)));
        self.out
    }
}

/// Where a word stands: a colon ends only a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Targets,
    Deps,
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// Returns the length of the line end that stands `ahead`, 0 if there is none.
    fn line_end(&self, ahead: usize) -> usize {
        match (self.peek(ahead), self.peek(ahead + 1)) {
            (Some(b'\n'), _) => 1,
            (Some(b'\r'), Some(b'\n')) => 2,
            _ => 0,
        }
    }

    fn is_blank(&self, ahead: usize) -> bool {
        matches!(self.peek(ahead), None | Some(b' ' | b'\t')) || self.line_end(ahead) > 0
    }

    fn skip_blanks(&mut self) {
        loop {
            let continued = if self.peek(0) == Some(b'\\') { self.line_end(1) } else { 0 };
            if continued > 0 {
                self.at += 1 + continued;
                self.line += 1;
            } else if matches!(self.peek(0), Some(b' ' | b'\t')) {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// Skips blank lines; returns whether anything is left.
    fn skip_to_rule(&mut self) -> bool {
        loop {
            self.skip_blanks();
            match self.line_end(0) {
                0 => return self.peek(0).is_some(),
                n => {
                    self.at += n;
                    self.line += 1;
                }
            }
        }
    }

    fn rest_of_line(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += len;
        rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len])
    }

    fn rule(&mut self, found: &mut Collector) -> Result<(), DepfileError> {
        let line = self.line;
        let (mut side, mut targets, mut has_deps) = (Side::Targets, Vec::new(), false);
        loop {
            self.skip_blanks();
            if self.peek(0).is_none() || self.line_end(0) > 0 {
                break;
            }
            let word = self.word(side)?;
            if !word.is_empty() {
                let path = to_path(word).ok_or(DepfileError::BadName { line: self.line })?;
                if side == Side::Targets {
                    targets.push(path);
                } else {
                    has_deps = true;
                    found.add_dep(path);
                }
            }
            if side == Side::Targets && self.peek(0) == Some(b':') {
                self.at += 1;
                side = Side::Deps;
            }
        }
        if side == Side::Targets {
            return Err(DepfileError::MissingColon { line });
        }
        found.add_rule(targets, has_deps);
        Ok(())
    }

    /// Returns whether the colon `ahead` ends the targets of a rule.
    fn ends_targets(&self, ahead: usize) -> bool {
        self.is_blank(ahead + 1) || (self.peek(ahead + 1) == Some(b'\\') && self.line_end(ahead + 2) > 0)
    }

    /// Reads one name; stops at blank space, at a line end, or at the colon that ends the targets.
    fn word(&mut self, side: Side) -> Result<Vec<u8>, DepfileError> {
        let mut name = Vec::new();
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => {
                    if !self.backslashes(side, &mut name)? {
                        break;
                    }
                }
                _ if self.is_blank(0) => break,
                b':' if side == Side::Targets && self.ends_targets(0) => break,
                b'$' if self.peek(1) == Some(b'$') => {
                    name.push(b'$');
                    self.at += 2;
                }
                0 => return Err(DepfileError::BadName { line: self.line }),
                _ => {
                    name.push(byte);
                    self.at += 1;
                }
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(DepfileError::BadName { line: self.line });
            }
        }
        Ok(name)
    }

    /// Reads a run of backslashes and what they escape; returns whether the name goes on.
    fn backslashes(&mut self, side: Side, name: &mut Vec<u8>) -> Result<bool, DepfileError> {
        let run = self.bytes[self.at..].iter().take_while(|&&byte| byte == b'\\').count();
        let odd = run % 2 == 1;
        let (kept, consumed, goes_on) = match self.peek(run) {
            None if odd => return Err(DepfileError::Truncated { line: self.line }),
            Some(b' ' | b'\t') if odd => (run / 2, run + 1, true),
            Some(b'#') => (run - 1, run + 1, true),
            // `dir\: dep` is a directory as a target of some Windows tools, `a\: b` as a dependency a file `a:`.
            Some(b':') if side == Side::Deps || !self.ends_targets(run) => (run - 1, run + 1, true),
            // The last backslash is left for `skip_blanks`, which takes it together with the line end.
            _ if odd && self.line_end(run) > 0 => (run - 1, run - 1, false),
            _ => (run, run, !self.is_blank(run)),
        };
        if name.len() + kept > MAX_NAME_BYTES {
            return Err(DepfileError::BadName { line: self.line });
        }
        name.resize(name.len() + kept, b'\\');
        if consumed > run {
            name.push(self.bytes[self.at + run]);
        }
        self.at += consumed;
        Ok(goes_on)
    }
}

/// Returns the part of a comment of rustc that says what the compiler saw of the environment.
fn env_text(comment: &[u8]) -> Option<&[u8]> {
    comment.strip_prefix(b"# env-dep:")
}

/// Reads `NAME` or `NAME=value`; `None` if either cannot be in an environment.
fn env_dep(text: &[u8]) -> Option<EnvDep> {
    let (name, value) = match memchr::memchr(b'=', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let decode = |bytes: &[u8]| to_os_string(unescape_env(bytes));
    let name = decode(name).filter(|name| !name.is_empty())?;
    let value = match value {
        Some(value) => Some(decode(value)?),
        None => None,
    };
    Some(EnvDep { name, value })
}

/// Undoes rustc's `escape_dep_env`: `\\`, `\n` and `\r`.
fn unescape_env(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let escaped = match (byte, rest.peek()) {
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'\\')) => b'\\',
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.push(escaped);
        rest.next();
    }
    out
}

fn to_path(bytes: Vec<u8>) -> Option<PathBuf> {
    to_os_string(bytes).map(PathBuf::from)
}

#[cfg(unix)]
pub(crate) fn to_os_string(bytes: Vec<u8>) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes))
}

#[cfg(not(unix))]
pub(crate) fn to_os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(OsString::from)
}
