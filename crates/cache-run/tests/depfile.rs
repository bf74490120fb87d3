//! Dependency files: what real compilers write, what the formats allow, and garbage.
#![allow(clippy::unwrap_used, missing_docs)]

use cache_run::depfile::{Depfile, DepfileError, EnvDep, MAX_NAME_BYTES, parse, read};
use proptest::prelude::*;
#[cfg(unix)]
use std::fmt::Write;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

fn deps(text: &str) -> Vec<String> {
    names(&parse(text.as_bytes()).unwrap().deps).into_iter().map(str::to_owned).collect()
}

#[test]
fn several_rules_targets_and_continuations() {
    let text = "a.o b.o: a.c \\\n  a.h \\\r\n\tb.h\r\n\nc.o : c.c a.h\nd.o:\\\n d.c\n";
    let found = parse(text.as_bytes()).unwrap();
    assert_eq!(names(&found.targets), ["a.o", "b.o", "c.o", "d.o"]);
    assert_eq!(names(&found.deps), ["a.c", "a.h", "b.h", "c.c", "d.c"]);
}

#[test]
fn phony_targets_of_headers_are_not_targets() {
    let found = parse(b"a.o: a.c a.h\na.h:\n").unwrap();
    assert_eq!(names(&found.targets), ["a.o"]);
    assert_eq!(names(&found.deps), ["a.c", "a.h"]);
    let chained = parse(b"gen.h: gen.in\na.o: a.c gen.h\ngen.h:\n").unwrap();
    assert_eq!(names(&chained.targets), ["gen.h", "a.o"]);
}

#[test]
fn escapes() {
    assert_eq!(deps(r"x: a\ b a\#b a$$b a\:b"), ["a b", "a#b", "a$b", "a:b"]);
    assert_eq!(deps(r"x: a\b \\srv\share a\\b"), [r"a\b", r"\\srv\share", r"a\\b"]);
    assert_eq!(deps(r"x: a\\\ b a\\ b"), [r"a\ b", r"a\\", "b"]);
    assert_eq!(deps("x: a\\\tb $HOME a\\: b"), ["a\tb", "$HOME", "a:", "b"]);
    assert_eq!(deps(r"x: a\\#b"), [r"a\#b"]);
    assert_eq!(deps("x: a\\\\\nb: c\\\\\\\n d"), [r"a\\", r"c\\", "d"]);
}

#[test]
fn colons_and_windows_paths() {
    let found = parse(b"C:\\out\\a.obj: C:/src/a.c D:\\inc\\a.h\nfoo\\: bar\n").unwrap();
    assert_eq!(names(&found.targets), ["C:\\out\\a.obj", "foo\\"]);
    assert_eq!(names(&found.deps), ["C:/src/a.c", "D:\\inc\\a.h", "bar"]);
    assert_eq!(names(&parse(b"a:b: c").unwrap().targets), ["a:b"]);
}

#[test]
fn comments_of_rustc() {
    let text = "a.d: a.rs\n\na.rs:\n\n# env-dep:CARGO_X\n# env-dep:P=a=\\\\b\\nc\n# checksum:blake3=00 file_len:1 a.rs\n";
    let found = parse(text.as_bytes()).unwrap();
    assert_eq!(names(&found.deps), ["a.rs"]);
    assert_eq!(names(&found.targets), ["a.d"]);
    let unset = EnvDep { name: "CARGO_X".into(), value: None };
    let set = EnvDep { name: "P".into(), value: Some("a=\\b\nc".into()) };
    assert_eq!(found.env, [unset, set]);
}

#[test]
fn empty_and_damaged_files() {
    assert_eq!(parse(b"").unwrap(), Depfile::default());
    assert_eq!(parse(b"\n \\\n\r\n\t").unwrap(), Depfile::default());
    assert!(matches!(parse(b"a.o: a.c\nmain.o \\\n"), Err(DepfileError::MissingColon { line: 2 })));
    assert!(matches!(parse(b"a.o: a.c \\\n b\\"), Err(DepfileError::Truncated { line: 2 })));
    assert!(matches!(parse(b"a.o: \0"), Err(DepfileError::BadName { line: 1 })));
    assert!(matches!(parse(b"# env-dep:=x\n"), Err(DepfileError::BadName { line: 1 })));
    let long = format!("a: {}", "x".repeat(MAX_NAME_BYTES + 1));
    assert!(matches!(parse(long.as_bytes()), Err(DepfileError::BadName { .. })));
    let missing = read(Path::new("no/such.d")).unwrap_err().to_string();
    assert!(missing.contains("no/such.d") && missing.contains("--depfile"), "{missing}");
}

#[test]
fn many_backslashes_take_linear_time() {
    // Quadratic behaviour would need about 10^13 steps here.
    let text = format!("a: {}", "\\\\x ".repeat(1 << 20));
    assert_eq!(deps(&text), [r"\\x"]);
    let run = format!("a: {}", "\\".repeat(8 << 20));
    assert!(parse(run.as_bytes()).is_err());
}

