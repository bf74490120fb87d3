//! curl, as vcpkg and scripts use it.

use std::path::Path;

use cache_server::{ServerOptions, TlsOptions};
use tokio::process::Command;

use crate::common::tls::Authority;
use crate::common::{content, memory, options, start_with};
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

#[tokio::test]
async fn curl_over_tls_shows_its_certificate() {
    if !is_installed("curl").await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let (server, client) = (authority.sign(dir.path(), "server"), authority.sign(dir.path(), "client"));
    let tls = TlsOptions { client_ca: Some(authority.cert.clone()), ..server.options() };
    let server = start_with(ServerOptions { tls: Some(tls), ..options() }, memory()).await;
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    std::fs::write(&sent, content(3_000_000, 5)).unwrap();
    let url = format!("https://localhost:{}/kv/x", server.address.port());
    let curl = |args: &[&str], file: &Path| {
        let mut command = Command::new("curl");
        command
            .args(["-q", "--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"])
            .arg(&authority.cert)
            .args(args)
            .arg(file)
            .arg(&url);
        command
    };
    let (cert, key) = (client.cert.to_str().unwrap(), client.key.to_str().unwrap());
    let with = |last: &[&'static str], file: &Path| {
        curl(&[&["--write-out", "%{http_version}", "--cert", cert, "--key", key], last].concat(), file)
    };
    assert!(!output(&mut curl(&["--upload-file"], &sent)).await.status.success());
    run(&mut with(&["--upload-file"], &sent)).await;
    for (version, expected) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let done = run(&mut with(&[version, "--output"], &got)).await;
        assert_eq!(String::from_utf8(done.stdout).unwrap(), expected);
        assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
        std::fs::remove_file(&got).unwrap();
    }
    run(&mut with(&["--tls-max", "1.2", "--output"], &got)).await;
    std::fs::remove_file(&got).unwrap();
    assert!(!output(&mut with(&["--tlsv1.0", "--tls-max", "1.1", "--output"], &got)).await.status.success());
    let without = output(&mut curl(&["--output"], &got)).await;
    assert!(!without.status.success() && !got.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn curl_over_a_unix_socket() {
    use cache_server::{Listen, Server};

    if !is_installed("curl").await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (socket, sent) = (dir.path().join("socket"), dir.path().join("sent"));
    std::fs::write(&sent, content(300_000, 5)).unwrap();
    let listen = vec![Listen::Unix(socket.clone())];
    let server = Server::bind(ServerOptions { listen, ..options() }, memory()).await.unwrap();
    tokio::spawn(server.run_until(std::future::pending()));
    let curl = |args: &[&str], file: &Path| {
        let mut command = Command::new("curl");
        command
            .args(["-q", "--silent", "--show-error", "--fail", "--unix-socket"])
            .arg(&socket)
            .args(args)
            .arg(file)
            .arg("http://cache/kv/x");
        command
    };
    run(&mut curl(&["--upload-file"], &sent)).await;
    let got = dir.path().join("got");
    run(&mut curl(&["--output"], &got)).await;
    assert!(std::fs::read(&sent).unwrap() == std::fs::read(&got).unwrap());
}
