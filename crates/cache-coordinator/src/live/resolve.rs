//! Under which names a file is known.

use std::path::{Component, Path, PathBuf};

use cache_core::TreePath;

use super::paths::{BASE, ROOT};

/// How many symbolic links are followed on the way to a file, as in Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// What a path stands for in the tree of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A path below an anchor.
    At(TreePath),
    /// An anchor itself, and all below it.
    Top(u32),
}

/// Returns the names of `path`, absolute or relative to `base`: as it is given, each symbolic link on the way, and without
/// symbolic links. A change of any of them may change what is found at `path`.
///
/// `..` is what is above the directory that a link leads to, as the system sees it, and once more what is above the link's
/// name, as people see it: a name too many makes a check too many, one too few a wrong hit.
pub(super) fn spots(base: &Path, path: &Path) -> Vec<Spot> {
    let given = base.join(path);
    let mut spots = Vec::new();
    let mut add = |path: &Path| {
        let mut found = Vec::new();
        match TreePath::new(base, path) {
            Ok(path) => found.push(Spot::At(path)),
            Err(_) if path == base => found.push(Spot::Top(BASE)),
            Err(_) if path.parent().is_none() => found.push(Spot::Top(ROOT)),
            // Nothing can be there under such a name, so no entry names it.
            Err(_) => {}
        }
        if base != path && base.starts_with(path) {
            found.push(Spot::Top(BASE));
        }
        for spot in found {
            if !spots.contains(&spot) {
                spots.push(spot);
            }
        }
    };
    add(&lexical(&given));
    let mut links = Vec::new();
    if let Some(real) = physical(&given, &mut links) {
        add(&real);
        // Asks the system how names are written where upper and lower case are the same.
        if let Ok(canonical) = real.canonicalize() {
            add(&canonical);
        }
    }
    for link in links {
        add(&link);
    }
    spots
}

/// Returns `path` without `.` and `..`, as if there were no symbolic links.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// Returns where `path` leads, and adds the `links` on the way. What is not there is taken as it is written.
fn physical(path: &Path, links: &mut Vec<PathBuf>) -> Option<PathBuf> {
    let parts = |path: &Path| -> Vec<PathBuf> {
        path.components().rev().map(|part| Path::new(part.as_os_str()).to_path_buf()).collect()
    };
    let mut real = PathBuf::new();
    let mut left = parts(path);
    while let Some(part) = left.pop() {
        match part.components().next() {
            None | Some(Component::CurDir) => {}
            Some(Component::ParentDir) => drop(real.pop()),
            Some(Component::RootDir | Component::Prefix(_)) => real.push(part),
            Some(Component::Normal(_)) => {
                real.push(part);
                let Ok(target) = real.read_link() else { continue };
                if links.len() == MAX_LINKS {
                    return None;
                }
                links.push(real.clone());
                real.pop();
                left.extend(parts(&target));
            }
        }
    }
    Some(real)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(base: &Path, path: &str) -> Vec<String> {
        let mut names: Vec<String> = spots(base, Path::new(path))
            .into_iter()
            .map(|spot| match spot {
                Spot::At(path) => path.to_string(),
                Spot::Top(top) => format!("top {top}"),
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_the_names_on_the_way_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir_all(base.join("real/deep")).unwrap();
        std::fs::write(base.join("real/deep/a.c"), "").unwrap();
        symlink("real/deep", base.join("dir")).unwrap();
        symlink("dir/a.c", base.join("one")).unwrap();
        symlink(base.join("one"), base.join("two")).unwrap();
        symlink("loop", base.join("loop")).unwrap();

        assert_eq!(names(&base, "real/deep/a.c"), ["real/deep/a.c"]);
        assert_eq!(names(&base, "./real/../real//deep/a.c"), ["real/deep/a.c"]);
        assert_eq!(names(&base, "dir/a.c"), ["dir", "dir/a.c", "real/deep/a.c"]);
        assert_eq!(names(&base, "two"), ["dir", "one", "real/deep/a.c", "two"]);
        assert_eq!(
            names(&base, "dir/../x"),
            ["dir", "real/x", "x"],
            "above the link, and above where it leads"
        );
        assert_eq!(names(&base, "dir/not/there"), ["dir", "dir/not/there", "real/deep/not/there"]);
        assert_eq!(names(&base, "loop"), ["loop"].map(str::to_owned));
        assert_eq!(names(&base, base.join("one").to_str().unwrap()), ["dir", "one", "real/deep/a.c"]);
        assert_eq!(names(&base, "."), ["top 0"]);
        assert_eq!(names(&base, "/"), ["top 0", "top 1"]);
        let above = dir.path().canonicalize().unwrap();
        assert_eq!(names(&base, ".."), [above.to_str().unwrap(), "top 0"]);
        assert_eq!(names(&base, "../other"), [above.join("other").to_str().unwrap()]);
    }

    #[test]
    fn a_base_is_found_through_a_link_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("tree")).unwrap();
        symlink("tree", top.join("alias")).unwrap();
        let base = top.join("tree");
        let link = top.join("alias").to_str().unwrap().to_owned();
        assert_eq!(
            names(&base, &format!("{link}/a.c")),
            [link.clone(), format!("{link}/a.c"), "a.c".to_owned()]
        );
        assert_eq!(names(&base, &link), [link, "top 0".to_owned()]);
    }
}
