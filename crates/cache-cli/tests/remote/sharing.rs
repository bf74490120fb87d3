//! What one machine made, another one has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::server::Real;
use crate::site::Machine;

fn pair(server: &Real) -> (Machine, Machine) {
    let (one, two) = (Machine::new(&server.url(), "readwrite"), Machine::new(&server.url(), "read"));
    for machine in [&one, &two] {
        machine.write("src/in", vec![b'x'; 300_000]);
    }
    (one, two)
}

#[test]
fn the_second_checkout_at_another_path_hits() {
    let server = Real::start();
    let (one, two) = pair(&server);
    let first = one.build(&[]).expect("miss", None);
    assert_eq!((first.number("uploaded"), first.number("left"), first.warnings().len()), (1, 0, 0));
    assert_eq!(first.status["remote"]["looked"], "miss");
    let second = two.build(&[]).expect("hit", Some("remote"));
    assert_eq!((second.stdout.as_str(), two.ran()), ("built\n", 0), "{}", second.stderr);
    assert!(second.number("fetched_bytes") > 600_000);
    for file in ["out/data", "out/empty", "out/nothing"] {
        assert_eq!(one.read(file), two.read(file), "{file}");
    }
    assert_eq!(fs::read_link(two.work.join("out/link")).unwrap().to_str(), Some("data"));
    assert_eq!(fs::metadata(two.work.join("out/empty")).unwrap().permissions().mode() & 0o777, 0o755);
    // From then on it is a local one: the server is not needed.
    drop(server);
    fs::remove_dir_all(two.work.join("out")).unwrap();
    let third = two.build(&[]).expect("hit", Some("local"));
    assert!(third.warnings().is_empty(), "{}", third.stderr);
    // The next miss can be explained by what the run on the other machine read.
    two.write("src/in", "changed");
    let two = two.set("VITTE_REMOTE_CACHE_MODE", "off");
    assert_eq!(two.build(&[]).expect("miss", None).status["reasons"][0], "src/in changed");
}

#[test]
fn servers_of_other_kinds_do_as_well() {
    for (backend, path) in [("generic", "kv/team"), ("bazel", "team")] {
        let server = Real::start();
        let url = format!("http://{}/{path}", server.address);
        let [one, two] = ["readwrite", "read"].map(|mode| {
            let machine = Machine::new(&url, mode).set("VITTE_REMOTE_CACHE_BACKEND", backend);
            machine.write("src/in", vec![b'x'; 300_000]);
            machine
        });
        assert_eq!(one.build(&[]).expect("miss", None).number("uploaded"), 1, "{backend}");
        let second = two.build(&[]).expect("hit", Some("remote"));
        assert_eq!((two.ran(), second.warnings().len()), (0, 0), "{backend}");
        assert_eq!(one.read("out/data"), two.read("out/data"), "{backend}");
    }
}

#[test]
fn people_are_told_where_a_result_came_from() {
    let server = Real::start();
    let (one, two) = pair(&server);
    let line = |machine: &Machine| {
        let args = ["run", "-n", "it", "-i", "src", "-o", "out", "--", "cp", "src/in", "out"];
        let line = machine.call(args).stderr;
        assert!(machine.has("out"), "{line}");
        line
    };
    let first = line(&one);
    assert!(first.contains("○ miss it") && first.contains("not in the remote cache · uploaded"), "{first}");
    let second = line(&two);
    assert!(second.contains("● hit  it") && second.contains("from the remote cache"), "{second}");
    assert!(two.call(["why", "it"]).stdout.contains("from the remote cache"));
    let stats: serde_json::Value = serde_json::from_str(&two.call(["stats", "--json"]).stdout).unwrap();
    assert_eq!((&stats["hits"], &stats["remote_hits"]), (&1.into(), &1.into()));
    assert!(stats["fetched_bytes"].as_u64() > Some(300_000), "{stats}");
    assert!(two.call(["stats"]).stdout.contains("from remote"));
    let stats: serde_json::Value = serde_json::from_str(&one.call(["stats", "--json"]).stdout).unwrap();
    assert_eq!((&stats["remote_hits"], &stats["uploads"]), (&0.into(), &1.into()));
}

#[test]
fn reading_is_all_that_is_done_unless_told_otherwise() {
    let server = Real::start();
    let (one, two) = (Machine::new(&server.url(), ""), Machine::new(&server.url(), ""));
    for machine in [&one, &two] {
        machine.write("src/in", "1");
        let done = machine.build(&[]).expect("miss", None);
        assert_eq!((done.number("uploaded"), done.number("left")), (0, 0), "{}", done.stderr);
    }
    // For one call the command line decides.
    assert_eq!(one.build(&["--remote", "readwrite", "--refresh"]).number("uploaded"), 1);
    let three = Machine::new(&server.url(), "");
    three.write("src/in", "1");
    three.build(&["--remote", "off"]).expect("miss", None);
    let four = Machine::new(&server.url(), "write");
    four.write("src/in", "1");
    assert_eq!(four.build(&[]).expect("miss", None).number("uploaded"), 1, "it is only written");
    let five = Machine::new(&server.url(), "off");
    five.write("src/in", "1");
    five.build(&["--remote", "auto"]).expect("miss", None);
    five.build(&["--remote", "read"]).expect("hit", Some("local"));
}

