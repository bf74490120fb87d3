//! `put`, `get`, `rm` and `ls`.

use std::fs;

use crate::support::Place;

#[test]
fn what_is_put_comes_back_from_memory_and_from_blobs() {
    let place = Place::new();
    // Around the size from which values are blobs of their own.
    for len in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 3 << 20] {
        let content: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        place.write("work/in", &content);
        place.run("put from-file in").ok();
        place.run_with("put from-stdin", &content).ok();
        for key in ["from-file", "from-stdin"] {
            let printed = place.command(["get", key]).output().unwrap();
            assert_eq!((printed.status.code(), printed.stdout == content), (Some(0), true), "{key} {len}");
            place.run(&format!("get {key} -o out")).ok();
            assert!(place.read("out") == content, "{key} {len}");
        }
    }
    let leftovers: Vec<_> =
        fs::read_dir(&place.work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(leftovers.len(), 2, "{leftovers:?}");
}

#[test]
fn a_miss_is_one_quiet_sentence_and_changes_no_file() {
    let place = Place::new();
    place.write("work/out", "before");
    let miss = place.run("get nothing -o out").code(1);
    assert_eq!(
        (miss.stdout.as_str(), miss.stderr.as_str()),
        ("", "vitte-cache: `nothing` is not in the cache\n")
    );
    assert_eq!(place.read("out"), b"before");
}

#[test]
fn what_expired_is_a_miss_that_says_so() {
    let place = Place::new();
    place.run_with("put short --ttl 0s", b"x").ok();
    let miss = place.run("get short").code(1);
    assert!(miss.stderr.starts_with("vitte-cache: `short` expired "), "{miss:?}");
    place.run_with("put long --ttl 1h", b"x").ok();
    place.run("get long").ok();
}

#[test]
fn a_second_put_replaces_the_first() {
    let place = Place::new();
    place.run_with("put key", b"one").ok();
    place.run_with("put key", b"two").ok();
    assert_eq!(place.run("get key").ok().stdout, "two");
}

#[test]
fn namespaces_keep_values_apart() {
    let place = Place::new();
    place.run_with("--namespace a put key", b"of a").ok();
    place.run_with("put key --namespace b", b"of b").ok();
    assert_eq!(place.run("get key --namespace a").ok().stdout, "of a");
    place.run("get key").code(1);
    place.run("rm --all --namespace a").ok();
    place.run("get key --namespace a").code(1);
    assert_eq!(place.run("get key --namespace b").ok().stdout, "of b");
}

#[test]
fn rm_takes_names_and_keys_and_says_what_it_did_not_find() {
    let place = Place::new();
    for key in ["a", "b", "c"] {
        place.run_with(&format!("put {key}"), b"x").ok();
    }
    place.run("rm a").ok();
    let listed = place.run("ls --json").ok().json_lines();
    let b = listed.iter().find(|entry| entry["name"] == "b").unwrap();
    place.run(&format!("rm {}", b["key"].as_str().unwrap())).ok();
    let missing = place.run("rm nobody c").code(1);
    assert!(missing.stderr.contains("`nobody`") && !missing.stderr.contains("`c`"), "{missing:?}");
    assert_eq!(place.run("ls --json").ok().stdout, "");
}

#[test]
fn a_name_that_looks_like_a_key_is_a_name_first() {
    let place = Place::new();
    let name = "ab".repeat(32);
    place.run_with(&format!("put {name}"), b"x").ok();
    place.run(&format!("rm {name}")).ok();
    place.run(&format!("get {name}")).code(1);
}

#[test]
fn ls_filters_by_prefix_kind_and_namespace() {
    let place = Place::new();
    for key in ["app-1", "app-2", "lib-1"] {
        place.run_with(&format!("put {key}"), b"12345").ok();
    }
    place.run_with("put app-3 --namespace other", b"x").ok();
    let names = |line: &str| {
        let mut names: Vec<String> = place
            .run(line)
            .ok()
            .json_lines()
            .iter()
            .map(|e| e["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names("ls --json"), "app-1 app-2 app-3 lib-1");
    assert_eq!(names("ls --json app-"), "app-1 app-2 app-3");
    assert_eq!(names("ls --json --namespace default"), "app-1 app-2 lib-1");
    assert_eq!(names("ls --json --kind run"), "");
    assert_eq!(names("ls --json --label app-1"), "", "values have no label");
    let entry = &place.run("ls --json lib").ok().json_lines()[0];
    assert_eq!((entry["kind"].as_str(), entry["size"].as_u64()), (Some("file"), Some(5)));
    let table = place.run("ls --limit 2").ok().stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.ends_with("… and 2 more; --limit 0 shows all\n"), "{table}");
}

#[test]
fn an_input_that_cannot_be_read_stores_nothing() {
    let place = Place::new();
    let failed = place.run("put key nowhere").code(1);
    assert!(
        failed.stderr.contains("cannot read nowhere") && failed.stderr.lines().count() == 1,
        "{failed:?}"
    );
    place.run("put key .").code(1);
    place.run("get key").code(1);
}

#[cfg(unix)]
#[test]
fn get_writes_into_pipes_and_devices_and_never_replaces_them() {
    use std::os::unix::fs::FileTypeExt;
    let place = Place::new();
    place.run_with("put key", b"value").ok();
    assert_eq!(place.run("get key -o /dev/stdout").ok().stdout, "value");
    place.run("get key -o /dev/null").ok();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_mode_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.run_with("put key", b"value").ok();
    let shell = ["-c", "umask 027; exec \"$0\" get key -o out", env!("CARGO_BIN_EXE_vitte-cache")];
    let mut command = std::process::Command::new("/bin/sh");
    command.args(shell).current_dir(&place.work).env("VITTE_CACHE_DIR", &place.cache);
    crate::support::finish(&mut command).ok();
    assert_eq!(fs::metadata(place.work.join("out")).unwrap().permissions().mode() & 0o777, 0o640);
}
