//! Turborepo.

use std::path::Path;

use tokio::process::Command;

use crate::support::{exports, is_installed, npm, run, start, text, wipe, write};

/// Writes what differs each time it runs.
const BUILD: &str = "const fs = require('fs');
fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/out.txt', require('crypto').randomUUID());
";
/// What Turborepo signs artifacts with.
const SIGNATURE_KEY: &str = "a key of at least thirty-two bytes, for this test";

#[tokio::test]
async fn turborepo_2_hits() {
    hits("turbo-2.11.11", "tasks", false).await;
}

#[tokio::test]
async fn turborepo_2_hits_with_signatures_and_preflight() {
    hits("turbo-2.11.11", "tasks", true).await;
}

#[tokio::test]
async fn turborepo_1_hits() {
    hits("turbo-1.13.4", "pipeline", false).await;
}

#[tokio::test]
async fn turborepo_1_hits_with_signatures_and_preflight() {
    hits("turbo-1.13.4", "pipeline", true).await;
}

async fn hits(tool: &str, tasks: &str, signed: bool) {
    let Some(turbo) = npm(tool, "turbo") else { return };
    if !is_installed("git").await || !is_installed("npm").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("workspace");
    let build = "{\"build\": \"node ../../build.js\"}";
    let package = |name| format!("{{\"name\": \"{name}\", \"version\": \"1.0.0\", \"scripts\": {build}}}\n");
    let config = format!(
        "{{\"{tasks}\": {{\"build\": {{\"outputs\": [\"dist/**\"]}}}}, \"remoteCache\": {{\"signature\": {signed}}}}}\n"
    );
    write(
        &workspace,
        &[
            (
                "package.json",
                "{\"name\": \"w\", \"private\": true, \"packageManager\": \"npm@10.0.0\", \"workspaces\": [\"packages/*\"]}\n",
            ),
            ("package-lock.json", "{\"name\": \"w\", \"lockfileVersion\": 3, \"packages\": {}}\n"),
            (".gitignore", ".turbo\nnode_modules\ndist\n"),
            ("turbo.json", &config),
            ("build.js", BUILD),
            ("packages/a/package.json", &package("a")),
            ("packages/b/package.json", &package("b")),
        ],
    );
    for args in [
        &["init", "--quiet"][..],
        &["add", "."],
        &["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "x"],
    ] {
        run(Command::new("git").current_dir(&workspace).args(args)).await;
    }
    let env = exports("turborepo", &server, &secret);
    let turbo = || {
        let mut command = Command::new(&turbo);
        command
            .current_dir(&workspace)
            .args(["run", "build", "--summarize"])
            .args(if signed { &["--preflight"][..] } else { &[] })
            .envs(env.iter().cloned())
            .env("TURBO_REMOTE_CACHE_SIGNATURE_KEY", SIGNATURE_KEY)
            .env("TURBO_TELEMETRY_DISABLED", "1")
            .env("HOME", dir.path())
            .env("XDG_CONFIG_HOME", dir.path());
        command
    };
    run(&mut turbo()).await;
    let cold = outputs(&workspace);
    assert_ne!(cold[0], cold[1]);
    assert_eq!(sources(&workspace), ["MISS", "MISS"]);
    wipe(
        &workspace,
        &[
            ".turbo",
            "node_modules",
            "packages/a/.turbo",
            "packages/b/.turbo",
            "packages/a/dist",
            "packages/b/dist",
        ],
    );
    let warm = text(&run(&mut turbo()).await);
    assert!(warm.contains("2 cached, 2 total") && warm.contains("FULL TURBO"), "{warm}");
    assert_eq!(sources(&workspace), ["HIT REMOTE", "HIT REMOTE"], "{warm}");
    assert_eq!(outputs(&workspace), cold);
}

fn outputs(workspace: &Path) -> [String; 2] {
    ["a", "b"].map(|name| {
        std::fs::read_to_string(workspace.join("packages").join(name).join("dist/out.txt")).unwrap()
    })
}

/// Returns what the summary of the only run says of where the tasks' results came from.
fn sources(workspace: &Path) -> Vec<String> {
    let runs: Vec<_> = std::fs::read_dir(workspace.join(".turbo/runs")).unwrap().collect();
    assert_eq!(runs.len(), 1);
    let summary = std::fs::read(runs[0].as_ref().unwrap().path()).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let tasks = summary["tasks"].as_array().unwrap().iter();
    tasks
        .map(|task| {
            let text = |name: &str| task["cache"][name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("status"), text("source")).trim().to_owned()
        })
        .collect()
}
