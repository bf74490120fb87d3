//! Every setting, once: the configuration files, the environment, `config` and the page of the manual read this table.

mod address;
mod remote;
mod server;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use cache_core::Namespace;
use cache_run::human;

pub(crate) use address::Address;

/// Names a setting. The order is that of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Dir,
    TrustDir,
    Layout,
    Namespace,
    MaxSize,
    MaxEntries,
    MaxAgeDays,
    FreeSpace,
    LowWater,
    Ttl,
    Mode,
    MaxEntry,
    MinTime,
    Wait,
    Status,
    Color,
    Session,
    Group,
    AccessLog,
    SigningKeyFile,
    Unsigned,
    TrustConfig,
    RemoteUrl,
    RemoteToken,
    RemoteTrusted,
    RemoteBackend,
    RemoteMode,
    RemoteTimeout,
    RemoteRetryCount,
    RemoteCompression,
    RemoteCa,
    RemoteUploadWait,
    ServerPort,
    ServerListen,
    ServerMemory,
    ServerTokens,
    ServerAnonymous,
    ServerInsecureAnonymous,
    ServerTlsCert,
    ServerTlsKey,
    ServerTlsClientCa,
    ServerLog,
    ServerLogLevel,
    ServerDisable,
    ServerMaxValue,
    ServerMaxConnections,
    ServerMaxRequests,
    ServerSpoolDir,
    ServerSpoolSize,
    ServerHeaderTimeout,
    ServerIdleTimeout,
    ServerBodyTimeout,
    ServerDrainTimeout,
    ServerRemoteUrl,
    ServerRemoteToken,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) id: Id,
    /// Its key in a configuration file, and its name in messages. What is before a dot is the name of its table.
    pub(crate) key: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// Its flag, if it has one.
    pub(crate) flag: Option<&'static str>,
    pub(crate) kind: Kind,
    /// What holds if nobody says anything, in words.
    pub(crate) default: &'static str,
    /// Which files may set it.
    pub(crate) files: Files,
    /// What it means, in one sentence.
    pub(crate) doc: &'static str,
}

/// Which configuration files may set something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// All.
    Any,
    /// Only the user's own: whoever clones a project has not read its file.
    User,
    /// None: it is about this call, or about whether files are read.
    None,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// The path of a file; or `none`.
    File,
    Switch,
    Namespace,
    /// Bytes; `none` if the flag is set.
    Size {
        none: bool,
    },
    /// A number from 1; or `none`.
    Count,
    /// A number of days from 1; or `none`.
    Days,
    Percent,
    /// How often something is repeated, from 0 to 10.
    Repeats,
    /// The address of a server.
    Url,
    /// What is shown nowhere, unless it only names the variable that holds it.
    Secret,
    /// The number of a port.
    Port,
    /// Where a server listens: one or more, in a file a list.
    Addresses,
    /// Words, in a file a list.
    Words,
    /// A time; `none` if the flag is set.
    Duration {
        none: bool,
    },
    Choice(&'static [&'static str]),
    Text,
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Path(PathBuf),
    Switch(bool),
    Number(u64),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
}

/// All settings.
pub(crate) const TABLE: &[Setting] = &join::<{ COMMON.len() + remote::TABLE.len() + server::TABLE.len() }>([
    COMMON,
    remote::TABLE,
    server::TABLE,
]);

const fn join<const N: usize>(tables: [&[Setting]; 3]) -> [Setting; N] {
    let mut all = [tables[0][0]; N];
    let (mut index, mut table, mut row) = (0, 0, 0);
    while index < N {
        if row == tables[table].len() {
            (table, row) = (table + 1, 0);
            continue;
        }
        all[index] = tables[table][row];
        (index, row) = (index + 1, row + 1);
    }
    all
}

