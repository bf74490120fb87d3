//! Where the server keeps what it is given: in memory, on a disk, and at another server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::{Cleaner, CleanerSettings, Coordinator, PromotionLimits, Tier};
use cache_core::{Collected, Policy, Store};
use cache_fs::{Layout, Options};
use cache_http_client::{Backend, HttpOptions, HttpStore, Token};
use cache_memory::MemoryStore;
use cache_run::human;

use super::TARGET;
use crate::config::Config;
use crate::failure::Result;
use crate::place;
use crate::settings::{Id, Value};

/// Bytes of memory for small items unless told otherwise: ten thousands of the small values that builds ask for most, and
/// small beside what the server takes under load.
const MEMORY: u64 = 64_000_000;
/// Part of the memory for small items that copies which are on their way there may take besides.
const PROMOTED: u64 = 4;
/// How long a large value that was read and found right is sent to others without being read again: less than a slow download
/// of it takes, which is read once as well.
const PROOF: Duration = Duration::from_mins(1);
/// Name of the directory for uploads under way, in that of the cache.
const SPOOL: &str = "spool";
/// Name of the directory for what is to be sent to the server behind this one.
const JOURNAL: &str = "server-journal";

/// Memory before a disk, before another server if there is one.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) chain: Arc<Coordinator>,
    pub(super) cleaner: Cleaner,
    /// Where large uploads can go, on the same disk.
    pub(super) spool: Option<PathBuf>,
    pub(super) dir: PathBuf,
    pub(super) layout: &'static str,
    /// Limits, for people.
    pub(super) limit: String,
    pub(super) memory: String,
}

impl Storage {
    /// Opens the cache that the settings name, whatever its size at once.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let disk = place::open_as(config, |options| Options { proof: PROOF, ..options })?;
        let memory = match config.given(Id::ServerMemory) {
            None => Some(MEMORY),
            Some(Value::Number(bytes)) => Some(*bytes),
            Some(_) => None,
        };
        // Strict: a value that is only in memory is not stored, and whoever sends it has to hear that the disk is full.
        let mut chain = Coordinator::builder().name("cache").strict(true);
        if let Some(bytes) = memory {
            let policy = Policy { max_bytes: Some(bytes), ..Policy::unlimited() };
            let store =
                MemoryStore::new(cache_memory::Options { policy, ..cache_memory::Options::default() });
            chain = chain.tier(Tier::new(Arc::new(store)).named("memory"));
            // What waits to be copied there takes memory as well, and must not take as much again.
            let promotion = PromotionLimits::default();
            let (bytes, blob) = (bytes / PROMOTED, promotion.blob.min(bytes / PROMOTED));
            chain = chain.promotions(PromotionLimits { bytes, blob, ..promotion });
        }
        let spool = disk.side_dir(SPOOL).ok();
        let dir = disk.dir().to_path_buf();
        let layout = if disk.layout() == Layout::Segments { "segments" } else { "files" };
        let limit = disk.policy().max_bytes.map_or_else(|| "none".to_owned(), human::size);
        // Where what is still to be sent survives a restart.
        let journal = disk.side_dir(JOURNAL);
        chain = chain.tier(Tier::new(Arc::new(disk)).named("disk"));
        if let Some(remote) = remote(config)? {
            chain = chain.tier(Tier::new(Arc::new(remote)).named("remote")).journal(journal?);
        }
        let chain = Arc::new(chain.build()?);
        let store: Arc<dyn Store> = chain.clone();
        let settings = CleanerSettings { observer: Some(Arc::new(tell)), ..CleanerSettings::default() };
        let cleaner = Cleaner::start(&store, settings)?;
        let memory = memory.map_or_else(|| "none".to_owned(), human::size);
        Ok(Self { chain, cleaner, spool, dir, layout, limit, memory })
    }
}

/// Opens the server behind this one, if there is to be one. It need not be there.
fn remote(config: &Config) -> Result<Option<HttpStore>> {
    let Some(Value::Text(url)) = config.given(Id::ServerRemoteUrl) else { return Ok(None) };
    let mut options = HttpOptions::new(url);
    options.backend = Backend::Native;
    if let Some(Value::Text(token)) = config.given(Id::ServerRemoteToken) {
        options.token = Some(Token::expand_from_env(token)?);
    }
    Ok(Some(HttpStore::open(options)?))
}

/// Says what a round of the cleaner did.
fn tell(round: &cache_core::Result<Collected>) {
    match round {
        Ok(collected) => tracing::debug!(target: TARGET, ?collected, "collected garbage"),
        Err(error) => tracing::warn!(target: TARGET, %error, "garbage could not be collected"),
    }
}
