//! Nx.
#![cfg(unix)]

use std::path::Path;

use cache_server::{Anonymous, Right, Rights, ServerOptions, Token};
use tokio::process::Command;

use crate::common::{memory, options, start_with};
use crate::support::{exports, npm, run, text, wipe, write};

/// Writes what differs each time it runs.
const BUILD: &str = "const fs = require('fs');
fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/out.txt', require('crypto').randomUUID());
";

#[tokio::test]
async fn nx_hits_and_a_token_for_reading_is_enough_for_that() {
    let Some(nx) = npm("nx-24.0.6", "nx") else { return };
    let ((reader, read), (writer, write_secret)) = (
        Token::create("read", Right::Read, None).unwrap(),
        Token::create("write", Right::ReadWrite, None).unwrap(),
    );
    let rights = Rights { tokens: vec![reader, writer], anonymous: Anonymous::Off };
    let server = start_with(ServerOptions { rights, ..options() }, memory()).await;
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("workspace");
    let package = |name| {
        format!(
            "{{\"name\": \"{name}\", \"version\": \"1.0.0\", \"scripts\": {{\"build\": \"node ../../build.js\"}}}}\n"
        )
    };
    write(
        &workspace,
        &[
            ("package.json", "{\"name\": \"w\", \"private\": true, \"workspaces\": [\"packages/*\"]}\n"),
            ("package-lock.json", "{\"name\": \"w\", \"lockfileVersion\": 3, \"packages\": {}}\n"),
            (
                "nx.json",
                "{\"targetDefaults\": {\"build\": {\"cache\": true, \"outputs\": [\"{projectRoot}/dist\"]}}, \"analytics\": false}\n",
            ),
            ("build.js", BUILD),
            ("packages/a/package.json", &package("a")),
            ("packages/b/package.json", &package("b")),
        ],
    );
    let modules = nx.ancestors().find(|path| path.ends_with("node_modules")).unwrap();
    std::os::unix::fs::symlink(modules, workspace.join("node_modules")).unwrap();
    let nx = |secret| {
        let mut command = Command::new(&nx);
        command
            .current_dir(&workspace)
            .args(["run-many", "--targets", "build", "--output-style", "static"])
            .envs(exports("nx", &server, secret))
            .env("NX_DAEMON", "false")
            .env("NX_NO_CLOUD", "true")
            .env("NX_TUI", "false")
            .env("NX_CACHE_DIRECTORY", workspace.join("local"))
            .env("NX_WORKSPACE_DATA_DIRECTORY", workspace.join("data"))
            .env("HOME", dir.path());
        command
    };
    let wiped = ["local", "data", ".nx", "packages/a/dist", "packages/b/dist"];
    // What may not be stored is no reason to fail.
    let cold = text(&run(&mut nx(&read)).await);
    assert!(!cold.contains("cache]"), "{cold}");
    wipe(&workspace, &wiped);
    let cold = text(&run(&mut nx(&write_secret)).await);
    assert!(!cold.contains("cache]"), "{cold}");
    let built = outputs(&workspace);
    assert_ne!(built[0], built[1]);
    wipe(&workspace, &wiped);
    let warm = text(&run(&mut nx(&read)).await);
    assert_eq!(warm.matches("[remote cache]").count(), 2, "{warm}");
    assert_eq!(outputs(&workspace), built);
}

fn outputs(workspace: &Path) -> [String; 2] {
    ["a", "b"].map(|name| {
        std::fs::read_to_string(workspace.join("packages").join(name).join("dist/out.txt")).unwrap()
    })
}