/// Those that are in no table of a configuration file.
const COMMON: &[Setting] = &[
    Setting {
        id: Id::Dir,
        key: "dir",
        env: "VITTE_CACHE_DIR",
        flag: Some("--dir"),
        kind: Kind::Directory,
        default: "`vitte-cache` in the user's cache directory",
        files: Files::Any,
        doc: "Directory of the cache. In a project file it is relative to the project and must lie in it.",
    },
    Setting {
        id: Id::TrustDir,
        key: "trust_dir",
        env: "VITTE_CACHE_TRUST_DIR",
        flag: Some("--trust-dir"),
        kind: Kind::Switch,
        default: "false",
        files: Files::User,
        doc: "Use the directory even if it belongs to another user or everybody may write to it.",
    },
    Setting {
        id: Id::Layout,
        key: "layout",
        env: "VITTE_CACHE_LAYOUT",
        flag: None,
        kind: Kind::Choice(&["auto", "files", "segments"]),
        default: "auto",
        files: Files::User,
        doc: "How the cache lies in its directory. `auto` means what is there already, and for a new cache segments if \
              the file system suits them; `vitte-cache migrate` moves from one to the other.",
    },
    Setting {
        id: Id::Namespace,
        key: "namespace",
        env: "VITTE_CACHE_NAMESPACE",
        flag: Some("--namespace"),
        kind: Kind::Namespace,
        default: "default",
        files: Files::Any,
        doc: "Name that keeps entries apart from others in the same directory. `auto` is no such name: in a job of a CI \
              system it means [the repository that the job builds](../ci/README.md), and elsewhere `default`.",
    },
    Setting {
        id: Id::MaxSize,
        key: "max_size",
        env: "VITTE_CACHE_MAX_SIZE",
        flag: Some("--max-size"),
        kind: Kind::Size { none: true },
        default: "the smaller of 20 GB and a tenth of the disk",
        files: Files::Any,
        doc: "Bytes that the cache takes on disk at most.",
    },
    Setting {
        id: Id::MaxEntries,
        key: "max_entries",
        env: "VITTE_CACHE_MAX_ENTRIES",
        flag: None,
        kind: Kind::Count,
        default: "none",
        files: Files::Any,
        doc: "Entries that the cache holds at most.",
    },
    Setting {
        id: Id::MaxAgeDays,
        key: "max_age_days",
        env: "VITTE_CACHE_MAX_AGE_DAYS",
        flag: None,
        kind: Kind::Days,
        default: "30",
        files: Files::Any,
        doc: "What was not used for this many days goes.",
    },
    Setting {
        id: Id::FreeSpace,
        key: "free_space",
        env: "VITTE_CACHE_FREE_SPACE",
        flag: None,
        kind: Kind::Size { none: true },
        default: "the smaller of 1 GB and a fiftieth of the disk",
        files: Files::Any,
        doc: "Bytes that stay free on the disk whatever else is allowed.",
    },
    Setting {
        id: Id::LowWater,
        key: "low_water",
        env: "VITTE_CACHE_LOW_WATER",
        flag: None,
        kind: Kind::Percent,
        default: "90",
        files: Files::Any,
        doc: "When a limit is met, eviction goes on down to this percentage of it.",
    },
    Setting {
        id: Id::Ttl,
        key: "ttl",
        env: "VITTE_CACHE_TTL",
        flag: None,
        kind: Kind::Duration { none: true },
        default: "none",
        files: Files::Any,
        doc: "How long an entry is valid if the call that stores it does not say.",
    },
    Setting {
        id: Id::Mode,
        key: "mode",
        env: "VITTE_CACHE",
        flag: Some("--refresh"),
        kind: Kind::Choice(&["off", "ro", "rw", "refresh"]),
        default: "rw",
        files: Files::Any,
        doc: "What `run` may do: nothing, only look up, look up and store, or run in any case and store.",
    },
    Setting {
        id: Id::MaxEntry,
        key: "max_entry",
        env: "VITTE_CACHE_MAX_ENTRY",
        flag: Some("--max-entry"),
        kind: Kind::Size { none: false },
        default: "2 GB",
        files: Files::Any,
        doc: "Largest result of a run that is stored.",
    },
    Setting {
        id: Id::MinTime,
        key: "min_time",
        env: "VITTE_CACHE_MIN_TIME",
        flag: Some("--min-time"),
        kind: Kind::Duration { none: false },
        default: "0s",
        files: Files::Any,
        doc: "Results of commands that took less are not stored.",
    },
    Setting {
        id: Id::Wait,
        key: "wait",
        env: "VITTE_CACHE_WAIT",
        flag: Some("--wait"),
        kind: Kind::Duration { none: false },
        default: "10m",
        files: Files::Any,
        doc: "How long to wait for another process that runs the same command.",
    },
    Setting {
        id: Id::Status,
        key: "status",
        env: "VITTE_CACHE_STATUS",
        flag: Some("--status"),
        kind: Kind::Choice(&["auto", "always", "never", "json"]),
        default: "auto",
        files: Files::Any,
        doc: "The status line of `run`: unless `-q` is given, always, never, or as JSON.",
    },
    Setting {
        id: Id::Color,
        key: "color",
        env: "VITTE_CACHE_COLOR",
        flag: Some("--color"),
        kind: Kind::Choice(&["auto", "always", "never"]),
        default: "auto",
        files: Files::Any,
        doc: "When colours are used. `auto` means on terminals, and obeys `NO_COLOR` and `CLICOLOR_FORCE`.",
    },
    Setting {
        id: Id::Session,
        key: "session",
        env: "VITTE_CACHE_SESSION",
        flag: None,
        kind: Kind::Text,
        default: "the CI job, else the terminal",
        files: Files::None,
        doc: "Which runs belong together in `stats --session`.",
    },
    Setting {
        id: Id::Group,
        key: "group",
        env: "VITTE_CACHE_GROUP",
        flag: None,
        kind: Kind::Switch,
        default: "false",
        files: Files::Any,
        doc: "Fold what commands write in the logs of GitHub Actions, GitLab CI, Buildkite and Azure Pipelines, by lines on \
              standard error.",
    },
    Setting {
        id: Id::AccessLog,
        key: "access_log",
        env: "VITTE_CACHE_ACCESS_LOG",
        flag: None,
        kind: Kind::File,
        default: "none",
        files: Files::User,
        doc: "File that every access to the cache is recorded in, for `simulate`; two generations of 64 MiB are kept.",
    },
    Setting {
        id: Id::SigningKeyFile,
        key: "signing_key_file",
        env: "VITTE_CACHE_SIGNING_KEY_FILE",
        flag: None,
        kind: Kind::File,
        default: "none",
        files: Files::User,
        doc: "File with the keys that results of `run` are signed with, one in a line: the first signs, and what any of \
              them signed is used. The variable `VITTE_SIGNING_KEY`, which holds keys itself, comes before it. Without \
              either, results are not signed.",
    },
    Setting {
        id: Id::Unsigned,
        key: "unsigned",
        env: "VITTE_CACHE_UNSIGNED",
        flag: None,
        kind: Kind::Choice(&["refuse", "accept"]),
        default: "refuse",
        files: Files::User,
        doc: "Whether a `run` that signs uses results without a signature.",
    },
    Setting {
        id: Id::TrustConfig,
        key: "trust_config",
        env: "VITTE_CACHE_TRUST_CONFIG",
        flag: Some("--trust-config"),
        kind: Kind::Switch,
        default: "false",
        files: Files::None,
        doc: "Obey a configuration file that others could have written.",
    },
];

