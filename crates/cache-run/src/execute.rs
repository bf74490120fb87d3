//! Running a command and, if the result can be trusted, storing it.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use cache_core::{Anchor, Entry, EntryMeta, Key, Timestamp, TreePath};
use cache_fs::Lookup;

use crate::discovered::Moment;
use crate::entries::Entries;
use crate::exec::{self, Finished, Limits, Recording, SpawnError, StdioLog};
use crate::inputs::ChangeKind;
use crate::journal::Journal;
use crate::lookup::{Hit, base_digest, result_key};
use crate::outputs::{Capture, CaptureError, Captured};
use crate::plan::Plan;
use crate::remote::Remote;
use crate::runner::differing;
use crate::spec::Spec;
use crate::value::{self, DepSet, Index, KIND_INDEX, KIND_RESULT, RunResult, WRITER};

/// Longest recorded output of a command, in bytes, and longest log of it: it is kept in the entry itself, and there a
/// store takes 16 MiB.
const MAX_LOG: u64 = 15 << 20;
/// Recorded output beyond this waits in a temporary file, in bytes.
const LOG_MEMORY: usize = 4 << 20;
/// Bytes of the journal in which the last run of the same label is looked for.
const RECENT: u64 = 64 << 10;
/// Bytes of an index that is sent to others: what a store behind a network takes as the value of an entry.
const MAX_SHARED_INDEX: usize = 1 << 20;
/// Characters of the command line that are kept for lists.
const MAX_COMMAND: usize = 200;

/// What is needed to run a planned command.
pub(crate) struct Execution<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) entries: Entries<'a>,
    /// Directory for temporary files.
    pub(crate) side: &'a Path,
    /// The remote cache that is given what is stored.
    pub(crate) remote: Option<&'a dyn Remote>,
    /// What the remote cache knew of other results of the command.
    pub(crate) shared: &'a [DepSet],
    /// A stored result that the new one is compared with.
    pub(crate) verified: Option<&'a Hit>,
}

/// A command that ran.
pub(crate) struct Executed {
    pub(crate) code: i32,
    pub(crate) wall: Duration,
    pub(crate) verdict: Verdict,
    pub(crate) differing: Option<Vec<String>>,
    pub(crate) warnings: Vec<String>,
}

/// What became of the result.
pub(crate) enum Verdict {
    /// It is stored.
    Stored { files: usize, bytes: u64 },
    /// It is not stored, as was to be expected; why.
    Left(String),
    /// It is not stored, and the user should know and can change it; why, and how.
    Refused(String),
}

/// Why a result is not stored.
enum Obstacle {
    Left(String),
    Refused(String),
    /// The cache has trouble.
    Trouble(String),
}

