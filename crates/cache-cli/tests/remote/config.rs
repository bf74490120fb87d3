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
    let long_ago =
        b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    let one = one
        .set("VITTE_REMOTE_CACHE_URL", &Odd::saying(long_ago).url())
        .set("VITTE_REMOTE_CACHE_BACKEND", "generic");
    let old = one.call(["doctor"]).stdout;
    assert!(old.contains("answers after") && old.contains(" apart\n"), "{old}");
    assert!(!writes.stdout.contains(" apart"), "{}", writes.stdout);
    let nobody = nobody();
    let one = one.set("VITTE_REMOTE_CACHE_URL", &nobody);
    let gone = one.call(["doctor"]);
    let start = format!("the cache at {nobody}/ is unavailable: tcp connect error: ");
    assert!(gone.code != 0 && gone.stdout.contains(&start), "{}", gone.stdout);
    assert_eq!(gone.stdout.matches(&nobody).count(), 1, "{}", gone.stdout);
    let one = one.set("VITTE_REMOTE_CACHE_TYPO", "1");
    assert!(one.call(["doctor"]).stdout.contains("VITTE_REMOTE_CACHE_TYPO means nothing"));
}

#[test]
fn an_authority_of_ones_own_is_believed_if_it_is_named_and_never_in_the_way() {
    let (_server, url, ca) = Real::with_tls();
    let ca = ca.to_str().unwrap();
    let at = |ca: &str| {
        let machine = machine().set("VITTE_REMOTE_CACHE_URL", &url).set("VITTE_REMOTE_CACHE_CA", ca);
        machine.set("VITTE_REMOTE_CACHE_MODE", "readwrite")
    };
    assert_eq!(at(ca).build(&[]).expect("miss", None).number("uploaded"), 1);
    at(ca).build(&[]).expect("hit", Some("remote"));
    // The same from the user's file.
    let two = machine();
    user_file(&two, &format!("[remote-cache]\nurl = '{url}'\nca = '{ca}'\ntimeout = '20s'\n"));
    two.build(&[]).expect("hit", Some("remote"));
    // Without it, with a file that is not there, and with one that has something else in it, the command runs.
    let empty = machine();
    empty.write("empty.pem", "nothing");
    let empty_pem = empty.work.join("empty.pem");
    for (ca, why) in
        [("", "certificate"), ("/nowhere/ca.pem", "/nowhere/ca.pem"), (empty_pem.to_str().unwrap(), "CA")]
    {
        let done = at(ca).build(&[]).expect("miss", None);
        assert_eq!(done.warnings().len(), 1, "{}", done.stderr);
        assert!(done.warnings()[0].contains(why), "{}", done.stderr);
    }
    // Whoever clones a project has not read its file.
    let three = machine();
    three.write(".vitte/config.toml", format!("[remote-cache]\nca = '{ca}'\n"));
    let done = three.build(&[]);
    assert!(done.code != 0 && done.stderr.contains("remote-cache.ca"), "{}", done.stderr);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let server = Real::start();
    let proxy = Odd::dying(&server, i64::MAX);
    let at = || {
        let machine = machine().set("VITTE_REMOTE_CACHE_URL", "http://cache.example/ns/team");
        let machine = machine.set("VITTE_REMOTE_CACHE_MODE", "readwrite");
        machine.set("HTTP_PROXY", proxy.url().trim_end_matches("/ns/team"))
    };
    assert_eq!(at().build(&[]).expect("miss", None).number("uploaded"), 1);
    at().build(&[]).expect("hit", Some("remote"));
    assert!(proxy.seen.load(std::sync::atomic::Ordering::SeqCst) > 0);
}

#[test]
fn variables_say_how_often_it_is_asked_again() {
    for (count, requests) in [("0", 1), ("2", 3)] {
        let busy = Odd::saying(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let one =
            machine().set("VITTE_REMOTE_CACHE_URL", &busy.url()).set("VITTE_REMOTE_CACHE_RETRY_COUNT", count);
        let done = one.build(&[]).expect("miss", None);
        assert_eq!(done.warnings().len(), 1, "{}", done.stderr);
        assert_eq!(busy.seen.load(std::sync::atomic::Ordering::SeqCst), requests, "{count}");
    }
}

#[test]
fn variables_say_how_files_are_compressed() {
    let server = Real::start();
    let lines = (0..100_000).map(|number| format!("line {number} of many\n")).collect::<Vec<_>>().concat();
    let at = |url: &str, compression: &str| {
        let machine =
            machine().set("VITTE_REMOTE_CACHE_URL", url).set("VITTE_REMOTE_CACHE_MODE", "readwrite");
        let machine = machine.set("VITTE_REMOTE_CACHE_COMPRESSION", compression);
        machine.write("src/in", &lines);
        machine
    };
    assert_eq!(at(&server.url(), "auto").build(&[]).expect("miss", None).number("uploaded"), 1);
    // A server that dies after a third of the file lives long enough for what is compressed.
    for (compression, outcome) in [("zstd", "hit"), ("lz4", "hit"), ("none", "miss"), ("auto", "miss")] {
        let dying = Odd::dying(&server, lines.len() as i64 * 2 / 3);
        let done = at(&dying.url(), compression).set("VITTE_REMOTE_CACHE_MODE", "read").build(&[]);
        assert_eq!(done.status["outcome"], outcome, "{compression}: {}", done.stderr);
    }
}
