//! Bazel over HTTP.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;

use tokio::process::Command;

use crate::support::{npm, run, snippet, start, text, write};

/// A rule whose output is a directory, which Bazel stores as a tree.
const DIRECTORY: &str = r#"
def _directory(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [out],
        command = "mkdir -p $1/sub && cat /proc/sys/kernel/random/uuid | tee $1/x > $1/sub/y",
        arguments = [out.path],
    )
    return [DefaultInfo(files = depset([out]))]

directory = rule(implementation = _directory)
"#;
/// Actions that write what differs each time they run; the last one needs the first.
const BUILD: &str = r#"
load(":directory.bzl", "directory")
genrule(name = "stamp", outs = ["stamp.txt"], cmd = "cat /proc/sys/kernel/random/uuid > $@")
genrule(name = "empty", outs = ["empty.txt"], cmd = "touch $@")
genrule(name = "large", outs = ["large.txt"], srcs = ["stamp.txt"], cmd = "seq 1 200000 | cat $< - > $@")
directory(name = "tree")
"#;
const TARGETS: [&str; 4] = ["//:stamp", "//:empty", "//:large", "//:tree"];

#[tokio::test]
async fn bazel_hits() {
    let Some(bazel) = npm("bazel-2.1.0", "bazel") else { return };
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("workspace");
    let rc = snippet("bazel", ".bazelrc", &server).replace("TOKEN", secret.reveal());
    write(
        &workspace,
        &[("WORKSPACE", ""), ("directory.bzl", DIRECTORY), ("BUILD", BUILD), (".bazelrc", &rc)],
    );
    let bazel = |args: &[&str]| {
        let mut command = Command::new(&bazel);
        command
            .current_dir(&workspace)
            // Should the test fail, Bazel's own server outlives it, but not by long.
            .args(["--nosystem_rc", "--nohome_rc", "--max_idle_secs=15", "--output_user_root"])
            .arg(dir.path().join("user"))
            .args(args)
            .env("HOME", dir.path());
        command
    };
    // Containers often do not allow the sandbox.
    let build = |more: &str| bazel(&[&["build", "--spawn_strategy=local", more][..], &TARGETS].concat());
    let cold = text(&run(&mut build("--color=no")).await);
    assert!(cold.contains("4 local") && !cold.contains("remote cache hit"), "{cold}");
    let made = outputs(&workspace);
    // Where nothing is, nothing is found: what comes next is from the server.
    run(&mut bazel(&["clean"])).await;
    let empty = format!("--remote_cache=http://any:{}@{}/ns/empty", secret.reveal(), server.address);
    let elsewhere = text(&run(&mut build(&empty)).await);
    assert!(!elsewhere.contains("remote cache hit"), "{elsewhere}");
    assert_ne!(outputs(&workspace)[0], made[0]);
    run(&mut bazel(&["clean"])).await;
    let warm = text(&run(&mut build("--color=no")).await);
    assert!(warm.contains("4 remote cache hit") && !warm.contains("local"), "{warm}");
    assert!(outputs(&workspace) == made);
    run(&mut bazel(&["clean", "--expunge"])).await;
}

fn outputs(workspace: &Path) -> [Vec<u8>; 5] {
    ["stamp.txt", "empty.txt", "large.txt", "tree/x", "tree/sub/y"]
        .map(|name| std::fs::read(workspace.join("bazel-bin").join(name)).unwrap())
}
