//! Which remote cache a call works with, as the settings say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_http_client::Backend;

use crate::config::{Config, Origin};
use crate::settings::{Id, Value};

/// What may be done with a remote cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    Read,
    Write,
    ReadWrite,
}

impl Mode {
    /// The words of the setting and of `run --remote`.
    pub(crate) fn named(word: &str) -> Self {
        match word {
            "off" => Self::Off,
            "write" => Self::Write,
            "readwrite" => Self::ReadWrite,
            _ => Self::Read,
        }
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// A remote cache, and how it is used.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// As it stands in the settings: with the names of variables in it. It is in no message.
    pub(crate) token: Option<String>,
    pub(crate) backend: Backend,
    pub(crate) mode: Mode,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) compression: String,
    /// A file with certificates of further authorities.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) upload_wait: Duration,
}

impl Target {
    /// Default of `timeout`: what it takes to make a small object file again.
    const TIMEOUT: Duration = Duration::from_secs(5);
    /// Default of `upload_wait`: enough for most results, and not so long that somebody wonders.
    const UPLOAD_WAIT: Duration = Duration::from_secs(2);
    /// Default of `retry_count`.
    const RETRIES: u64 = 2;

    /// Returns the remote cache of `config`, if there is one to be used; `mode` is what this call wants instead.
    ///
    /// # Errors
    /// In one sentence, if one is named and must not be used.
    pub(crate) fn find(config: &Config, mode: Option<Mode>) -> Result<Option<Self>, String> {
        let mode = mode.unwrap_or_else(|| Mode::named(config.word(Id::RemoteMode)));
        if mode == Mode::Off {
            return Ok(None);
        }
        let Some(Value::Text(url)) = config.given(Id::RemoteUrl) else {
            return match &config.stranger {
                None => Ok(None),
                Some((url, from)) => Err(format!(
                    "the remote cache {url} that {from} names is not used, because a project could name anybody's; if you trust \
                     it, set VITTE_REMOTE_CACHE_TRUSTED={url}, or `trusted` in [remote-cache] of your own file"
                )),
            };
        };
        let (from, token) = (config.origin(Id::RemoteUrl), config.origin(Id::RemoteToken));
        let secret = match config.given(Id::RemoteToken) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        if secret.is_some() && !config.trusts(url) && !stands_beside(&token, &from) {
            return Err(format!(
                "the remote cache {url} is not used, because the token of {token} may be meant for another one; set \
                 VITTE_REMOTE_CACHE_TOKEN, or VITTE_REMOTE_CACHE_TRUSTED={url}"
            ));
        }
        Ok(Some(Self {
            url: url.clone(),
            token: secret,
            backend: backend(config.word(Id::RemoteBackend)),
            mode,
            timeout: config.duration(Id::RemoteTimeout).unwrap_or(Self::TIMEOUT),
            retries: config.number(Id::RemoteRetryCount).unwrap_or(Self::RETRIES) as u32,
            compression: config.word(Id::RemoteCompression).to_owned(),
            ca: config.file(Id::RemoteCa).map(Path::to_owned),
            upload_wait: config.duration(Id::RemoteUploadWait).unwrap_or(Self::UPLOAD_WAIT),
        }))
    }
}

fn backend(word: &str) -> Backend {
    match word {
        "generic" => Backend::Generic,
        "bazel" => Backend::Bazel,
        _ => Backend::Native,
    }
}

/// Returns whether a token from `token` is meant for an address from `url`: they stand in one file, or the token is of this call.
fn stands_beside(token: &Origin, url: &Origin) -> bool {
    match (token, url) {
        (Origin::File { path: token, .. }, Origin::File { path: url, .. }) => token == url,
        (Origin::File { .. }, _) => false,
        _ => true,
    }
}