impl Id {
    /// Returns the setting of this name.
    pub(crate) fn setting(self) -> &'static Setting {
        &TABLE[self as usize]
    }
}

impl Kind {
    /// Returns the value that `text` means.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let wrong = || format!("`{text}` is not allowed: write {}", self.allowed());
        let number = |min: u64, max: u64| {
            let number = text.trim().parse().ok().filter(|number| (min..=max).contains(number));
            number.map(Value::Number).ok_or_else(wrong)
        };
        if text.trim() == "none" && self.takes_none() {
            return Ok(Value::None);
        }
        match self {
            Self::Directory | Self::File if text.is_empty() => Err(wrong()),
            Self::Directory | Self::File => Ok(Value::Path(text.into())),
            Self::Switch => match text.trim() {
                "1" | "true" | "yes" | "on" => Ok(Value::Switch(true)),
                "0" | "false" | "no" | "off" | "" => Ok(Value::Switch(false)),
                _ => Err(wrong()),
            },
            Self::Namespace => match Namespace::new(text) {
                Ok(namespace) => Ok(Value::Text(namespace.into())),
                Err(error) => Err(error.to_string()),
            },
            Self::Size { none } => match human::parse_size(text) {
                // A limit of nothing would empty the cache; in other programs zero means no limit. So neither.
                Ok(0) if none => Err(wrong()),
                Ok(bytes) => Ok(Value::Number(bytes)),
                Err(_) => Err(wrong()),
            },
            Self::Count | Self::Days => number(1, u64::MAX),
            Self::Percent => number(1, 100),
            Self::Repeats => number(0, 10),
            Self::Url => remote::parse_url(text).map(Value::Text),
            Self::Port => number(0, u64::from(u16::MAX)),
            Self::Addresses | Self::Words => self.parse_list(text.split(',')),
            Self::Duration { .. } => human::parse_duration(text).map(Value::Duration).map_err(|_| wrong()),
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(_) => Err(wrong()),
            Self::Text | Self::Secret => Ok(Value::Text(text.to_owned())),
        }
    }

    /// Returns the value that the texts of a list mean together.
    pub(crate) fn parse_list<'a>(self, texts: impl IntoIterator<Item = &'a str>) -> Result<Value, String> {
        let words = texts.into_iter().map(str::trim).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_owned).collect();
        if self == Self::Addresses
            && let Some(wrong) = words.iter().find(|word| Address::parse(word).is_none())
        {
            return Err(format!("`{wrong}` is not allowed: write {}", self.allowed()));
        }
        Ok(Value::List(words))
    }

    /// Returns the value of an environment variable, which for paths need not be Unicode.
    pub(crate) fn parse_os(self, text: &OsStr) -> Result<Value, String> {
        match text.to_str() {
            None if matches!(self, Self::Directory | Self::File) => Ok(Value::Path(text.into())),
            _ => self.parse(&text.to_string_lossy()),
        }
    }

    fn takes_none(self) -> bool {
        matches!(
            self,
            Self::File | Self::Size { none: true } | Self::Count | Self::Days | Self::Duration { none: true }
        )
    }

    /// Returns in words what values are allowed.
    pub(crate) fn allowed(self) -> String {
        let mut words = match self {
            Self::Directory => "the path of a directory".to_owned(),
            Self::File => "the path of a file".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Namespace => "1 to 100 characters of A-Z a-z 0-9 . _ -".to_owned(),
            Self::Size { .. } => "a size such as 500MB or 1.5GiB".to_owned(),
            Self::Count => "a number from 1".to_owned(),
            Self::Days => "a number of days from 1".to_owned(),
            Self::Percent => "a percentage from 1 to 100".to_owned(),
            Self::Repeats => "a number from 0 to 10".to_owned(),
            Self::Url => "an address such as https://cache.example.com/ns/team".to_owned(),
            Self::Secret => "`${NAME}` for what the variable NAME has, or the secret itself".to_owned(),
            Self::Port => "a number from 0 to 65535".to_owned(),
            Self::Addresses => {
                "addresses such as 127.0.0.1, 0.0.0.0:8080, [::1]:8080 or unix:/run/cache.sock".to_owned()
            }
            Self::Words => "a text with commas between the words, or a list of texts".to_owned(),
            Self::Duration { .. } => "a duration such as 90s, 10m or 7d".to_owned(),
            Self::Choice(choices) => match choices.split_last() {
                Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
                None => String::new(),
            },
            Self::Text => "any text".to_owned(),
        };
        if self.takes_none() {
            words.push_str(", or none");
        }
        words
    }

    /// Returns `value` as a person would write it.
    pub(crate) fn show(self, value: &Value) -> String {
        match (self, value) {
            (_, Value::None) => "none".to_owned(),
            (_, Value::Path(path)) => path.display().to_string(),
            (_, Value::Switch(on)) => on.to_string(),
            (Self::Size { .. }, Value::Number(bytes)) => human::size(*bytes),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Duration(duration)) => exact(*duration),
            (Self::Secret, Value::Text(text)) => remote::masked(text),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::List(words)) => words.join(","),
        }
    }
}

