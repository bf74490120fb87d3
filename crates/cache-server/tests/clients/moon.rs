//! moon over HTTP.
#![cfg(target_os = "linux")]

use std::path::Path;

use tokio::process::Command;

use crate::support::{is_installed, npm, run, snippet, start, text, wipe, write};

/// Writes what differs each time it runs, and a file that is worth compressing and larger than what is kept in memory.
const BUILD: &str = "set -e
mkdir -p out/sub
cat /proc/sys/kernel/random/uuid > out/stamp
seq 1 200000 > out/sub/large
echo built
";

#[tokio::test]
async fn moon_hits() {
    let Some(moon) = npm("moon-2.5.5", "moon") else { return };
    if !is_installed("git").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("workspace");
    let config = snippet("moon", ".moon/workspace.yml", &server);
    write(
        &workspace,
        &[
            (".moon/workspace.yml", &format!("projects: ['app']\nvcs: {{defaultBranch: 'main'}}\n{config}")),
            (".gitignore", ".moon/cache\nout\n"),
            (
                "app/moon.yml",
                "tasks:\n  build:\n    command: 'sh build.sh'\n    inputs: ['build.sh']\n    outputs: ['out']\n",
            ),
            ("app/build.sh", BUILD),
        ],
    );
    for args in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "--all"],
        &["-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message", "x"],
    ] {
        run(Command::new("git").current_dir(&workspace).env("HOME", dir.path()).args(args)).await;
    }
    let build = |path: &str| {
        let mut command = Command::new(&moon);
        command
            .current_dir(&workspace)
            .args(["run", "app:build"])
            .env("VITTE_TOKEN", secret.reveal())
            .env("MOON_REMOTE_HOST", format!("http://{}{path}", server.address))
            .env("HOME", dir.path())
            .env("CI", "1")
            .env("PROTO_OFFLINE", "1");
        command
    };
    let wiped = [".moon/cache", "app/out"];
    let cold = text(&run(&mut build("")).await);
    assert!(!cold.contains("cached"), "{cold}");
    let made = outputs(&workspace);
    // Where nothing is, nothing is found: what comes next is from the server.
    wipe(&workspace, &wiped);
    let elsewhere = text(&run(&mut build("/ns/empty")).await);
    assert!(!elsewhere.contains("cached"), "{elsewhere}");
    assert_ne!(outputs(&workspace), made);
    wipe(&workspace, &wiped);
    let warm = text(&run(&mut build("")).await);
    assert!(warm.contains("cached from remote") && warm.contains("(1 cached)"), "{warm}");
    assert!(outputs(&workspace) == made);
}

fn outputs(workspace: &Path) -> [Vec<u8>; 2] {
    ["stamp", "sub/large"].map(|name| std::fs::read(workspace.join("app/out").join(name)).unwrap())
}
