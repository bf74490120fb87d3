//! The environment of a command: what it may see, and what of that is part of the key.
//!
//! By default it is strict, as Bazel's `--incompatible_strict_action_env` and Turborepo's strict mode are: a command
//! sees the variables of [`SAFE`] and those that are declared, and nothing else, so that nothing else can decide what
//! it makes. Unlike both, a safe variable that changes what programs write is part of the key here.

mod secret;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

pub use secret::{REDACTED, looks_secret, redact_args};

/// Variables that configure the cache itself. They reach the command, which may use the cache too, and are part of a
/// key only if one is declared by its full name.
const OWN_PREFIX: &str = "VITTE_CACHE_";

/// A variable that a command sees without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeVariable {
    /// Its name; with a `*` at the end, all that begin so.
    pub name: &'static str,
    /// Whether its value is part of the key.
    pub keyed: bool,
    /// Why.
    pub why: &'static str,
}

const fn passed(name: &'static str, why: &'static str) -> SafeVariable {
    SafeVariable { name, keyed: false, why }
}

const fn keyed(name: &'static str, why: &'static str) -> SafeVariable {
    SafeVariable { name, keyed: true, why }
}

const WHERE: &str = "says where something of the user's is, not what to make";
const WHO: &str = "says who runs the command, not what to make";
const REACH: &str = "says how to reach the network or a service";
const LOCALE: &str = "decides messages, sorting, number and date formats";
const SYSTEM: &str = "Windows programs do not start or find the system without it";
const LOADER: &str = "decides which libraries are loaded; many programs do not start without it";
const FINDS: &str =
    "tells a version manager where its tools are; which one it takes is part of the tool's identity";
const CHOOSES: &str = "chooses the version of a tool";

/// The variables that a command sees without being asked for. A variable is on the list without being part of the key
/// only if it says where things are or who asks. Variables for colours (`NO_COLOR`, `FORCE_COLOR`, `COLORTERM`) and
/// `CI` are not on it: they change what is written, and being part of the key would part desk and CI.
pub const SAFE: &[SafeVariable] = &[
    passed("PATH", "the program that it leads to is identified by its content"),
    passed("HOME", WHERE),
    passed("PWD", "follows from the working directory, which is part of the key relative to the base"),
    passed("SHELL", WHERE),
    passed("USER", WHO),
    passed("LOGNAME", WHO),
    passed("USERNAME", WHO),
    passed("TERM", "output is captured and not shown on a terminal"),
    passed("TMPDIR", "temporary files do not outlive the command"),
    passed("TMP", "temporary files do not outlive the command"),
    passed("TEMP", "temporary files do not outlive the command"),
    passed("XDG_*", WHERE),
    keyed("LANG", LOCALE),
    keyed("LANGUAGE", LOCALE),
    keyed("LC_*", LOCALE),
    keyed("TZ", "decides dates that end up in output"),
    keyed("SOURCE_DATE_EPOCH", "is the date that reproducible builds write"),
    keyed("LD_LIBRARY_PATH", LOADER),
    keyed("LD_PRELOAD", LOADER),
    keyed("DYLD_*", LOADER),
    passed("SSH_AUTH_SOCK", REACH),
    passed("HTTP_PROXY", REACH),
    passed("HTTPS_PROXY", REACH),
    passed("ALL_PROXY", REACH),
    passed("NO_PROXY", REACH),
    passed("http_proxy", REACH),
    passed("https_proxy", REACH),
    passed("all_proxy", REACH),
    passed("no_proxy", REACH),
    passed("SSL_CERT_FILE", REACH),
    passed("SSL_CERT_DIR", REACH),
    passed("CARGO_HOME", WHERE),
    passed("RUSTUP_HOME", FINDS),
    passed("PYENV_ROOT", FINDS),
    passed("RBENV_ROOT", FINDS),
    passed("NODENV_ROOT", FINDS),
    passed("NVM_DIR", FINDS),
    passed("ASDF_DIR", FINDS),
    passed("ASDF_DATA_DIR", FINDS),
    passed("MISE_DATA_DIR", FINDS),
    passed("VOLTA_HOME", FINDS),
    keyed("RUSTUP_TOOLCHAIN", CHOOSES),
    keyed("PYENV_VERSION", CHOOSES),
    keyed("RBENV_VERSION", CHOOSES),
    keyed("NODENV_VERSION", CHOOSES),
    keyed("JAVA_HOME", CHOOSES),
    passed("VITTE_CACHE_*", "configures the cache for commands that use it too"),
    passed("ALLUSERSPROFILE", SYSTEM),
    passed("APPDATA", SYSTEM),
    passed("COMSPEC", SYSTEM),
    passed("COMMONPROGRAMFILES*", SYSTEM),
    passed("COMPUTERNAME", SYSTEM),
    passed("HOMEDRIVE", SYSTEM),
    passed("HOMEPATH", SYSTEM),
    passed("LOCALAPPDATA", SYSTEM),
    passed("NUMBER_OF_PROCESSORS", SYSTEM),
    passed("OS", SYSTEM),
    passed("PATHEXT", SYSTEM),
    passed("PROCESSOR_*", SYSTEM),
    passed("PROGRAMDATA", SYSTEM),
    passed("PROGRAMFILES*", SYSTEM),
    passed("PSMODULEPATH", SYSTEM),
    passed("PUBLIC", SYSTEM),
    passed("SYSTEMDRIVE", SYSTEM),
    passed("SYSTEMROOT", SYSTEM),
    passed("USERPROFILE", SYSTEM),
    passed("WINDIR", SYSTEM),
];

