//! The connection to a remote cache, made when it is needed first.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cache_coordinator::{Coordinator, Tier, WriteBack};
use cache_core::envelope::Compression;
use cache_fs::FsStore;
use cache_http_client::{HttpOptions, HttpStore, Token};
use tokio::runtime::{Builder, Runtime};

use super::events::{Events, LOCAL};
use super::gate::Gate;
use super::target::Target;

/// Threads that talk to the server: one can wait for the disk while the other sends.
const THREADS: usize = 2;
/// Threads that read and write the local cache meanwhile.
const DISK_THREADS: usize = 8;

/// Bytes of the largest file with certificates: those of all public authorities take a fourth of it.
const MAX_CA: u64 = 1 << 20;

/// A runtime, a client, and uploads under way.
pub(super) struct Live {
    /// Nothing when it is being dropped.
    runtime: Option<Runtime>,
    pub(super) http: HttpStore,
    /// What is uploaded in the background, if anything is.
    chain: Mutex<Option<Coordinator>>,
    /// The server, for uploads.
    pub(super) gate: Arc<Gate>,
    pub(super) events: Arc<Events>,
}

impl Live {
    /// Makes the connection; if `journal` is given, with the uploads that it lists under way, unless the gate is to be `shut`.
    ///
    /// # Errors
    /// In one sentence, if the settings make no sense.
    pub(super) fn new(
        target: &Target,
        store: &FsStore,
        journal: Option<PathBuf>,
        shut: bool,
    ) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(DISK_THREADS)
            .thread_name("remote cache")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread can be started for the remote cache: {error}"))?;
        let http = {
            let _inside = runtime.enter();
            HttpStore::open(options(target)?).map_err(|error| error.to_string())?
        };
        let gate = Arc::new(Gate::new(http.clone(), shut));
        let events = Arc::new(Events::default());
        let chain = journal.map(|journal| {
            let local = Tier::new(Arc::new(store.clone())).named(LOCAL);
            // The journal finds the server by this name: what is meant for one is not sent to another.
            let remote = Tier::new(Arc::clone(&gate) as Arc<_>).named(&target.url);
            let remote = remote.read(false).write_back(true).deadline(target.timeout);
            let write_back = WriteBack { max_entry: u64::MAX, ..WriteBack::default() };
            Coordinator::builder()
                .tier(local)
                .tier(remote)
                .write_back(write_back)
                .journal(journal)
                .observer(Arc::clone(&events) as Arc<_>)
                .runtime(runtime.handle().clone())
                .build()
                .map_err(|error| error.to_string())
        });
        let chain = Mutex::new(chain.transpose()?);
        Ok(Self { runtime: Some(runtime), http, chain, gate, events })
    }

    /// Returns what `future` comes to.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.as_ref().map(|runtime| runtime.block_on(future))
    }

    /// Lets `work` use the uploads, if there are any.
    pub(super) fn with_chain<T>(&self, work: impl FnOnce(&Coordinator) -> T) -> Option<T> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(work)
    }

    /// Stops the uploads. What has not arrived is in the journal.
    pub(super) fn stop(&self) {
        drop(self.chain.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
        if let Some(runtime) = self.runtime.take() {
            // Nobody waits for a server that does not answer.
            runtime.shutdown_background();
        }
    }
}

fn options(target: &Target) -> Result<HttpOptions, String> {
    let mut options = HttpOptions::new(&target.url);
    let token = target.token.as_deref().map(Token::expand_from_env).transpose();
    options.token = token.map_err(|error| error.to_string())?;
    // The same for both: an answer that does not come is not waited for twice.
    (options.timeout, options.stall) = (target.timeout, target.timeout);
    options.extra_ca = target.ca.as_deref().map(certificates).transpose()?;
    options.backend = target.backend;
    options.retries = target.retries;
    options.compression = match target.compression.as_str() {
        "none" => Compression::None,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::Adaptive,
    };
    Ok(options)
}

/// Returns the certificates in a file, as they are.
fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let what = |why: &str| {
        format!("the certificates in {}, which `ca` names, cannot be read: {why}", path.display())
    };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| what(&error.to_string()))?;
    file.take(MAX_CA + 1).read_to_end(&mut pem).map_err(|error| what(&error.to_string()))?;
    if pem.len() as u64 > MAX_CA {
        return Err(what("there is more in it than certificates would take"));
    }
    Ok(pem)
}
