//! The life of one run: plan, look up, restore or execute, store, report.

mod far;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cache_core::{Digest, Key, OutputKind, Timestamp};
use cache_fs::FsStore;

use crate::entries::{Entries, Signing};
use crate::exec::{self, LogError, SpawnError, Stdin};
use crate::execute::{Execution, Verdict, lost_output};
use crate::explain::{self, Earlier};
use crate::flight::{self, Flight, FlightLock, Guard};
use crate::journal::{Journal, Outcome, Record};
use crate::lookup::{self, Found, Hit};
use crate::plan::{Frame, Plan, PlanError};
use crate::remote::Remote;
use crate::report::{Reason, Report};
use crate::restore::Restore;
use crate::spec::{Mode, Spec, StdinMode};
use crate::{salt, value};
use far::Shared;

/// Name of our directory beside the store.
const SIDE_DIR: &str = "run";
/// Reasons that are kept in the journal; the manifests know all.
const MAX_REASONS: usize = 20;

/// Tells a person what goes on while it takes long.
pub trait Ui: Sync {
    /// Shows that `done` of `total` inputs that must be read, `bytes` so far, are read. Called often, from several threads.
    fn progress(&self, done: u64, total: u64, bytes: u64);
    /// Shows that another process runs the same command and is waited for.
    fn waiting(&self, label: &str);
    /// Starts a copy of this very command that makes its result anew, and does not wait for it.
    ///
    /// # Errors
    /// If it does not start.
    fn refresh_in_background(&self) -> std::io::Result<()>;
}

/// What a run works with.
pub struct Session<'a> {
    /// The cache, unless there is trouble with it.
    pub store: Option<&'a FsStore>,
    /// What the trouble is; it becomes a warning.
    pub trouble: Option<String>,
    /// Whose results count; nobody is asked if nothing.
    pub signing: Option<Signing>,
    /// The cache behind it that others share, if there is one. It is not asked without a local one.
    pub remote: Option<&'a dyn Remote>,
    /// Name of the terminal session or CI job.
    pub id: String,
    /// Who shows what goes on.
    pub ui: &'a dyn Ui,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The request makes no sense. Nothing was started.
    #[error("{0}")]
    Usage(String),
    /// The command could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl RunError {
    /// Returns the exit code that says so: 125 for our own refusal, and 126 and 127 as shells use them.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Usage(_) => 125,
            Self::Spawn(error) => error.exit_code(),
        }
    }
}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Usage(text) | PlanError::Unreadable(text) => Self::Usage(text),
            PlanError::Spawn(error) => Self::Spawn(error),
        }
    }
}

