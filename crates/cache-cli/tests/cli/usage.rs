//! Bad usage: one sentence with the remedy, exit code 2, or 125 from `run`.

use crate::support::{Place, finish};

/// A command line, its exit code and what it says.
const TABLE: &[(&str, i32, &str)] = &[
    (
        "",
        2,
        "say what to do, as in `vitte-cache run -i 'src/**' -- make`; `vitte-cache --help` lists the verbs",
    ),
    (
        "frobnicate",
        2,
        "there is no verb `frobnicate`; to run a command write `vitte-cache run -- frobnicate …`, and `vitte-cache --help` \
         lists the verbs",
    ),
    ("stat", 2, "there is no verb `stat`; did you mean `stats`?"),
    ("--bogus ls", 2, "there is no option `--bogus` here; `vitte-cache ls --help` lists what there is"),
    ("ls --jsn", 2, "there is no option `--jsn` here; did you mean `--json`?"),
    ("get", 2, "KEY is missing; `vitte-cache get --help` has an example"),
    ("get a b", 2, "there is no argument `b` here; `vitte-cache get --help` lists what there is"),
    ("put k --ttl", 2, "--ttl needs a value; `vitte-cache put --help` has an example"),
    ("put k --ttl soon", 2, "--ttl: `soon` is no duration: write 90s, 10m, 1h30m or 7d"),
    ("put k --ttl 1h --ttl 2h", 2, "--ttl may be given only once"),
    ("rm", 2, "KEY or --label or --all is missing; `vitte-cache rm --help` has an example"),
    ("rm a --all", 2, "KEY and --all exclude each other; give only one of them"),
    ("why a b c", 2, "there is no room for `c`; `vitte-cache why --help` lists what there is"),
    ("ls --limit many", 2, "--limit: `many` is no number: write 0 or more"),
    ("completions tcsh", 2, "`tcsh` is no value for SHELL: write one of bash, elvish, fish, powershell, zsh"),
    ("ls --color sometimes", 2, "`sometimes` is no value for --color: write one of auto, always, never"),
    (
        "ls --namespace a/b",
        2,
        "--namespace: `a/b` is no namespace: use 1 to 100 characters of A-Z a-z 0-9 . _ - that do not start with . or -",
    ),
    ("simulate --sizes 1G", 2, "--log is missing; `vitte-cache simulate --help` has an example"),
    ("simulate --log x", 2, "--sizes is missing; `vitte-cache simulate --help` has an example"),
    (
        "simulate --log x --sizes 1G,big",
        2,
        "--sizes: `big` is no size: write 500MB, 1.5GiB or a number of bytes",
    ),
    (
        "simulate --log x --sizes 0",
        2,
        "--sizes: `0` is no size of a cache: write 500MB, 1.5GiB or a number of bytes",
    ),
    (
        "simulate --log x --sizes 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
        2,
        "--sizes: 17 are too many, as each takes memory for every key; write 16 at most",
    ),
    ("du --by size", 2, "`size` is no value for --by: write one of label, kind, namespace"),
    (
        "run --bogus -- true",
        125,
        "there is no option `--bogus` here; `vitte-cache run --help` lists what there is",
    ),
    ("run -i a make all", 125, "put `--` before the command: vitte-cache run [OPTIONS] -- COMMAND [ARGS]"),
    ("run --mtime later -- true", 125, "`later` is no value for --mtime: write one of auto, now, preserve"),
    (
        "run --cache-failures=0 -- true",
        125,
        "--cache-failures: `0` is no list of exit codes: write 1,2 or any from 1 to 255",
    ),
    ("run --verify=0 -- true", 125, "--verify: `0` is no percentage: write a number from 1 to 100"),
    (
        "run --max-entry big -- true",
        125,
        "--max-entry: `big` is no size: write 500MB, 1.5GiB or a number of bytes",
    ),
    (
        "run --refresh --no-store -- true",
        125,
        "--refresh and --no-store exclude each other; give only one of them",
    ),
    ("run -q -v -- true", 125, "--quiet and --verbose exclude each other; give only one of them"),
    (
        "run --ttl 1h --stale --stdin=key -- cat",
        125,
        "--stale and --stdin=key exclude each other: what was read from standard input cannot be read again in the \
         background; leave one of them out",
    ),
    (
        "run -i a --stale -- true",
        125,
        "--stale needs to know when a result is too old; add --ttl, as in --ttl 1h",
    ),
    (
        "run make",
        125,
        "there is no .vitte/config.toml here or above that could describe `make`; to run the command `make`, put `--` \
         before it",
    ),
];

#[test]
fn every_mistake_has_one_sentence_and_its_code() {
    let place = Place::new();
    let mut wrong = Vec::new();
    for (line, code, sentence) in TABLE {
        let done = place.run(line);
        let expected = (*code, String::new(), format!("vitte-cache: {sentence}\n"));
        let found = (done.code, done.stdout, done.stderr);
        if found != expected {
            wrong.push(format!("{line}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!place.cache.exists(), "bad usage must not touch the cache");
}

#[test]
fn run_without_a_command_or_a_reason_to_be_stale_says_what_to_add() {
    let place = Place::new();
    for (line, remedy) in [("run", "after `--`"), ("run -i a --", "after `--`"), ("run -- true", "--ttl")] {
        let done = place.run(line).code(125);
        assert!(done.stderr.contains(remedy) && done.stderr.lines().count() == 1, "{line}: {done:?}");
    }
}

#[test]
fn arguments_that_are_not_unicode_are_refused_politely() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let place = Place::new();
        let done =
            finish(&mut place.command([std::ffi::OsStr::new("get"), std::ffi::OsStr::from_bytes(b"\xff")]));
        assert_eq!((done.code, done.stderr.lines().count()), (2, 1), "{done:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::new();
    for line in ["--help", "-h", "--version", "run --help", "get -h"] {
        let done = place.run(line).ok();
        assert!(!done.stdout.is_empty() && done.stderr.is_empty(), "{line}: {done:?}");
    }
}

#[test]
fn help_fits_eighty_columns() {
    let place = Place::new();
    let verbs = "run why put get rm ls stats du gc verify simulate config doctor completions man";
    let server = if cfg!(feature = "server") { "serve token" } else { "" };
    for verb in verbs.split(' ').chain(server.split_whitespace()) {
        let help = finish(place.command([verb, "--help"]).env("COLUMNS", "80")).ok().stdout;
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
        assert!(help.contains(&format!("  vitte-cache {verb}")), "{verb} has no example");
    }
}
