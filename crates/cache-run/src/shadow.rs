//! What would have to *appear* for a C or C++ compiler to read another file than it read.
//!
//! A dependency file lists what was found. A header that comes to exist earlier on the include path changes the result
//! without changing any listed file, so a cache that looks at the list alone serves a stale result. This module turns
//! a compile into the paths that must stay absent:
//!
//! - each tail of each dependency's path (`types.h`, `sys/types.h`, …) is a name that some `#include` may have used, and
//!   so is each name in the text of the dependencies; each directory of the include path is where it was looked for first;
//! - quoted names are looked for beside the including file before that;
//! - names asked for by `__has_include` and `__has_embed` were perhaps not found at all;
//! - a precompiled header beside a header is read in its place.
//!
//! Of a path that does not exist, its first ancestor that does not exist is recorded, so one absent directory stands for
//! all that could be in it.
//!
//! # What is not seen
//! A header that a package puts into one of the compiler's own directories before another one there (other than
//! `/usr/local/include`), a name that `__has_include` computes from other macros piece by piece or inside the system's
//! own headers, header maps, module maps, and virtual file systems of clang.

mod args;
mod scan;

use args::SearchPath;
use scan::{Names, scan};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// The most paths that must stay absent. Each costs a `stat` of about a microsecond at every look-up.
pub const MAX_ABSENT: usize = 20_000;

/// The most paths that are looked at to find them.
const MAX_PROBES: usize = 500_000;

/// The longest tail of a path that is taken for a name, in components.
const MAX_TAIL: usize = 16;

/// The most bytes of a file that are scanned for names; a longer one (data for `#embed`) counts as unreadable by eye.
const MAX_SCAN_BYTES: u64 = 16 << 20;

/// The environment variables that name include directories; their values belong to the key of the compile.
pub const ENV_NAMES: [&str; 6] = [
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "OBJCPLUS_INCLUDE_PATH",
    "INCLUDE",
];

/// Where packages put files, and people do not: the text of these is not searched for quoted names.
const SYSTEM_PREFIXES: [&str; 7] = [
    "/usr",
    "/nix/store",
    "/gnu/store",
    "/Library/Developer",
    "/Applications",
    "/System",
    "C:/Program Files",
];

/// Below a system prefix, and yet where people put files.
const LOCAL_PREFIXES: [&str; 2] = ["/usr/local", "/usr/src"];

/// Searched by compilers before the system's own directories.
const LOCAL_INCLUDE: &str = "/usr/local/include";

/// What makes a precompiled header of the name of a header, for gcc and for clang.
const PRECOMPILED: [&str; 2] = ["gch", "pch"];

/// A compile that has ended well.
#[derive(Clone, Copy)]
pub struct Compile<'a> {
    /// The arguments, without the program.
    pub args: &'a [OsString],
    /// Looks up a variable in the environment of the command.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The files that were read, as the dependency file lists them.
    pub deps: &'a [PathBuf],
    /// The directory that the command ran in, absolute.
    pub cwd: &'a Path,
}

/// What the result of a compile rests on besides the files that it read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shadows {
    /// The paths that must stay absent, sorted; relative to the working directory where the arguments are.
    pub absent: Vec<PathBuf>,
    /// The response files (`@file`) among the arguments: inputs that no dependency file lists.
    pub response_files: Vec<PathBuf>,
}

