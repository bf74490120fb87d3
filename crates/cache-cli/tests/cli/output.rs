//! Colours, closed pipes, and the files that packages install.

use std::process::Stdio;

use crate::support::{Place, finish};

#[test]
fn colours_are_for_terminals_unless_told_otherwise() {
    let place = Place::new();
    place.run_with("put key", b"x").ok();
    let colored = |args: &[&str], env: Option<(&str, &str)>| {
        finish(place.command(args).envs(env)).ok().stdout.contains('\x1b')
    };
    assert!(!colored(&["ls"], None), "a pipe is no terminal");
    assert!(colored(&["ls", "--color", "always"], None));
    assert!(colored(&["ls"], Some(("CLICOLOR_FORCE", "1"))));
    assert!(colored(&["ls"], Some(("VITTE_CACHE_COLOR", "always"))));
    assert!(!colored(&["ls", "--color", "never"], Some(("CLICOLOR_FORCE", "1"))));
    assert!(!colored(&["ls", "--json", "--color", "always"], None), "JSON has no colours");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    // More than any pipe holds, so that the writer is still at it when the reader is gone.
    place.write("work/in", vec![b'x'; 8 << 20]);
    place.run("put key in").ok();
    for args in [&["get", "key"][..], &["--help"], &["completions", "zsh"], &["ls"]] {
        let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let place = Place::new();
    place.run_with("put key", b"x").ok();
    for args in [&["get", "key"][..], &["ls"], &["config"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(args).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(said.starts_with("vitte-cache: cannot write to standard output: "), "{said}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.run(&format!("completions {shell}")).ok().stdout;
        assert!(script.contains("doctor") && script.contains("cache-failures"), "{shell}");
    }
    assert!(place.run("man").ok().stdout.contains(".TH vitte-cache"));
    place.run("man --out man/new").ok();
    for page in ["vitte-cache.1", "vitte-cache-run.1", "vitte-cache-why.1"] {
        assert!(!place.read(format!("man/new/{page}")).is_empty(), "{page}");
    }
    place.write("work/file", "");
    assert!(place.run("man --out file/below").code(1).stderr.contains("choose a directory"));
}
