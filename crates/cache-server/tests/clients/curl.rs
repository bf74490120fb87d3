//! curl, as vcpkg and scripts use it.

use std::path::Path;

use tokio::process::Command;

use crate::common::content;
use crate::support::{is_installed, output, run, start};

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
    let refused = output(&mut curl(&["--output"], &nothing)).await;
    assert!(!refused.status.success());
    // curl asks first whether it should send something that large.
    run(&mut curl(&["--header", &bearer, "--expect100-timeout", "60", "--upload-file"], &sent)).await;
    run(&mut curl(&["--header", &bearer, "--head", "--output"], &nothing)).await;
    run(&mut curl(&["--user", &format!("any:{}", secret.reveal()), "--output"], &got)).await;
    assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
    run(&mut curl(&["--header", &bearer, "--http2-prior-knowledge", "--output"], &got)).await;
    assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
}
