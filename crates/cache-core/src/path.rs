//! Paths that come from outside, as one validated type.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest path in bytes, as in Linux's `PATH_MAX`.
const MAX_LEN: usize = 4096;
/// Longest component in bytes, as in every file system we know.
const MAX_COMPONENT: usize = 255;

/// A relative path that cannot leave the directory it is joined to: `/` between components, none of them empty, `.`
/// or `..`, no NUL, at most 4096 bytes. The bytes need not be UTF-8.
///
/// It says nothing about symbolic links that may lie on the way: whoever writes below it has to care for those.
///
/// Its text form, in messages and JSON, shows UTF-8 as it is, and escapes other bytes and control characters as
/// `\x1b` and the backslash as `\\`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct RelPath(Vec<u8>);

/// Says why a path is not acceptable as a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{path}` {why}")]
pub struct PathError {
    path: String,
    why: &'static str,
}

impl RelPath {
    /// Returns the path made of these bytes, `/` between its components.
    ///
    /// # Errors
    /// If it is empty, absolute, too long, or has an empty, `.` or `..` component or a NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        match Self::flaw(&bytes) {
            None => Ok(Self(bytes)),
            Some(why) => Err(PathError { path: escape(&bytes), why }),
        }
    }

    fn flaw(bytes: &[u8]) -> Option<&'static str> {
        if bytes.is_empty() {
            return Some("is empty");
        }
        if bytes.len() > MAX_LEN {
            return Some("is longer than 4096 bytes");
        }
        if bytes.contains(&0) {
            return Some("contains a NUL byte");
        }
        if bytes[0] == b'/' {
            return Some("is absolute where a relative one is needed");
        }
        bytes.split(|&b| b == b'/').find_map(|component| match component {
            b"" => Some("has an empty component"),
            b"." | b".." => Some("has a `.` or `..` component"),
            _ if component.len() > MAX_COMPONENT => Some("has a component longer than 255 bytes"),
            _ => None,
        })
    }

    /// Returns the relative path `path` in this form; `.` components are dropped.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if a component cannot be expressed in bytes (unpaired surrogates on Windows).
    pub fn from_path(path: &Path) -> Result<Self, PathError> {
        let fail = |why| PathError { path: path.display().to_string(), why };
        let mut bytes = Vec::with_capacity(path.as_os_str().len());
        for component in path.components() {
            let name = match component {
                Component::CurDir => continue,
                Component::Normal(name) => name,
                Component::ParentDir => return Err(fail("has a `..` component")),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(fail("is absolute where a relative one is needed"));
                }
            };
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(os_bytes(name).ok_or_else(|| fail("is not valid Unicode"))?);
        }
        Self::new(bytes)
    }

    /// Returns the bytes, `/` between components.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the components from the top down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// Returns whether `self` is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&ancestor.0[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Returns the path without its last component, or nothing if it has only one.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|&b| b == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// Returns the path `name` below this one.
    ///
    /// # Errors
    /// If the result is no path, as in [`new`](Self::new).
    pub fn join(&self, name: &OsStr) -> Result<Self, PathError> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        let name = os_bytes(name)
            .ok_or_else(|| PathError { path: self.to_string(), why: "is not valid Unicode" })?;
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// Returns this path in the form of the system that this runs on.
    ///
    /// # Errors
    /// On Windows: if a component is not Unicode or is a name that means something else there (`C:`, `a\b`).
    pub fn to_native(&self) -> Result<PathBuf, PathError> {
        native(&self.0).map_err(|why| PathError { path: self.to_string(), why })
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "names of other systems may have no bytes")]
fn os_bytes(name: &OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

#[cfg(not(unix))]
fn os_bytes(name: &OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "the other systems have paths that cannot be expressed")]
fn native(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    Ok(PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn native(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not valid Unicode")?;
    if text.contains(['\\', ':']) {
        return Err("has a `\\` or `:`, which means something else on this system");
    }
    Ok(text.split('/').collect())
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = PathError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, PathError> {
        Self::new(bytes)
    }
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Shows bytes so that a terminal stays sane and no two different ones look the same.
fn escape(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str(r"\\"),
                c if c.is_control() => c.to_string().bytes().for_each(|b| {
                    let _ = write!(out, r"\x{b:02x}");
                }),
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, r"\x{b:02x}");
        }
    }
    out
}

/// What a [`TreePath`] starts from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Anchor {
    /// The base directory of a checkout: the same file in two checkouts has the same path.
    Base,
    /// The root of the file system, or a drive on Windows.
    Root,
}

