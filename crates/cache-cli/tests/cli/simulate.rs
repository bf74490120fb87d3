//! Recording accesses, and `simulate`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Place, finish};

const LOG: &str = "accesses";

/// Runs the command line `line` while accesses are recorded.
fn recorded(place: &Place, line: &str) -> crate::support::Done {
    finish(place.command(line.split_whitespace()).env("VITTE_CACHE_ACCESS_LOG", LOG))
}

/// Returns the recorded accesses: what was done, and the size or why not.
fn accesses(place: &Place) -> Vec<String> {
    let text = String::from_utf8(place.read(LOG)).unwrap();
    let short = |line: &str| {
        let access: Value = serde_json::from_str(line).unwrap();
        assert_eq!(access["v"], 1);
        assert!(access["t"].as_u64().unwrap() > 0 && access["key"].as_str().unwrap().len() == 16);
        let rest = [&access["size"], &access["miss"]].into_iter().find(|value| !value.is_null());
        let rest = rest.map_or_else(String::new, |value| format!(" {value}"));
        format!("{}{rest}", access["op"].as_str().unwrap())
    };
    text.lines().map(short).collect()
}

fn line(op: &str, key: u64, size: u64) -> String {
    json!({"v": 1, "t": 1, "op": op, "key": format!("{key:016x}"), "size": size}).to_string() + "\n"
}

