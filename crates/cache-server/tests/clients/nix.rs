//! Nix: what one store has sent to its binary cache, another one fetches.

use std::path::Path;

use tokio::process::Command;

use crate::common::content;
use crate::support::{is_installed, run, snippet, start, text, wipe, write};

#[tokio::test]
async fn nix_copies_there_and_back() {
    if !is_installed("nix").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let netrc = snippet("others#Nix", "netrc", &server)
        .replace("cache.example.com", &server.address.ip().to_string())
        .replace("TOKEN", secret.reveal());
    let config = format!(
        "experimental-features = nix-command\nbuild-users-group =\nsandbox = false\nnetrc-file = {}\n",
        root.join("netrc").display()
    );
    write(&root, &[("netrc", &netrc), ("etc/nix.conf", &config)]);
    let large = content(300_000, 5);
    std::fs::create_dir(root.join("thing")).unwrap();
    std::fs::write(root.join("thing/large"), &large).unwrap();
    // A store of its own, wherever that of the machine is.
    let nix = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&root).env("HOME", &root).env("NIX_REMOTE", "");
        for (name, dir) in [("STORE", "store"), ("STATE", "var"), ("LOG", "log"), ("CONF", "etc")] {
            command.env(format!("NIX_{name}_DIR"), root.join(dir));
        }
        command
    };
    let added = run(nix("nix-store").args(["--add", "thing"])).await;
    let path = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    run(Command::new("ln").current_dir(&root).args(["-s", &path, "result"])).await;
    let commands = snippet("others#Nix", "shell", &server).replace("/nix/store/…", &path);
    let commands: Vec<&str> = commands.lines().collect();
    let [send, fetch] = commands[..] else { panic!("{commands:?}") };
    run(nix("sh").args(["-c", send])).await;
    // Nix makes what it stores read-only.
    run(Command::new("chmod").args(["-R", "u+w"]).arg(root.join("store"))).await;
    wipe(&root, &["store", "var"]);
    let fetched = text(&run(nix("sh").args(["-c", fetch])).await);
    assert!(fetched.contains("copying path"), "{fetched}");
    assert!(std::fs::read(Path::new(&path).join("large")).unwrap() == large);
    run(Command::new("chmod").args(["-R", "u+w"]).arg(root.join("store"))).await;
}
