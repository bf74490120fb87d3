//! Real, unmodified clients against a real server, with a token. One that is not installed is named and skipped, except where
//! `CI` is `true`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails where it stands, and says what it skips"
)]

mod common;

use std::path::Path;
use std::process::Output;

use cache_server::{Anonymous, Right, Rights, Secret, ServerOptions, Token};
use common::{Running, content, memory, options, start_with};
use tokio::process::Command;

/// Returns whether `program` can be started.
async fn is_installed(program: &str) -> bool {
    if Command::new(program).arg("--version").output().await.is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} has to be installed in CI");
    eprintln!("skipped: {program} is not installed");
    false
}

async fn start() -> (Running, Secret) {
    let (token, secret) = Token::create("client", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    (start_with(ServerOptions { rights, ..options() }, memory()).await, secret)
}

async fn run(command: &mut Command) -> Output {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test]
async fn ccache_hits_in_all_layouts() {
    if !is_installed("ccache").await || !is_installed("gcc").await {
        return;
    }
    let (server, secret) = start().await;
    for layout in ["flat", "subdirs", "bazel"] {
        let dir = tempfile::tempdir().unwrap();
        let source = format!("int answer_{layout}(void) {{ return 42; }}\n");
        std::fs::write(dir.path().join("a.c"), source).unwrap();
        std::fs::write(dir.path().join("empty.conf"), "").unwrap();
        let storage = format!("http://any:{}@{}/ccache|layout={layout}", secret.reveal(), server.address);
        let ccache = |local: &str| {
            let mut command = Command::new("ccache");
            command
                .current_dir(dir.path())
                .env("CCACHE_DIR", dir.path().join(local))
                .env("CCACHE_CONFIGPATH", dir.path().join("empty.conf"))
                .env("CCACHE_REMOTE_STORAGE", &storage);
            command
        };
        let compile = ["gcc", "-c", "a.c", "-o", "a.o"];
        run(ccache("cold").args(compile)).await;
        let cold = std::fs::read(dir.path().join("a.o")).unwrap();
        std::fs::remove_file(dir.path().join("a.o")).unwrap();
        run(ccache("warm").args(compile)).await;
        assert_eq!(std::fs::read(dir.path().join("a.o")).unwrap(), cold);
        let stats = |output: Output| {
            let text = String::from_utf8(output.stdout).unwrap();
            move |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
                line.unwrap_or_else(|| panic!("no {name} in {text}"))
            }
        };
        let cold = stats(run(ccache("cold").arg("--print-stats")).await);
        assert_eq!((cold("cache_miss"), cold("remote_storage_error")), (1, 0), "{layout}");
        let warm = stats(run(ccache("warm").arg("--print-stats")).await);
        assert_eq!((warm("cache_miss"), warm("remote_storage_hit")), (0, 1), "{layout}");
        assert_eq!((warm("remote_storage_error"), warm("remote_storage_timeout")), (0, 0), "{layout}");
    }
}

#[tokio::test]
async fn curl_stores_large_values_as_vcpkg_does() {
    if !is_installed("curl").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    std::fs::write(&sent, content(3_000_000, 5)).unwrap();
    let url = format!("http://{}/kv/vcpkg/zlib/1.3/0123.zip", server.address);
    let curl = |args: &[&str], file: &Path| {
        let mut command = Command::new("curl");
        command
            .args(["-q", "--silent", "--show-error", "--fail", "--noproxy", "*"])
            .args(args)
            .arg(file)
            .arg(&url);
        command
    };
    let bearer = format!("Authorization: Bearer {}", secret.reveal());
    let nothing = dir.path().join("nothing");
    let refused = curl(&["--output"], &nothing).output().await.unwrap();
    assert!(!refused.status.success());
    // curl asks first whether it should send something that large.
    run(&mut curl(&["--header", &bearer, "--expect100-timeout", "60", "--upload-file"], &sent)).await;
    run(&mut curl(&["--header", &bearer, "--head", "--output"], &nothing)).await;
    run(&mut curl(&["--user", &format!("any:{}", secret.reveal()), "--output"], &got)).await;
    assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
    run(&mut curl(&["--header", &bearer, "--http2-prior-knowledge", "--output"], &got)).await;
    assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
}
