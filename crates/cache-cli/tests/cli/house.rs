//! `gc`, `verify`, `doctor`: keeping the cache in order.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Place, finish};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn gc_frees_what_nothing_needs_and_a_dry_run_does_not() {
    let place = Place::new();
    place.write("work/in", vec![7; 300_000]);
    place.run("put key in").ok();
    place.run("rm key").ok();
    let blobs = || place.run("du --json").ok().json()["blobs"].as_u64();
    assert_eq!(blobs(), Some(1));
    place.run("gc --dry-run --json").ok();
    assert_eq!(blobs(), Some(1));
    // What was written a moment ago is protected, so this only has to be sound; the store's own tests move its clock.
    let report = place.run("gc --json").ok().json();
    assert_eq!(report["dry_run"], false);
    assert!(place.run("gc").ok().stdout.lines().count() == 1);
}

fn damage(file: &Path, at: usize) {
    let mut content = fs::read(file).unwrap();
    content[at] ^= 1;
    fs::write(file, content).unwrap();
}

#[test]
fn a_cache_moves_from_files_to_segments_and_back() {
    let place = Place::new();
    finish(place.command(["put", "key"]).env("VITTE_CACHE_LAYOUT", "files")).ok();
    let layout = || place.run("stats --json").ok().json()["layout"].as_str().unwrap().to_owned();
    assert_eq!(layout(), "files");
    let pinned = finish(place.command(["migrate"]).env("VITTE_CACHE_LAYOUT", "files")).code(1);
    assert!(pinned.stderr.contains("the setting `layout` is files"), "{pinned:?}");
    let moved = place.run("migrate --to segments");
    if moved.stderr.contains("do not suit") || moved.stderr.contains("one layout only") {
        return;
    }
    let moved = moved.ok();
    assert_eq!(moved.stdout, "moved 1 entry, 0 blobs, 0 B to segments\n");
    assert_eq!(layout(), "segments");
    place.run("get key").ok();
    assert_eq!(place.run("stats --json").ok().json()["segments"]["live_slots"], 1);
    assert_eq!(place.run("migrate --to files --dry-run --json").ok().json()["entries"], 1);
    assert_eq!(place.run("migrate --to files --json").ok().json()["entries"], 1);
    assert_eq!(layout(), "files");
    place.run("get key").ok();
    assert_eq!(place.run("migrate --to files").ok().stdout, "nothing to move to files\n");
    place.run("verify --rate 100").ok();
}

fn is_found_and_removed(place: &Place) {
    let report = place.run("verify --repair --json").code(1).json();
    assert_eq!(report["corrupt"], 1, "{report}");
    place.run("get key").code(1);
    place.run("verify").ok();
}

#[test]
fn verify_finds_damage_and_repair_removes_it() {
    for place in [Place::new(), Place::of_files()] {
        place.write("work/in", vec![7; 300_000]);
        place.run("put key in").ok();
        assert!(place.run("verify").ok().stdout.contains("nothing is damaged"));
        let large = |file: &PathBuf| {
            let path = file.to_string_lossy();
            path.contains("/blobs/") || path.contains("/large/")
        };
        let blob = files(&place.cache).into_iter().find(large).unwrap();
        damage(&blob, 1000);
        is_found_and_removed(&place);
    }
}

#[test]
fn verify_finds_damage_in_the_log() {
    let place = Place::new();
    place.run_with("put key", &[7; 3000]).ok();
    let segments = files(&place.cache.join("segments-v1/log"));
    let Some(segment) = segments.first() else {
        return assert!(place.cache.join("files-v1").exists(), "this file system is not for segments");
    };
    let content = fs::read(segment).unwrap();
    let at = content.windows(100).position(|window| window == [7; 100]).unwrap();
    damage(segment, at + 50);
    is_found_and_removed(&place);
}

#[test]
fn doctor_is_content_with_a_good_cache_and_creates_none() {
    let place = Place::new();
    let first = place.run("doctor").ok().stdout;
    assert!(first.contains("does not exist yet") && !place.cache.exists(), "{first}");
    place.run_with("put key", b"x").ok();
    for check in place.run("doctor --json").ok().json_lines() {
        // What the machine's disk is like is not for this test to say.
        let of_machine =
            ["file system", "free space", "other caches"].contains(&check["name"].as_str().unwrap());
        assert!(of_machine || check["verdict"] == "ok", "{check}");
    }
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    place.run_with("put key", b"x").ok();
    let misspelt = finish(place.command(["doctor"]).env("VITTE_CACHE_MAXSIZE", "1GB")).ok().stdout;
    assert!(misspelt.contains("VITTE_CACHE_MAXSIZE means nothing") && misspelt.contains("→ "), "{misspelt}");
    let wrapped = finish(place.command(["doctor"]).env("RUSTC_WRAPPER", "sccache")).ok().stdout;
    assert!(wrapped.contains("RUSTC_WRAPPER=sccache"), "{wrapped}");
    fs::create_dir(place.cache.join("files-v9")).unwrap();
    assert!(place.run("doctor").ok().stdout.contains("made by a newer version"));
    let root = ["segments-v1", "files-v1"].into_iter().find(|root| place.cache.join(root).exists()).unwrap();
    fs::write(place.cache.join(root).join("format"), "something else\n").unwrap();
    let broken = place.run("doctor --json").code(1).json_lines();
    let failed = broken.iter().find(|check| check["verdict"] == "fail").unwrap();
    assert!(failed["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{failed}");
    place.write("work/.vitte/config.toml", "nonsense = 1\n");
    assert!(place.run("doctor").code(1).stdout.contains("there is no setting `nonsense`"));
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_could_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.run_with("put key", b"x").ok();
    fs::set_permissions(&place.cache, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = place.run("get key").code(1);
    assert!(refused.stderr.contains("--trust-dir") && refused.stderr.lines().count() == 1, "{refused:?}");
    place.run("doctor").code(1);
    assert_eq!(place.run("get key --trust-dir").ok().stdout, "x");
}
