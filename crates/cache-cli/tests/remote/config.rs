//! Where the address and the token come from, where they go, and where not.

use std::fs;

use crate::server::{Odd, Real, nobody};
use crate::site::Machine;

const SECRET: &str = "hunter2-correct-horse-battery";

fn machine() -> Machine {
    let machine = Machine::new("", "");
    machine.write("src/in", "1");
    machine
}

fn user_file(machine: &Machine, text: &str) {
    let dir = machine.home().join(".config/vitte-cache");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.toml"), text).unwrap();
}

#[test]
fn a_file_names_the_server_and_the_variable_with_the_token() {
    let (server, _, write) = Real::with_tokens();
    let text = format!(
        "[remote-cache]\nurl = '{}'\ntoken = '${{TEAM_TOKEN}}'\nmode = 'readwrite'\ntimeout = '20s'\n\
         upload_wait = '20s'\nretry_count = 1\ncompression = 'zstd'\nbackend = 'native'\n",
        server.url()
    );
    let one = machine().set("TEAM_TOKEN", write.reveal());
    user_file(&one, &text);
    assert_eq!(one.build(&[]).expect("miss", None).number("uploaded"), 1);
    let two = machine().set("TEAM_TOKEN", write.reveal());
    user_file(&two, &text);
    two.build(&[]).expect("hit", Some("remote"));
    let config = two.call(["config"]).stdout;
    assert!(config.contains("${TEAM_TOKEN}") && config.contains(&server.url()), "{config}");
    // Without the variable nothing is asked, and the command runs.
    let three = machine();
    user_file(&three, &text);
    let done = three.build(&[]).expect("miss", None);
    assert_eq!(done.warnings().len(), 1, "{}", done.stderr);
    assert!(done.warnings()[0].contains("TEAM_TOKEN"), "{}", done.stderr);
}

#[test]
fn a_token_is_in_no_output_and_in_no_file() {
    let denied = Odd::saying(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let (server, ..) = Real::with_tokens();
    for url in [denied.url(), server.url()] {
        let one = machine().set("VITTE_REMOTE_CACHE_URL", &url).set("VITTE_REMOTE_CACHE_MODE", "readwrite");
        let one = one.set("VITTE_REMOTE_CACHE_TOKEN", SECRET);
        let mut said = Vec::new();
        for args in [
            &["run", "-v", "--explain", "-i", "src", "--", "sh", "-c", "env"][..],
            &["config"],
            &["config", "--json"],
            &["config", "--show-origin"],
            &["doctor"],
            &["doctor", "--json"],
            &["why"],
            &["stats", "--json"],
            &["ls", "--json"],
        ] {
            let done = one.call(args);
            said.push(done.stdout + &done.stderr);
        }
        assert!(said.iter().all(|text| !text.contains(SECRET)), "{said:#?}");
        assert_eq!(one.files_with(SECRET), Vec::<std::path::PathBuf>::new());
        assert!(said[1].contains("(not shown)"), "{}", said[1]);
    }
}

#[test]
fn a_project_cannot_send_a_token_elsewhere_nor_results_from_anywhere() {
    let evil = Odd::saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let asked = || evil.seen.load(std::sync::atomic::Ordering::SeqCst);
    let one = machine().set("VITTE_REMOTE_CACHE_TOKEN", SECRET).set("VITTE_REMOTE_CACHE_MODE", "readwrite");
    let project = format!("[remote-cache]\nurl = '{}'\n", evil.url());
    one.write(".vitte/config.toml", &project);
    let done = one.build(&[]).expect("miss", None);
    assert_eq!((done.warnings().len(), asked()), (1, 0), "{}", done.stderr);
    assert!(done.warnings()[0].contains("VITTE_REMOTE_CACHE_TRUSTED="), "{}", done.stderr);
    // The user's own file still counts, and its token is its own.
    let mine = Real::start();
    user_file(&one, &format!("[remote-cache]\nurl = '{}'\ntoken = '{SECRET}'\n", mine.url()));
    one.write("src/in", "2");
    let done = one.build(&[]).expect("miss", None);
    assert_eq!((done.number("uploaded"), asked()), (1, 0), "{}", done.stderr);
    // A token of the user's file does not go to an address from elsewhere.
    let two = machine().set("VITTE_REMOTE_CACHE_URL", &evil.url());
    user_file(&two, &format!("[remote-cache]\nurl = '{}'\ntoken = '{SECRET}'\n", mine.url()));
    let done = two.build(&[]).expect("miss", None);
    assert_eq!((done.warnings().len(), asked()), (1, 0), "{}", done.stderr);
    // Neither may a project say more than the address.
    let settings = ["token = 'x'", "mode = 'write'", "trusted = 'http://x'"];
    for setting in settings {
        one.write(".vitte/config.toml", format!("[remote-cache]\n{setting}\n"));
        assert_eq!(one.build(&[]).code, 125, "{setting}");
    }
    // What the user trusts is used.
    one.write(".vitte/config.toml", &project);
    let one = one.set("VITTE_REMOTE_CACHE_TRUSTED", &evil.url());
    one.write("src/in", "3");
    one.build(&[]).expect("miss", None);
    assert!(asked() > 0);
}

#[test]
fn doctor_asks_the_server() {
    let (server, read, write) = Real::with_tokens();
    let one =
        machine().set("VITTE_REMOTE_CACHE_URL", &server.url()).set("VITTE_REMOTE_CACHE_MODE", "readwrite");
    one.build(&["--remote", "off"]).expect("miss", None);
    let none = one.call(["doctor"]);
    assert!(none.code != 0 && none.stdout.contains("(401)"), "{}", none.stdout);
    let one = one.set("VITTE_REMOTE_CACHE_TOKEN", read.reveal());
    let reads = one.call(["doctor"]).stdout;
    assert!(reads.contains("answers after") && reads.contains("use a token that may write"), "{reads}");
    let one = one.set("VITTE_REMOTE_CACHE_TOKEN", write.reveal());
    let writes = one.call(["doctor"]);
    assert!(writes.stdout.contains("results can be stored there"), "{}", writes.stdout);
    // A web server without a cache has no entry either.
    let elsewhere = format!("http://{}/elsewhere", server.address);
    let one = one.set("VITTE_REMOTE_CACHE_MODE", "read").set("VITTE_REMOTE_CACHE_URL", &elsewhere);
    let wrong = one.call(["doctor"]);
    assert!(wrong.code != 0 && wrong.stdout.contains("it cannot say what is missing"), "{}", wrong.stdout);
    let nobody = nobody();
    let one = one.set("VITTE_REMOTE_CACHE_URL", &nobody);
    let gone = one.call(["doctor"]);
    let start = format!("the cache at {nobody}/ is unavailable: tcp connect error: ");
    assert!(gone.code != 0 && gone.stdout.contains(&start), "{}", gone.stdout);
    assert_eq!(gone.stdout.matches(&nobody).count(), 1, "{}", gone.stdout);
    let one = one.set("VITTE_REMOTE_CACHE_TYPO", "1");
    assert!(one.call(["doctor"]).stdout.contains("VITTE_REMOTE_CACHE_TYPO means nothing"));
}