#[test]
fn what_is_not_to_be_stored_is_not_uploaded_and_what_is_rehearsed_not_fetched() {
    let server = Real::start();
    let (one, two) = pair(&server);
    assert_eq!(one.build(&["--no-store"]).number("uploaded"), 0);
    let done = two.build(&["--dry-run"]);
    assert_eq!(done.status["outcome"], "not-stored", "{}", done.stderr);
    one.build(&[]).expect("miss", None);
    let done = two.build(&["--dry-run"]).expect("hit", Some("remote"));
    assert_eq!((done.number("fetched_bytes"), two.has("out")), (0, false));
    // Results are used, also those of others; only this command's own is not kept.
    two.build(&["--no-store"]).expect("hit", Some("remote"));
    let off = Machine::new(&server.url(), "readwrite").set("VITTE_CACHE", "off");
    off.write("src/in", vec![b'x'; 300_000]);
    off.build(&[]).expect("bypass", None);
}

#[test]
fn what_a_depfile_names_is_looked_up_in_two_steps() {
    let server = Real::start();
    let compile = |machine: &Machine| {
        let script = "echo ran >> ../trace; cat a.c inc/a.h > a.o; echo 'a.o: a.c inc/a.h' > a.d";
        machine.run(&["-n", "cc", "-i", "a.c", "-o", "a.o", "--depfile", "a.d"], script)
    };
    let [one, two, three] = [(); 3].map(|()| Machine::new(&server.url(), "readwrite"));
    for machine in [&one, &two, &three] {
        machine.write("a.c", "int a;");
        machine.write("inc/a.h", "1");
    }
    assert_eq!(compile(&one).expect("miss", None).number("uploaded"), 2);
    compile(&two).expect("hit", Some("remote"));
    assert_eq!((two.read("a.o"), two.read("a.d"), two.ran()), (one.read("a.o"), one.read("a.d"), 0));
    // Another header: the index is there, and no set of it fits.
    two.write("inc/a.h", "2");
    let missed = compile(&two).expect("miss", None);
    assert!(missed.status["reasons"][0].as_str().unwrap().contains("inc/a.h"), "{}", missed.stderr);
    // The third one finds both, as neither has pushed the other out.
    compile(&three).expect("hit", Some("remote"));
    three.write("inc/a.h", "2");
    compile(&three).expect("hit", Some("remote"));
    assert_eq!(three.ran(), 0);
    // One that made its result without looking keeps the others all the same.
    let four = Machine::new(&server.url(), "write");
    four.write("a.c", "int a;");
    four.write("inc/a.h", "3");
    compile(&four).expect("miss", None);
    let five = Machine::new(&server.url(), "read");
    five.write("a.c", "int a;");
    for header in ["1", "2", "3"] {
        five.write("inc/a.h", header);
        compile(&five).expect("hit", Some("remote"));
    }
}

#[test]
fn what_belongs_to_one_checkout_is_not_used_in_another() {
    let server = Real::start();
    let build = |machine: &Machine| machine.run(&["-i", "in", "-o", "out"], "pwd > out; cat in >> out");
    let (one, two) = (Machine::new(&server.url(), "readwrite"), Machine::new(&server.url(), "readwrite"));
    for machine in [&one, &two] {
        machine.write("in", "1");
        build(machine).expect("miss", None);
        assert!(machine.read("out").starts_with(machine.work.as_os_str().as_encoded_bytes()));
    }
}

#[test]
fn a_result_ends_there_as_well() {
    let server = Real::start();
    let (one, two) = pair(&server);
    one.build(&["--ttl", "1ms"]).expect("miss", None);
    two.build(&["--ttl", "1ms"]).expect("miss", None);
    one.build(&["--ttl", "1h"]).expect("miss", None);
    let (three, four) = pair(&server);
    four.build(&["--ttl", "1ms"]).expect("miss", None);
    three.build(&["--ttl", "1h"]).expect("hit", Some("remote"));
}

#[test]
fn only_signed_results_count_where_they_are_signed() {
    let server = Real::start();
    let (a, b) = ("a1".repeat(32), "b2".repeat(32));
    let machine = |key: &str, mode: &str| {
        let machine = Machine::new(&server.url(), mode);
        machine.write("src/in", "1");
        if key.is_empty() { machine } else { machine.set("VITTE_SIGNING_KEY", key) }
    };
    // What nobody signed is nothing to those who sign, and the other way round.
    assert_eq!(machine("", "readwrite").build(&[]).expect("miss", None).number("uploaded"), 1);
    let signed = machine(&a, "readwrite").build(&[]).expect("miss", None);
    assert_eq!(signed.number("uploaded"), 1, "{}", signed.stderr);
    machine(&a, "read").build(&[]).expect("hit", Some("remote"));
    machine(&b, "read").build(&[]).expect("miss", None);
    machine(&format!("{b}\n{a}"), "read").build(&[]).expect("hit", Some("remote"));
}