/// Returns `duration` in a form that means exactly the same when it is read again.
fn exact(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let fit = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    match fit {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_follows_its_own_rules() {
        for (index, setting) in TABLE.iter().enumerate() {
            assert_eq!(setting.id as usize, index, "{}", setting.key);
            let pattern = match setting.key.split_once('.') {
                None => format!("VITTE_CACHE_{}", setting.key.to_uppercase()),
                Some((table, key)) => format!("VITTE_{}_{key}", table.replace('-', "_")).to_uppercase(),
            };
            let special = matches!(setting.env, "VITTE_CACHE" | "VITTE_LOG");
            assert!(setting.env == pattern || special, "{}", setting.env);
            assert!(setting.doc.ends_with('.'), "{}", setting.key);
        }
    }

    #[test]
    fn values() {
        let size = Kind::Size { none: true };
        assert_eq!(size.parse("2 GB"), Ok(Value::Number(2_000_000_000)));
        assert_eq!(size.parse("none"), Ok(Value::None));
        assert_eq!(
            size.parse("0"),
            Err("`0` is not allowed: write a size such as 500MB or 1.5GiB, or none".to_owned())
        );
        assert_eq!(Kind::Size { none: false }.parse("0"), Ok(Value::Number(0)));
        assert_eq!(Kind::Switch.parse("yes"), Ok(Value::Switch(true)));
        assert!(Kind::Switch.parse("perhaps").is_err() && Kind::Percent.parse("0").is_err());
        assert!(Kind::Count.parse("0").is_err() && Kind::Days.parse("-1").is_err());
        assert_eq!(Kind::Choice(&["a", "b"]).parse("c"), Err("`c` is not allowed: write a or b".to_owned()));
        assert!(Kind::Directory.parse_os(OsStr::new("")).is_err());
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["90s", "10m", "36h", "7d", "1500ms", "0s"] {
            let kind = Kind::Duration { none: false };
            assert_eq!(kind.show(&kind.parse(text).unwrap()), text);
        }
    }
}
