//! What the server does not start with.

use crate::support::{Place, finish};

#[test]
fn nobody_is_let_in_by_accident() {
    let place = Place::new();
    for line in [
        "serve --listen 0.0.0.0",
        "serve --listen [::]:0",
        "serve --listen 127.0.0.1 --listen 0.0.0.0 --anonymous off",
        "serve --listen 0.0.0.0 --anonymous read",
    ] {
        let done = place.run(&format!("{line} --check")).code(2);
        let says = "can be reached from other machines, and there is no token: make one with `vitte-cache token create NAME`";
        assert!(done.stderr.contains(says) && done.stderr.lines().count() == 1, "{line}: {done:?}");
        place.run(line).code(2);
    }
    assert!(!place.path("cache").exists(), "what does not start touches nothing");
    place.run("serve --check --listen 0.0.0.0 --insecure-anonymous").code(0);
    let token = place.run("token create ci").code(0);
    assert!(!token.stdout.is_empty());
    place.run("serve --check --listen 0.0.0.0").code(0);
}

#[test]
fn mistakes_are_one_sentence() {
    let place = Place::new();
    let mut wrong = Vec::new();
    for (line, sentence) in [
        ("serve --port 99999", "--port: `99999` is not allowed: write a number from 0 to 65535"),
        (
            "serve --listen cache.example.com",
            "--listen: `cache.example.com` is not allowed: write addresses such as 127.0.0.1, 0.0.0.0:8080, [::1]:8080 or \
             unix:/run/cache.sock",
        ),
        ("serve --anonymous write", "--anonymous: `write` is not allowed: write off or read"),
        (
            "serve --memory lots",
            "--memory: `lots` is not allowed: write a size such as 500MB or 1.5GiB, or none",
        ),
        (
            "serve --tls-cert a",
            "`server.tls_cert` is of no use without `server.tls_key`; give --tls-key as well",
        ),
        (
            "serve --tls-key a",
            "`server.tls_key` is of no use without `server.tls_cert`; give --tls-cert as well",
        ),
        (
            "serve --tls-client-ca a",
            "`server.tls_client_ca` is of no use without `server.tls_cert`; give --tls-cert as well",
        ),
        ("serve --disable kb", "--disable: `server.disable`: there is no protocol `kb`; did you mean `kv`?"),
        (
            "serve --check --log-level loud",
            "--log-level: `loud` is not allowed: write error, warn, info, debug or trace, or parts such as \
             info,vitte_cache::access=off",
        ),
        ("serve --prot 1", "there is no option `--prot` here; did you mean `--port`?"),
        ("token", "say what to do; `vitte-cache token --help` lists what there is"),
        ("token create", "NAME is missing; `vitte-cache token --help` has an example"),
        (
            "token create a --read-only --read-write",
            "--read-only and --read-write exclude each other; give only one of them",
        ),
    ] {
        let done = place.run(line);
        if (done.code, &*done.stderr) != (2, &*format!("vitte-cache: {sentence}\n")) {
            wrong.push(format!("{line}\n  expected {sentence}\n  found    {done:?}"));
        }
    }
    let done =
        finish(place.command(["serve", "--check"]).env("VITTE_SERVER_MAX_VALUE", "1GB,kv=big")).code(2);
    let sentence = "VITTE_SERVER_MAX_VALUE: `server.max_value`: `kv=big` is not allowed: write a size such as 2GB, or ccache=100MB";
    assert_eq!(done.stderr, format!("vitte-cache: {sentence}\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_project_opens_no_server() {
    let place = Place::new();
    let path = place.write(".vitte/config.toml", "[server]\nlisten = '0.0.0.0'\ninsecure_anonymous = true\n");
    let done = place.run("serve --check").code(0);
    assert_eq!(done.stdout, "would serve http://127.0.0.1:8080: everybody reads and writes\n");
    let done = place.run("ls").code(2);
    let says = format!("vitte-cache: {}:", path.display());
    assert!(done.stderr.starts_with(&says) && done.stderr.contains("is for the user to decide"), "{done:?}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let done = place.run(&format!("serve --port {port} --log-level off")).code(1);
    let (start, end) = (
        format!("vitte-cache: cannot listen on 127.0.0.1:{port}: "),
        "; stop the program that uses it, or choose another with --port\n",
    );
    assert!(done.stderr.starts_with(&start) && done.stderr.ends_with(end), "{done:?}");
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let place = Place::new();
    let file = place.write("file", "").display().to_string();
    // An address for documentation, which no machine has.
    for (flags, start, end) in [
        (
            "--listen 192.0.2.1".to_owned(),
            "cannot listen on 192.0.2.1:0: ".to_owned(),
            "; listen on an address of this machine, or on 0.0.0.0 for all of them\n",
        ),
        (
            format!("--dir {file}/below"),
            format!("cannot create the cache directory {file}/below: "),
            "; make it a directory that you can write to, or name another one with --dir\n",
        ),
        #[cfg(unix)]
        (
            format!("--listen unix:{file}/below"),
            format!("cannot listen on unix:{file}/below: "),
            "; choose a path in a directory that this user can write to\n",
        ),
    ] {
        let done = place.run(&format!("serve --port 0 --insecure-anonymous --log-level off {flags}")).code(1);
        let start = format!("vitte-cache: {start}");
        assert!(done.stderr.starts_with(&start) && done.stderr.ends_with(end), "{done:?}");
    }
}

#[cfg(unix)]
#[test]
fn files_that_others_can_write_are_not_obeyed() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.token("ci");
    set_permissions(place.path("tokens.json"), Permissions::from_mode(0o666)).unwrap();
    let done = place.run("serve --check").code(2);
    assert!(done.stderr.contains("do not count because everybody may write to it"), "{done:?}");
    set_permissions(place.path("tokens.json"), Permissions::from_mode(0o600)).unwrap();
    let config = place.write("server.toml", "[server]\nlisten = '0.0.0.0'\n");
    set_permissions(&config, Permissions::from_mode(0o666)).unwrap();
    let done = place.run("serve --check --config ../server.toml").code(2);
    assert!(done.stderr.contains("server.toml does not count because everybody may write to it"), "{done:?}");
}

#[test]
fn the_doctor_looks_at_what_is_prepared() {
    let place = Place::new();
    let unprepared = finish(place.command(["doctor"]).env_remove("VITTE_SERVER_TOKENS")).stdout;
    assert!(!unprepared.contains("\nok    server"), "{unprepared}");
    place.token("ci");
    let found = place.run("doctor").stdout;
    assert!(found.contains("server        http://127.0.0.1:8080: 1 token"), "{found}");
    let found = finish(place.command(["doctor"]).env("VITTE_SERVER_PROT", "1")).stdout;
    assert!(found.contains("VITTE_SERVER_PROT means nothing"), "{found}");
    place.write("tokens.json", "{}");
    let found = place.run("doctor").code(1).stdout;
    assert!(found.contains("fail  server") && found.contains("is no file of tokens"), "{found}");
}
