//! Rush.

use tokio::process::Command;

use crate::support::{exports, is_installed, npm, program, run, snippet, start, text, wipe, write};

/// Rush and its package manager, as `cargo xtask setup` installs them together.
const TOOL: &str = "rush-5.179.0";
const PNPM: &str = "9.15.9";
/// Writes what differs each time it runs.
const BUILD: &str = "const fs = require('fs');
fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/out.txt', require('crypto').randomUUID());
";

#[tokio::test]
async fn rush_hits() {
    let (Some(rush), Some(pnpm)) = (npm(TOOL, "rush"), program(TOOL, "node_modules/pnpm/package.json"))
    else {
        return;
    };
    if !is_installed("git").await || !is_installed("node").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let rush_json = format!(
        "{{\"rushVersion\": \"5.179.0\", \"pnpmVersion\": \"{PNPM}\", \"nodeSupportedVersionRange\": \"*\",
           \"suppressNodeLtsWarning\": true, \"projects\": [{{\"packageName\": \"a\", \"projectFolder\": \"apps/a\"}}]}}"
    );
    let cache = "common/config/rush/build-cache.json";
    write(
        &repo,
        &[
            ("rush.json", &rush_json),
            ("common/config/rush/pnpm-config.json", "{\"useWorkspaces\": true}"),
            (cache, &snippet("others#Rush", cache, &server)),
            (
                "apps/a/package.json",
                "{\"name\": \"a\", \"version\": \"1.0.0\", \"scripts\": {\"build\": \"node build.js\"}}",
            ),
            ("apps/a/build.js", BUILD),
            (
                "apps/a/config/rush-project.json",
                "{\"operationSettings\": [{\"operationName\": \"build\", \"outputFolderNames\": [\"dist\"]}]}",
            ),
            (".gitignore", "node_modules\ndist\ntemp\n.rush\n*.log\nrush-logs\n"),
        ],
    );
    // Rush would fetch its package manager from the network; this is where it looks for it first, and how it knows it.
    let version = text(&run(Command::new("node").arg("--version")).await);
    let version = version.trim();
    let global = dir.path().join("global");
    let manager = format!("node-{version}/pnpm-{PNPM}");
    let flag = format!("{{\"node\": \"{}\"}}", version.trim_start_matches('v'));
    write(&global, &[(&format!("{manager}/last-install.flag"), &flag)]);
    let pnpm = pnpm.parent().unwrap();
    let modules = global.join(&manager).join("node_modules");
    std::fs::create_dir_all(modules.join(".bin")).unwrap();
    link(pnpm, &modules.join("pnpm"));
    link(&pnpm.join("bin/pnpm.cjs"), &modules.join(".bin/pnpm"));
    let env = exports("others#Rush", &server, &secret);
    let rush = |verb: &str| {
        let mut command = Command::new(&rush);
        command
            .current_dir(&repo)
            .arg(verb)
            .envs(env.iter().cloned())
            .env("HOME", dir.path())
            .env("RUSH_GLOBAL_FOLDER", &global);
        command
    };
    let git = |args: &'static [&str]| {
        let mut command = Command::new("git");
        command.current_dir(&repo).args(args);
        command
    };
    run(&mut git(&["init", "--quiet"])).await;
    run(&mut rush("update")).await;
    run(&mut git(&["add", "."])).await;
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    run(git(&[]).args(who).args(["commit", "--quiet", "-m", "x"])).await;
    let out = || std::fs::read_to_string(repo.join("apps/a/dist/out.txt")).unwrap();
    let cold = text(&run(&mut rush("build")).await);
    assert!(cold.contains("\"a\" completed successfully"), "{cold}");
    let built = out();
    wipe(&repo, &["apps/a/dist", "common/temp/build-cache"]);
    let warm = text(&run(&mut rush("build")).await);
    assert!(warm.contains("\"a\" was restored from the build cache"), "{warm}");
    assert_eq!(out(), built);
}

fn link(to: &std::path::Path, at: &std::path::Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(to, at).unwrap();
    #[cfg(windows)]
    std::os::windows::fs::symlink_dir(to, at).unwrap();
}
