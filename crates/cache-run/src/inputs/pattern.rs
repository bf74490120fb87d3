//! Patterns as sequences of path components, and how a walk follows them downwards.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::InputError;
use crate::base::{VCS_NAMES, normalize};

/// How many components a pattern may have: the states of one are the bits of a word.
const MAX_SEGMENTS: usize = 63;
/// How long a pattern may be, in bytes: as long as a path. It bounds the depth of braces as well.
const MAX_LEN: usize = 4096;
/// How many patterns `{a,b}{c,d}…` may stand for.
const MAX_ALTERNATIVES: usize = 256;

/// What one component of a path must look like.
#[derive(Debug, Clone)]
enum Segment {
    Literal(OsString),
    /// `*`
    Any,
    /// `*.rs`
    Suffix(Vec<u8>),
    Glob(Box<GlobMatcher>),
    /// `**`: any number of components.
    Deep,
}

impl Segment {
    fn matches(&self, name: &OsStr) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Any | Self::Deep => true,
            Self::Suffix(suffix) => name.as_encoded_bytes().ends_with(suffix),
            Self::Glob(glob) => glob.is_match(Path::new(name)),
        }
    }
}

/// The components of a pattern that a path may have reached: a set of positions, bit by bit.
pub(super) type States = u64;

/// A pattern that starts at a directory: components that are all known, then some that are not.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// The components up to the first with a wildcard, absolute. All of the pattern if it has none.
    pub(super) root: PathBuf,
    segments: Vec<Segment>,
    /// Whether it names the directory of a version control system, which is otherwise not walked into.
    pub(super) names_vcs: bool,
}

impl Pattern {
    /// Returns the pattern that stands for everything below `root`.
    pub(super) fn everything_below(root: PathBuf) -> Self {
        let names_vcs = root.iter().any(is_vcs);
        Self { root, segments: vec![Segment::Deep], names_vcs }
    }

    /// Returns the pattern that stands for `path` alone.
    pub(super) fn literal(path: PathBuf) -> Self {
        Self { names_vcs: path.iter().any(is_vcs), root: path, segments: Vec::new() }
    }

    /// Returns the pattern that `text`, without alternatives, means to somebody in `cwd`.
    fn parse(text: &str, cwd: &Path) -> Result<Self, InputError> {
        let mut literal = PathBuf::from(if is_separator(text.chars().next()) { "/" } else { "" });
        let mut segments = Vec::new();
        for component in text.split(|c| is_separator(Some(c))) {
            match component {
                "" | "." => {}
                ".." if !segments.is_empty() => {
                    return Err(InputError::pattern(
                        text,
                        "has a `..` after a wildcard, which could be anywhere; write the path without it",
                    ));
                }
                "**" if matches!(segments.last(), Some(Segment::Deep)) => {}
                "**" => segments.push(Segment::Deep),
                _ => match unescape(component) {
                    // On Windows `C:` alone would be the current directory of that drive.
                    Some(name) if cfg!(windows) && name.ends_with(':') => literal.push(name + "\\"),
                    Some(name) if segments.is_empty() => literal.push(name),
                    Some(name) => segments.push(Segment::Literal(name.into())),
                    None => segments.push(wildcard(component, text)?),
                },
            }
        }
        // `src/*/` are the directories that match, so everything below them.
        if !segments.is_empty()
            && is_separator(text.chars().last())
            && !matches!(segments.last(), Some(Segment::Deep))
        {
            segments.push(Segment::Deep);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(InputError::pattern(text, format!("has more than {MAX_SEGMENTS} components")));
        }
        let root = normalize(cwd, &literal);
        let named = |segment: &Segment| matches!(segment, Segment::Literal(name) if is_vcs(name));
        let names_vcs = root.iter().any(is_vcs) || segments.iter().any(named);
        Ok(Self { root, segments, names_vcs })
    }

    /// Returns whether it has no wildcard.
    pub(super) fn is_literal(&self) -> bool {
        self.segments.is_empty()
    }

