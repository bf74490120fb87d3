//! The example of the README computes once and finds what it computed from then on.

use std::path::Path;
use std::process::Command;

fn run(dir: &Path) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "quickstart", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .current_dir(dir)
        .output()
        .expect("cargo runs, because it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn the_second_run_finds_what_the_first_computed() {
    let dir = tempfile::tempdir().unwrap();
    let symbols = "Symbols { functions: [\"main() {\", \"run() {}\"], lines: 4 }\n";
    assert_eq!(run(dir.path()), format!("computed {symbols}"));
    assert_eq!(run(dir.path()), format!("found {symbols}"));
    assert!(dir.path().join("target/.vitte-cache/CACHEDIR.TAG").is_file());
}
