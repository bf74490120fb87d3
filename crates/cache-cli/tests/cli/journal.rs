//! `why` and `stats`: what is known after the fact.

#![cfg(unix)]

use crate::support::{Place, finish};

fn run(place: &Place, label: &str, args: &[&str]) {
    finish(&mut place.command(["run", "-q", "-n", label].iter().chain(args))).ok();
}

#[test]
fn why_names_every_difference_from_the_nearest_run() {
    let place = Place::new();
    place.write("work/a", "1");
    place.write("work/b", "1");
    let args = ["-i", "[a-c]", "-e", "MODE", "--", "cat", "a"];
    run(&place, "it", &args);
    place.write("work/a", "2");
    place.write("work/c", "1");
    std::fs::remove_file(place.work.join("b")).unwrap();
    let args = ["run", "-q", "-n", "it", "-i", "[a-c]", "-e", "MODE", "--", "cat", "-u", "a"];
    finish(place.command(args).env("MODE", "fast")).ok();
    let why = place.run("why").ok().stdout;
    for part in [
        "6 differences",
        "a changed   ",
        "b removed   was ",
        "c added   ",
        "MODE set   fast",
        "argument 1 changed   a → -u",
        "argument 2 added   a",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let json = place.run("why it --json").ok().json();
    assert_eq!(json["run"]["label"], "it");
    assert_eq!(json["differences"].as_array().unwrap().len(), 6);
    let keys =
        [&json["earlier"]["key"], &json["run"]["key"]].map(|key| key.as_str().unwrap()[..10].to_owned());
    let two = place.run(&format!("why {} {} --json", keys[0], keys[1])).ok().json();
    assert_eq!(two["differences"], json["differences"]);
    let back = place.run(&format!("why {} {}", keys[1], keys[0])).ok().stdout;
    assert!(back.contains("MODE unset   was fast"), "{back}");
}

#[test]
fn questions_without_an_answer_say_why() {
    let place = Place::new();
    for line in ["why", "why nobody"] {
        let done = place.run(line).code(1);
        assert_eq!((done.stdout.as_str(), done.stderr.lines().count()), ("", 1), "{done:?}");
    }
    run(&place, "it", &["--ttl", "1h", "--", "true"]);
    assert!(place.run("why nobody").code(1).stderr.contains("`nobody`"));
    assert!(place.run("why").ok().stdout.contains("no earlier run with this label"));
}

#[test]
fn stats_count_by_session_label_and_time() {
    let place = Place::new();
    let run = |session: &str, label: &str| {
        let args = ["run", "-q", "-n", label, "--ttl", "1h", "--", "echo", label];
        finish(place.command(args).env("VITTE_CACHE_SESSION", session)).ok();
    };
    let stats = |line: &str| {
        let args = ["stats", "--json"].into_iter().chain(line.split_whitespace());
        finish(place.command(args).env("VITTE_CACHE_SESSION", "two")).ok().json()
    };
    assert_eq!(stats("")["runs"], 0);
    run("one", "a");
    run("one", "a");
    run("two", "b");
    run("two", "a");
    let all = stats("");
    assert_eq!(
        (all["runs"].as_u64(), all["hits"].as_u64(), all["misses"].as_u64()),
        (Some(4), Some(2), Some(2))
    );
    assert_eq!(all["hit_ratio"], 0.5);
    assert_eq!(all["labels"]["a"]["runs"], 3);
    assert_eq!(
        (stats("--session")["runs"].as_u64(), stats("--session")["hits"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(
        (stats("--label b")["runs"].as_u64(), stats("--label none")["runs"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!((stats("--last")["runs"].as_u64(), stats("--last")["hits"].as_u64()), (Some(1), Some(1)));
    assert_eq!(
        (stats("--since 1h")["runs"].as_u64(), stats("--since 0s")["runs"].as_u64()),
        (Some(4), Some(0))
    );
    let table = place.run("stats").ok().stdout;
    assert!(table.contains("4 runs in the last ") && table.contains("50 %"), "{table}");
}

#[test]
fn labels_that_are_not_deterministic_are_named() {
    let place = Place::new();
    // Counts its own runs in a file that is no input, so that every run gives something else.
    let script = "echo x >> count; wc -l < count";
    run(&place, "dice", &["--ttl", "1h", "--", "sh", "-c", script]);
    run(&place, "dice", &["--ttl", "1h", "--verify", "--", "sh", "-c", script]);
    run(&place, "fair", &["--ttl", "1h", "--", "echo"]);
    run(&place, "fair", &["--ttl", "1h", "--verify", "--", "echo"]);
    let stats = place.run("stats --json").ok().json();
    assert_eq!(stats["not_deterministic"], serde_json::json!(["dice"]));
    assert!(place.run("stats").ok().stdout.contains("not deterministic, as --verify found: dice"));
}

#[test]
fn du_adds_up_by_label_kind_and_namespace() {
    let place = Place::new();
    run(&place, "small", &["--ttl", "1h", "--", "echo"]);
    run(&place, "large", &["--ttl", "1h", "--", "printf", "%08192d", "0"]);
    place.run_with("put key --namespace other", b"x").ok();
    let labels = place.run("du --json").ok().json();
    let groups = labels["groups"].as_array().unwrap();
    assert_eq!(groups[0]["label"], "large", "biggest first: {labels}");
    assert!(groups[0]["bytes"].as_u64() > groups[1]["bytes"].as_u64());
    assert_eq!(place.run("du --json --by namespace").ok().json()["groups"].as_array().unwrap().len(), 2);
    let kinds = place.run("du --json --by kind --namespace default").ok().json();
    assert_eq!(kinds["groups"].as_array().unwrap().len(), 1, "{kinds}");
    assert_eq!(kinds["groups"][0]["entries"], 2);
    let table = place.run("du").ok().stdout;
    assert!(table.contains("large") && table.contains("on disk "), "{table}");
}

#[test]
fn rm_by_label_takes_results_and_leaves_values() {
    let place = Place::new();
    run(&place, "it", &["--ttl", "1h", "--", "true"]);
    place.run_with("put it", b"x").ok();
    assert_eq!(place.run("rm --label it").ok().stderr, "removed 1 entry\n");
    place.run("get it").ok();
    assert!(place.run("rm --label it").code(1).stderr.contains("no result with the label `it`"));
}