/// Runs the command of `spec`, or restores what it gave before. Its output goes to our own standard output and error.
///
/// Trouble with the cache is never an error: the command runs, and the report has a warning.
///
/// # Errors
/// If the request makes no sense or the command cannot be started.
pub fn run(spec: &Spec, session: &Session<'_>) -> Result<Report, RunError> {
    check_usage(spec)?;
    let mut run = Run::new(spec, session);
    let frame = Frame::new(spec)?;
    let Some((store, side)) = run.cache() else { return run.bypass(&frame) };
    let plan = match Plan::new(&frame, Some(&side), Some(store.dir()), session.ui) {
        Ok(plan) => plan,
        Err(PlanError::Unreadable(why)) => {
            run.warn_uncached(&why);
            return run.bypass(&frame);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(refusal) = plan.reads_nothing() {
        return Err(RunError::Usage(refusal));
    }
    let mut cached = Cached { run, store, side, plan, manifest: None, shared: Shared::default() };
    let mut report = cached.run();
    cached.finish(report.as_mut().ok());
    // What was learned about files is worth keeping in any case; what is lost costs time only.
    let _ = cached.plan.memory.save();
    let report = report?;
    if !spec.dry_run {
        cached.record(&report);
    }
    Ok(report)
}

/// Returns the key that `spec` has now.
///
/// # Errors
/// As [`run`], and if an input cannot be read.
pub fn plan_key(spec: &Spec, session: &Session<'_>) -> Result<Key, RunError> {
    check_usage(spec)?;
    let side = session.store.and_then(|store| store.side_dir(SIDE_DIR).ok());
    let frame = Frame::new(spec)?;
    let plan = Plan::new(&frame, side.as_deref(), session.store.map(FsStore::dir), session.ui)?;
    Ok(plan.key)
}

/// Returns the journal of the runs that use `store`.
///
/// # Errors
/// If its directory can be neither found nor made.
pub fn journal(store: &FsStore) -> cache_core::Result<Journal> {
    store.side_dir(SIDE_DIR).map(Journal::new)
}

fn check_usage(spec: &Spec) -> Result<(), RunError> {
    let refuse = |text: &str| Err(RunError::Usage(text.to_owned()));
    if spec.command.is_empty() {
        return refuse("no command given: write it after `--`, as in `vitte-cache run -i 'src/**' -- make`");
    }
    if spec.inputs.is_empty() && spec.ttl.is_none() && spec.depfile.is_none() {
        return refuse(
            "nothing says when the result gets stale: name what the command reads with -i 'src/**', or say how long its \
             result is good with --ttl 10m",
        );
    }
    if spec.stale && spec.ttl.is_none() {
        return refuse("--stale needs --ttl, which says from when on a result is stale");
    }
    if spec.verify_percent > 100 {
        return refuse("--verify takes a percentage from 1 to 100");
    }
    Ok(())
}

/// What is known of a run whether or not there is a cache.
struct Run<'a> {
    spec: &'a Spec,
    session: &'a Session<'a>,
    started: Instant,
    warnings: Vec<String>,
    waited: Option<Duration>,
}

impl<'a> Run<'a> {
    fn new(spec: &'a Spec, session: &'a Session<'a>) -> Self {
        let mut run = Self { spec, session, started: Instant::now(), warnings: Vec::new(), waited: None };
        if let Some(trouble) = session.trouble.as_ref().filter(|_| spec.mode != Mode::Off) {
            run.warn_uncached(trouble);
        }
        run
    }

    fn warn_uncached(&mut self, why: &str) {
        self.warnings.push(format!("{why}; the command runs uncached"));
    }

    fn cache(&mut self) -> Option<(&'a FsStore, PathBuf)> {
        let store = self.session.store.filter(|_| self.spec.mode != Mode::Off)?;
        match store.side_dir(SIDE_DIR) {
            Ok(side) => Some((store, side)),
            Err(error) => {
                self.warn_uncached(&error.to_string());
                None
            }
        }
    }

    /// Runs the command without a cache. What it sees is the same as with one.
    fn bypass(mut self, frame: &Frame<'_>) -> Result<Report, RunError> {
        let mut report = self.report(Outcome::Bypass);
        report.reason = Reason::Asked(if self.spec.mode == Mode::Off {
            "switched off"
        } else {
            "the cache cannot be used"
        });
        if self.spec.dry_run {
            return Ok(report);
        }
        let stdin = match self.spec.stdin {
            StdinMode::Null => Stdin::Null,
            StdinMode::Key => Stdin::Inherit,
        };
        let limits = exec::Limits { max_log: 0, memory: 0, spool_dir: None };
        let finished = frame.execute(stdin, &limits, None)?;
        report.code = finished.code;
        report.command = finished.wall;
        if let Some((code, warning)) = lost_output(&finished) {
            report.code = code;
            self.warnings.push(warning);
        }
        report.wall = self.started.elapsed();
        report.warnings.append(&mut self.warnings);
        Ok(report)
    }

    fn report(&mut self, outcome: Outcome) -> Report {
        Report {
            label: self.spec.label(),
            key: None,
            outcome,
            reason: Reason::None,
            refusal: None,
            note: None,
            code: 0,
            files: 0,
            bytes: 0,
            wall: self.started.elapsed(),
            command: Duration::ZERO,
            waited: self.waited,
            differing: None,
            remote: None,
            warnings: std::mem::take(&mut self.warnings),
        }
    }
}

/// A run with a cache.
struct Cached<'a> {
    run: Run<'a>,
    store: &'a FsStore,
    side: PathBuf,
    plan: Plan<'a>,
    manifest: Option<Digest>,
    shared: Shared,
}

