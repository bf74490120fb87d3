//! Which files are inputs.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::SystemClock;
use cache_run::inputs::{InputError, InputSet, Inputs};
use cache_run::memory::Memory;

/// A checkout with a few files.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new(files: &[&str]) -> Self {
        let tree = Self { root: tempfile::tempdir().unwrap() };
        tree.write(".git/HEAD", "ref");
        for file in files {
            tree.write(file, file);
        }
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn try_set(&self, cwd: &str, patterns: &[&str]) -> Result<InputSet, InputError> {
        let inputs = Inputs::new(&self.at(""), &self.at(cwd), patterns)?;
        inputs.digest(inputs.resolve()?, &mut Memory::none(Arc::new(SystemClock)), &())
    }

    fn set(&self, cwd: &str, patterns: &[&str]) -> InputSet {
        self.try_set(cwd, patterns).unwrap()
    }

    /// The paths of the inputs, from the base directory.
    fn list(&self, patterns: &[&str]) -> Vec<String> {
        self.set("", patterns).files.iter().map(|input| input.path.to_string()).collect()
    }
}

#[test]
fn every_kind_of_pattern() {
    let tree = Tree::new(&[
        "a.c",
        "a.h",
        "src/b.c",
        "src/b.h",
        "src/deep/c.c",
        "src/.hidden",
        "src/deep/x/d.c",
        "o/a.c",
    ]);
    let table: &[(&[&str], &[&str])] = &[
        (&["a.c"], &["a.c"]),
        (&["src"], &["src/.hidden", "src/b.c", "src/b.h", "src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/", "!src/deep"], &["src/.hidden", "src/b.c", "src/b.h"]),
        (&["*.c"], &["a.c"]),
        (&["**/*.c"], &["a.c", "o/a.c", "src/b.c", "src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/**/*.c"], &["src/b.c", "src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/**"], &["src/.hidden", "src/b.c", "src/b.h", "src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/*"], &["src/.hidden", "src/b.c", "src/b.h"]),
        (&["src/*/"], &["src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/*/*/*"], &["src/deep/x/d.c"]),
        (&["{src,o}/*.{c,h}"], &["o/a.c", "src/b.c", "src/b.h"]),
        (&["{src/deep,o}/**"], &["o/a.c", "src/deep/c.c", "src/deep/x/d.c"]),
        (&["src/**/x/**"], &["src/deep/x/d.c"]),
        (&["**/deep/**/*.c"], &["src/deep/c.c", "src/deep/x/d.c"]),
        (&["**/**/d.c"], &["src/deep/x/d.c"]),
        (&["?.[ch]"], &["a.c", "a.h"]),
        (&["./src/../a.c", "a.c", "*.c"], &["a.c"]),
        (&["!**/*.h", "src", "!src/deep/x"], &["src/.hidden", "src/b.c", "src/deep/c.c"]),
        (&["**/*.c", "!src/**"], &["a.c", "o/a.c"]),
        (&["src/deep/c.c", "!src"], &[]),
        (&["src/deep", "!src"], &[]),
        (&["src/deep/*.c", "!src"], &[]),
        (&["**/*.c", "!src/*/x"], &["a.c", "o/a.c", "src/b.c", "src/deep/c.c"]),
        (&["**", "!{src,o}"], &["a.c", "a.h"]),
        (&["{src/b.c,src/none.c}"], &["src/b.c"]),
        (&[".git"], &[".git/HEAD"]),
        (&[".git/*"], &[".git/HEAD"]),
    ];
    for (patterns, expected) in table {
        assert_eq!(tree.list(patterns), *expected, "{patterns:?}");
    }
    assert!(!tree.list(&["."]).contains(&".git/HEAD".to_owned()));
    assert_eq!(tree.list(&["**"]), tree.list(&["."]));
}

#[test]
fn patterns_are_relative_to_the_current_directory_and_paths_to_the_base() {
    let tree = Tree::new(&["a.c", "src/b.c", "src/deep/c.c"]);
    let list = |patterns: &[&str]| -> Vec<String> {
        tree.set("src", patterns).files.iter().map(|input| input.path.to_string()).collect()
    };
    assert_eq!(list(&["*.c", "../a.c", "!deep"]), ["a.c", "src/b.c"]);
    assert_eq!(list(&["../**/*.c", "!../src/deep"]), ["a.c", "src/b.c"]);
    let absolute = tree.at("src/deep");
    assert_eq!(list(&[absolute.to_str().unwrap()]), ["src/deep/c.c"]);
}

