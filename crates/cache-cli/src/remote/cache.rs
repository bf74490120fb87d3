//! The remote cache as a run uses it: asked within its time, and never in the way.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cache_core::{Entry, Error, Key, Store};
use cache_fs::FsStore;
use cache_run::remote::{Finish, Looked, Remote};

use super::bring::{self, Failed};
use super::live::Live;
use super::rest::Rest;
use super::target::Target;

/// Name of our directory beside the store.
pub(super) const SIDE_DIR: &str = "remote";
/// Extension of the journals that list what is left of uploads.
const JOURNAL: &str = "journal";
/// Times the timeout that an entry has to be there with the proof that its blobs are: two questions, one after the other.
const QUESTIONS: u32 = 2;

/// A remote cache. Nothing is sent and no thread is started before it is needed.
pub(crate) struct RemoteCache {
    target: Target,
    store: FsStore,
    /// Where what is left of uploads is listed.
    side: PathBuf,
    rest: Rest,
    /// Why nobody is asked.
    resting: Option<String>,
    /// Why nothing is sent.
    refusing: Option<String>,
    live: OnceLock<Option<Live>>,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    /// Whether the server is not asked any more.
    down: bool,
    /// What the user should know: the first thing, as the others follow from it.
    warning: Option<String>,
}

impl RemoteCache {
    /// Returns the remote cache at `target`, behind `store`.
    ///
    /// # Errors
    /// In one sentence, if nothing can be remembered beside the store.
    pub(crate) fn new(target: Target, store: &FsStore) -> Result<Self, String> {
        let side = store.side_dir(SIDE_DIR).map_err(|error| error.to_string())?;
        let rest = Rest::new(&side, &target.url);
        let (resting, refusing) = (rest.resting(), rest.refusing());
        Ok(Self {
            target,
            store: store.clone(),
            side,
            rest,
            resting,
            refusing,
            live: OnceLock::new(),
            trouble: Mutex::default(),
        })
    }

    fn live(&self) -> Option<&Live> {
        let connect = || {
            let journal = self.writes().then(|| self.side.clone());
            match Live::new(&self.target, &self.store, journal, self.resting.is_some()) {
                Ok(live) => Some(live),
                Err(why) => {
                    self.warn(format!("the remote cache is not used: {why}"));
                    self.trouble().down = true;
                    None
                }
            }
        };
        self.live.get_or_init(connect).as_ref()
    }

    /// Returns the connection if there is anybody to talk to.
    fn reachable(&self) -> Option<&Live> {
        if self.resting.is_some() || self.trouble().down {
            return None;
        }
        self.live()
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, warning: String) {
        self.trouble().warning.get_or_insert(warning);
    }

    /// Leaves the server alone from now on, in the next runs as well.
    fn down(&self, why: &str) {
        self.warn(format!("the remote cache is not used for now: {why}"));
        if !std::mem::replace(&mut self.trouble().down, true) {
            self.rest.failed(why);
        }
        if let Some(Some(live)) = self.live.get() {
            live.gate.shut();
        }
    }

    /// Returns whether earlier runs left something to send.
    fn has_leftovers(&self) -> bool {
        let Ok(files) = fs::read_dir(&self.side) else { return false };
        files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == JOURNAL))
    }

    /// Says what became of the uploads, and returns why some of them are not made.
    fn judge(&self, live: &Live, left: u64) -> Option<String> {
        let seen = live.events.seen();
        if let Some(why) = live.gate.refused() {
            self.rest.refused(&why);
            self.warn(format!("nothing is sent to the remote cache for now: {why}"));
            return None;
        }
        if let Some(why) = seen.failed.filter(|_| left > 0 && self.resting.is_none()) {
            self.down(&why);
        }
        seen.left_out.map(|why| format!("not uploaded: {why}"))
    }
}

impl Remote for RemoteCache {
    fn reads(&self) -> bool {
        self.target.mode.reads()
    }

