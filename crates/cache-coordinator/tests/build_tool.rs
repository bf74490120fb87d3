//! The example `build_tool` builds a C project, and makes again exactly what has to be.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests, and a skip that says so")]

#[path = "../examples/build_tool.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod build_tool;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

struct Project(tempfile::TempDir);

impl Project {
    /// Copies the project of the example, or returns nothing where there is no compiler.
    fn new() -> Option<Self> {
        if let Err(error) = Command::new("cc").arg("--version").output() {
            assert!(std::env::var_os("CI").is_none(), "cc is needed by this test: {error}");
            eprintln!("skipped, as there is no cc: {error}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/build_tool")), dir.path());
        Some(Self(dir))
    }

    /// Builds as a process of its own would: nothing is left of the build before but what is on the disk.
    fn build(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.try_build(&mut lines).unwrap();
        lines
    }

    fn try_build(&self, lines: &mut Vec<String>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let built = runtime.block_on(build_tool::build(self.0.path(), &mut |line| lines.push(line)));
        built.map_err(|error| error.to_string())
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.0.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self) -> String {
        let output = Command::new(self.0.path().join("out/app")).args(["one", "three"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // What somebody made who tried the example here is not part of the project.
        if ["out", ".cache"].iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

const ALL_CACHED: [&str; 4] = ["main.o: cached", "text.o: cached", "words.o: cached", "app: cached"];

/// Returns a project that was built, unless there is no compiler.
fn built() -> Option<Project> {
    let project = Project::new()?;
    project.build();
    Some(project)
}

#[test]
fn the_first_build_makes_everything_and_the_second_nothing() {
    let Some(project) = Project::new() else { return };
    let first =
        ["main.o", "text.o", "words.o", "app"].map(|name| format!("{name}: built, as nothing is recorded"));
    assert_eq!(project.build(), first);
    assert_eq!(project.run(), "one: 3\nthree: 5\nroom for 14\n");
    assert_eq!(project.build(), ALL_CACHED);
}

#[test]
fn an_edited_header_makes_again_what_includes_it() {
    let Some(project) = built() else { return };
    project.edit("include/util/size.h", "16", "8");
    let expected = [
        "main.o: built, as include/util/size.h has changed",
        "text.o: cached",
        "words.o: built, as include/util/size.h has changed",
        "app: built, as its dependency main.o has changed",
    ];
    assert_eq!(project.build(), expected);
    assert_eq!(project.run(), "one: 3\nthree: 5\nroom for 6\n");
    assert_eq!(project.build(), ALL_CACHED);
}

#[test]
fn outputs_that_were_deleted_come_back() {
    let Some(project) = built() else { return };
    let program = fs::read(project.0.path().join("out/app")).unwrap();
    fs::remove_dir_all(project.0.path().join("out")).unwrap();
    let restored = ["main.o: restored", "text.o: restored", "words.o: restored", "app: restored"];
    assert_eq!(project.build(), restored);
    assert_eq!(fs::read(project.0.path().join("out/app")).unwrap(), program);
    assert_eq!(project.run(), "one: 3\nthree: 5\nroom for 14\n");
    assert_eq!(project.build(), ALL_CACHED);
}

#[test]
fn an_equal_object_is_no_reason_to_link() {
    let Some(project) = built() else { return };
    project.edit("include/text.h", "letters of a word", "letters of one word");
    let expected = [
        "main.o: built, as include/text.h has changed",
        "text.o: built, as include/text.h has changed",
        "words.o: cached",
        "app: cached",
    ];
    assert_eq!(project.build(), expected);
}

#[test]
fn a_former_state_of_the_objects_is_linked_already() {
    let Some(project) = built() else { return };
    project.edit("src/main.c", "room for", "space for");
    let there = [
        "main.o: built, as src/main.c has changed",
        "text.o: cached",
        "words.o: cached",
        "app: built, as its dependency main.o has changed",
    ];
    assert_eq!(project.build(), there);
    project.edit("src/main.c", "space for", "room for");
    let back =
        ["main.o: built, as src/main.c has changed", "text.o: cached", "words.o: cached", "app: restored"];
    assert_eq!(project.build(), back);
    assert_eq!(project.run(), "one: 3\nthree: 5\nroom for 14\n");
}

#[test]
fn a_header_that_hides_another_is_noticed() {
    let Some(project) = built() else { return };
    fs::write(project.0.path().join("src/text.h"), "int text_letters(const char *word);\n").unwrap();
    let expected = [
        "main.o: built, as src/text.h is new",
        "text.o: built, as src/text.h is new",
        "words.o: cached",
        "app: cached",
    ];
    assert_eq!(project.build(), expected);
    assert_eq!(project.build(), ALL_CACHED);
}

#[test]
fn what_cannot_be_recorded_is_built_all_the_same() {
    let Some(project) = built() else { return };
    // What is not in the project is looked at only after the compiler ran.
    let elsewhere = tempfile::tempdir().unwrap();
    let header = fs::canonicalize(elsewhere.path()).unwrap().join("elsewhere.h");
    fs::write(&header, "").unwrap();
    // Its stamp is later than any build, so it cannot be told whether it was touched during this one.
    let later = SystemTime::now() + Duration::from_hours(24);
    fs::File::options().write(true).open(&header).unwrap().set_modified(later).unwrap();
    project.edit("src/text.c", "#include", &format!("#include \"{}\"\n#include", header.display()));
    for _ in 0..2 {
        let lines = project.build();
        let trouble = format!("nobody knows what was read as {}", header.display());
        let text = format!("text.o: built, as src/text.c has changed; {trouble}");
        assert!(lines[1].starts_with(&text), "{}", lines[1]);
        assert_eq!(
            [&*lines[0], &*lines[2], &*lines[3]],
            ["main.o: cached", "words.o: cached", "app: cached"]
        );
    }
}

#[test]
fn what_the_compiler_finds_by_itself_is_an_input() {
    let Some(project) = built() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let header = fs::canonicalize(elsewhere.path()).unwrap().join("elsewhere.h");
    fs::write(&header, "").unwrap();
    project.edit("src/text.c", "#include", &format!("#include \"{}\"\n#include", header.display()));
    // What was just written must get old, as only the kernel can stamp it.
    thread::sleep(Duration::from_millis(2_200));
    project.build();
    assert_eq!(project.build(), ALL_CACHED);
    fs::write(&header, "#define ELSEWHERE 1").unwrap();
    let text = format!("text.o: built, as {} has changed", header.display());
    assert!(project.build()[1].starts_with(&text));
}

#[test]
fn a_source_that_does_not_compile_is_not_recorded() {
    let Some(project) = built() else { return };
    project.edit("src/words.c", "return 1;", "return one;");
    for _ in 0..2 {
        let mut lines = Vec::new();
        assert!(project.try_build(&mut lines).unwrap_err().contains("cc failed"));
        assert_eq!(lines, ALL_CACHED[..2]);
    }
    project.edit("src/words.c", "return one;", "return 1;");
    assert_eq!(project.build(), ["main.o: cached", "text.o: cached", "words.o: cached", "app: cached"]);
}