impl Execution<'_> {
    /// Runs the command and stores what it gave.
    pub(crate) fn run(&self, plan: &mut Plan<'_>) -> Result<Executed, SpawnError> {
        let mut warnings = Vec::new();
        // Only what a depfile names is checked against the moment; declared inputs are compared with their content before.
        let moment = plan.frame.depfile.as_ref().map(|_| Moment::now(self.side));
        let stdin = plan
            .stdin()
            .map_err(|source| SpawnError::System { program: plan.frame.program.clone(), source })?;
        let limits = Limits {
            max_log: MAX_LOG.min(self.spec.max_entry),
            memory: LOG_MEMORY,
            spool_dir: Some(self.side),
        };
        plan.frame.outputs.iter().for_each(|output| output.unshare(&plan.frame.base));
        let finished = plan.frame.execute(stdin, &limits, Some(&plan.key))?;
        let (mut code, wall) = (finished.code, finished.wall);
        if let Some((failed, warning)) = lost_output(&finished) {
            code = failed;
            warnings.push(warning);
        }
        let mut differing = None;
        let verdict = match self.store(plan, finished, moment, &mut differing) {
            Ok(verdict) => verdict,
            Err(Obstacle::Left(why)) => Verdict::Left(why),
            Err(Obstacle::Refused(why)) => Verdict::Refused(why),
            Err(Obstacle::Trouble(why)) => {
                warnings.push(format!("the result is not stored: {why}"));
                Verdict::Left("not stored: the cache has trouble".to_owned())
            }
        };
        Ok(Executed { code, wall, verdict, differing, warnings })
    }

    fn store(
        &self,
        plan: &mut Plan<'_>,
        finished: Finished,
        moment: Option<std::io::Result<Moment>>,
        compared: &mut Option<Vec<String>>,
    ) -> Result<Verdict, Obstacle> {
        self.worth_storing(plan, &finished)?;
        let (code, wall) = (finished.code, finished.wall);
        let log = complete(finished.recording)?;
        self.inputs_unchanged(plan)?;
        let mut set = match (plan.frame.depfile.clone(), moment) {
            (Some(depfile), Some(Ok(moment))) => {
                Some(plan.discovered(&depfile, moment).map_err(Obstacle::Refused)?)
            }
            (Some(_), Some(Err(error))) => {
                return Err(Obstacle::Trouble(format!(
                    "cannot tell what changes while the command runs: {error}"
                )));
            }
            _ => None,
        };
        let result = RunResult { code, log: read_log(log)? };
        let captured = self.capture(plan, &result)?;
        if let Some(hit) = self.verified {
            *compared = Some(differing(hit, &captured.outputs, &result));
        }
        if captured.found_needle {
            // Its outputs contain the path of this checkout, so they are right for this checkout alone.
            let bound = set.get_or_insert_with(DepSet::empty);
            bound.base = Some(base_digest(plan));
        }
        let printed = exec::check(&result.log[..]).map_or(0, exec::Lengths::total);
        let (files, bytes) = (captured.outputs.len(), captured.bytes + printed);
        self.put(plan, set, &result, captured, wall).map_err(Obstacle::Trouble)?;
        Ok(Verdict::Stored { files, bytes })
    }

    fn worth_storing(&self, plan: &Plan<'_>, finished: &Finished) -> Result<(), Obstacle> {
        let left = |why: &str| Err(Obstacle::Left(why.to_owned()));
        if finished.interrupted {
            return left("not stored: it was interrupted");
        }
        if finished.signal.is_some() {
            return left("not stored: it was killed");
        }
        if !self.spec.failures.store(finished.code) {
            return left("not stored: it failed");
        }
        if !self.spec.mode.writes() {
            return left("not stored, as asked");
        }
        if finished.wall < self.spec.min_time {
            return left("not stored: quicker than --min-time");
        }
        plan.conflict.clone().map_or(Ok(()), |why| Err(Obstacle::Refused(why)))
    }

    /// The key says what the inputs were before the command ran. If they are not the same now, nobody knows which of
    /// both the command read.
    fn inputs_unchanged(&self, plan: &mut Plan<'_>) -> Result<(), Obstacle> {
        let changes = plan.patterns.changed_since(&plan.inputs, &mut plan.memory);
        let changes = changes.map_err(|error| Obstacle::Refused(format!("after the run, {error}")))?;
        let Some(change) = changes.first() else { return Ok(()) };
        let path = &change.path;
        let exclude = exclusion(plan, path);
        let made_here = change.kind == ChangeKind::Added
            || (path.anchor == Anchor::Base && plan.frame.is_output(&path.path))
            || (change.kind == ChangeKind::Changed && self.was_refused_for(path));
        let others = if changes.len() > 1 { format!(" (+{})", changes.len() - 1) } else { String::new() };
        Err(Obstacle::Refused(if made_here {
            format!("wrote its own input {path}{others} · add -i '!{exclude}'")
        } else {
            let what = if change.kind == ChangeKind::Removed { "went away" } else { "changed" };
            format!(
                "input {path} {what} while it ran{others} · run again, or if the command writes it add -i '!{exclude}'"
            )
        }))
    }

    /// What changed under the last run as well is changed by the command and not by somebody who happens to edit it.
    fn was_refused_for(&self, path: &TreePath) -> bool {
        let (label, path) = (self.spec.label(), format!(" {path} "));
        let records = Journal::new(self.side.to_owned()).read(RECENT);
        let last = records.iter().rev().find(|record| record.label == label);
        last.and_then(|record| record.not_stored.as_ref()).is_some_and(|why| why.contains(&path))
    }

    fn capture(&self, plan: &Plan<'_>, result: &RunResult) -> Result<Captured, Obstacle> {
        let mut needles = vec![plan.frame.base.as_os_str().as_encoded_bytes().to_vec()];
        // The name of the directory as the shell has it, where links lead there.
        if let Some(pwd) = plan.frame.environment.get("PWD").filter(|pwd| Path::new(pwd) != plan.frame.base) {
            needles.push(pwd.as_encoded_bytes().to_vec());
        }
        let capture = Capture::new(self.entries.store, &plan.frame.base, self.spec.max_entry, &needles);
        let captured = capture.run(&plan.frame.outputs, plan.frame.depfile.as_ref());
        let mut captured = captured.map_err(|error| match error {
            CaptureError::Store(cache_core::Error::TooLarge { size, limit, .. }) => {
                Obstacle::Refused(format!(
                    "outputs of {} do not fit into a cache of {} · raise VITTE_CACHE_MAX_SIZE",
                    crate::human::size(size),
                    crate::human::size(limit)
                ))
            }
            CaptureError::Store(error) => Obstacle::Trouble(error.to_string()),
            other => Obstacle::Refused(other.to_string()),
        })?;
        // What goes to standard error is for people, and tools like to name the directory there; it is no result.
        let mut stdout = Vec::new();
        let _ = exec::replay(&result.log[..], &mut stdout, &mut std::io::sink());
        captured.found_needle |= needles.iter().any(|needle| memchr::memmem::find(&stdout, needle).is_some());
        Ok(captured)
    }

    fn put(
        &self,
        plan: &Plan<'_>,
        set: Option<DepSet>,
        result: &RunResult,
        captured: Captured,
        wall: Duration,
    ) -> Result<(), String> {
        let text = |error: cache_core::Error| error.to_string();
        let created = Timestamp::from(std::time::SystemTime::now());
        let meta = EntryMeta {
            namespace: self.spec.namespace.clone(),
            kind: KIND_RESULT.to_owned(),
            name: self.spec.label(),
            created,
            expires: self.spec.ttl.map(|ttl| created.plus(ttl)),
            writer: WRITER.to_owned(),
            cost_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            tags: [("command".to_owned(), command_line(self.spec))].into(),
            ..EntryMeta::default()
        };
        let value = value::encode(result).ok_or("it cannot be encoded")?;
        let entry =
            Entry { meta: meta.clone(), value: value.into(), outputs: captured.outputs, ..Entry::default() };
        let Some(mut set) = set else {
            let stored = self.entries.put(&plan.key, entry).map_err(text)?;
            self.offer(&stored);
            return Ok(());
        };
        set.result = result_key(plan, &set);
        let stored = self.entries.put(&set.result, entry).map_err(text)?;
        self.offer(&stored);
        let mut index = match self.entries.get(&plan.key) {
            Ok(Lookup::Hit(old)) if old.meta.kind == KIND_INDEX => {
                value::decode(&old.value).unwrap_or_default()
            }
            _ => Index::default(),
        };
        index.merge(self.shared);
        index.push(set);
        let mut value = value::encode(&index).ok_or("it cannot be encoded")?;
        while self.remote.is_some() && value.len() > MAX_SHARED_INDEX && index.sets.len() > 1 {
            let _ = index.sets.pop();
            value = value::encode(&index).ok_or("it cannot be encoded")?;
        }
        // An index has no end of its own: each result in it has.
        let meta = EntryMeta { kind: KIND_INDEX.to_owned(), expires: None, ..meta };
        let entry = Entry { meta, value: value.into(), ..Entry::default() };
        let stored = self.entries.put(&plan.key, entry).map_err(text)?;
        self.offer(&stored);
        Ok(())
    }

    fn offer(&self, (address, entry): &(Key, Entry)) {
        if let Some(remote) = self.remote {
            remote.offer(address, entry);
        }
    }
}

