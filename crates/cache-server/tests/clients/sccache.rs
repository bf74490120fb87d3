//! sccache.
#![cfg(unix)]

use std::path::Path;

use tokio::process::Command;

use crate::support::{exports, is_installed, program, run, start, wipe};

#[tokio::test]
async fn sccache_hits_over_webdav() {
    let Some(sccache) = program("sccache-0.19.0", "bin/sccache") else { return };
    if !is_installed("gcc").await {
        return;
    }
    let (server, secret) = start().await;
    let documented = exports("sccache", &server, &secret);
    // With a slash at the end, paths have two of them in a row.
    let basic = [
        ("SCCACHE_WEBDAV_ENDPOINT", format!("http://{}/sccache/", server.address)),
        ("SCCACHE_WEBDAV_KEY_PREFIX", "/team/a".to_owned()),
        ("SCCACHE_WEBDAV_USERNAME", "any".to_owned()),
        ("SCCACHE_WEBDAV_PASSWORD", secret.reveal().to_owned()),
    ];
    let basic = basic.map(|(name, value)| (name.to_owned(), value)).to_vec();
    for env in [documented, basic] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.c"), "int answer(void) { return 42; }\n").unwrap();
        std::fs::write(dir.path().join("empty.conf"), "").unwrap();
        let cold = compile(&sccache, dir.path(), &env).await;
        assert_eq!((cold.hits, cold.misses, cold.errors), (0, 1, 0), "{cold:?}");
        let object = std::fs::read(dir.path().join("a.o")).unwrap();
        wipe(dir.path(), &["a.o", "cache"]);
        let warm = compile(&sccache, dir.path(), &env).await;
        assert_eq!((warm.hits, warm.misses, warm.errors), (1, 0, 0), "{warm:?}");
        assert!(warm.location.starts_with("webdav"), "{warm:?}");
        assert!(std::fs::read(dir.path().join("a.o")).unwrap() == object);
    }
}

#[derive(Debug)]
struct Stats {
    hits: u64,
    misses: u64,
    errors: u64,
    location: String,
}

/// Compiles with a server of sccache that lives for this alone, and returns what it counted.
async fn compile(program: &Path, dir: &Path, env: &[(String, String)]) -> Stats {
    let sccache = || {
        let mut command = Command::new(program);
        command
            .current_dir(dir)
            .envs(env.iter().cloned())
            .env_remove("SCCACHE_START_SERVER")
            .env("SCCACHE_CONF", dir.join("empty.conf"))
            .env("SCCACHE_SERVER_UDS", dir.join("server"))
            // It ends by itself if the test fails before it is stopped.
            .env("SCCACHE_IDLE_TIMEOUT", "60");
        command
    };
    run(sccache().arg("--start-server")).await;
    run(sccache().args(["gcc", "-c", "a.c", "-o", "a.o"])).await;
    let stats = run(sccache().args(["--show-stats", "--stats-format", "json"])).await;
    run(sccache().arg("--stop-server")).await;
    let json: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    let count = |value: &serde_json::Value| -> u64 {
        let counts = value["counts"].as_object().unwrap_or_else(|| panic!("{json}"));
        counts.values().map(|count| count.as_u64().unwrap()).sum()
    };
    let stats = &json["stats"];
    Stats {
        hits: count(&stats["cache_hits"]),
        misses: count(&stats["cache_misses"]),
        errors: count(&stats["cache_errors"])
            + stats["cache_write_errors"].as_u64().unwrap()
            + stats["cache_read_errors"].as_u64().unwrap()
            + stats["cache_timeouts"].as_u64().unwrap(),
        location: json["cache_location"].as_str().unwrap().to_owned(),
    }
}
