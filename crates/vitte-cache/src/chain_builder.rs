//! How a cache over a chain of tiers is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_coordinator::{ChainObserver, Coordinator, CoordinatorBuilder, Tier, Unsigned, WriteBack};
use cache_core::Namespace;
use tokio::runtime::Handle;

use crate::chain::Chain;
#[cfg(feature = "fs")]
use crate::copied::COPY_BELIEVED;
use crate::place::Place;
use crate::{AsyncCache, CacheBuilder, Result};

/// Where the journal is, in the directory of the cache.
#[cfg(feature = "fs")]
const JOURNAL_DIR: &str = "write-back";

/// What is asked for besides a directory and memory.
#[derive(Clone, Default)]
pub(crate) struct Further {
    pub(crate) tiers: Vec<Tier>,
    observer: Option<Arc<dyn ChainObserver>>,
    write_back: WriteBack,
    strict: bool,
    runtime: Option<Handle>,
}

impl CacheBuilder {
    /// Adds a tier for [`open_async`](Self::open_async), slower than memory, the directory, and those added before.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.further.tiers.push(tier);
        self
    }

    /// Tells `observer` what happens between the tiers.
    pub fn tier_observer(mut self, observer: Arc<dyn ChainObserver>) -> Self {
        self.further.observer = Some(observer);
        self
    }

    /// Sets what is written in the background to slower tiers, and how much of it may wait. Without a journal of its own, the
    /// journal is in the directory of the cache, if it has one.
    pub fn write_back(mut self, settings: WriteBack) -> Self {
        self.further.write_back = settings;
        self
    }

    /// Sets whether a tier that fails makes an error, instead of a miss.
    pub fn strict(mut self, strict: bool) -> Self {
        self.further.strict = strict;
        self
    }

    /// Runs timers and background work of an [`AsyncCache`] on `runtime`, instead of the one that it is opened in.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.further.runtime = Some(runtime);
        self
    }

    /// Returns the cache over all tiers, in constant time whatever their size.
    ///
    /// With [`copies_in_memory`](Self::copies_in_memory), what this cache and its clones change is seen at once. A newer value
    /// that another process has put into the directory is seen by the look-up after the first one that comes more than a
    /// second later; that it has deleted one, when the copy is evicted or expires.
    ///
    /// # Errors
    /// [`Error::Namespace`](crate::Error::Namespace), or [`Error::Store`](crate::Error::Store) if the directory cannot be used
    /// or there is no tokio runtime.
    pub fn open_async(mut self) -> Result<AsyncCache> {
        let namespace = self.take_namespace()?;
        let further = std::mem::take(&mut self.further);
        let chain = Coordinator::builder().clock(Arc::clone(&self.clock)).strict(further.strict);
        #[cfg(feature = "fs")]
        if let Some(dir) = self.dir.take() {
            return self.over_disk(&dir, chain, further, namespace);
        }
        let policy = self.memory_policy();
        let lifetime = self.lifetime(&policy);
        let chain = chain.tier(Tier::new(Arc::new(self.memory(policy).0)));
        self.over(chain, further, Place::in_memory(), namespace, lifetime)
    }

    #[cfg(feature = "fs")]
    fn over_disk(
        self,
        dir: &std::path::Path,
        mut chain: CoordinatorBuilder,
        mut further: Further,
        namespace: Namespace,
    ) -> Result<AsyncCache> {
        let store = self.disk(dir)?;
        let (place, lifetime) = (Place::on_disk(store.dir()), self.lifetime(store.policy()));
        if let Some(copies) = self.copies() {
            chain = chain.tier(Tier::new(Arc::new(copies.0))).stale_while_revalidate(COPY_BELIEVED);
        }
        let journal = &mut further.write_back.journal;
        if journal.is_none() && !further.tiers.is_empty() && !self.read_only {
            // Without one, what is on its way when the process ends stays in the directory alone.
            *journal = store.side_dir(JOURNAL_DIR).ok();
        }
        chain = chain.tier(Tier::new(Arc::new(store)).write(!self.read_only));
        self.over(chain, further, place, namespace, lifetime)
    }

    fn over(
        self,
        mut chain: CoordinatorBuilder,
        further: Further,
        place: Place,
        namespace: Namespace,
        lifetime: Option<Duration>,
    ) -> Result<AsyncCache> {
        chain = chain.write_back(further.write_back);
        for tier in further.tiers {
            chain = chain.tier(tier);
        }
        if let Some(observer) = further.observer {
            chain = chain.observer(observer);
        }
        if let Some(runtime) = further.runtime {
            chain = chain.runtime(runtime);
        }
        if let Some(ring) = &self.ring {
            chain = chain.signing(ring.clone(), Unsigned::Refuse);
        }
        let chain = Chain::new(chain.build()?, further.strict);
        Ok(AsyncCache::over(self.inner(chain, place, namespace, lifetime)))
    }
}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Further")
            .field("tiers", &self.tiers)
            .field("write_back", &self.write_back)
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}
