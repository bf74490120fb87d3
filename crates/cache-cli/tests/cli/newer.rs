//! What a newer version has made is left alone, and the command says so.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Place;

/// All that reads, adds, moves or clears away. `migrate` is refused where the layout is a setting.
const LINES: [&str; 7] =
    ["put key in", "get key", "ls", "stats", "gc", "verify --repair", "run -q -i in -o out -- cp in out"];

/// Returns the files below `dir` with their content, and its directories without any.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, Some(content));
        }
    }
    found
}

#[test]
fn a_newer_layout_beside_ours_is_left_alone() {
    for layout in ["files", "segments", "auto"] {
        for newer in ["files-v9", "segments-v2"] {
            let place = Place::of(layout);
            place.write("work/in", "content");
            let root = place.cache.join(newer);
            place.write(&format!("cache/{newer}/format"), "vitte-cache something 9\n");
            place.write(&format!("cache/{newer}/log/main-00000001"), [1; 5000]);
            let before = tree(&root);
            for line in LINES {
                place.run(line).ok();
            }
            if layout == "auto" {
                place.run("migrate --to files").ok();
                place.run("get key").ok();
            }
            assert_eq!(tree(&root), before);
            let told = place.run("doctor").ok().stdout;
            let lines: Vec<&str> = told.lines().collect();
            let at = lines.iter().position(|line| line.contains(&root.display().to_string())).unwrap();
            assert!(lines[at].contains("made by a newer version") && lines[at].starts_with("warn"), "{told}");
            assert!(lines[at + 1].contains("→ delete it if no newer version uses it"), "{told}");
        }
    }
}

/// Returns whether a new cache gets segments where tests put theirs.
fn segments_are_usual() -> bool {
    let place = Place::new();
    place.run_with("put key", b"x").ok();
    place.cache.join("segments-v1").exists()
}

#[test]
fn a_marker_with_a_greater_number_is_refused_and_nothing_touched() {
    for (layout, root) in [("files", "files-v1"), ("segments", "segments-v1")] {
        for wish in [layout, "auto"] {
            if wish == "auto" && layout == "segments" && !segments_are_usual() {
                continue;
            }
            let place = Place::of(layout);
            place.write("work/in", "content");
            place.run("put key in").ok();
            let marker = place.cache.join(root).join("format");
            fs::write(&marker, format!("vitte-cache {layout} 2\n")).unwrap();
            let before = tree(&place.cache);
            let run = |line: &str| {
                let mut command = place.command(line.split_whitespace());
                crate::support::finish(command.env("VITTE_CACHE_LAYOUT", wish))
            };
            let sentence = format!("{} was made by a newer version", marker.parent().unwrap().display());
            let remedy = "use that version, or name another directory with --dir";
            for line in LINES {
                let done = run(line);
                assert_eq!(done.code, i32::from(!line.starts_with("run")), "{done:?}");
                if line.contains("-q") {
                    continue;
                }
                assert!(done.stderr.contains(&sentence) && done.stderr.contains(remedy), "{done:?}");
                assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
            }
            assert_eq!(place.read("out"), b"content", "the command runs without a cache");
            let loud = run("run -i in -o out -- cp in out").ok();
            assert!(loud.stderr.contains(&sentence) && loud.stderr.contains(remedy), "{loud:?}");
            assert!(run("doctor").code(1).stdout.contains(&sentence));
            assert_eq!(tree(&place.cache), before);
        }
    }
}
