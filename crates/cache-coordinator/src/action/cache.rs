//! The cache of actions.

use std::sync::Arc;

use cache_core::{FileDependency, ListFilter, Namespace, RelPath, Result, Store};

use super::batch::BatchReport;
use super::error::RecordError;
use super::files::FileStates;
use super::flaky::Nondeterministic;
use super::hit::{Hit, Recording};
use super::id::{self, ActionId};
use super::ledger::{Execution, Ledger, Wanted};
use super::metadata::{ActionMetadata, Recorded};
use super::miss::Miss;
use super::restore::{RestoreError, restore};
use super::stats::{Counters, RecordStats};
use super::trim::{PAGE, Trimmed};
use super::view::View;
use crate::{Coordinator, Limits};

/// Knows which actions need not run again.
///
/// An action is cached when there is an entry for it, it succeeded, its flags, environment and tool are the same, every
/// input has the content that it had, and every output is in the tree as it was made or has its content in the store. A
/// file costs a `stat`; only if that differs it is read.
///
/// What the store cannot tell is a miss and never an error.
#[derive(Debug)]
pub struct ActionCache {
    ledger: Ledger,
    counters: Counters,
}

/// One question of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRequest {
    /// Which action.
    pub id: ActionId,
    /// What it would run with.
    pub metadata: ActionMetadata,
}

/// An action that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionRun {
    /// The state of the inputs **before** it ran, from [`FileStates::snapshot`]. A path at which there was nothing and
    /// must be nothing is an input as well.
    pub inputs: Vec<FileDependency>,
    /// What it made, relative to the base directory. A directory stands for all that is in it.
    pub outputs: Vec<RelPath>,
    /// What it ran with.
    pub metadata: ActionMetadata,
    /// Whether it succeeded. The outputs of a failure are not looked at.
    pub success: bool,
    /// How many milliseconds it took.
    pub cost_ms: u64,
}

impl ActionCache {
    /// Returns the cache that is in `namespace` of `store`, for the checkout that `files` knows. The content of outputs is
    /// stored.
    pub fn new(store: Arc<dyn Store>, files: Arc<FileStates>, namespace: Namespace) -> Self {
        let ledger = Ledger { store, chain: None, files, namespace, kind: id::KIND, keep_outputs: true };
        Self { ledger, counters: Counters::default() }
    }

    /// As [`new`](Self::new), with a store that says where a hit [came from](Hit::origin).
    pub fn over(chain: Arc<Coordinator>, files: Arc<FileStates>, namespace: Namespace) -> Self {
        let mut cache = Self::new(Arc::clone(&chain) as _, files, namespace);
        cache.ledger.chain = Some(chain);
        cache
    }

    /// Sets whether the content of outputs is stored. If not, an action is cached only as long as they are in the tree.
    #[must_use]
    pub fn keep_outputs(mut self, keep: bool) -> Self {
        self.ledger.keep_outputs = keep;
        self
    }

    /// Returns the files of the checkout.
    pub fn files(&self) -> &Arc<FileStates> {
        &self.ledger.files
    }

