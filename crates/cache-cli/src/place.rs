//! The cache that a call works with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_core::signing::{Keyring, Unsigned};
use cache_core::{Error, Observers, Policy};
use cache_fs::{FsStore, Layout, Options};
use cache_run::Signing;
use cache_run::access::AccessLog;

use crate::config::Config;
use crate::failure::{self, Failure, Result};
use crate::output;
use crate::settings::Id;

/// Opens the cache for a verb, which cannot do its work without.
pub(crate) fn open(config: &Config) -> Result<FsStore> {
    open_as(config, |options| options)
}

/// As [`open`], with options that are `changed`.
pub(crate) fn open_as(config: &Config, changed: impl FnOnce(Options) -> Options) -> Result<FsStore> {
    let dir = config.dir().map_err(Failure::failed)?;
    let read_only = is_write_protected(&dir);
    let observers = recorder(config).unwrap_or_else(|warning| {
        output::warn(&warning);
        Observers::default()
    });
    let options = changed(Options { read_only, observers, ..options(config, &dir) });
    open_dir(&dir, options).map_err(Failure::failed)
}

/// Opens the cache in `dir`.
///
/// # Errors
/// In one sentence, with what can be done about it.
fn open_dir(dir: &Path, options: Options) -> Result<FsStore, String> {
    FsStore::open(dir, options).map_err(|error| match error {
        Error::Io { .. } => {
            format!("{error}; make it a directory that you can write to, or name another one with --dir")
        }
        other => failure::sentence(&other),
    })
}

/// Returns who records the accesses, if the settings want that.
///
/// # Errors
/// In one sentence, if the file cannot be written to. Then nothing is recorded, and all else goes on.
fn recorder(config: &Config) -> Result<Observers, String> {
    let Some(path) = config.file(Id::AccessLog) else { return Ok(Observers::default()) };
    match AccessLog::open(path) {
        Ok(log) => Ok(Observers::new(Arc::new(log))),
        Err(error) => Err(format!(
            "accesses are not recorded, because {} cannot be written to: {error}; name another file with \
             VITTE_CACHE_ACCESS_LOG",
            path.display()
        )),
    }
}

/// Variable that holds signing keys. It is no setting, because settings are shown.
const SIGNING_KEY: &str = "VITTE_SIGNING_KEY";

/// Returns whose results count, if the settings say that results are signed.
fn signing(config: &Config) -> cache_core::Result<Option<Signing>> {
    let ring = match (Keyring::from_env(SIGNING_KEY)?, config.file(Id::SigningKeyFile)) {
        (Some(ring), _) => ring,
        (None, Some(path)) => Keyring::from_file(path)?,
        (None, None) => return Ok(None),
    };
    let unsigned = if config.word(Id::Unsigned) == "accept" { Unsigned::Accept } else { Unsigned::Refuse };
    Ok(Some(Signing { ring, unsigned }))
}

/// What a run works with.
pub(crate) struct ForRun {
    /// The cache, unless there is trouble.
    pub(crate) store: Option<FsStore>,
    /// Whose results count; nobody is asked if nothing.
    pub(crate) signing: Option<Signing>,
    /// Whether nothing can be written to it.
    pub(crate) read_only: bool,
    /// What the trouble is.
    pub(crate) trouble: Option<String>,
    /// What else the user should know.
    pub(crate) warning: Option<String>,
}

impl ForRun {
    /// Returns that there is no cache, and what the trouble is, if it is any.
    pub(crate) fn without(trouble: Option<String>) -> Self {
        Self { store: None, signing: None, read_only: false, trouble, warning: None }
    }
}

/// Opens the cache for a run, which goes on without if it must.
pub(crate) fn open_for_run(config: &Config) -> ForRun {
    let dir = match config.dir() {
        Ok(dir) => dir,
        Err(trouble) => return ForRun::without(Some(trouble)),
    };
    // Without the key that somebody named, nothing can be told from what anybody could have put there.
    let signing = match signing(config) {
        Ok(signing) => signing,
        Err(error) => return ForRun::without(Some(failure::sentence(&error))),
    };
    let read_only = is_write_protected(&dir);
    let (observers, warning) = match recorder(config) {
        Ok(observers) => (observers, None),
        Err(warning) => (Observers::default(), Some(warning)),
    };
    match open_dir(&dir, Options { read_only, observers, ..options(config, &dir) }) {
        Ok(store) => ForRun { store: Some(store), signing, read_only, trouble: None, warning },
        Err(trouble) => ForRun { warning, ..ForRun::without(Some(trouble)) },
    }
}

/// Returns whether `dir` is there and cannot be written to, as on the read-only image of a container.
#[cfg(unix)]
pub(crate) fn is_write_protected(dir: &Path) -> bool {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;
    matches!(access(dir, Access::WRITE_OK), Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

/// Elsewhere the attribute of a directory does not say whether files can be made in it.
#[cfg(not(unix))]
pub(crate) fn is_write_protected(_: &Path) -> bool {
    false
}

/// Returns how the settings want the cache in `dir` to be opened.
pub(crate) fn options(config: &Config, dir: &Path) -> Options {
    let layout = layout(config.word(Id::Layout));
    Options {
        policy: policy(config, dir),
        trust_dir: config.switch(Id::TrustDir),
        layout,
        ..Options::default()
    }
}

/// Returns the layout that `word` names.
pub(crate) fn layout(word: &str) -> Layout {
    match word {
        "files" => Layout::Files,
        "segments" => Layout::Segments,
        _ => Layout::Auto,
    }
}

/// Returns the limits if anybody named one; the others are those of the disk.
fn policy(config: &Config, dir: &Path) -> Option<Policy> {
    const LIMITS: [Id; 6] =
        [Id::MaxSize, Id::MaxEntries, Id::MaxAgeDays, Id::FreeSpace, Id::LowWater, Id::Ttl];
    if LIMITS.iter().all(|id| config.given(*id).is_none()) {
        return None;
    }
    let mut policy = Policy::for_disk(disk_size(dir));
    let given = |id| config.given(id).is_some();
    if given(Id::MaxSize) {
        policy.max_bytes = config.number(Id::MaxSize);
    }
    if given(Id::MaxEntries) {
        policy.max_entries = config.number(Id::MaxEntries);
    }
    if given(Id::MaxAgeDays) {
        let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
        policy.max_age = config.number(Id::MaxAgeDays).map(days);
    }
    if given(Id::FreeSpace) {
        policy.free_space_floor = config.number(Id::FreeSpace).unwrap_or(0);
    }
    if let Some(percent) = config.number(Id::LowWater) {
        policy.low_water_percent = percent as u8;
    }
    policy.default_ttl = config.duration(Id::Ttl);
    Some(policy)
}

/// Returns the bytes of the disk that `dir` is on or will be on.
#[cfg(unix)]
fn disk_size(dir: &Path) -> u64 {
    let stat = dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    stat.map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize.max(1)))
}

/// The standard library does not tell, so the limits are those of a large disk.
#[cfg(not(unix))]
fn disk_size(_: &Path) -> u64 {
    u64::MAX
}
