//! Servers: a real one, and some in trouble.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use cache_fs::{FsStore, Options};
use cache_server::{Anonymous, Right, Rights, Secret, Server, ServerOptions, TlsOptions, Token};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A server of this project, in this process; it ends when it is dropped.
pub(crate) struct Real {
    pub(crate) address: SocketAddr,
    content: Arc<Content>,
    runtime: Option<Runtime>,
}

struct Content {
    store: FsStore,
    _dir: TempDir,
}

impl Real {
    pub(crate) fn start() -> Self {
        Self::with(Rights::default())
    }

    /// One with a token that reads and one that reads and writes, and nothing for anybody else.
    pub(crate) fn with_tokens() -> (Self, Secret, Secret) {
        let (reader, read) = Token::create("reader", Right::Read, None).unwrap();
        let (writer, write) = Token::create("writer", Right::ReadWrite, None).unwrap();
        let rights = Rights { tokens: vec![reader, writer], anonymous: Anonymous::Off };
        (Self::with(rights), read, write)
    }

    fn with(rights: Rights) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = FsStore::open(&dir.path().join("cache"), Options::default()).unwrap();
        Self::with_content(rights, Arc::new(Content { store, _dir: dir }))
    }

    fn with_content(rights: Rights, content: Arc<Content>) -> Self {
        Self::serving(ServerOptions { rights, ..ServerOptions::default() }, content)
    }

    fn serving(options: ServerOptions, content: Arc<Content>) -> Self {
        let runtime = Runtime::new().unwrap();
        let options = ServerOptions { listen: vec!["127.0.0.1:0".parse().unwrap()], ..options };
        let server = runtime.block_on(Server::bind(options, Arc::new(content.store.clone()))).unwrap();
        let address = server.local_addr().unwrap();
        runtime.spawn(server.run_until(std::future::pending()));
        Self { address, content, runtime: Some(runtime) }
    }

    /// One that takes values of so many bytes.
    pub(crate) fn with_limit(max_value: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = FsStore::open(&dir.path().join("cache"), Options::default()).unwrap();
        let limits = cache_server::Limits { max_value, ..cache_server::Limits::default() };
        Self::serving(
            ServerOptions { limits, ..ServerOptions::default() },
            Arc::new(Content { store, _dir: dir }),
        )
    }

    /// One that speaks HTTPS. Returns also its address, and the file with the certificate of the authority that vouches for it.
    pub(crate) fn with_tls() -> (Self, String, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let cert = params.signed_by(&own, &authority).unwrap();
        let (cert, key) = (file("cert.pem", cert.pem()), file("key.pem", own.serialize_pem()));
        let ca = file("ca.pem", authority.pem());
        let tls = Some(TlsOptions { cert, key, client_ca: None });
        let store = FsStore::open(&dir.path().join("cache"), Options::default()).unwrap();
        let options = ServerOptions { tls, ..ServerOptions::default() };
        let server = Self::serving(options, Arc::new(Content { store, _dir: dir }));
        let url = server.url().replace("http:", "https:");
        (server, url, ca)
    }

    /// Another one with the content of this one.
    pub(crate) fn again(&self) -> Self {
        Self::with_content(Rights::default(), Arc::clone(&self.content))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ns/team", self.address)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Something that listens and does what it is told with each connection.
pub(crate) struct Odd {
    address: SocketAddr,
    /// Connections so far.
    pub(crate) seen: Arc<AtomicUsize>,
}

impl Odd {
    fn start(act: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let (count, act) = (Arc::clone(&seen), Arc::new(act));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let act = Arc::clone(&act);
                thread::spawn(move || act(stream));
            }
        });
        Self { address, seen }
    }

    /// It takes connections and says nothing.
    pub(crate) fn stalled() -> Self {
        let held = Mutex::new(Vec::new());
        Self::start(move |stream| held.lock().unwrap().push(stream))
    }

    /// Whatever is asked, it says this.
    pub(crate) fn saying(answer: &'static [u8]) -> Self {
        Self::start(move |mut stream| {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|len| len > 0) && stream.write_all(answer).is_ok() {}
        })
    }

    /// It passes everything on to `server` and back, and after `bytes` of answers it is as if it had been killed.
    pub(crate) fn dying(server: &Real, bytes: i64) -> Self {
        let (to, left) = (server.address, Arc::new(AtomicI64::new(bytes)));
        Self::start(move |stream| {
            if left.load(Ordering::SeqCst) <= 0 {
                return;
            }
            let server = TcpStream::connect(to).unwrap();
            let (mut from, mut into) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut into));
            let (mut from, mut into) = (&server, &stream);
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut piece) {
                if left.fetch_sub(len as i64, Ordering::SeqCst) <= len as i64
                    || into.write_all(&piece[..len]).is_err()
                {
                    break;
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ns/team", self.address)
    }
}

/// The address of a port that nobody listens on.
pub(crate) fn nobody() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}/ns/team")
}
