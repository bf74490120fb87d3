//! What a run in a CI system is called, and where its results are.

use serde_json::Value;

use crate::support::{Place, finish};

fn github(job: &'static str) -> Place {
    Place::new().set("GITHUB_RUN_ID", "17").set("GITHUB_JOB", job).set("GITHUB_REPOSITORY", "acme/site")
}

/// The state of a run of a program that is there on every system: this one.
fn run(place: &Place, flags: &[&str]) -> Value {
    let program = env!("CARGO_BIN_EXE_vitte-cache");
    let args = ["run", "--status", "json", "--ttl", "1h"];
    let args = args.iter().chain(flags).copied().chain(["--", program, "--version"]);
    serde_json::from_str(finish(&mut place.command(args)).ok().stderr.trim_end()).unwrap()
}

#[test]
fn a_run_without_a_label_is_called_by_job_and_program() {
    let place = github("unit tests");
    let first = run(&place, &[]);
    assert_eq!(
        (first["label"].as_str(), first["outcome"].as_str()),
        (Some("unit tests/vitte-cache"), Some("miss"))
    );
    assert_eq!(run(&place, &["-n", "mine"])["label"], "mine");
    let stats = place.run("stats --json").ok().json();
    assert_eq!(stats["labels"]["unit tests/vitte-cache"]["runs"], 1, "{stats}");
    let why = place.command(["why", "unit tests/vitte-cache", "--json"]);
    assert_eq!(finish(&mut { why }).ok().json()["run"]["label"], "unit tests/vitte-cache");

    // The label is no part of the key.
    let place = place.set("GITHUB_JOB", "lint");
    let other = run(&place, &[]);
    assert_eq!((other["label"].as_str(), other["outcome"].as_str()), (Some("lint/vitte-cache"), Some("hit")));
    assert_eq!(other["key"], first["key"]);
    let place = place.set("GITHUB_RUN_ID", "");
    assert_eq!(
        run(&place, &[])["label"],
        "vitte-cache",
        "the system was not recognised by what it always sets"
    );
}

#[test]
fn a_table_of_the_project_keeps_its_label() {
    let place = github("lint");
    let program = serde_json::to_string(env!("CARGO_BIN_EXE_vitte-cache")).unwrap();
    let table = format!("[run.version]\ncommand = [{program}, \"--version\"]\nttl = \"1h\"\n");
    place.write("work/.vitte/config.toml", table);
    let status = place.run("run version --status json").ok().stderr;
    assert_eq!(serde_json::from_str::<Value>(status.trim_end()).unwrap()["label"], "version");
}

#[test]
fn the_namespace_auto_is_the_repository() {
    let namespaces = |place: &Place| -> Vec<String> {
        let items = place.run("ls --json").ok().json_lines();
        items.iter().map(|item| item["namespace"].as_str().unwrap().to_owned()).collect()
    };
    let config = |place: &Place| {
        let all = place.run("config --json").ok().json();
        let text = |field: &str| all["namespace"][field].as_str().unwrap().to_owned();
        (text("value"), text("source"))
    };
    let place = github("test");
    run(&place, &[]);
    let ours = namespaces(&place);
    assert!(ours.iter().all(|name| name == "default") && !ours.is_empty(), "{ours:?}");

    let place = place.set("VITTE_CACHE_NAMESPACE", "auto");
    let source = "VITTE_CACHE_NAMESPACE: auto, from GITHUB_REPOSITORY".to_owned();
    assert_eq!(config(&place), ("acme.site".to_owned(), source));
    assert_eq!(namespaces(&place), [""; 0], "what is in another namespace was listed");
    assert_eq!(run(&place, &[])["outcome"], "miss");
    let ours = namespaces(&place);
    assert!(ours.iter().all(|name| name == "acme.site") && !ours.is_empty(), "{ours:?}");
    place.run_with("put key", b"of the repository").ok();
    assert_eq!(place.run("get key --namespace acme.site").ok().stdout, "of the repository");
    place.run("get key --namespace default").code(1);

    // Not in CI.
    let place = place.set("GITHUB_RUN_ID", "");
    let source = "VITTE_CACHE_NAMESPACE: auto, and no CI system names a repository".to_owned();
    assert_eq!(config(&place), ("default".to_owned(), source));
    assert_eq!(run(&place, &[])["outcome"], "hit");
}
