//! Whoever takes this crate gets `cache-core`, `quick_cache`, and what these two need: no runtime, no sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

/// Returns the names of all crates that `package` is built from.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--all-features", "--target", "all", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn only_quick_cache_comes_on_top_of_the_core() {
    let (core, memory) = (tree("cache-core"), tree("cache-memory"));
    assert!(!memory.contains("tokio") && core.contains("blake3"));
    let on_top: BTreeSet<&str> = memory.difference(&core).map(String::as_str).collect();
    let expected = ["cache-memory", "equivalent", "foldhash", "hashbrown", "quick_cache"];
    assert_eq!(on_top, BTreeSet::from(expected));
}
