//! Whether a header that comes to exist is noticed, against the real compiler.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use cache_run::depfile;
use cache_run::shadow::{Compile, MAX_ABSENT, ShadowError, Shadows, candidates, first_appeared};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory to compile in, with the arguments of the compile.
struct Project {
    dir: tempfile::TempDir,
    args: Vec<OsString>,
    env: Vec<(&'static str, &'static str)>,
}

impl Project {
    fn new(files: &[(&str, &str)], args: &str) -> Self {
        let args = args.split_whitespace().map(OsString::from).collect();
        let project = Self { dir: tempfile::tempdir().unwrap(), args, env: Vec::new() };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Returns the dependencies that gcc lists, and what it makes of the text; `None` without gcc.
    fn preprocess(&self) -> Option<(Vec<PathBuf>, Vec<u8>)> {
        let mut command = Command::new("gcc");
        command.args(["-E", "-P", "-MD", "-MF", "out.d"]).args(&self.args).current_dir(self.dir.path());
        match command.envs(self.env.iter().copied()).output() {
            Ok(out) => {
                let deps = depfile::read(&self.dir.path().join("out.d"));
                out.status.success().then(|| (deps.unwrap().deps, out.stdout))
            }
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "gcc is needed by this test: {error}");
                None
            }
        }
    }

    fn shadows(&self, deps: &[PathBuf]) -> Result<Shadows, ShadowError> {
        let env = |name: &str| self.env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        candidates(&Compile { args: &self.args, env: &env, deps, cwd: self.dir.path() })
    }

    /// Writes `path`; returns whether the result of the compile changed by it and whether that was noticed.
    fn try_file(&self, path: &str) -> Option<(bool, bool)> {
        let before = self.preprocess()?;
        let shadows = self.shadows(&before.0).unwrap();
        assert_eq!(first_appeared(&shadows.absent, self.dir.path()), None);
        let parent = Path::new(path).ancestors().filter(|dir| !self.dir.path().join(dir).exists()).last();
        let parent = self.dir.path().join(parent.unwrap());
        self.write(path, "changed\n");
        let after = self.preprocess();
        let noticed = first_appeared(&shadows.absent, self.dir.path()).is_some();
        if parent.is_dir() { std::fs::remove_dir_all(parent) } else { std::fs::remove_file(parent) }.unwrap();
        Some((after.as_ref() != Some(&before), noticed))
    }

    fn assert_noticed(&self, path: &str) {
        if let Some((changed, noticed)) = self.try_file(path) {
            assert!(changed, "{path} does not change the result, so this proves nothing");
            assert!(noticed, "{path} changes the result and is not noticed");
        }
    }
}

#[test]
fn a_header_earlier_on_the_include_path() {
    let files = [
        ("src/a.c", "#include <x.h>\n#include <sub/y.h>\n"),
        ("two/x.h", "x\n"),
        ("two/sub/y.h", "y\n"),
        ("one/z.h", ""),
    ];
    let project = Project::new(&files, "-Inone -Ione -I two src/a.c");
    for path in ["one/x.h", "one/sub/y.h", "none/x.h", "none/sub/y.h"] {
        project.assert_noticed(path);
    }
    let Some((deps, _)) = project.preprocess() else { return };
    assert!(project.shadows(&deps).unwrap().absent.contains(&"two/x.h.gch".into()));
    assert_eq!(project.try_file("one/other.h").unwrap_or_default(), (false, false));
    assert_eq!(project.try_file("src/x.h").unwrap_or_default(), (false, false));
}

#[test]
fn a_quoted_header_beside_the_includer() {
    let files = [("src/a.c", "#include \"x.h\"\n"), ("inc/x.h", "#include \"y.h\"\n"), ("far/y.h", "y\n")];
    let project = Project::new(&files, "-iquote far -isystem inc src/a.c");
    for path in ["src/x.h", "inc/y.h"] {
        project.assert_noticed(path);
    }
    assert_eq!(project.try_file("src/y.h").unwrap_or_default(), (false, false));
}

#[test]
fn computed_names_and_names_with_dots() {
    let files = [
        ("src/a.c", "#define H \"x.h\"\n#include H\n#include \"../inc/deep/y.h\"\n"),
        ("inc/x.h", "x\n"),
        ("lib/inc/deep/y.h", "y\n"),
        ("lib/z/z.h", ""),
    ];
    let project = Project::new(&files, "-Iinc -Ilib/z src/a.c");
    for path in ["src/x.h", "inc/deep/y.h"] {
        project.assert_noticed(path);
    }
}