/// The path of a file that something depends on: relative to the base directory where it lies below that, else absolute.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TreePath {
    /// What `path` starts from.
    pub anchor: Anchor,
    /// The way from there.
    pub path: RelPath,
}

impl TreePath {
    /// Returns where `path`, absolute and without `..`, lies as seen from `base`, also absolute.
    ///
    /// # Errors
    /// If it is `base` itself or the root, or cannot be expressed as a [`RelPath`].
    pub fn new(base: &Path, path: &Path) -> Result<Self, PathError> {
        if let Ok(below) = path.strip_prefix(base) {
            return Ok(Self { anchor: Anchor::Base, path: RelPath::from_path(below)? });
        }
        let text = os_bytes(path.as_os_str());
        let fail = |why| PathError { path: path.display().to_string(), why };
        let text = text.ok_or_else(|| fail("is not valid Unicode"))?;
        if !path.is_absolute() {
            return Err(fail("is relative where an absolute one is needed"));
        }
        let slashed: Vec<u8> = if cfg!(windows) {
            text.iter().map(|&b| if b == b'\\' { b'/' } else { b }).collect()
        } else {
            text[1..].to_vec()
        };
        Ok(Self { anchor: Anchor::Root, path: RelPath::new(slashed)? })
    }

    /// Returns the absolute path of this in the checkout at `base`.
    ///
    /// # Errors
    /// As [`RelPath::to_native`].
    pub fn locate(&self, base: &Path) -> Result<PathBuf, PathError> {
        match self.anchor {
            Anchor::Base => Ok(base.join(self.path.to_native()?)),
            Anchor::Root if cfg!(windows) => Ok(PathBuf::from(self.path.to_string())),
            Anchor::Root => Ok(Path::new("/").join(self.path.to_native()?)),
        }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.anchor == Anchor::Root && !cfg!(windows) {
            f.write_str("/")?;
        }
        fmt::Display::fmt(&self.path, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leaves_is_refused() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            &"x".repeat(256),
            &"x/".repeat(2100),
        ] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "...", "..a", "a..", ".git", "-rf", "a b/c\nd", &"x".repeat(255)] {
            assert_eq!(RelPath::new(good).unwrap().as_bytes(), good.as_bytes());
        }
    }

    #[test]
    fn paths_show_without_control_characters() {
        let path = RelPath::new(&b"a\\b/\x1b[31m/\xff\xc3\xa9"[..]).unwrap();
        assert_eq!(path.to_string(), r"a\\b/\x1b[31m/\xffé");
    }

    #[test]
    fn below_means_whole_components() {
        let path = |text: &str| RelPath::new(text).unwrap();
        assert!(path("a/b").starts_with(&path("a")) && path("a").starts_with(&path("a")));
        assert!(!path("ab").starts_with(&path("a")) && !path("a").starts_with(&path("a/b")));
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), None);
    }

    #[cfg(unix)]
    #[test]
    fn tree_paths_move_with_their_base() {
        let (one, two) = (Path::new("/home/one"), Path::new("/home/two"));
        let inside = TreePath::new(one, Path::new("/home/one/src/a.rs")).unwrap();
        assert_eq!(inside.to_string(), "src/a.rs");
        assert_eq!(inside.locate(two).unwrap(), Path::new("/home/two/src/a.rs"));
        let outside = TreePath::new(one, Path::new("/usr/include/stdio.h")).unwrap();
        assert_eq!(outside.to_string(), "/usr/include/stdio.h");
        assert_eq!(outside.locate(two).unwrap(), Path::new("/usr/include/stdio.h"));
        assert!(TreePath::new(one, one).is_err() && TreePath::new(one, Path::new("x")).is_err());
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_directory_it_is_joined_to(bytes in proptest::collection::vec(prop_oneof![
            Just(b'.'), Just(b'/'), Just(b'a'), any::<u8>()], 0..12)) {
            if let Ok(path) = RelPath::new(bytes.clone()) {
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
                if let Ok(native) = path.to_native() {
                    prop_assert!(native.components().all(|c| matches!(c, Component::Normal(_))));
                    prop_assert_eq!(RelPath::from_path(&native).unwrap(), path);
                }
            }
        }

        #[test]
        fn binary_form_is_validated(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let encoded = postcard::to_stdvec(&bytes).unwrap();
            prop_assert_eq!(postcard::from_bytes::<RelPath>(&encoded).ok(), RelPath::new(bytes).ok());
        }
    }
}
