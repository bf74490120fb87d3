//! The remote cache of `run`.

#[cfg(feature = "remote")]
mod bring;
#[cfg(feature = "remote")]
mod cache;
#[cfg(feature = "remote")]
mod check;
#[cfg(feature = "remote")]
mod events;
#[cfg(feature = "remote")]
mod gate;
#[cfg(feature = "remote")]
mod live;
#[cfg(feature = "remote")]
mod rest;
#[cfg(feature = "remote")]
mod target;

use cache_fs::FsStore;
use cache_run::remote::Remote;

use crate::config::Config;

#[cfg(feature = "remote")]
pub(crate) use check::check;
#[cfg(feature = "remote")]
pub(crate) use target::{Mode, Target};

/// Returns the remote cache behind `store`, if the settings name one that can be used; `word` is what `--remote` says.
///
/// # Errors
/// In one sentence, if one is named and cannot be used.
#[cfg(feature = "remote")]
pub(crate) fn for_run(
    config: &Config,
    word: Option<&str>,
    store: &FsStore,
) -> Result<Option<Box<dyn Remote>>, String> {
    let asked = word.filter(|word| *word != "auto").map(Mode::named);
    let Some(target) = Target::find(config, asked)? else {
        return if asked.is_some_and(|mode| mode != Mode::Off) {
            Err("there is no remote cache to use; name one with VITTE_REMOTE_CACHE_URL".to_owned())
        } else {
            Ok(None)
        };
    };
    Ok(Some(Box::new(cache::RemoteCache::new(target, store)?)))
}

/// This program was built without remote caches.
///
/// # Errors
/// If one is named.
#[cfg(not(feature = "remote"))]
pub(crate) fn for_run(
    config: &Config,
    word: Option<&str>,
    _: &FsStore,
) -> Result<Option<Box<dyn Remote>>, String> {
    if word != Some("off") && config.given(crate::settings::Id::RemoteUrl).is_some() {
        return Err("this vitte-cache was built without remote caches (the feature `remote`)".to_owned());
    }
    Ok(None)
}