/// Why it cannot be said what would change a compile. Its result must not be stored then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShadowError {
    /// There are more than [`MAX_ABSENT`] paths.
    #[error(
        "more than {MAX_ABSENT} paths could change which headers are found; use fewer include directories, or leave out --depfile and list the headers with -i"
    )]
    TooMany,
    /// A dependency cannot be read.
    #[error("cannot read the dependency {}: {source}; it is gone, or the dependency file spells it wrongly", path.display())]
    Dependency {
        /// The dependency as listed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A response file cannot be used.
    #[error("cannot use the response file {}: {reason}", path.display())]
    ResponseFile {
        /// The response file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Returns what must stay absent for the compile to read the same files again.
///
/// # Errors
/// As [`ShadowError`] says.
pub fn candidates(compile: &Compile<'_>) -> Result<Shadows, ShadowError> {
    let search = SearchPath::of(compile)?;
    let mut found = Collected::default();
    let mut computed = false;
    for dep in compile.deps {
        computed |= found.add_dep(compile, dep)?;
    }
    if computed {
        // The argument of `__has_include` is a macro: any name that a directive or an argument spells may be its value.
        let mut names = BTreeSet::new();
        for dep in compile.deps.iter().filter(|dep| !is_system(dep)) {
            scan::directive_names(&read(compile, dep)?.text, &mut names);
        }
        for arg in compile.args {
            scan::quoted_names(arg.as_encoded_bytes(), &mut names);
        }
        for name in &names {
            found.add_asked(Path::new(name));
        }
    }

    let mut probe = Probe { cwd: compile.cwd, looked: 0, known: HashMap::new(), absent: BTreeSet::new() };
    let mut dirs: BTreeSet<PathBuf> = search.dirs.into_iter().chain(found.whole_dirs).collect();
    if compile.deps.iter().any(|dep| dep.starts_with("/usr")) {
        dirs.insert(LOCAL_INCLUDE.into());
    }
    for dir in &dirs {
        probe.walk_from(dir, &found.names)?;
    }
    for dir in search.frameworks {
        probe.walk_from(&dir, &found.names.frameworks())?;
    }
    for (dir, names) in &found.beside {
        probe.walk_from(dir, names)?;
    }
    for dir in &found.system_dirs {
        probe.walk_from(dir, &found.asked)?;
    }
    for path in found.single.iter().chain(&search.absent) {
        probe.first_absent(path)?;
    }
    Ok(Shadows { absent: probe.absent.into_iter().collect(), response_files: search.response_files })
}

/// Returns the first path that exists, which means that the compile must be done again.
pub fn first_appeared<'a>(absent: &'a [PathBuf], cwd: &Path) -> Option<&'a Path> {
    absent.iter().map(PathBuf::as_path).find(|path| exists(&cwd.join(path)))
}

/// A compiler follows links, so a dangling one is as good as nothing, until its target appears.
fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok()
}

fn is_system(dep: &Path) -> bool {
    let under = |prefixes: &[&str]| prefixes.iter().any(|prefix| dep.starts_with(prefix));
    under(&SYSTEM_PREFIXES) && !under(&LOCAL_PREFIXES)
}

/// The text of a dependency as far as it is scanned.
struct Text {
    text: Vec<u8>,
    whole: bool,
}

fn read(compile: &Compile<'_>, dep: &Path) -> Result<Text, ShadowError> {
    let mut text = Vec::new();
    File::open(compile.cwd.join(dep))
        .and_then(|file| file.take(MAX_SCAN_BYTES + 1).read_to_end(&mut text))
        .map_err(|source| ShadowError::Dependency { path: dep.to_owned(), source })?;
    let whole = text.len() as u64 <= MAX_SCAN_BYTES;
    Ok(Text { text, whole })
}

/// What is known of all dependencies together.
#[derive(Default)]
struct Collected {
    /// What may be looked for along the include path.
    names: Trie,
    /// What is looked for beside each including file.
    beside: BTreeMap<PathBuf, Trie>,
    /// What `__has_include` asks for.
    asked: Trie,
    /// Directories in which some file includes what only the preprocessor knows.
    whole_dirs: BTreeSet<PathBuf>,
    /// The directories of the compiler and the system that gave headers, and those above them.
    system_dirs: BTreeSet<PathBuf>,
    /// Single paths.
    single: BTreeSet<PathBuf>,
}

