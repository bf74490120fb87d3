//! Secrets are part of keys, and are neither printed nor stored.

#![cfg(unix)]

use std::fs;
use std::path::Path;

use crate::support::{Place, finish};

const FIRST: &str = "hunter2-correct-horse";
const SECOND: &str = "swordfish-battery-staple";

/// Returns every file below `dir` that contains `text`.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_variable_changes_the_key_and_shows_nowhere() {
    let place = Place::new();
    place.write("work/in", "1");
    let run = |token: &str| {
        let args =
            ["run", "-n", "it", "-v", "--explain", "-i", "in", "-e", "API_TOKEN", "--", "echo", "done"];
        finish(place.command(args).env("API_TOKEN", token)).ok()
    };
    let said = [run(FIRST), run(SECOND), run(SECOND)].map(|done| done.stdout + &done.stderr);
    assert!(said[1].contains("API_TOKEN changed"), "{said:?}");
    assert!(said[2].contains("hit"), "{said:?}");
    let (why, json) = (place.run("why it").ok().stdout, place.run("why it --json").ok().stdout);
    assert!(why.contains("API_TOKEN changed   <changed> → <changed>"), "{why}");
    let listed = place.run("ls --json").ok().stdout + &place.run("stats --json").ok().stdout;
    for secret in [FIRST, SECOND] {
        for text in said.iter().chain([&why, &json, &listed]) {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(files_with(&place.cache, secret), Vec::<String>::new());
    }
}

#[test]
fn a_value_of_configuration_is_shown_but_not_obeyed_by_the_terminal() {
    let place = Place::new();
    let shown = finish(place.command(["config"]).env("VITTE_CACHE_SESSION", "a\x1b[2Jb")).ok().stdout;
    assert!(!shown.contains('\x1b') && shown.contains("a\\u{1b}[2Jb"), "{shown}");
    place.run_with("put plain", b"x").ok();
    finish(&mut place.command(["put", "evil\x1b]0;title\x07\nname"])).ok();
    let listed = place.run("ls").ok().stdout;
    assert!(!listed.contains('\x1b') && listed.lines().count() == 3, "{listed}");
}