    fn writes(&self) -> bool {
        self.target.mode.writes() && self.refusing.is_none()
    }

    fn get(&self, key: &Key) -> Looked {
        let Some(live) = self.reachable() else { return Looked::Unknown };
        let before = live.http.unsound();
        let limit = self.target.timeout.saturating_mul(QUESTIONS);
        let asked = live.wait(async { tokio::time::timeout(limit, live.http.get(key)).await });
        match asked {
            Some(Ok(Ok(Some(entry)))) => Looked::Found(Box::new(entry)),
            Some(Ok(Ok(None))) if live.http.unsound() > before => {
                let url = &self.target.url;
                self.warn(format!(
                    "what the remote cache {url} sent is no result of this program, and is not used; check that `url` leads to a cache"
                ));
                Looked::Unknown
            }
            // One that is too large is none for us.
            Some(Ok(Ok(None) | Err(Error::TooLarge { .. }))) => Looked::Absent,
            Some(Ok(Err(error))) => {
                self.down(&error.to_string());
                Looked::Unknown
            }
            Some(Err(_)) | None => {
                self.down(&format!("{} does not answer in time", self.target.url));
                Looked::Unknown
            }
        }
    }

    fn bring(&self, entry: &Entry) -> Result<u64, String> {
        let gone = || "it cannot be asked any more".to_owned();
        let live = self.reachable().ok_or_else(gone)?;
        let brought = live.wait(bring::bring(&live.http, &self.store, entry, self.target.timeout));
        match brought.ok_or_else(gone)? {
            Ok(bytes) => {
                if self.rest.is_known() && self.refusing.is_none() {
                    self.rest.forget();
                }
                Ok(bytes)
            }
            Err(Failed::Remote(why)) => {
                self.down(&why);
                Err("its files did not come".to_owned())
            }
            Err(Failed::Wrong(why)) => {
                self.warn(format!("a result of the remote cache {} is not used: {why}", self.target.url));
                Err("its files are damaged".to_owned())
            }
            Err(Failed::Local(why)) => {
                self.warn(format!("a result of the remote cache is not used: {why}"));
                Err("its files cannot be kept here".to_owned())
            }
            Err(Failed::Slow) => Err("its files would come later than the command makes them".to_owned()),
        }
    }

    fn offer(&self, key: &Key, entry: &Entry) {
        if !self.writes() {
            return;
        }
        // Also if nobody can be reached now: it is listed for the next run.
        if let Some(live) = self.live() {
            let _ = live.with_chain(|chain| chain.offer(key, entry));
        }
    }

    fn finish(&self, wait: bool) -> Finish {
        let is_idle = self.live.get().is_none();
        if is_idle
            && wait
            && self.writes()
            && self.resting.is_none()
            && self.has_leftovers()
            && self.rest.leftovers_due()
        {
            let _ = self.live();
        }
        let refusing = self.refusing.as_ref().filter(|_| self.target.mode.writes());
        let unused = self.resting.as_ref().map(|why| format!("remote cache not used: {why}"));
        let trouble = unused.or_else(|| refusing.map(|why| format!("not uploaded: {why}")));
        let mut finish = Finish { trouble, ..Finish::default() };
        if let Some(Some(live)) = self.live.get() {
            let may_wait = wait && self.resting.is_none() && !self.trouble().down;
            let limit = if may_wait { self.target.upload_wait } else { Duration::ZERO };
            let sent = live.with_chain(|chain| {
                let flushed = live.wait(chain.flush(limit)).unwrap_or_default();
                (flushed.left, chain.stats().pushes)
            });
            if let Some((left, pushes)) = sent {
                (finish.uploaded, finish.left) = (pushes.done, left);
                let left_out = self.judge(live, left);
                finish.trouble = finish.trouble.or(left_out);
            }
            live.stop();
        }
        finish.warnings.extend(self.trouble().warning.take());
        finish
    }
}