/// How much of the surrounding environment a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvMode {
    /// What is declared or passed, and [`SAFE`].
    #[default]
    Strict,
    /// Everything. Only what is declared, and what of [`SAFE`] is keyed, is part of the key.
    Loose,
}

/// A variable that is part of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvValue {
    /// Its name.
    pub name: OsString,
    /// Its value; nothing if it was declared and is not set.
    pub value: Option<OsString>,
}

/// What a command sees of the environment, and what of that is part of the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// All that the command sees, sorted by name, each name once.
    pub child: Vec<(OsString, OsString)>,
    /// All that is part of the key, sorted by name, each name once.
    pub keyed: Vec<EnvValue>,
}

/// Says that a declaration is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// It is not `NAME`, `PREFIX*` or `NAME=value`.
    #[error("`{0}` declares no environment variable; write NAME, PREFIX* or, to set one, NAME=value")]
    BadDeclaration(String),
    /// `--pass-env` was given a value.
    #[error(
        "`{0}` sets a value, which decides what the command makes; write -e {0} to make it part of the key"
    )]
    PassedValue(String),
}

/// What a declaration names.
enum Names<'a> {
    One(&'a OsStr),
    Prefix(&'a str),
    Set(OsString, OsString),
}

impl<'a> Names<'a> {
    fn parse(text: &'a OsStr) -> Result<Self, EnvError> {
        let fail = || EnvError::BadDeclaration(shown(text));
        let bytes = text.as_encoded_bytes();
        if bytes.contains(&0) {
            return Err(fail());
        }
        if let Some(at) = bytes.iter().position(|&byte| byte == b'=') {
            let (name, value) = split_at_equals(text, at).ok_or_else(fail)?;
            let is_name = at > 0 && !name.as_encoded_bytes().contains(&b'*');
            return if is_name { Ok(Self::Set(name, value)) } else { Err(fail()) };
        }
        match bytes.iter().position(|&byte| byte == b'*') {
            None if bytes.is_empty() => Err(fail()),
            None => Ok(Self::One(text)),
            Some(at) if at + 1 == bytes.len() => {
                text.to_str().and_then(|text| text.strip_suffix('*')).map(Self::Prefix).ok_or_else(fail)
            }
            Some(_) => Err(fail()),
        }
    }
}

/// Returns a declaration as it may be shown: without the value, which may be a secret.
fn shown(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    text.split_once('=').map_or(text.to_string(), |(name, _)| format!("{name}=…"))
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere names and values must be Unicode")]
fn split_at_equals(text: &OsStr, at: usize) -> Option<(OsString, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    Some((OsStr::from_bytes(&bytes[..at]).into(), OsStr::from_bytes(&bytes[at + 1..]).into()))
}

#[cfg(not(unix))]
fn split_at_equals(text: &OsStr, _at: usize) -> Option<(OsString, OsString)> {
    text.to_str()?.split_once('=').map(|(name, value)| (name.into(), value.into()))
}

/// Returns `name` in the form in which names are compared: without case on Windows.
fn folded(name: &OsStr) -> OsString {
    if cfg!(windows) { name.to_ascii_uppercase() } else { name.to_os_string() }
}

/// Returns whether two names are the same, without making copies: this is asked for every variable and every safe name.
fn same_name(a: &[u8], b: &[u8]) -> bool {
    if cfg!(windows) { a.eq_ignore_ascii_case(b) } else { a == b }
}

fn begins_with(name: &OsStr, prefix: &str) -> bool {
    let name = name.as_encoded_bytes();
    name.get(..prefix.len()).is_some_and(|head| same_name(head, prefix.as_bytes()))
}

/// Returns the entry of [`SAFE`] for the variable `name`.
fn safe(name: &OsStr) -> Option<&'static SafeVariable> {
    SAFE.iter().find(|safe| match safe.name.strip_suffix('*') {
        Some(prefix) => begins_with(name, prefix),
        None => same_name(name.as_encoded_bytes(), safe.name.as_bytes()),
    })
}

impl Environment {
    /// Returns what a command sees of `vars`. `declared` are the arguments of `-e` (`NAME`, `PREFIX*`, `NAME=value`):
    /// passed and part of the key; `pass` those of `--pass-env` (`NAME`, `PREFIX*`): passed and not part of the key.
    /// What is both is part of the key. Of two values for one name the later one counts.
    ///
    /// # Errors
    /// If a declaration is none.
    pub fn new<D, P>(
        mode: EnvMode,
        declared: D,
        pass: P,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvError>
    where
        D: IntoIterator<Item: AsRef<OsStr>>,
        P: IntoIterator<Item: AsRef<OsStr>>,
    {
        let vars: BTreeMap<OsString, (OsString, OsString)> =
            vars.into_iter().map(|(name, value)| (folded(&name), (name, value))).collect();
        let mut child = BTreeMap::new();
        let mut key = BTreeMap::new();
        for (folded, (name, value)) in &vars {
            let safe = safe(name);
            if mode == EnvMode::Loose || safe.is_some() {
                child.insert(folded.clone(), (name.clone(), value.clone()));
            }
            if safe.is_some_and(|safe| safe.keyed) {
                key.insert(folded.clone(), (name.clone(), Some(value.clone())));
            }
        }
        for text in pass {
            let text = text.as_ref();
            let wanted = Names::parse(text)?;
            if let Names::Set(..) = wanted {
                return Err(EnvError::PassedValue(shown(text)));
            }
            for (folded, (name, value)) in wanted.select(&vars) {
                child.insert(folded.clone(), (name.clone(), value.clone()));
            }
        }
        for text in declared {
            let wanted = Names::parse(text.as_ref())?;
            for (folded, (name, value)) in wanted.select(&vars) {
                child.insert(folded.clone(), (name.clone(), value.clone()));
                if matches!(wanted, Names::One(_)) || !begins_with(name, OWN_PREFIX) {
                    key.insert(folded.clone(), (name.clone(), Some(value.clone())));
                }
            }
            match wanted {
                Names::One(name) if !vars.contains_key(&folded(name)) => {
                    key.entry(folded(name)).or_insert_with(|| (name.to_os_string(), None));
                }
                Names::Set(name, value) => {
                    child.insert(folded(&name), (name.clone(), value.clone()));
                    key.insert(folded(&name), (name, Some(value)));
                }
                Names::One(_) | Names::Prefix(_) => {}
            }
        }
        let keyed = key.into_values().map(|(name, value)| EnvValue { name, value }).collect();
        Ok(Self { child: child.into_values().collect(), keyed })
    }

    /// Returns the value of `name` that the command sees.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let wanted = name.as_bytes();
        let found = self.child.iter().find(|(name, _)| same_name(name.as_encoded_bytes(), wanted));
        found.map(|(_, value)| value.as_os_str())
    }
}

impl Names<'_> {
    /// Returns the variables that are meant.
    fn select<'v>(
        &self,
        vars: &'v BTreeMap<OsString, (OsString, OsString)>,
    ) -> Vec<(&'v OsString, &'v (OsString, OsString))> {
        match self {
            Self::One(name) => vars.get_key_value(&folded(name)).into_iter().collect(),
            Self::Prefix(prefix) => vars.iter().filter(|(_, (name, _))| begins_with(name, prefix)).collect(),
            Self::Set(..) => Vec::new(),
        }
    }
}
