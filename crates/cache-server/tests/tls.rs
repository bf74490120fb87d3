//! TLS, with certificates of clients and without, and what is wrong with files.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cache_server::{Limits, Server, ServerError, ServerOptions, Timeouts, TlsOptions};
use common::tls::{Authority, Pair};
use common::{Running, memory, options, start_with};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn with(tls: TlsOptions) -> ServerOptions {
    ServerOptions { tls: Some(tls), ..options() }
}

fn client(authority: &Authority, own: Option<&Pair>, versions: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.cert).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_file(&pair.cert).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(server: &Running, client: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Returns the certificate that the server shows.
async fn shown(server: &Running, client: &TlsConnector) -> Vec<u8> {
    let stream = connect(server, client).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn both_versions_of_http_are_agreed_on_in_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let server = start_with(with(authority.sign(dir.path(), "server").options()), memory()).await;
    for (offered, agreed) in
        [(&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let mut stream = connect(&server, &client(&authority, None, offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        if agreed != Some(b"h2") {
            assert!(ask(&mut stream, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
        }
    }
    // Who begins without TLS is told so, and nothing of the request is done.
    let mut plain = server.connect().await;
    plain.send(b"PUT /kv/x HTTP/1.1\r\nHost: c\r\nContent-Length: 1\r\n\r\nx").await;
    let answer = plain.answer(false).await.unwrap();
    assert_eq!((answer.status, answer.text().contains("https://")), (400, true));
    assert!(plain.is_closed().await);
    let mut stream = connect(&server, &client(&authority, None, &[])).await.unwrap();
    assert!(ask(&mut stream, "/kv/x").await.unwrap().starts_with("HTTP/1.1 404"));
    // Nor is one whose authority is not known.
    let stranger = Authority::new(dir.path(), "stranger");
    assert!(connect(&server, &client(&stranger, None, &[])).await.is_err());
}

#[tokio::test]
async fn certificates_of_clients_are_asked_for_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, stranger) =
        (Authority::new(dir.path(), "authority"), Authority::new(dir.path(), "stranger"));
    let tls = TlsOptions {
        client_ca: Some(authority.cert.clone()),
        ..authority.sign(dir.path(), "server").options()
    };
    let server = start_with(with(tls.clone()), memory()).await;
    let right = authority.sign(dir.path(), "right");
    let mut stream = connect(&server, &client(&authority, Some(&right), &[])).await.unwrap();
    assert!(ask(&mut stream, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
    for wrong in [None, Some(stranger.sign(dir.path(), "wrong"))] {
        // With TLS 1.3 a client learns only later that it was refused.
        let refused = match connect(&server, &client(&authority, wrong.as_ref(), &[])).await {
            Ok(mut stream) => ask(&mut stream, "/livez").await,
            Err(error) => Err(error),
        };
        assert!(refused.is_err(), "{refused:?}");
    }
    // Such a certificate is a credential, so that it may listen everywhere.
    let everywhere = ServerOptions { listen: vec!["0.0.0.0:0".parse().unwrap()], ..with(tls) };
    assert!(Server::bind(everywhere.clone(), memory()).await.is_ok());
    let tls = everywhere.tls.map(|tls| TlsOptions { client_ca: None, ..tls });
    let error = Server::bind(ServerOptions { tls, ..everywhere }, memory()).await.unwrap_err();
    assert!(matches!(error, ServerError::Open { .. }));
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_counts_as_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let tls = authority.sign(dir.path(), "server").options();
    let limits = Limits { connections: 1, ..Limits::default() };
    let header = Duration::from_millis(200);
    let timeouts = Timeouts { header, ..Timeouts::default() };
    let server = start_with(ServerOptions { limits, timeouts, ..with(tls) }, memory()).await;
    let mut silent = server.connect().await;
    let mut second = server.connect().await;
    // It is turned away in clear text, because a handshake would be the work that there is too much of.
    assert_eq!(second.answer(false).await.map(|answer| answer.status), Some(503));
    assert!(silent.is_closed().await);
    let client = client(&authority, None, &[]);
    let mut stream = loop {
        if let Ok(stream) = connect(&server, &client).await {
            break stream;
        }
    };
    assert!(ask(&mut stream, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let server = start_with(with(authority.sign(dir.path(), "server").options()), memory()).await;
    let mut silent = server.connect().await;
    // The second connection is accepted after the first one.
    let stream = connect(&server, &client(&authority, None, &[])).await.unwrap();
    drop(stream);
    assert_eq!(server.tell_to_stop().await.unwrap().cut_off, 0);
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn new_certificates_are_taken_over_and_bad_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let old = authority.sign(dir.path(), "server");
    let server = start_with(with(old.options()), memory()).await;
    let client = client(&authority, None, &[b"http/1.1"]);
    let mut before = connect(&server, &client).await.unwrap();
    let first = shown(&server, &client).await;
    authority.sign(dir.path(), "server");
    assert_eq!(shown(&server, &client).await, first);
    server.control.reload_certificates().unwrap();
    let second = shown(&server, &client).await;
    assert_ne!(second, first);
    // Whoever is connected stays so.
    assert!(ask(&mut before, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));

    fs::write(&old.key, "").unwrap();
    assert!(matches!(server.control.reload_certificates(), Err(ServerError::Tls(_))));
    let error = server.control.reload(with(old.options())).unwrap_err().to_string();
    assert!(error.contains("server.key") && error.contains("there is no private key"), "{error}");
    assert_eq!(shown(&server, &client).await, second);

    // TLS itself can be switched off and on.
    let _ = server.control.reload(options()).unwrap();
    assert_eq!(server.ask("GET", "/livez", &[], b"").await.status, 200);
    authority.sign(dir.path(), "server");
    let _ = server.control.reload(with(old.options())).unwrap();
    assert_ne!(shown(&server, &client).await, second);
}

#[tokio::test]
async fn no_connection_fails_while_certificates_change() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let server = start_with(with(authority.sign(dir.path(), "server").options()), memory()).await;
    let client = client(&authority, None, &[]);
    let (mut seen, mut clients, mut done) = (BTreeSet::new(), JoinSet::new(), Vec::new());
    for turn in 0..40 {
        let (client, address) = (client.clone(), server.address);
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            io::Result::Ok((ask(&mut stream, "/livez").await?, shown))
        });
        if turn % 4 == 0 {
            authority.sign(dir.path(), "server");
            server.control.reload_certificates().unwrap();
            done.push(clients.join_next().await.unwrap());
        }
    }
    done.append(&mut clients.join_all().await.into_iter().map(Ok).collect());
    for done in done {
        let (answer, shown) = done.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        seen.insert(shown);
    }
    // The first to be done saw an early one, the last to begin saw the last.
    assert!(seen.len() > 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_without_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let (one, two) = (authority.sign(dir.path(), "one"), authority.sign(dir.path(), "two"));
    let broken = dir.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!!\n-----END PRIVATE KEY-----\n").unwrap();
    let encrypted = dir.path().join("encrypted.pem");
    fs::write(
        &encrypted,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let cut = dir.path().join("cut.pem");
    fs::write(&cut, "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n").unwrap();
    let nonsense = dir.path().join("nonsense.pem");
    fs::write(&nonsense, "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n").unwrap();
    let missing = dir.path().join("missing.pem");
    let good = one.options();
    for (tls, path, wrong) in [
        (TlsOptions { cert: missing.clone(), ..good.clone() }, &missing, "check the path"),
        (TlsOptions { cert: one.key.clone(), ..good.clone() }, &one.key, "there is no certificate"),
        (TlsOptions { cert: cut.clone(), ..good.clone() }, &cut, "not whole"),
        (TlsOptions { cert: nonsense.clone(), ..good.clone() }, &nonsense, "have it made anew"),
        (TlsOptions { key: missing.clone(), ..good.clone() }, &missing, "check the path"),
        (TlsOptions { key: one.cert.clone(), ..good.clone() }, &one.cert, "there is no private key"),
        (TlsOptions { key: broken.clone(), ..good.clone() }, &broken, "no PEM"),
        (TlsOptions { key: encrypted.clone(), ..good.clone() }, &encrypted, "not encrypted"),
        (TlsOptions { key: two.key.clone(), ..good.clone() }, &two.key, "not the key of the certificate"),
        (TlsOptions { client_ca: Some(missing.clone()), ..good.clone() }, &missing, "check the path"),
        (TlsOptions { client_ca: Some(one.key.clone()), ..good.clone() }, &one.key, "no certificate"),
        (TlsOptions { client_ca: Some(nonsense.clone()), ..good.clone() }, &nonsense, "authorities only"),
    ] {
        let error = Server::bind(with(tls), memory()).await.unwrap_err().to_string();
        let named = format!("cannot use {} for TLS: ", path.display());
        assert!(error.starts_with(&named) && error.contains(wrong), "{error}, not {wrong}");
        assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
    }
}
