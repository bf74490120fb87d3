//! A real server of this project.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::Store;
use cache_http_client::{Backend, HttpOptions, HttpStore};
use cache_server::{Rights, Server, ServerOptions, Timeouts, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server over a directory of its own. It ends with the runtime.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    _dir: TempDir,
}

pub(crate) async fn start(rights: Rights) -> Running {
    start_in(tempfile::tempdir().unwrap(), rights, None).await
}

/// Starts a server that speaks HTTPS, and returns it with the certificate of the authority that vouches for it.
pub(crate) async fn start_with_tls() -> (Running, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, params.signed_by(&own, &authority).unwrap().pem()).unwrap();
    std::fs::write(&key, own.serialize_pem()).unwrap();
    let tls = TlsOptions { cert, key, client_ca: None };
    (start_in(dir, Rights::default(), Some(tls)).await, authority.pem().into_bytes())
}

async fn start_in(dir: TempDir, rights: Rights, tls: Option<TlsOptions>) -> Running {
    let store = cache_fs::FsStore::open(&dir.path().join("cache"), cache_fs::Options::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()];
    // As for the options of its clients.
    let timeouts = Timeouts { store: Duration::from_mins(2), ..Timeouts::default() };
    let options = ServerOptions { listen, rights, tls, timeouts, ..ServerOptions::default() };
    let server = Server::bind(options, Arc::clone(&store)).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.run_until(std::future::pending()));
    Running { address, store, _dir: dir }
}

impl Running {
    pub(crate) fn options(&self, path: &str) -> HttpOptions {
        let mut options = HttpOptions::new(format!("http://{}{path}", self.address));
        options.backend = Backend::Native;
        // Two cores with everything else of a test run on them.
        options.timeout = Duration::from_mins(2);
        options.stall = Duration::from_mins(1);
        options
    }

    pub(crate) fn store(&self, path: &str) -> HttpStore {
        HttpStore::open(self.options(path)).unwrap()
    }

    pub(crate) async fn requests(&self) -> u64 {
        let status = reqwest::get(format!("http://{}/status", self.address)).await.unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.bytes().await.unwrap()).unwrap();
        status["requests"].as_u64().unwrap()
    }
}

/// How many bytes went to a server and came back, and over how many connections.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) there: AtomicU64,
    pub(crate) back: AtomicU64,
    pub(crate) connections: AtomicU64,
}

/// Passes connections on to `server`, and cuts one off once, when `cut` bytes have gone there. Returns its address and how many
/// bytes it moved.
pub(crate) async fn passing(server: SocketAddr, cut: u64) -> (SocketAddr, Arc<Moved>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let moved: Arc<Moved> = Arc::default();
    let counted = Arc::clone(&moved);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(pass(client, server, cut, Arc::clone(&counted)));
        }
    });
    (address, moved)
}

async fn pass(mut client: TcpStream, server: SocketAddr, cut: u64, moved: Arc<Moved>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut there, mut back) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut there) => {
                let Some(len) = read.ok().filter(|len| *len > 0) else { return };
                if server.write_all(&there[..len]).await.is_err() {
                    return;
                }
                let before = moved.there.fetch_add(len as u64, Ordering::SeqCst);
                if before < cut && before + len as u64 >= cut {
                    return;
                }
            }
            read = server.read(&mut back) => {
                let Some(len) = read.ok().filter(|len| *len > 0) else { return };
                moved.back.fetch_add(len as u64, Ordering::SeqCst);
                if client.write_all(&back[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