    /// Returns the states at the pattern's root.
    pub(super) fn start(&self) -> States {
        self.closure(1)
    }

    /// Returns the states that the component `name` leads to; none means that nothing below can match.
    pub(super) fn step(&self, states: States, name: &OsStr) -> States {
        let mut next = 0;
        let mut rest = states;
        while rest != 0 {
            let at = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            match self.segments.get(at) {
                Some(Segment::Deep) => {
                    next |= 1 << at;
                    if at + 1 == self.segments.len() {
                        next |= 1 << (at + 1);
                    }
                }
                Some(segment) if segment.matches(name) => next |= 1 << (at + 1),
                _ => {}
            }
        }
        self.closure(next)
    }

    /// Returns whether a path with these states matches.
    pub(super) fn accepts(&self, states: States) -> bool {
        states >> self.segments.len() & 1 == 1
    }

    /// Returns whether everything below a directory with these states matches.
    fn accepts_below(&self, states: States) -> bool {
        let last = self.segments.len().saturating_sub(1);
        matches!(self.segments.last(), Some(Segment::Deep)) && states >> last & 1 == 1
    }

    /// Adds the states that are reached by `**` standing for nothing. At the end it stands for something: `a/**` is
    /// what is below `a`, not `a`.
    fn closure(&self, mut states: States) -> States {
        for (at, segment) in self.segments.iter().enumerate() {
            let is_last = at + 1 == self.segments.len();
            if matches!(segment, Segment::Deep) && !is_last && states >> at & 1 == 1 {
                states |= 1 << (at + 1);
            }
        }
        states
    }

    /// Returns whether this, as an exclusion, covers `path`: it, or a directory that it lies in, matches.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        let covered = |states| self.accepts(states);
        self.states_at(path, covered).is_none()
    }

    /// Returns whether this, as an exclusion, covers all that is below the directory `path`.
    pub(super) fn excludes_below(&self, path: &Path) -> bool {
        let covered = |states| self.accepts(states) || self.accepts_below(states);
        self.states_at(path, covered).is_none()
    }

    /// Returns the states at `path`: none if it is not below the root. Returns nothing as soon as they are `covered`.
    fn states_at(&self, path: &Path, covered: impl Fn(States) -> bool) -> Option<States> {
        let Ok(below) = path.strip_prefix(&self.root) else { return Some(0) };
        let mut states = self.start();
        for name in below {
            if covered(states) {
                return None;
            }
            states = self.step(states, name);
        }
        (!covered(states)).then_some(states)
    }

    /// Returns how this, as an exclusion, is followed from the directory `dir` on, which it does not cover; nothing if
    /// it has no say below.
    pub(super) fn enter(&self, dir: &Path) -> Option<Exclusion<'_>> {
        match self.states_at(dir, |_| false) {
            Some(states) if states != 0 => Some(Exclusion { pattern: self, states, is_parent: false }),
            _ if self.root.parent() == Some(dir) => {
                Some(Exclusion { pattern: self, states: 0, is_parent: true })
            }
            _ => None,
        }
    }
}

/// A pattern that excludes, as seen from a directory in a walk.
pub(super) struct Exclusion<'a> {
    pattern: &'a Pattern,
    states: States,
    /// Whether the pattern's root is an entry of the directory.
    is_parent: bool,
}

impl Exclusion<'_> {
    fn at(&self, name: &OsStr) -> States {
        if !self.is_parent {
            return self.pattern.step(self.states, name);
        }
        if self.pattern.root.file_name() == Some(name) { self.pattern.start() } else { 0 }
    }

    /// Returns whether the entry `name` of the directory is excluded.
    pub(super) fn excludes(&self, name: &OsStr, is_directory: bool) -> bool {
        let states = self.at(name);
        self.pattern.accepts(states) || (is_directory && self.pattern.accepts_below(states))
    }
}

