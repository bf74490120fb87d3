//! Tokens: created, listed, revoked, and obeyed by a server that runs.

use std::thread;

use crate::support::{Place, finish};

#[test]
fn the_secret_alone_goes_to_standard_output() {
    let place = Place::new();
    let done = place.run("token create ci").code(0);
    let secret = done.stdout.strip_suffix('\n').unwrap();
    assert!(secret.starts_with("vc_") && !secret.contains(char::is_whitespace), "{done:?}");
    assert!(done.stderr.contains("may read in all namespaces") && !done.stderr.contains(secret), "{done:?}");
    let file = std::fs::read_to_string(place.path("tokens.json")).unwrap();
    assert!(!file.contains(&secret[3..]), "{file}");
    let listed = place.run("token list").code(0).stdout + &place.run("token list --json").code(0).stdout;
    assert!(listed.contains("ci") && !listed.contains(&secret[3..]), "{listed}");
}

#[test]
fn names_are_unique_and_mistakes_are_explained() {
    let place = Place::new();
    assert!(place.run("token list").code(0).stdout.starts_with("there are no tokens in "));
    let none = place.run("token revoke ci").code(1);
    assert!(none.stderr.contains("there is no token `ci` in "), "{none:?}");
    assert!(!place.path("tokens.json").exists());
    place.token("ci");
    let twice = place.run("token create ci").code(1);
    assert_eq!(
        (&*twice.stdout, &*twice.stderr),
        ("", "vitte-cache: there is a token `ci` already; choose another name, or revoke that one first\n")
    );
    let near = place.run("token revoke cl").code(1);
    assert!(near.stderr.ends_with("did you mean `ci`?\n"), "{near:?}");
    let name = finish(&mut place.command(["token", "create", "a\nb"])).code(2);
    assert_eq!(
        name.stderr,
        "vitte-cache: NAME: `a\\nb` is no name of a token: write 1 to 100 visible characters\n"
    );
    place.run("token revoke ci").code(0);
    assert_eq!(place.run("token list --json").code(0).stdout, "");
}

#[test]
fn many_at_once_are_all_kept() {
    let place = Place::new();
    thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || place.token(&format!("t{number}")));
        }
    });
    assert_eq!(place.run("token list --json").code(0).stdout.lines().count(), 8);
}

#[test]
fn a_running_server_takes_them_over() {
    let place = Place::new();
    let mut server = place.serve("");
    assert!((200..300).contains(&server.put("/kv/a", None, b"open")));
    let writer = place.token("writer --read-write");
    server.wait_for("\"message\":\"reloaded\"");
    assert_eq!(server.put("/kv/a", None, b"closed"), 401);
    assert!((200..300).contains(&server.put("/kv/a", Some(&writer), b"mine")));

    let reader = place.token("reader --namespace team");
    server.wait_for("\"message\":\"reloaded\"");
    assert_eq!(server.put("/kv/a", Some(&reader), b"no"), 403);
    assert_eq!(server.get("/kv/a", Some(&reader)).0, 404);
    assert_eq!(server.get("/ns/default/kv/a", Some(&reader)).0, 403);

    for name in ["writer", "reader"] {
        place.run(&format!("token revoke {name}")).code(0);
        server.wait_for("\"message\":\"reloaded\"");
    }
    // Without any token left it is closed to all, and not open to all.
    assert_eq!(server.put("/kv/a", None, b"open?"), 401);
    assert_eq!(server.get("/kv/a", Some(&writer)).0, 401);
    for secret in [writer, reader] {
        assert!(!server.log.contains(&secret), "{}", server.log);
    }
}

#[test]
fn requests_are_logged_without_their_secrets() {
    let place = Place::new();
    let secret = place.token("ci --read-write");
    let mut server = place.serve("--log-level trace");
    assert!((200..300).contains(&server.put("/kv/a", Some(&secret), b"secret content")));
    let line = server.wait_for("\"target\":\"vitte_cache::access\"");
    assert_eq!((line["method"].as_str(), line["path"].as_str()), (Some("PUT"), Some("/kv/a")));
    assert_eq!(server.get("/kv/a", Some("vc_wrong")).0, 401);
    server.wait_for("\"status\":401");
    for secret in [&*secret, "vc_wrong", "secret content"] {
        assert!(!server.log.contains(secret), "{}", server.log);
    }
}
