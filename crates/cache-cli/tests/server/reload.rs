//! New settings while the server runs.

use std::fs;

use rustix::process::Signal;

use crate::support::Place;

#[test]
fn a_changed_file_is_taken_over() {
    let place = Place::new();
    let config = place.write("server.toml", "");
    place.token("ci --read-write");
    let mut server = place.serve(&format!("--config {}", config.display()));
    assert_eq!(server.get("/kv/none", None).0, 401);
    place.write("server.toml", "[server]\nanonymous = 'read'\n");
    server.wait_for("\"message\":\"reloaded\"");
    assert_eq!(server.get("/kv/none", None).0, 404);
}

#[test]
fn so_is_one_that_was_changed_where_it_lies_and_told_of_by_a_signal() {
    let place = Place::new();
    let config = place.write("server.toml", "[server]\nlog_level = 'info'\n");
    let mut server = place.serve(&format!("--config {}", config.display()));
    server.signal(Signal::HUP);
    server.wait_for("\"message\":\"reloaded\"");
    fs::write(&config, "[server]\nlog_level = 'info,vitte_cache::access=off'\n").unwrap();
    server.signal(Signal::HUP);
    server.wait_for("\"message\":\"reloaded\"");
    assert_eq!(server.get("/kv/unseen", None).0, 404);
    server.signal(Signal::HUP);
    server.wait_for("\"message\":\"reloaded\"");
    assert!(!server.log.contains("/kv/unseen"), "{}", server.log);
}

#[test]
fn wrong_settings_change_nothing() {
    let place = Place::new();
    let config = place.write("server.toml", "[server]\nanonymous = 'read'\n");
    let secret = place.token("ci --read-write");
    let mut server = place.serve(&format!("--config {}", config.display()));
    for (wrong, says) in [
        ("[server]\nanonymous = 'write'\n", "server.toml:2: `server.anonymous`: `write` is not allowed"),
        ("[server\n", "server.toml:1: "),
        ("[server]\ntls_cert = '/nowhere'\n", "`server.tls_cert` is of no use without `server.tls_key`"),
        ("[server]\ntls_cert = '/nowhere'\ntls_key = '/nowhere'\n", "cannot use /nowhere for TLS"),
        ("[server]\nlog_level = 'loud'\n", "`loud` is not allowed"),
    ] {
        place.write("server.toml", wrong);
        let line = server.wait_for("the new settings are wrong");
        assert!(line["message"].as_str().unwrap().contains(says), "{line}");
        assert_eq!(server.get("/kv/none", None).0, 404, "{wrong}");
    }
    place.write("tokens.json", "{}");
    server.wait_for("the new settings are wrong");
    assert!((200..300).contains(&server.put("/kv/a", Some(&secret), b"1")));
}

#[test]
fn a_server_without_its_tokens_is_not_open() {
    let place = Place::new();
    let secret = place.token("ci --read-write");
    let mut server = place.serve("");
    fs::remove_file(place.path("tokens.json")).unwrap();
    let line = server.wait_for("the new settings are wrong");
    assert!(line["message"].as_str().unwrap().contains("is gone"), "{line}");
    assert_eq!(server.put("/kv/a", None, b"1"), 401);
    assert!((200..300).contains(&server.put("/kv/a", Some(&secret), b"1")));
}

#[test]
fn what_cannot_change_is_named() {
    let place = Place::new();
    let config = place.write("server.toml", "");
    let mut server = place.serve(&format!("--config {}", config.display()));
    place.write("server.toml", "max_size = '1GB'\n[server]\nlisten = '127.0.0.2'\nmemory = 'none'\n");
    let line = server.wait_for("starts again");
    let message = line["message"].as_str().unwrap();
    for name in ["listen", "max_size", "server.memory"] {
        assert!(message.contains(name), "{name}: {message}");
    }
    // It is named for as long as it is so, and no longer.
    place.write("server.toml", "max_size = '1GB'\n[server]\nidle_timeout = '9s'\n");
    let line = server.wait_for("starts again");
    assert_eq!(line["message"], "max_size will change when the server starts again");
    place.write("server.toml", "");
    server.wait_for("reloaded");
    place.token("later");
    server.wait_for("\"access\":\"1 token\"");
    assert_eq!(server.log.matches("starts again").count(), 2, "{}", server.log);
}
