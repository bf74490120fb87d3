//! C projects, one `run --depfile` per file.

use std::fs;
use std::process::Command;

use crate::support::{Lab, Ran};

fn compile(lab: &Lab, name: &str) -> Ran {
    let (source, object, deps) = (format!("{name}.c"), format!("{name}.o"), format!("{name}.d"));
    lab.run([
        "-n",
        name,
        "--depfile",
        &deps,
        "-i",
        &source,
        "-o",
        &object,
        "--",
        "gcc",
        "-Ifirst",
        "-Isecond",
        "-MD",
        "-MF",
        &deps,
        "-c",
        &source,
        "-o",
        &object,
    ])
}

/// A program of three files over two headers.
fn project() -> Lab {
    let lab = Lab::new();
    lab.write("first/.keep", "");
    lab.write("second/value.h", "#define VALUE 1\n");
    lab.write("second/other.h", "#define OTHER 1\n");
    lab.write(
        "main.c",
        "#include <stdio.h>\n#include \"value.h\"\nint main(void) { printf(\"%d\\n\", VALUE); return 0; }\n",
    );
    lab.write("both.c", "#include \"value.h\"\n#include \"other.h\"\nint both = VALUE + OTHER;\n");
    lab.write("none.c", "int none;\n");
    lab
}

const ALL: [&str; 3] = ["main", "both", "none"];

fn missed(lab: &Lab) -> Vec<&'static str> {
    ALL.into_iter().filter(|name| compile(lab, name).outcome() == "miss").collect()
}

fn value(lab: &Lab) -> String {
    let link = Command::new("gcc").args(["main.o", "-o", "main"]).current_dir(&lab.work).status().unwrap();
    assert!(link.success());
    let output = Command::new(lab.path("main")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn exactly_the_dependants_of_a_header_are_compiled_again() {
    let lab = project();
    assert_eq!(missed(&lab), ALL);
    assert_eq!(missed(&lab), [""; 0]);
    assert_eq!(value(&lab), "1");
    lab.write("second/value.h", "#define VALUE 2\n");
    assert_eq!(compile(&lab, "main").expect("miss").reasons(), "second/value.h changed");
    assert_eq!(missed(&lab), ["both"]);
    assert_eq!(value(&lab), "2");
    lab.write("second/other.h", "#define OTHER 2\n");
    assert_eq!(missed(&lab), ["both"]);
    // Both states of the header are known now.
    lab.write("second/value.h", "#define VALUE 1\n");
    assert_eq!(compile(&lab, "main").outcome(), "hit");
    assert_eq!(value(&lab), "1");
}

#[test]
fn a_header_that_appears_earlier_on_the_include_path_is_noticed() {
    let lab = project();
    assert_eq!(missed(&lab), ALL);
    lab.write("first/value.h", "#define VALUE 7\n");
    assert_eq!(compile(&lab, "main").expect("miss").reasons(), "first/value.h added");
    assert_eq!(value(&lab), "7");
    // And earlier still, beside the source.
    lab.write("value.h", "#define VALUE 8\n");
    compile(&lab, "main").expect("miss");
    assert_eq!(value(&lab), "8");
    fs::remove_file(lab.path("value.h")).unwrap();
    fs::remove_file(lab.path("first/value.h")).unwrap();
    compile(&lab, "main").expect("hit");
    assert_eq!(value(&lab), "1");
    // A header of the system can be shadowed as well.
    lab.write("first/stdio.h", "int printf(const char *, ...);\n#undef VALUE\n#define VALUE 9\n");
    compile(&lab, "main").expect("miss");
}

#[test]
fn a_header_that_goes_away_is_noticed() {
    let lab = project();
    assert_eq!(missed(&lab), ALL);
    fs::remove_file(lab.path("second/value.h")).unwrap();
    let failed = compile(&lab, "main");
    assert_eq!((failed.code, failed.outcome()), (1, "not-stored"), "{}", failed.stderr);
    assert!(failed.reasons().contains("second/value.h removed"), "{}", failed.reasons());
}

#[test]
fn the_depfile_comes_back_too() {
    let lab = project();
    compile(&lab, "main").expect("miss");
    let before = lab.read("main.d");
    for file in ["main.d", "main.o"] {
        fs::remove_file(lab.path(file)).unwrap();
    }
    compile(&lab, "main").expect("hit");
    assert_eq!(lab.read("main.d"), before);
    assert!(lab.path("main.o").exists());
}

#[test]
fn a_header_edited_while_the_compiler_runs_is_not_trusted() {
    let lab = project();
    let script = "gcc -Isecond -MD -MF main.d -c main.c -o main.o && echo '#define VALUE 3' > second/value.h";
    let ran = lab.sh(&["--depfile", "main.d", "-i", "main.c", "-o", "main.o"], script);
    assert_eq!(ran.outcome(), "not-stored");
    assert!(ran.refusal().contains("second/value.h changed while the command ran"), "{}", ran.refusal());
}

#[test]
fn a_missing_or_damaged_depfile_is_said() {
    let lab = project();
    let flags = ["--depfile", "x.d", "-i", "main.c"];
    assert!(lab.sh(&flags, "true").refusal().contains("x.d"));
    assert!(lab.sh(&flags, "echo no rule > x.d").refusal().contains("target"));
    assert!(lab.sh(&flags, "echo 'a: gone.h' > x.d").refusal().contains("gone.h"));
}

#[test]
fn sixteen_states_of_a_header_are_remembered() {
    let lab = project();
    let set = |n: usize| lab.write("second/value.h", format!("#define VALUE {n}\n"));
    for n in 0..17 {
        set(n);
        compile(&lab, "main").expect("miss");
    }
    for n in (1..17).rev() {
        set(n);
        compile(&lab, "main").expect("hit");
    }
    assert_eq!(value(&lab), "1");
    set(0);
    compile(&lab, "main").expect("miss");
}

#[test]
fn rustc_works_the_same_way() {
    let lab = Lab::new();
    lab.write("main.rs", "mod part;\nfn main() { println!(\"{}\", part::N); }\n");
    lab.write("part.rs", "pub const N: u32 = 1;\n");
    let build = || {
        let args = [
            "--depfile",
            "main.d",
            "-i",
            "main.rs",
            "-o",
            "main",
            "--pass-env",
            "RUSTUP_*",
            "--pass-env",
            "CARGO_HOME",
            "--",
        ];
        let mut command = lab.run_command(args.iter().chain(&["rustc", "--emit=link,dep-info", "main.rs"]));
        // rustup finds its toolchains through the real home.
        command.env("HOME", std::env::var_os("HOME").unwrap_or_default());
        for name in ["RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Ran::from(command.output().unwrap())
    };
    build().expect("miss");
    build().expect("hit");
    lab.write("part.rs", "pub const N: u32 = 2;\n");
    assert_eq!(build().expect("miss").reasons(), "part.rs changed");
    // A directory module would now be read instead, or be an error.
    build().expect("hit");
}