/// Returns the patterns that `text` stands for: one for each alternative of its braces.
pub(super) fn parse(text: &str, cwd: &Path) -> Result<Vec<Pattern>, InputError> {
    if text.is_empty() || text.len() > MAX_LEN {
        return Err(InputError::pattern(text, format!("is empty or longer than {MAX_LEN} bytes")));
    }
    let mut texts = Vec::new();
    expand(text, &mut texts).ok_or_else(|| {
        InputError::pattern(
            text,
            format!("has braces that do not match or more than {MAX_ALTERNATIVES} alternatives; escape a literal brace as `\\{{`"),
        )
    })?;
    texts.iter().map(|text| Pattern::parse(text, cwd)).collect()
}

/// Returns whether `name` is what a version control system calls its directory.
pub(super) fn is_vcs(name: &OsStr) -> bool {
    VCS_NAMES.iter().any(|vcs| name == *vcs)
}

/// Returns whether a character separates components. A backslash does on Windows, and is an escape elsewhere.
fn is_separator(c: Option<char>) -> bool {
    c == Some('/') || (cfg!(windows) && c == Some('\\'))
}

/// Returns whether `text` has a wildcard that is not escaped.
pub(super) fn has_wildcard(text: &str) -> bool {
    unescape(text).is_none()
}

/// Returns `text` without its escapes, or nothing if it has a wildcard that is not escaped.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' | '{' => return None,
            '\\' if !cfg!(windows) => out.push(chars.next().unwrap_or('\\')),
            c => out.push(c),
        }
    }
    Some(out)
}

fn wildcard(component: &str, pattern: &str) -> Result<Segment, InputError> {
    if component == "*" {
        return Ok(Segment::Any);
    }
    if let Some(suffix) = component.strip_prefix('*').and_then(unescape) {
        return Ok(Segment::Suffix(suffix.into_bytes()));
    }
    let glob = GlobBuilder::new(component).literal_separator(true).build().map_err(|error| {
        InputError::pattern(pattern, format!("is no glob: {}; escape a literal `[` as `\\[`", error.kind()))
    })?;
    Ok(Segment::Glob(Box::new(glob.compile_matcher())))
}

/// Appends the texts that `text` stands for to `out`, or returns nothing if its braces do not match or are too many.
///
/// Each step removes a pair of braces, so [`MAX_LEN`] bounds the depth of the recursion and [`MAX_ALTERNATIVES`] how
/// often it branches.
fn expand(text: &str, out: &mut Vec<String>) -> Option<()> {
    let Some((open, close, commas)) = first_braces(text)? else {
        out.push(text.to_owned());
        return (out.len() <= MAX_ALTERNATIVES).then_some(());
    };
    let mut from = open + 1;
    for to in commas.into_iter().chain([close]) {
        expand(&format!("{}{}{}", &text[..open], &text[from..to], &text[close + 1..]), out)?;
        from = to + 1;
    }
    Some(())
}

/// Returns where the first braces of `text` open and close, and the commas directly between them; `Some(None)` if
/// there are no braces, `None` if they do not match.
#[expect(clippy::option_option, reason = "three outcomes of a private function")]
fn first_braces(text: &str) -> Option<Option<(usize, usize, Vec<usize>)>> {
    let (mut open, mut depth, mut commas) = (None, 0_usize, Vec::new());
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if !cfg!(windows) => {
                chars.next();
            }
            '[' => skip_class(text, at, &mut chars),
            '{' => {
                depth += 1;
                open = open.or(Some(at));
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth == 1 => return Some(open.map(|open| (open, at, commas))),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if depth == 0 { Some(None) } else { None }
}

/// Moves `chars` behind the class `[…]` that opens at `open`, if it closes.
fn skip_class(text: &str, open: usize, chars: &mut std::str::CharIndices<'_>) {
    let start = open + 1;
    let first = text[start..].strip_prefix(['!', '^']).map_or(start, |_| start + 1);
    // A `]` directly after the opening is part of the class.
    let from = if text[first..].starts_with(']') { first + 1 } else { first };
    if let Some(close) = text[from..].find(']') {
        while chars.offset() <= from + close {
            chars.next();
        }
    }
}
