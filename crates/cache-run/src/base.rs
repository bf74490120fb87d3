//! The base directory: what paths in keys are relative to, so that two checkouts share entries.

use std::io;
use std::path::{Component, Path, PathBuf};

/// What version control systems call the directory (or, in a git worktree, the file) at their root.
pub(crate) const VCS_NAMES: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Returns the root of the checkout that `cwd` is in: its nearest ancestor, or itself, with a `.git`, `.hg`, `.jj` or
/// `.svn` in it; without one, `cwd`. The result is absolute and free of symbolic links.
///
/// # Errors
/// If `cwd` does not exist or cannot be reached.
pub fn find_base(cwd: &Path) -> io::Result<PathBuf> {
    let cwd = canonical(cwd)?;
    let is_root = |dir: &&Path| VCS_NAMES.iter().any(|name| dir.join(name).symlink_metadata().is_ok());
    let root = cwd.ancestors().find(is_root).map(Path::to_path_buf);
    Ok(root.unwrap_or(cwd))
}

/// Returns `path` absolute and without symbolic links, in the form that people write: without the `\\?\` of Windows.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    let full = path.canonicalize()?;
    #[cfg(windows)]
    if let Some(short) = full.to_str().and_then(|text| text.strip_prefix(r"\\?\"))
        && short.as_bytes().get(1) == Some(&b':')
    {
        return Ok(PathBuf::from(short));
    }
    Ok(full)
}

/// Returns `path` as seen from `cwd`, absolute, with `.` and `..` removed without asking the file system.
pub(crate) fn normalize(cwd: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in cwd.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_root_wins_and_links_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let root = canonical(dir.path()).unwrap();
        fs::create_dir_all(root.join("outer/inner/src")).unwrap();
        fs::create_dir(root.join("outer/.hg")).unwrap();
        assert_eq!(find_base(&root.join("outer/inner/src")).unwrap(), root.join("outer"));
        fs::write(root.join("outer/inner/.git"), "gitdir: elsewhere\n").unwrap();
        assert_eq!(find_base(&root.join("outer/inner/src")).unwrap(), root.join("outer/inner"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("outer/inner/src"), root.join("link")).unwrap();
            assert_eq!(find_base(&root.join("link")).unwrap(), root.join("outer/inner"));
        }
        assert!(find_base(&root.join("nowhere")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn dots_go_away_lexically() {
        let cwd = Path::new("/a/b");
        for (path, expected) in
            [("c", "/a/b/c"), ("../c/./d", "/a/c/d"), ("../../../..", "/"), ("/x/../y", "/y"), (".", "/a/b")]
        {
            assert_eq!(normalize(cwd, Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