#[test]
fn what_is_recorded_can_be_replayed() {
    let place = Place::new();
    place.write("work/big", vec![7; 300_000]);
    recorded(&place, "get big").code(1);
    recorded(&place, "put big big").ok();
    recorded(&place, "get big -o out").ok();
    recorded(&place, "put small accesses").ok();
    recorded(&place, "rm small").ok();
    recorded(&place, "get small").code(1);
    let size = accesses(&place)[3].clone();
    assert_eq!(
        accesses(&place),
        [r#"get "absent""#, "put 300000", "get 300000", &size, "remove", r#"get "absent""#]
    );
    // Without the setting, nothing is recorded.
    place.run("get big -o out").ok();
    assert_eq!(accesses(&place).len(), 6);

    let report = place.run("simulate --log accesses --sizes 2MB,10kB,2000kB --json").ok().json();
    let counts = ["accesses", "gets", "puts", "removes", "keys"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 2, 1, 2]);
    assert_eq!((&report["bad_lines"], &report["first_bad_line"]), (&json!(0), &Value::Null));
    let results: Vec<(u64, &str, u64)> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let size = row["size"].as_u64().unwrap_or(0);
            (size, row["policy"].as_str().unwrap(), row["hits"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        (10_000, "segments", 0),
        (10_000, "files", 0),
        (2_000_000, "segments", 1),
        (2_000_000, "files", 1),
        (0, "unlimited", 1),
    ];
    assert_eq!(results, expected, "sizes are in order, and each is there once");
    let last = &report["results"][4];
    assert!((last["hit_ratio"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{last}");
    assert_eq!(last["hit_bytes"], 300_000);
}

#[test]
fn runs_are_recorded_with_all_that_they_look_up() {
    let place = Place::new();
    place.write("work/in", vec![7; 5000]);
    for outcome in ["miss", "hit"] {
        let done = recorded(&place, "run --status=json -i in -o out -- cp in out").ok();
        assert!(done.stderr.contains(&format!(r#""outcome":"{outcome}""#)), "{done:?}");
    }
    let all = accesses(&place);
    let is = |start: &'static str| all.iter().filter(|access| access.starts_with(start)).count();
    assert!(is("get \"absent\"") >= 1 && is("put ") >= 1 && is("get ") > is("get \"absent\""), "{all:?}");
    let sizes = all.iter().filter_map(|access| access.strip_prefix("get ")?.parse::<u64>().ok());
    assert!(sizes.max().unwrap() >= 5000, "{all:?}");
    let report = place.run("simulate --log accesses --sizes 1MB --json").ok().json();
    for row in report["results"].as_array().unwrap() {
        assert!(row["hits"].as_u64().unwrap() >= 1, "{row}");
    }
}

#[test]
fn the_table_and_standard_input() {
    let place = Place::new();
    let log = line("put", 1, 1000) + &line("get", 1, 1000) + &line("get", 2, 1000);
    let done = place.run_with("simulate --log - --sizes 5kB,1G", log.as_bytes()).ok();
    let expected = "\
3 accesses in 0 µs

gets               2
puts               1
removals           0
keys               2
unique        2.0 kB   all entries, each counted once

  size  policy       hits  of bytes
5.0 kB  segments   50.0 %    50.0 %
5.0 kB  files      50.0 %    50.0 %
1.0 GB  segments   50.0 %    50.0 %
1.0 GB  files      50.0 %    50.0 %
        unlimited  50.0 %    50.0 %
";
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (expected, ""));
}

#[test]
fn what_is_not_understood_is_left_out_and_said() {
    let place = Place::new();
    let log = line("get", 1, 5) + &"x".repeat(10_000) + "\n\n{\"v\":2}\n" + &line("get", 1, 5);
    let done = place.run_with("simulate --log - --sizes 1G", log.as_bytes()).ok();
    assert!(done.stdout.starts_with("2 accesses in "), "{done:?}");
    let said = "vitte-cache: warning: 2 lines of standard input are left out, the first is line 2: it is longer than 4096 bytes\n";
    assert_eq!(done.stderr, said);
    let done = place.run_with("simulate --log - --sizes 1G --json", log.as_bytes()).ok();
    assert_eq!(
        (&done.json()["bad_lines"], &done.json()["first_bad_line"], &*done.stderr),
        (&json!(2), &json!(2), "")
    );
    let done = place.run_with("simulate --log - --sizes 1G", b"{\"v\":2}").ok();
    let said = "vitte-cache: warning: line 1 of standard input is left out: it is of version 2 of the format, and this program knows version 1\n";
    assert_eq!(done.stderr, said);
    assert!(done.stdout.starts_with("there is no access in standard input; set VITTE_CACHE_ACCESS_LOG"));
    assert!(done.stdout.lines().count() == 1);
    for name in ["nowhere", "."] {
        let done = place.run(&format!("simulate --log {name} --sizes 1G")).code(1);
        let start = format!("vitte-cache: cannot read {name}: ");
        assert!(done.stderr.starts_with(&start) && done.stderr.lines().count() == 1, "{done:?}");
    }
    assert!(!place.cache.exists(), "no cache is needed");
}

#[test]
fn a_log_that_cannot_be_written_is_said_once_and_nothing_fails() {
    let place = Place::new();
    fs::create_dir(place.work.join(LOG)).unwrap();
    let path = place.work.join(LOG);
    let start = format!(
        "vitte-cache: warning: accesses are not recorded, because {} cannot be written to: ",
        path.display()
    );
    let done = recorded(&place, "put key").ok();
    assert!(done.stderr.starts_with(&start) && done.stderr.lines().count() == 1, "{done:?}");
    let done = recorded(&place, "run --ttl 1h --status=never -- echo hello").ok();
    assert!(done.stdout == "hello\n" && done.stderr.starts_with(&start), "{done:?}");
    assert_eq!(recorded(&place, "run -q --ttl 1h -- echo hello").ok().stderr, "");
}

#[test]
fn the_user_and_nobody_else_names_the_log() {
    let place = Place::new();
    place.write("work/.vitte/config.toml", "access_log = 'accesses'\n");
    let done = place.run("put key").code(2);
    assert!(done.stderr.contains("`access_log` is for the user to decide, not for a project"), "{done:?}");
    place.write("work/.vitte/config.toml", "");
    place.write(crate::settings::user_file(), "access_log = '~/accesses'\n");
    place.run("put key").ok();
    let log = place.root.join(LOG);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1);
    finish(place.command(["put", "key"]).env("VITTE_CACHE_ACCESS_LOG", "none")).ok();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "the environment can switch it off");
    place.run("doctor").ok();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1, "a check is no access");
}
