//! The examples print what they promise.

use std::path::Path;
use std::process::Command;

/// Returns what an example prints that is built with `features` and runs in `dir`.
fn run(dir: &Path, example: &str, features: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", example])
        .args(features)
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .current_dir(dir)
        .output()
        .expect("cargo runs, because it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn the_second_quickstart_finds_what_the_first_computed() {
    let dir = tempfile::tempdir().unwrap();
    let symbols = "Symbols { functions: [\"main() {\", \"run() {}\"], lines: 4 }\n";
    assert_eq!(run(dir.path(), "quickstart", &[]), format!("computed {symbols}"));
    assert_eq!(run(dir.path(), "quickstart", &[]), format!("found {symbols}"));
    assert!(dir.path().join("target/.vitte-cache/CACHEDIR.TAG").is_file());
}

#[test]
fn memoize_computes_each_result_once() {
    let dir = tempfile::tempdir().unwrap();
    let printed = run(dir.path(), "memoize", &["--features=macros"]);
    let mut expected: Vec<_> = (0..=5).rev().map(|number| format!("computing fibonacci({number})")).collect();
    let rest =
        "5|5|parsing 12|Some(12)|Some(12)|parsing x|None|parsing x|None|forgot it: true|parsing 12|Some(12)";
    expected.extend(rest.split('|').map(str::to_owned));
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn feature_gated_needs_one_back_end_and_computes_once() {
    let dir = tempfile::tempdir().unwrap();
    let printed = run(dir.path(), "feature_gated", &["--no-default-features", "--features=memory"]);
    let primes = "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]\n";
    assert_eq!(printed, format!("computing\n{primes}{primes}"));
}