impl Collected {
    /// Takes in a dependency; returns whether it asks for a header by a computed name.
    fn add_dep(&mut self, compile: &Compile<'_>, dep: &Path) -> Result<bool, ShadowError> {
        let parts = parts(dep);
        for start in parts.len().saturating_sub(MAX_TAIL)..parts.len() {
            self.names.insert(&parts[start..]);
        }
        let Text { text, whole } = read(compile, dep)?;
        let names = scan(&text);
        if is_system(dep) {
            let below = dep
                .ancestors()
                .skip(1)
                .take_while(|dir| !SYSTEM_PREFIXES.iter().any(|prefix| *dir == Path::new(prefix)));
            self.system_dirs.extend(below.map(Path::to_owned));
            names.asked().for_each(|name| self.add_asked(Path::new(name)));
            return Ok(false);
        }
        let dir = match dep.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        for suffix in PRECOMPILED {
            let mut name = dep.as_os_str().to_owned();
            name.push(".");
            name.push(suffix);
            self.single.insert(name.into());
        }
        if names.computed_include || !whole {
            self.whole_dirs.insert(dir.to_owned());
        }
        self.add_names(dir, &names);
        Ok(names.computed_asked)
    }

    fn add_names(&mut self, dir: &Path, names: &Names) {
        for name in names.quoted.iter().chain(&names.asked_quoted).map(Path::new) {
            self.beside.entry(dir.to_owned()).or_default().insert(&self::parts(name));
        }
        for name in names.quoted.iter().chain(&names.angled).map(Path::new) {
            self.names.insert(&self::parts(name));
        }
        names.asked().for_each(|name| self.add_asked(Path::new(name)));
    }

    fn add_asked(&mut self, name: &Path) {
        if name.is_absolute() {
            self.single.insert(name.to_owned());
        } else {
            let parts = parts(name);
            self.names.insert(&parts);
            self.asked.insert(&parts);
        }
    }
}

/// Returns the components that come after the root; `..` is one of them, `.` is none.
fn parts(path: &Path) -> Vec<&OsStr> {
    let named = |part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(named).collect()
}

/// Relative paths, by component.
#[derive(Default)]
struct Trie(BTreeMap<OsString, Trie>);

impl Trie {
    fn insert(&mut self, parts: &[&OsStr]) {
        let mut node = self;
        // Deeper names than this cannot be told from each other, which only makes the answer more careful.
        for part in parts.iter().take(MAX_TAIL) {
            node = node.0.entry((*part).to_owned()).or_default();
        }
    }

    /// Returns where `<Name/x.h>` is looked for in a directory of frameworks.
    fn frameworks(&self) -> Self {
        let dirs = self.0.iter().filter(|(_, below)| !below.0.is_empty()).map(|(name, _)| {
            let mut name = name.clone();
            name.push(".framework");
            (name, Self::default())
        });
        Self(dirs.collect())
    }
}

/// Looks at each path once, and keeps those that are absent.
struct Probe<'a> {
    cwd: &'a Path,
    looked: usize,
    known: HashMap<PathBuf, bool>,
    absent: BTreeSet<PathBuf>,
}

impl Probe<'_> {
    /// Returns whether the path exists; records it if not.
    fn look(&mut self, path: &Path) -> Result<bool, ShadowError> {
        if let Some(&there) = self.known.get(path) {
            return Ok(there);
        }
        let there = exists(&self.cwd.join(path));
        self.looked += 1;
        self.known.insert(path.to_owned(), there);
        if !there {
            self.absent.insert(path.to_owned());
        }
        if self.looked > MAX_PROBES || self.absent.len() > MAX_ABSENT {
            return Err(ShadowError::TooMany);
        }
        Ok(there)
    }

    /// Records the first ancestor of the path, or the path itself, that does not exist; returns whether all exist.
    fn first_absent(&mut self, path: &Path) -> Result<bool, ShadowError> {
        let mut above = PathBuf::new();
        for part in path.components() {
            above.push(part);
            if !self.look(&above)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn walk_from(&mut self, dir: &Path, names: &Trie) -> Result<(), ShadowError> {
        if self.first_absent(dir)? { self.walk(dir, names) } else { Ok(()) }
    }

    /// Recursion ends at the depth of the trie, [`MAX_TAIL`].
    fn walk(&mut self, dir: &Path, names: &Trie) -> Result<(), ShadowError> {
        for (name, below) in &names.0 {
            let path = if dir == Path::new(".") { PathBuf::from(name) } else { dir.join(name) };
            if self.look(&path)? {
                self.walk(&path, below)?;
            }
        }
        Ok(())
    }
}