    /// Returns whether the action need not run again.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn is_cached(&self, id: &ActionId, metadata: &ActionMetadata) -> bool {
        self.look_up(id, metadata).await.is_ok()
    }

    /// Returns what the action made if it need not run again, or why it has to.
    ///
    /// # Errors
    /// The reason of the miss.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn look_up(&self, id: &ActionId, metadata: &ActionMetadata) -> Result<Hit, Miss> {
        let result = self.find(id, metadata).await;
        self.counters.looked_up(id.kind().name(), &result);
        result
    }

    /// Looks the action up, and puts those of its outputs into the tree that are not there as they were made. What cannot be
    /// restored is a miss, and the tree is as it was then.
    ///
    /// The hit tells what was found: whether it [was in place](Hit::is_in_place), or had to be restored.
    ///
    /// # Errors
    /// The reason of the miss.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tree as it was, or with all outputs in place.
    pub async fn reuse(&self, id: &ActionId, metadata: &ActionMetadata) -> Result<Hit, Miss> {
        let found = self.find(id, metadata).await;
        let result = self.ledger.put_in_place(found, &self.counters).await;
        self.counters.looked_up(id.kind().name(), &result);
        result
    }

    async fn find(&self, id: &ActionId, metadata: &ActionMetadata) -> Result<Hit, Miss> {
        let wanted = vec![self.wanted(id, metadata.recorded())];
        let (mut results, _) = self.ledger.examine(wanted, View::default()).await;
        results.pop().unwrap_or(Err(Miss::Absent))
    }

    /// Answers all of `requests` with one look at each distinct file, on all of rayon's threads, and as few round trips to
    /// the store as it allows.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn batch_validate(&self, requests: &[ActionRequest]) -> BatchReport {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(requests.len());
        let mut before: Option<&ActionMetadata> = None;
        for request in requests {
            // Mostly, all actions of a build have the same flags, which are digested once.
            let same = wanted.last().filter(|_| before == Some(&request.metadata));
            let metadata = same.map_or_else(|| request.metadata.recorded(), |same| same.metadata.clone());
            before = Some(&request.metadata);
            wanted.push(self.wanted(&request.id, metadata));
        }
        let (results, view) = self.ledger.examine(wanted, View::default()).await;
        for (request, result) in requests.iter().zip(&results) {
            self.counters.looked_up(request.id.kind().name(), result);
        }
        BatchReport::new(results, view.len())
    }

    /// Records that the action ran, in place of what was recorded for it before.
    ///
    /// # Errors
    /// If an input is not as it was before the run, an output is missing or cannot be read, or the store refuses. What
    /// was recorded before stays then. A build can go on as if nothing had happened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old record or the new one.
    pub async fn record(&self, id: &ActionId, run: &ActionRun) -> Result<Recording, RecordError> {
        let execution = Execution {
            wanted: &self.wanted(id, run.metadata.recorded()),
            inputs: &run.inputs,
            outputs: &run.outputs,
            success: run.success,
            cost_ms: run.cost_ms,
        };
        let recording = self.ledger.record(execution).await?;
        self.counters.recorded(&recording);
        Ok(recording)
    }

    /// Puts the outputs of a hit into the tree that are not there as they were made: all of them or none.
    ///
    /// # Errors
    /// If the content is not in the store any more, something is in the way, or the system refuses. The tree is as it was
    /// then, and the action has to run again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tree as it was: files are put in their places in one step without an await.
    pub async fn restore(&self, hit: &Hit) -> Result<(), RestoreError> {
        let Ledger { store, files, .. } = &self.ledger;
        restore(&**store, files.base(), hit).await?;
        self.counters.restored();
        Ok(())
    }

    /// Forgets the action and returns whether there was anything to forget.
    ///
    /// # Errors
    /// If the store refuses.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the record or not.
    pub async fn invalidate(&self, id: &ActionId) -> Result<bool> {
        self.ledger.store.remove(&id.key(&self.ledger.namespace)).await
    }

    /// Returns the actions of `target` that something is recorded for, units of it among them, sorted.
    ///
    /// # Errors
    /// If the store cannot list.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn actions_for(&self, target: &str) -> Result<Vec<ActionId>> {
        let filter = ListFilter {
            namespace: Some(self.ledger.namespace.clone()),
            kind: Some(id::KIND.to_owned()),
            name_prefix: Some(ActionId::prefix(target)),
        };
        let mut actions = Vec::new();
        let mut after = None;
        loop {
            let page = self.ledger.store.list(&filter, after.as_deref(), PAGE).await?;
            // What has a name that is no action was not recorded here.
            actions.extend(page.items.iter().filter_map(|item| item.meta.name.parse::<ActionId>().ok()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        actions.sort_unstable();
        actions.dedup();
        Ok(actions)
    }

    /// Waits until everything recorded has arrived in all tiers of the store. What [`record`](Self::record) acknowledged is in
    /// the store already, and dropping the cache without this loses none of it.
    ///
    /// # Errors
    /// As [`flush`](Store::flush) of the store.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub async fn flush(&self) -> Result<()> {
        self.ledger.store.flush().await
    }

    /// Closes the store, for all who share it. Afterwards, everything is a miss. Closing twice is fine.
    ///
    /// # Errors
    /// As [`close`](Store::close) of the store.
    ///
    /// # Cancel safety
    /// Close again to do the rest.
    pub async fn close(&self) -> Result<()> {
        self.ledger.store.close().await
    }

    /// Keeps `limits` for what is recorded here, its outputs included: what was not used for longest goes, or what is oldest
    /// if the store does not know when it was used. What belongs to others stays, so this is for limits of its own, besides
    /// those of the store; call it when a build is over, before the store is [collected](Store::gc).
    ///
    /// Costs a listing of the namespace. Content that no record names any more goes as well, unless it is younger than an
    /// hour and may belong to a recording that is under way.
    ///
    /// # Errors
    /// If the store cannot list or refuses. What was removed stays removed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was not removed yet.
    pub async fn trim(&self, limits: &Limits) -> Result<Trimmed> {
        self.ledger.trim(limits).await
    }

    /// Returns what had different outputs in executions with equal inputs, flags, environment and tool, the most various
    /// first; of more than 1000, those.
    ///
    /// # Errors
    /// If the store cannot list or tell.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn nondeterministic(&self) -> Result<Vec<Nondeterministic>> {
        self.ledger.nondeterministic().await
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> RecordStats {
        self.counters.stats()
    }

    fn wanted(&self, id: &ActionId, metadata: Recorded) -> Wanted {
        Wanted { key: id.key(&self.ledger.namespace), name: id.to_string(), metadata, upstream: Vec::new() }
    }
}