#[test]
fn what_lies_outside_the_base_keeps_its_full_path() {
    let tree = Tree::new(&["repo/in.c", "repo/sub/in.c", "out.c"]);
    let inputs = Inputs::new(&tree.at("repo"), &tree.at("repo"), ["../**/*.c"]).unwrap();
    let paths: Vec<_> = inputs.resolve().unwrap().paths().map(ToString::to_string).collect();
    assert_eq!(paths, ["in.c", "sub/in.c", tree.at("out.c").to_str().unwrap()]);
}

#[test]
fn two_checkouts_have_one_digest() {
    let files = ["a.c", "src/b.c", "src/b-c/x", "src/b/x"];
    let (one, two) = (Tree::new(&files), Tree::new(&files));
    assert_eq!(one.set("", &["."]).digest(), two.set("", &["."]).digest());
    two.write("src/b.c", "other");
    assert_ne!(one.set("", &["."]).digest(), two.set("", &["."]).digest());
    let paths = one.set("", &["src"]).files;
    assert!(paths.is_sorted_by(|a, b| a.path < b.path), "{paths:?}");
}

#[test]
fn what_is_named_must_exist_and_what_matches_nothing_is_told() {
    let tree = Tree::new(&["a.c"]);
    let error = tree.try_set("", &["missing.c"]).unwrap_err();
    assert!(matches!(error, InputError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("missing.c"));
    assert!(matches!(tree.try_set("", &["a.c/x"]), Err(InputError::NotFound { .. })));
    let set = tree.set("", &["a.*", "*.rs", "gone/**", "!nothing", "{b,c}.c"]);
    assert_eq!(set.unmatched, ["*.rs", "gone/**", "{b,c}.c"]);
    fs::create_dir(tree.at("empty")).unwrap();
    assert!(tree.list(&["empty"]).is_empty());
}

#[test]
fn senseless_patterns_are_explained() {
    let tree = Tree::new(&["a.c"]);
    let long = "x".repeat(5000);
    let many = "{a,b}".repeat(10);
    let deep = "*/".repeat(70);
    for bad in ["", "a[", "{a", "src/*/../x", &long, &many, &deep, "!a[", "@"] {
        let error = tree.try_set("", &[bad]).unwrap_err();
        assert!(matches!(error, InputError::BadPattern { .. }), "{bad}: {error}");
    }
}

#[test]
fn names_with_wildcards_are_not_missed() {
    let tree = Tree::new(&["pages/[id].tsx", "pages/i.tsx", "!x", "@y", "a b"]);
    assert_eq!(tree.list(&["pages/[id].tsx"]), ["pages/[id].tsx", "pages/i.tsx"]);
    assert_eq!(tree.list(&["./!x", "./@y", "a b"]), ["!x", "@y", "a b"]);
    if cfg!(unix) {
        assert_eq!(tree.list(&[r"pages/\[id].tsx", r"\!x", r"\@y"]), ["!x", "@y", "pages/[id].tsx"]);
        assert_eq!(tree.list(&[r"pages/*\].tsx"]), ["pages/[id].tsx"]);
    }
}

#[test]
fn a_list_is_read_and_is_an_input() {
    let tree = Tree::new(&["a.c", "b.c", "src/c.c", "src/d.c"]);
    tree.write("list", "# comment\n\n  a.c \r\nsrc\n!src/d.c\n");
    assert_eq!(tree.list(&["@list"]), ["a.c", "list", "src/c.c"]);
    tree.write("list", "@list\n");
    assert!(matches!(tree.try_set("", &["@list"]), Err(InputError::BadPattern { .. })));
    assert!(matches!(tree.try_set("", &["@none"]), Err(InputError::Io { .. })));
    assert!(matches!(
        tree.try_set("", &["@src"]),
        Err(InputError::BadPattern { .. } | InputError::Io { .. })
    ));
    // A list that says something else than what was made of it.
    tree.write("list", "a.c\n");
    let inputs = Inputs::new(&tree.at(""), &tree.at(""), ["@list"]).unwrap();
    tree.write("list", "b.c\n");
    let mut memory = Memory::none(Arc::new(SystemClock));
    let digested = inputs.digest(inputs.resolve().unwrap(), &mut memory, &());
    assert!(matches!(digested, Err(InputError::KeepsChanging { .. })));
}

#[test]
fn the_caches_own_directory_can_be_left_out() {
    let tree = Tree::new(&["a.c", "cache/entries/x", "cache2/x"]);
    let inputs =
        Inputs::new(&tree.at(""), &tree.at(""), ["**", "cache"]).unwrap().without(Path::new("cache"));
    let paths: Vec<_> = inputs.resolve().unwrap().paths().map(ToString::to_string).collect();
    assert_eq!(paths, ["a.c", "cache2/x"]);
    assert!(inputs.is_excluded(Path::new("cache/entries")) && !inputs.is_excluded(Path::new("cache2")));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use cache_core::{Digest, FileState};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_are_inputs_and_so_are_the_files_behind_them() {
        let tree = Tree::new(&["real/a.c", "src/x.c", "real/sub/b.c"]);
        symlink("../real/a.c", tree.at("src/link.c")).unwrap();
        symlink("nowhere", tree.at("src/dangling")).unwrap();
        symlink("../real", tree.at("src/dir")).unwrap();
        // The directory behind a link is not walked, or links in a circle would never end.
        assert_eq!(tree.list(&["src"]), ["real/a.c", "src/dangling", "src/dir", "src/link.c", "src/x.c"]);
        let set = tree.set("", &["src/dangling"]);
        assert_eq!(set.files[0].state, FileState::Symlink { target: Digest::blake3(b"nowhere") });
        assert_eq!(tree.list(&["src", "!real"]), ["src/dangling", "src/dir", "src/link.c", "src/x.c"]);
        // Named, the link and all that is behind it.
        assert_eq!(tree.list(&["src/dir"]), ["src/dir", "src/dir/a.c", "src/dir/sub/b.c"]);
        assert_eq!(tree.list(&["src/dir/**/*.c"]), ["src/dir/a.c", "src/dir/sub/b.c"]);
        let before = tree.set("", &["src/link.c"]).digest();
        tree.write("real/a.c", "other");
        assert_ne!(before, tree.set("", &["src/link.c"]).digest());
    }

    #[test]
    fn a_circle_of_links_ends() {
        let tree = Tree::new(&["src/a.c"]);
        symlink(".", tree.at("src/self")).unwrap();
        symlink("loop", tree.at("src/loop")).unwrap();
        assert_eq!(tree.list(&["**"]), ["src/a.c", "src/loop", "src/self"]);
    }

    #[test]
    fn the_executable_bit_is_part_of_the_key() {
        let tree = Tree::new(&["run"]);
        let plain = tree.set("", &["run"]);
        fs::set_permissions(tree.at("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let executable = tree.set("", &["run"]);
        assert_ne!(plain.digest(), executable.digest());
        fs::set_permissions(tree.at("run"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(executable.digest(), tree.set("", &["run"]).digest());
    }

    #[test]
    fn names_need_not_be_unicode() {
        let tree = Tree::new(&[]);
        let name = OsStr::from_bytes(b"\xff\xfe.c");
        fs::create_dir(tree.at("src")).unwrap();
        fs::write(tree.at("src").join(name), "x").unwrap();
        for patterns in ["src/*.c", "src/?*.c", "src", "**"] {
            assert_eq!(tree.list(&[patterns]), [r"src/\xff\xfe.c"], "{patterns}");
        }
        let mut literal = OsStr::new("src/").to_os_string();
        literal.push(name);
        let inputs = Inputs::new(&tree.at(""), &tree.at(""), [&literal]).unwrap();
        assert_eq!(inputs.resolve().unwrap().len(), 1);
        fs::write(tree.at("list"), [b"src/", name.as_bytes(), b"\n"].concat()).unwrap();
        assert_eq!(tree.list(&["@list"]), ["list", r"src/\xff\xfe.c"]);
        literal.push("*");
        assert!(matches!(
            Inputs::new(&tree.at(""), &tree.at(""), [literal]),
            Err(InputError::BadPattern { .. })
        ));
    }

    #[test]
    fn what_has_no_content_is_an_error_unless_it_is_excluded() {
        let tree = Tree::new(&["src/a.c"]);
        let _socket = std::os::unix::net::UnixListener::bind(tree.at("src/socket")).unwrap();
        for patterns in [["src"], ["src/socket"], ["src/*"]] {
            let error = tree.try_set("", &patterns).unwrap_err();
            assert!(matches!(error, InputError::Special { .. }), "{error}");
            assert!(error.to_string().contains("src/socket"));
        }
        assert_eq!(tree.list(&["src", "!src/socket"]), ["src/a.c"]);
        assert_eq!(tree.list(&["src/*.c"]), ["src/a.c"]);
    }

    #[test]
    fn what_may_not_be_read_is_named() {
        let tree = Tree::new(&["src/a.c", "src/dir/b.c"]);
        fs::set_permissions(tree.at("src/a.c"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.at("src/dir"), fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read everything.
        if fs::read(tree.at("src/a.c")).is_err() {
            for (patterns, named) in [(["src/a.c"], "src/a.c"), (["src/**/b.c"], "src/dir")] {
                let error = tree.try_set("", &patterns).unwrap_err();
                assert!(matches!(error, InputError::Denied { .. }), "{error}");
                assert!(error.to_string().contains(named), "{error}");
            }
        }
        fs::set_permissions(tree.at("src/dir"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

mod git {
    use super::*;
    use std::process::Command;

    fn git(dir: &Path, args: &[&str]) {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "protocol.file.allow=always",
        ]);
        command.args(args).current_dir(dir).env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn checkout(files: &[&str]) -> Tree {
        let tree = Tree { root: tempfile::tempdir().unwrap() };
        git(&tree.at(""), &["init", "-q"]);
        for file in files {
            tree.write(file, file);
        }
        tree
    }

    #[test]
    fn tracked_and_new_files_but_not_ignored_ones() {
        let tree = checkout(&["a.c", "src/b.c", "src/gone.c", "src/[x].c", "target/out"]);
        tree.write(".gitignore", "target/\n*.log\n");
        git(&tree.at(""), &["add", "-A"]);
        fs::remove_file(tree.at("src/gone.c")).unwrap();
        tree.write("src/new.c", "");
        tree.write("src/x.log", "");
        assert_eq!(tree.list(&["@git:src"]), ["src/[x].c", "src/b.c", "src/new.c"]);
        assert_eq!(tree.list(&["@git:."]), [".gitignore", "a.c", "src/[x].c", "src/b.c", "src/new.c"]);
        assert_eq!(tree.list(&["@git:src/[x].c"]), ["src/[x].c"]);
        assert_eq!(tree.list(&["@git:.", "!src", "!*.c"]), [".gitignore"]);
        let below = tree.set("src", &["@git:.."]);
        assert_eq!(below.digest(), tree.set("", &["@git:."]).digest());
        assert!(matches!(tree.try_set("", &["@git:none"]), Err(InputError::NotFound { .. })));
    }

    #[test]
    fn repositories_inside_belong_to_it() {
        let tree = checkout(&["a.c"]);
        let other = checkout(&["lib.c", "ignored"]);
        other.write(".gitignore", "ignored\n");
        git(&other.at(""), &["add", "-A"]);
        git(&other.at(""), &["commit", "-qm", "x"]);
        git(&tree.at(""), &["submodule", "--quiet", "add", other.at("").to_str().unwrap(), "sub"]);
        tree.write("sub/new.c", "");
        fs::create_dir(tree.at("nested")).unwrap();
        git(&tree.at("nested"), &["init", "-q"]);
        tree.write("nested/n.c", "");
        let expected = [".gitmodules", "a.c", "nested/n.c", "sub/.gitignore", "sub/lib.c", "sub/new.c"];
        assert_eq!(tree.list(&["@git:."]), expected);
    }

    #[test]
    fn without_a_repository_git_says_why_not() {
        let tree = Tree::new(&["a.c"]);
        fs::remove_dir_all(tree.at(".git")).unwrap();
        let error = tree.try_set("", &["@git:."]).unwrap_err();
        assert!(matches!(error, InputError::Git { .. }), "{error}");
        assert!(error.to_string().contains("git"), "{error}");
    }
}

#[test]
fn a_large_tree_is_listed_as_a_small_one_is() {
    let files: Vec<String> = (0..3000).map(|i| format!("src/{}/{}/{i}.c", i / 60, i % 2)).collect();
    let tree = Tree::new(&files.iter().map(String::as_str).collect::<Vec<_>>());
    tree.write("src/5/skipped/x.c", "");
    let listed = tree.list(&["src/**/*.c", "!**/skipped"]);
    let mut expected = files;
    expected.sort();
    assert_eq!(listed, expected);
    // Whoever finds the one file that a pattern matches: it is known to have matched.
    let mut patterns: Vec<String> = (0..50).map(|i| format!("src/**/{}.c", i * 60)).collect();
    patterns.push("src/**/*.h".to_owned());
    let set = tree.set("", &patterns.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((set.files.len(), set.unmatched), (50, vec!["src/**/*.h".to_owned()]));
}
