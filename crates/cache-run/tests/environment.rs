//! What a command sees of the environment, what of that is in its key, and which values stay hidden.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::ffi::{OsStr, OsString};

use cache_run::environment::{EnvError, EnvMode, EnvValue, Environment, REDACTED, looks_secret, redact_args};

fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn names(environment: &Environment) -> Vec<&str> {
    environment.child.iter().filter_map(|(name, _)| name.to_str()).collect()
}

fn build(mode: EnvMode, declared: &[&str], pass: &[&str], pairs: &[(&str, &str)]) -> Environment {
    Environment::new(mode, declared, pass, vars(pairs)).unwrap()
}

fn key(name: &str, value: Option<&str>) -> EnvValue {
    EnvValue { name: name.into(), value: value.map(OsString::from) }
}

#[test]
fn strict_hides_what_is_not_declared() {
    let around = [("PATH", "/bin"), ("HOME", "/h"), ("CI", "1"), ("NODE_ENV", "dev"), ("LANG", "C")];
    let strict = build(EnvMode::Strict, &[], &[], &around);
    assert_eq!(names(&strict), ["HOME", "LANG", "PATH"]);
    // What decides messages and sorting is in the key; where things are is not.
    assert_eq!(strict.keyed, [key("LANG", Some("C"))]);
    let loose = build(EnvMode::Loose, &["NODE_ENV"], &[], &around);
    assert_eq!(names(&loose), ["CI", "HOME", "LANG", "NODE_ENV", "PATH"]);
    assert_eq!(loose.keyed, [key("LANG", Some("C")), key("NODE_ENV", Some("dev"))]);
}

#[test]
fn declared_is_keyed_and_passed_is_not() {
    let around = [("NODE_ENV", "dev"), ("APP_A", "1"), ("APP_B", "2"), ("X", "3")];
    let env = build(EnvMode::Strict, &["APP_*", "MISSING", "SET=a=b"], &["X", "APP_A", "NONE*"], &around);
    assert_eq!(names(&env), ["APP_A", "APP_B", "SET", "X"]);
    let keyed =
        [key("APP_A", Some("1")), key("APP_B", Some("2")), key("MISSING", None), key("SET", Some("a=b"))];
    assert_eq!(env.keyed, keyed);
    assert_eq!(env.get("SET"), Some(OsStr::new("a=b")));
}

#[test]
fn unset_empty_and_set_are_three_things() {
    let keyed = |pairs: &[(&str, &str)]| build(EnvMode::Strict, &["A"], &[], pairs).keyed;
    assert_ne!(keyed(&[]), keyed(&[("A", "")]));
    assert_ne!(keyed(&[("A", "")]), keyed(&[("A", "x")]));
}

#[test]
fn a_set_value_beats_the_surrounding_one_and_the_last_wins() {
    let env = build(EnvMode::Strict, &["A", "A=1", "A=2"], &[], &[("A", "0")]);
    assert_eq!((env.child, env.keyed), (vars(&[("A", "2")]), vec![key("A", Some("2"))]));
}

#[test]
fn the_caches_own_variables_are_keyed_only_by_name() {
    let around = [("VITTE_CACHE_DIR", "/c"), ("VITTE_X", "1")];
    let env = build(EnvMode::Strict, &["VITTE_*"], &[], &around);
    assert_eq!(names(&env), ["VITTE_CACHE_DIR", "VITTE_X"]);
    assert_eq!(env.keyed, [key("VITTE_X", Some("1"))]);
    let env = build(EnvMode::Strict, &["VITTE_CACHE_DIR"], &[], &around);
    assert_eq!(env.keyed, [key("VITTE_CACHE_DIR", Some("/c"))]);
}

