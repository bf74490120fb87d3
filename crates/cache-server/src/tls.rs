//! TLS: certificates from files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Versions of HTTP that are offered during the handshake, the best first.
const VERSIONS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files for TLS, all in PEM. They are read when the server starts and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The server's certificate, followed by those between it and the authority.
    pub cert: PathBuf,
    /// The private key of the certificate: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// Certificates of the authorities that clients must have theirs from. With none, clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why certificates cannot be used. It names the file and says what to do, and nothing of what is in a key.
#[derive(Debug)]
pub struct TlsError {
    path: PathBuf,
    what: String,
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use {} for TLS: {}", self.path.display(), self.what)
    }
}

impl TlsOptions {
    /// Reads the files and forgets what is in them.
    ///
    /// # Errors
    /// As a server that starts with them.
    pub fn check(&self) -> Result<(), TlsError> {
        self.acceptor().map(drop)
    }

    /// Reads the files and returns how connections are accepted with them.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            unreadable(&self.key, &error, "a private key (`BEGIN PRIVATE KEY`, not encrypted)")
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&self.cert, error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| broken(path, authority_trouble(&error)))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error: VerifierBuilderError| broken(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| self.mismatch(&error))?;
        config.alpn_protocols = VERSIONS.iter().map(|version| version.to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn mismatch(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                let what = format!(
                    "it is not the key of the certificate in {}; configure the pair that was made together",
                    self.cert.display()
                );
                broken(&self.key, what)
            }
            rustls::Error::InvalidCertificate(_) => broken(&self.cert, format!("{error}; have it made anew")),
            _ => broken(&self.key, format!("{error}; have the key made anew")),
        }
    }
}

fn authority_trouble(error: &rustls::Error) -> String {
    format!("{error}; it has to have certificates of authorities only")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WANTED: &str = "a certificate (`BEGIN CERTIFICATE`)";
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(unreadable(path, &pem::Error::NoItemsFound, WANTED)),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(path, &error, WANTED)),
    }
}

/// Says what is wrong with a file without quoting it: it may have a key in it.
fn unreadable(path: &Path, error: &pem::Error, wanted: &str) -> TlsError {
    let what = match error {
        pem::Error::Io(error) => format!("{error}; check the path and who may read it"),
        pem::Error::NoItemsFound => format!("there is no {} in it", wanted.trim_start_matches("a ")),
        _ => format!("it is not whole or no PEM; it has to have {wanted}"),
    };
    broken(path, what)
}

fn broken(path: &Path, what: String) -> TlsError {
    TlsError { path: path.to_owned(), what }
}