/// What came of looking a run up.
enum Attempt {
    /// It was restored.
    Done(Box<Report>),
    /// It is there, and is to be run again all the same.
    Verify(Box<Hit>),
    /// It must run; why, if that is known already.
    Miss(Option<Reason>),
}

impl<'a> Cached<'a> {
    fn run(&mut self) -> Result<Report, RunError> {
        let spec = self.run.spec;
        if spec.dry_run {
            return Ok(self.rehearse());
        }
        if self.plan.conflict.is_some() {
            return self.execute(Reason::None, None);
        }
        if !spec.mode.reads() {
            let guard = self.take_off();
            let report = self.execute(Reason::Asked("refreshed"), None);
            drop(guard);
            return report;
        }
        let known = match self.look_up() {
            Attempt::Done(report) => return Ok(*report),
            Attempt::Verify(hit) => {
                return self.execute(Reason::Asked("a hit, run again to verify it"), Some(&hit));
            }
            Attempt::Miss(known) => known,
        };
        let guard = self.take_off();
        // Somebody may have finished between our look and our lock, or while we waited.
        if guard.is_some()
            && let Attempt::Done(report) = self.look_up()
        {
            return Ok(*report);
        }
        let known = match self.look_up_far() {
            Attempt::Done(report) => return Ok(*report),
            Attempt::Verify(hit) => {
                return self.execute(Reason::Asked("a hit, run again to verify it"), Some(&hit));
            }
            Attempt::Miss(far) => known.or(far),
        };
        // Whom we waited for left no result. To wait for each other one by one would be slower than no cache at all.
        let guard = guard.filter(|_| self.run.waited.is_none());
        let reason = self.explain(known);
        let report = self.execute(reason, None);
        drop(guard);
        report
    }

    /// Says what would happen, whatever the mode is. Nothing is run and nothing is stored.
    fn rehearse(&mut self) -> Report {
        let known = if self.run.spec.mode.reads() && self.plan.conflict.is_none() {
            match self.look_up() {
                Attempt::Done(report) => return *report,
                Attempt::Verify(_) => None,
                Attempt::Miss(known) => match self.look_up_far() {
                    Attempt::Done(report) => return *report,
                    Attempt::Verify(_) => None,
                    Attempt::Miss(far) => known.or(far),
                },
            }
        } else {
            Some(Reason::Asked("refreshed"))
        };
        let mut report = self.report(Outcome::NotStored);
        report.reason = self.explain(known);
        report.refusal.clone_from(&self.plan.conflict);
        report.note = Some("would run".to_owned());
        report
    }

    fn report(&mut self, outcome: Outcome) -> Report {
        Report { key: Some(self.plan.key), ..self.run.report(outcome) }
    }

    /// Looks the run up and restores it if it is there.
    fn look_up(&mut self) -> Attempt {
        let spec = self.run.spec;
        let (hit, outcome) = match lookup::find(self.entries(), spec, &mut self.plan) {
            Found::Fresh(hit) => (hit, Outcome::Hit),
            Found::Stale(hit) => (hit, Outcome::Stale),
            Found::Miss(reason) => return Attempt::Miss(reason),
        };
        self.use_hit(hit, outcome)
    }

    /// Restores `hit`, unless it is only to be looked at or run again.
    fn use_hit(&mut self, hit: Box<Hit>, outcome: Outcome) -> Attempt {
        let spec = self.run.spec;
        if outcome == Outcome::Hit && picked(spec.verify_percent) && !spec.dry_run {
            return Attempt::Verify(hit);
        }
        let mut report = self.report(outcome);
        report.code = hit.result.code;
        report.command = Duration::from_millis(hit.entry.meta.cost_ms);
        report.bytes = hit.entry.blobs().fold(0, |sum, (_, len)| sum + len);
        report.files = hit.entry.blobs().count();
        if spec.dry_run {
            report.note = Some("would be restored".to_owned());
            return Attempt::Done(Box::new(report));
        }
        match self.replay(&hit) {
            Ok(None) => {}
            Ok(Some(lost)) => {
                // As when the command itself runs: what could not be written is no success.
                report.code = if report.code == 0 { 1 } else { report.code };
                report.warnings.push(lost);
            }
            Err(why) => return Attempt::Miss(Some(Reason::Unknown(why))),
        }
        if outcome == Outcome::Stale
            && let Err(error) = self.run.session.ui.refresh_in_background()
        {
            report.warnings.push(format!("cannot start the refresh in the background: {error}"));
        }
        report.wall = self.run.started.elapsed();
        Attempt::Done(Box::new(report))
    }