#[cfg(unix)]
fn run(dir: &Path, program: &str, args: &[&str]) -> bool {
    match Command::new(program).args(args).current_dir(dir).output() {
        Ok(out) => {
            assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
            true
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program} is needed by this test: {error}");
            false
        }
    }
}

/// The file names that a compiler must escape, and some that it must not.
#[cfg(unix)]
const AWKWARD: [&str; 10] =
    ["a b.h", "a#b.h", "a$b.h", "a\\b.h", "a:b.h", "a\\ b.h", "$$x.h", "a%b.h", "tab\tx.h", "a\\#b.h"];

#[test]
#[cfg(unix)]
fn gcc_names_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = String::new();
    for name in AWKWARD {
        std::fs::write(dir.path().join(name), "").unwrap();
        writeln!(source, "#include \"{name}\"").unwrap();
    }
    std::fs::write(dir.path().join("main file.c"), source).unwrap();
    for flags in [&["-MD"][..], &["-MMD", "-MP"]] {
        let mut args = flags.to_vec();
        args.extend(["-MF", "out.d", "-c", "main file.c", "-o", "out dir$.o"]);
        if !run(dir.path(), "gcc", &args) {
            return;
        }
        let found = read(&dir.path().join("out.d")).unwrap();
        assert_eq!(names(&found.targets), ["out dir$.o"]);
        let mut expected = vec!["main file.c"];
        expected.extend(AWKWARD);
        let own: Vec<_> = names(&found.deps).into_iter().filter(|name| !name.starts_with('/')).collect();
        assert_eq!(own, expected);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn gcc_names_that_are_not_unicode_come_back() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.c");
    std::fs::write(dir.path().join(name), "").unwrap();
    let Ok(out) =
        Command::new("gcc").args(["-MMD", "-MF", "x.d", "-c"]).arg(name).current_dir(dir.path()).output()
    else {
        assert!(std::env::var_os("CI").is_none(), "gcc is needed by this test");
        return;
    };
    assert!(out.status.success());
    assert_eq!(read(&dir.path().join("x.d")).unwrap().deps, [PathBuf::from(name)]);
}

#[test]
#[cfg(unix)]
fn rustc_names_and_environment_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = "#[path = \"a b.rs\"] mod a; pub const X: Option<&str> = option_env!(\"VITTE_TEST_UNSET\");
        pub const H: &str = env!(\"VITTE_TEST_SET\"); pub const S: &str = include_str!(\"data#1.txt\");";
    std::fs::write(dir.path().join("lib.rs"), source).unwrap();
    std::fs::write(dir.path().join("a b.rs"), "").unwrap();
    std::fs::write(dir.path().join("data#1.txt"), "").unwrap();
    let args = ["VITTE_TEST_SET=a\\b\nc", "rustc", "--crate-type=lib", "--emit=dep-info=x.d", "lib.rs"];
    assert!(run(dir.path(), "env", &args));
    let found = read(&dir.path().join("x.d")).unwrap();
    assert_eq!(names(&found.targets), ["x.d"]);
    assert_eq!(names(&found.deps), ["lib.rs", "a b.rs", "data#1.txt"]);
    let mut env = found.env;
    env.sort_by(|a, b| a.name.cmp(&b.name));
    let set = EnvDep { name: "VITTE_TEST_SET".into(), value: Some("a\\b\nc".into()) };
    assert_eq!(env, [set, EnvDep { name: "VITTE_TEST_UNSET".into(), value: None }]);
}

/// Writes a name as gcc's `mkdeps.cc` does.
fn escape(name: &str) -> String {
    let (mut out, mut slashes) = (String::new(), 0);
    for c in name.chars() {
        match c {
            ' ' | '\t' => out.push_str(&"\\".repeat(slashes + 1)),
            '#' | ':' => out.push('\\'),
            '$' => out.push('$'),
            _ => {}
        }
        slashes = if c == '\\' { slashes + 1 } else { 0 };
        out.push(c);
    }
    out
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn syntax_soup_never_panics(text in "[ab \\t\\\\:#$\\r\\n]{0,200}") {
        if let Ok(found) = parse(text.as_bytes()) {
            let bytes: usize = found.deps.iter().chain(&found.targets).map(|path| path.as_os_str().len()).sum();
            prop_assert!(bytes <= text.len());
        }
    }

    /// A name that ends in a backslash is the one thing that the format cannot say.
    #[test]
    fn round_trip(list in proptest::collection::vec("[a-c \\t\\\\:#$%é]{0,12}[a-c:#$ ]", 1..12), crlf: bool, width in 1..4_usize) {
        let newline = if crlf { "\r\n" } else { "\n" };
        let mut text = "out.o:".to_owned();
        for (i, name) in list.iter().enumerate() {
            if i % width == 0 {
                text.push_str(" \\");
                text.push_str(newline);
            }
            text.push(' ');
            text.push_str(&escape(name));
        }
        text.push_str(newline);
        let mut expected: Vec<PathBuf> = Vec::new();
        for name in list.iter().map(PathBuf::from) {
            if !expected.contains(&name) {
                expected.push(name);
            }
        }
        let found = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(found.deps, expected);
        prop_assert_eq!(found.targets, [PathBuf::from("out.o")]);
    }
}