/// Returns the exit code and the warning of a command whose output got lost on our side, as on a full disk: it believes
/// that everything was written, so its success is none. A reader that went away wanted no more.
pub(crate) fn lost_output(finished: &Finished) -> Option<(i32, String)> {
    match &finished.recording {
        Recording::NotForwarded { stream, source } if source.kind() != std::io::ErrorKind::BrokenPipe => {
            let code = if finished.code == 0 { 1 } else { finished.code };
            Some((code, format!("the {stream} of the command could not be written: {source}")))
        }
        _ => None,
    }
}

fn complete(recording: Recording) -> Result<StdioLog, Obstacle> {
    let refused = |why: String| Err(Obstacle::Refused(why));
    match recording {
        Recording::Complete(log) => Ok(log),
        Recording::TooLarge { limit } => refused(format!(
            "it printed more than {} · write to a file and declare that with -o",
            crate::human::size(limit)
        )),
        Recording::HeldOpen => refused(
            "a background process kept its output open · redirect that process's output, as in `daemon >/dev/null 2>&1 &`"
                .to_owned(),
        ),
        Recording::CutShort => Err(Obstacle::Left("not stored: it was interrupted".to_owned())),
        Recording::NotForwarded { stream, .. } => {
            Err(Obstacle::Left(format!("not stored: the reader of its {stream} went away")))
        }
        Recording::SpoolFailed { dir, source } => {
            Err(Obstacle::Trouble(format!("cannot write to {}: {source}", dir.display())))
        }
    }
}

fn read_log(mut log: StdioLog) -> Result<Vec<u8>, Obstacle> {
    // Bytes on alternating streams take up to twice their number.
    if log.encoded_len() > MAX_LOG {
        return complete(Recording::TooLarge { limit: MAX_LOG }).map(|_| Vec::new());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(log.encoded_len()).unwrap_or(0));
    log.reader()
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(|error| Obstacle::Trouble(format!("cannot read back what the command printed: {error}")))?;
    Ok(bytes)
}

/// Returns the pattern that leaves out `path`, relative to the working directory; with the directory that it is in,
/// unless that is the working directory.
fn exclusion(plan: &Plan<'_>, path: &TreePath) -> String {
    let Ok(native) = path.locate(&plan.frame.base) else { return path.to_string() };
    match native.strip_prefix(&plan.frame.cwd) {
        Ok(below) => match below.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => format!("{}/**", dir.display()),
            None => below.display().to_string(),
        },
        Err(_) => native.display().to_string(),
    }
}

/// Returns the command as it is shown in lists, without what looks secret.
fn command_line(spec: &Spec) -> String {
    crate::environment::redact_args(&spec.command).join(" ").chars().take(MAX_COMMAND).collect()
}