    /// Puts the files of a result in place and writes what the command wrote.
    /// Returns a warning if part of that could not be written.
    fn replay(&mut self, hit: &Hit) -> Result<Option<String>, String> {
        // Checked before anything is touched: half a log cannot be taken back.
        exec::check(&hit.result.log[..]).map_err(|error| error.to_string())?;
        if !hit.entry.outputs.is_empty() {
            let frame = self.plan.frame;
            let restore = Restore {
                store: self.store,
                staging: &self.side.join("staging"),
                base: &frame.base,
                patterns: &frame.outputs,
                optional: frame.depfile.as_ref(),
                mode: self.run.spec.restore,
                mtime: self.run.spec.mtime,
                newest_input: self.plan.inputs.newest,
            };
            restore.run(&hit.entry.outputs, &mut self.plan.memory).map_err(|error| error.to_string())?;
        }
        let (mut stdout, mut stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
        match exec::replay(&hit.result.log[..], &mut stdout, &mut stderr) {
            // The reader had enough, as it may have of the command itself.
            Err(LogError::Write { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok(None)
            }
            Err(LogError::Write { stream, source }) => {
                Ok(Some(format!("the {stream} of the command could not be written: {source}")))
            }
            Ok(_) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn entries(&self) -> Entries<'a> {
        Entries { store: self.store, signing: self.run.session.signing.as_ref(), far: None }
    }

    /// Waits until nobody else runs the same.
    fn take_off(&mut self) -> Option<Guard> {
        let name = self.plan.key.to_hex();
        if flight::is_held_by_ancestor(self.plan.frame.active_flights(), &name) {
            return None;
        }
        let (session, label, started) = (self.run.session, self.run.spec.label(), Instant::now());
        let locks = self.side.join("locks");
        match FlightLock::acquire(&locks, &name, self.run.spec.wait, || session.ui.waiting(&label)) {
            Flight::Owner(guard) => Some(guard),
            Flight::Joined(guard) => {
                self.run.waited = Some(started.elapsed());
                Some(guard)
            }
            Flight::TimedOut => {
                let waited = crate::human::duration(self.run.spec.wait);
                self.run.warnings.push(format!(
                    "another run of the same command is not done after {waited}; not waiting longer"
                ));
                None
            }
            Flight::Unavailable(error) => {
                self.run.warnings.push(error.to_string());
                None
            }
        }
    }

    /// Finds out why there was no result, and keeps what the next miss is compared with.
    fn explain(&mut self, known: Option<Reason>) -> Reason {
        let label = self.run.spec.label();
        let manifest = self.plan.manifest(&salt::load(&self.side));
        if self.run.spec.mode.writes() && !self.run.spec.dry_run {
            self.manifest = explain::keep(self.store, self.run.spec, &self.plan.key, &manifest);
        }
        if let Some(known) = known {
            return known;
        }
        let journal = Journal::new(self.side.clone());
        match explain::earlier(self.store, &journal, &label, &self.plan.key, &manifest) {
            Earlier::None => Reason::First,
            Earlier::SameKeyStored { signer: Some(signer), .. } if !self.entries().knows(&signer) => {
                Reason::UnknownSigner
            }
            Earlier::SameKeyStored { at, .. } => Reason::Removed { ago: now().since(at) },
            Earlier::SameKeyNotStored(why) => Reason::NotStoredBefore(why),
            Earlier::Nearest(_, differences) => Reason::Differs(differences),
            Earlier::Forgotten => {
                Reason::Unknown("inputs changed since the runs that are still remembered".to_owned())
            }
        }
    }

    /// Runs the command and stores what it gave.
    fn execute(&mut self, reason: Reason, verified: Option<&Hit>) -> Result<Report, RunError> {
        self.look_for_others();
        let execution = Execution {
            spec: self.run.spec,
            entries: self.entries(),
            side: &self.side,
            remote: self.run.session.remote.filter(|remote| remote.writes()),
            shared: &self.shared.sets,
            verified,
        };
        let done = execution.run(&mut self.plan)?;
        self.run.warnings.extend(done.warnings);
        let unmatched = self.plan.inputs.unmatched.iter();
        self.run
            .warnings
            .extend(unmatched.map(|pattern| format!("the input pattern `{pattern}` matches nothing")));
        let mut report = self.report(Outcome::NotStored);
        report.reason = reason;
        report.code = done.code;
        report.command = done.wall;
        report.differing = done.differing;
        match done.verdict {
            Verdict::Stored { files, bytes } => {
                report.outcome = Outcome::Miss;
                (report.files, report.bytes) = (files, bytes);
            }
            Verdict::Left(why) => report.note = Some(why),
            Verdict::Refused(why) => report.refusal = Some(why),
        }
        Ok(report)
    }

    /// Writes the run into the journal. Without it the run was as good.
    fn record(&self, report: &Report) {
        let spec = self.run.spec;
        let mut reasons = report.reason.words();
        reasons.truncate(MAX_REASONS);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let record = Record {
            at: now(),
            label: report.label.clone(),
            namespace: spec.namespace.to_string(),
            key: self.plan.key,
            manifest: self.manifest,
            outcome: report.outcome,
            reasons,
            not_stored: report.refusal.clone().or_else(|| report.note.clone()),
            command_ms: millis(report.command),
            wall_ms: millis(report.wall),
            bytes: report.bytes,
            code: report.code,
            base: self.plan.frame.base.display().to_string(),
            session: self.run.session.id.clone(),
            signer: self.run.session.signing.as_ref().map(|signing| signing.ring.current().id().to_string()),
            differing: report.differing.as_ref().map(|names| names.len() as u64),
            remote: report.remote.clone(),
        };
        let _ = Journal::new(self.side.clone()).append(&record);
    }
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// Returns true in `percent` of all calls.
fn picked(percent: u8) -> bool {
    use std::hash::{BuildHasher, RandomState};
    percent > 0 && RandomState::new().hash_one(()) % 100 < u64::from(percent)
}

/// Returns which of two results' outputs differ, by name.
pub(crate) fn differing(
    before: &Hit,
    outputs: &[cache_core::Output],
    result: &value::RunResult,
) -> Vec<String> {
    let mut names = Vec::new();
    let strip = |kind: &OutputKind| match kind {
        OutputKind::File { digest, len, mode, .. } => {
            OutputKind::File { digest: *digest, len: *len, mode: *mode, modified_ns: 0 }
        }
        other => other.clone(),
    };
    let of = |outputs: &[cache_core::Output]| -> std::collections::BTreeMap<_, _> {
        outputs.iter().map(|output| (output.path.clone(), strip(&output.kind))).collect()
    };
    let (old, new) = (of(&before.entry.outputs), of(outputs));
    for path in old.keys().chain(new.keys().filter(|path| !old.contains_key(*path))) {
        if old.get(path) != new.get(path) {
            names.push(path.to_string());
        }
    }
    // The streams are compared one by one: how they interleave is up to the scheduler.
    let streams = |log: &[u8]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let _ = exec::replay(log, &mut out, &mut err);
        [out, err]
    };
    let ([old_out, old_err], [new_out, new_err]) = (streams(&before.result.log), streams(&result.log));
    if old_out != new_out {
        names.push("standard output".to_owned());
    }
    if old_err != new_err {
        names.push("standard error".to_owned());
    }
    if before.result.code != result.code {
        names.push("exit code".to_owned());
    }
    names
}