#[test]
fn bad_declarations_are_refused_without_showing_values() {
    for bad in ["", "=x", "A*B", "A*=x", "A\0"] {
        assert!(Environment::new(EnvMode::Strict, [bad], [""; 0], []).is_err(), "{bad:?}");
    }
    let error = Environment::new(EnvMode::Strict, [""; 0], ["A=hunter2"], []).unwrap_err();
    assert!(matches!(error, EnvError::PassedValue(_)));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[cfg(unix)]
#[test]
fn values_need_not_be_unicode() {
    use std::os::unix::ffi::OsStrExt;
    let raw = OsStr::from_bytes(b"A=\xff");
    let env = Environment::new(EnvMode::Strict, [raw], [""; 0], []).unwrap();
    assert_eq!(env.child, [("A".into(), OsStr::from_bytes(b"\xff").to_os_string())]);
}

#[test]
fn secrets_are_known_by_name() {
    for secret in [
        "GITHUB_TOKEN",
        "token",
        "API_KEY",
        "apiKey",
        "X-Api-Key",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "PGPASSWORD",
        "MYSQL_PWD",
        "DB_PASS",
        "NPM_CONFIG__AUTH",
        "SESSION_ID",
        "COOKIE",
        "GH_PAT",
        "SSH_PRIVATE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "githubToken",
        "Authorization",
        "PASSPHRASE",
        "APIKey",
    ] {
        assert!(looks_secret(OsStr::new(secret), OsStr::new("x")), "{secret}");
    }
    for plain in [
        "PATH",
        "PWD",
        "OLDPWD",
        "KEYBOARD",
        "MONKEY",
        "AUTHOR",
        "TOKENIZERS_PARALLELISM",
        "NODE_ENV",
        "BYPASS",
        "COMPASS",
        "PUBLIC_KEY",
        "PATTERN",
        "SPINNER",
        "CFLAGS",
        "LANG",
    ] {
        assert!(!looks_secret(OsStr::new(plain), OsStr::new("x")), "{plain}");
    }
}

#[test]
fn secrets_are_known_by_shape() {
    for secret in [
        "ghp_0123456789abcdefABCDEF0123456789abcd",
        "github_pat_11ABCDEFG0123456789_abc",
        "glpat-ABCDEFGHIJKLMNOPQRST",
        "xoxb-1234567890-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-proj-ABCDEFGHIJKLMNOP0123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMII",
        "postgres://app:hunter2@db/x",
        "npm_0123456789abcdefABCDEF0123456789abcd",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1234",
        "--cfg token=ghp_0123456789abcdefABCDEF0123456789abcd",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ] {
        assert!(looks_secret(OsStr::new("VALUE"), OsStr::new(secret)), "{secret}");
    }
    for plain in [
        "",
        "production",
        "-C target-cpu=native -C link-arg=-fuse-ld=lld",
        "https://example.org:8080/path?x=1",
        "ssh://git@example.org/x.git",
        "950b751e8a0f3c1d2b4e5f60718293a4b5c6d7e8",
        "/usr/local/lib/x86_64-linux-gnu/perl/5.36.0:/Users/Someone/Projects/MyApplication2/node_modules",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "AnExtraordinarilyLongIdentifierForVersion2",
        "6f1f3c9e-7b1a-4f0e-9a57-0d9a4c1b2e3f",
        "task-runner",
        "sk-learn",
    ] {
        assert!(!looks_secret(OsStr::new("VALUE"), OsStr::new(plain)), "{plain}");
    }
}

#[test]
fn arguments_are_shown_without_secrets() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    let bearer = format!("Authorization: Bearer {jwt}");
    let script = format!("curl -H '{bearer}' x");
    let table: &[(&[&str], &[&str])] = &[
        (&["cc", "-c", "a.c", "-o", "a.o"], &["cc", "-c", "a.c", "-o", "a.o"]),
        (&["--token=abc", "--out=x"], &["--token=<redacted>", "--out=x"]),
        (&["--password", "hunter2", "x"], &["--password", REDACTED, "x"]),
        (&["--auth", "--verbose"], &["--auth", "--verbose"]),
        (&["-H", &bearer], &["-H", "Authorization: <redacted>"]),
        (&["-HX-Api-Key: abc"], &["-HX-Api-Key: <redacted>"]),
        (&["-u", "me:pw", "b:c"], &["-u", "me:<redacted>", "b:c"]),
        (&["https://me:pw@host/x"], &["https://me:<redacted>@host/x"]),
        (&["API_KEY=abc", "make"], &["API_KEY=<redacted>", "make"]),
        (&["sh", "-c", &script], &["sh", "-c", REDACTED]),
        (&["-DDB_PASSWORD=pw", "-DN=1"], &["-DDB_PASSWORD=<redacted>", "-DN=1"]),
        (&["-I/usr/include", "--key-bindings"], &["-I/usr/include", "--key-bindings"]),
    ];
    for (args, shown) in table {
        assert_eq!(redact_args(*args), *shown);
    }
}