#[test]
fn questions_that_were_answered_no() {
    let text = "#if __has_include(<opt/a.h>)\nyes\n#endif\n#if __has_include(\"b.h\")\nyes\n#endif\n\
        #define WANT <c.h>\n#define HAS(x) __has_include(x)\n#if HAS(WANT)\nyes\n#endif\n";
    let project = Project::new(&[("src/a.c", text), ("inc/x.h", "")], "-Iinc src/a.c");
    for path in ["inc/opt/a.h", "src/b.h", "inc/b.h", "inc/c.h"] {
        project.assert_noticed(path);
    }
}

#[test]
fn questions_about_headers_of_the_system() {
    let text = "#include <stddef.h>\n#if __has_include(<vitte-absent/x.h>)\nyes\n#endif\n";
    let project = Project::new(&[("a.c", text)], "a.c");
    let Some((deps, _)) = project.preprocess() else { return };
    let shadows = project.shadows(&deps).unwrap();
    // Where the system's headers lie is known on the usual systems only.
    for dep in deps.iter().filter(|dep| dep.starts_with("/usr/lib") || dep.starts_with("/usr/include")) {
        let dir = dep.with_file_name("vitte-absent");
        assert!(shadows.absent.contains(&dir), "{} is not expected to be absent", dir.display());
    }
}

#[test]
fn forced_includes_the_environment_and_response_files() {
    let files = [
        ("src/a.c", "#include <y.h>\n"),
        ("last/x.h", "x\n"),
        ("last/y.h", "y\n"),
        ("env/z.h", ""),
        ("rsp/z.h", ""),
        ("args", "-Irsp"),
    ];
    let mut project = Project::new(&files, "@args -include x.h src/a.c -idirafter last");
    project.env.push(("CPATH", "env"));
    for path in ["x.h", "src/../env/y.h", "rsp/y.h", "env/x.h"] {
        project.assert_noticed(path);
    }
    let Some((deps, _)) = project.preprocess() else { return };
    assert_eq!(project.shadows(&deps).unwrap().response_files, [PathBuf::from("args")]);
}

/// Every file that could be added to a small project, one at a time: what changes the result is noticed.
#[test]
fn no_position_is_forgotten() {
    let files = [
        (
            "src/main.c",
            "#include \"a.h\"\n#include <sub/b.h>\n#include \"sub/c.h\"\n#if __has_include(\"d.h\")\nd\n#endif\n",
        ),
        ("three/a.h", "#include \"b.h\"\n#include_next <a.h>\n"),
        ("four/a.h", "last\n"),
        ("three/sub/b.h", "#include \"../e.h\"\n"),
        ("src/sub/c.h", "#include \"b.h\"\n"),
        ("two/b.h", "b\n"),
        ("three/e.h", "#include <stddef.h>\n"),
        ("one/sub/keep.h", ""),
    ];
    let project =
        Project::new(&files, "-iquote one -I two -I three -isystem four -idirafter five src/main.c");
    let mut proofs = 0;
    for dir in ["one", "two", "three", "four", "five", "src", "src/sub", "three/sub"] {
        for name in
            ["a.h", "b.h", "c.h", "d.h", "e.h", "stddef.h", "sub/b.h", "sub/c.h", "sub/d.h", "sub/a.h"]
        {
            let path = format!("{dir}/{name}");
            if project.dir.path().join(&path).exists() {
                continue;
            }
            let Some((changed, noticed)) = project.try_file(&path) else { return };
            proofs += usize::from(changed);
            assert!(noticed || !changed, "{path} changes the result and is not noticed");
        }
    }
    assert!(proofs > 15, "only {proofs} of the files change anything, so this proves little");
}

#[test]
fn a_dangling_link_is_absent_until_its_target_appears() {
    let project =
        Project::new(&[("a.c", "#include <x.h>\n"), ("two/x.h", "x\n"), ("one/z.h", "")], "-Ione -Itwo a.c");
    std::os::unix::fs::symlink("../elsewhere.h", project.dir.path().join("one/x.h")).unwrap();
    project.assert_noticed("elsewhere.h");
}

#[test]
fn what_cannot_be_said_is_an_error() {
    let project = Project::new(&[("a.c", "")], "-Ione a.c");
    let gone = project.shadows(&["gone.h".into()]).unwrap_err();
    assert!(matches!(gone, ShadowError::Dependency { .. }) && gone.to_string().contains("gone.h"), "{gone}");
    let mut text = String::new();
    for n in 0..=MAX_ABSENT {
        text.push_str(if n % 2 == 0 { "#include <" } else { "#include \"" });
        text.push_str(&n.to_string());
        text.push_str(if n % 2 == 0 { ">\n" } else { "\"\n" });
    }
    project.write("a.c", &text);
    project.write("one/x.h", "");
    assert!(matches!(project.shadows(&["a.c".into()]), Err(ShadowError::TooMany)));
}
