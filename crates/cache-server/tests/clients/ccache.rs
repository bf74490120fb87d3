//! ccache.

use std::process::Output;

use tokio::process::Command;

use crate::support::{exports, is_installed, run, start};

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
        let [(variable, storage)] = exports("ccache", &server, &secret).try_into().unwrap();
        let storage = format!("{storage}|layout={layout}");
        let ccache = |local: &str| {
            let mut command = Command::new("ccache");
            command
                .current_dir(dir.path())
                .env("CCACHE_DIR", dir.path().join(local))
                .env("CCACHE_CONFIGPATH", dir.path().join("empty.conf"))
                .env(&variable, &storage);
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
