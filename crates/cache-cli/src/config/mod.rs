//! The settings in force, each with where it comes from: flag, environment, project file, user's file, default.

mod dirs;
mod file;
mod page;
mod trust;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::Namespace;
use cache_run::project::RunTable;

use crate::args::Globals;
use crate::ci::Job;
use crate::failure::{Failure, Result};
use crate::settings::{Id, Setting, TABLE, Value};

pub(crate) use file::ConfigFile;
pub(crate) use page::markdown;
#[cfg(feature = "server")]
pub(crate) use trust::{Content, read as read_trusted};

/// The name of a project's file, below its root.
pub(crate) const PROJECT_FILE: &str = ".vitte/config.toml";

/// The name of the file with the tokens of the server, beside the user's own file.
const TOKENS_FILE: &str = "tokens.json";

/// The namespace that stands for the repository that a CI job builds.
const AUTO_NAMESPACE: &str = "auto";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Env(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// All settings, and the runs that the project file describes.
#[derive(Debug)]
pub(crate) struct Config {
    /// In the order of [`TABLE`]; nothing where the default holds.
    values: Vec<Option<(Value, Origin)>>,
    project: Option<ConfigFile>,
    /// A project file that is not obeyed, and why.
    untrusted: Option<(PathBuf, String)>,
    /// The address of a remote cache that the project's file names although nobody trusts it, and where.
    pub(crate) stranger: Option<(String, Origin)>,
    /// What the user should know, each in one sentence.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Finds and reads everything.
    ///
    /// # Errors
    /// If a value or a file is wrong: what it was meant to be cannot be guessed.
    pub(crate) fn load(globals: &Globals) -> Result<Self> {
        let mut config = Self::empty();
        config.take_environment(|name| std::env::var_os(name))?;
        config.take_flags(globals);
        let trusting = config.switch(Id::TrustConfig);
        let above = config.values[Id::RemoteUrl as usize].is_some();
        config.take_project(globals.config.as_deref(), trusting)?;
        let named = config.values[Id::RemoteUrl as usize].clone().filter(|_| !above);
        config.take_user(trusting, named)?;
        Ok(config)
    }

    fn empty() -> Self {
        Self {
            values: vec![None; TABLE.len()],
            project: None,
            untrusted: None,
            stranger: None,
            warnings: Vec::new(),
        }
    }

    /// As [`load`](Self::load) for a server, which belongs to the machine and not to a project: the file is the one that is
    /// named, or else the user's. A server whose file is not to be obeyed would not be the one that its owner wants.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if somebody else could have written the file.
    #[cfg(feature = "server")]
    pub(crate) fn load_for_server(globals: &Globals, flags: Vec<(Id, Value)>) -> Result<Self> {
        let mut config = Self::empty();
        config.take_environment(|name| std::env::var_os(name))?;
        config.take_flags(globals);
        for (id, value) in flags {
            let value = match value {
                Value::Path(path) => Value::Path(absolute(&path)?),
                other => other,
            };
            config.values[id as usize] = Some((value, Origin::Flag(id.setting().flag.unwrap_or_default())));
        }
        let trusting = config.switch(Id::TrustConfig);
        let Some(path) = Self::server_file(globals) else { return Ok(config) };
        let text = config.read(&path, trusting, globals.config.is_some())?;
        if let Some((path, why)) = &config.untrusted {
            return Err(Failure::usage(format_args!("{} does not count because {why}", path.display())));
        }
        if let Some(text) = text {
            config.take_file(&ConfigFile::parse(path, &text, file::Role::User).map_err(Failure::usage)?);
        }
        Ok(config)
    }

    /// Returns the file that a server is configured by, whether it is there or not.
    #[cfg(feature = "server")]
    pub(crate) fn server_file(globals: &Globals) -> Option<PathBuf> {
        match &globals.config {
            Some(path) => std::path::absolute(path).ok(),
            None => dirs::user_config(),
        }
    }

    fn take_environment(&mut self, env: impl Fn(&str) -> Option<OsString>) -> Result {
        for setting in TABLE {
            // Set to nothing means not set: `VITTE_CACHE_DIR= cmd` is how shells switch a variable off.
            let Some(text) = env(setting.env).filter(|text| !text.is_empty()) else { continue };
            let value = setting.kind.parse_os(&text);
            let value = value.map_err(|error| Failure::usage(format_args!("{}: {error}", setting.env)))?;
            let value = match value {
                Value::Path(path) => Value::Path(absolute(&path)?),
                other => other,
            };
            self.values[setting.id as usize] = Some((value, Origin::Env(setting.env)));
        }
        Ok(())
    }

    fn take_flags(&mut self, globals: &Globals) {
        let mut set = |id: Id, value: Option<Value>| {
            if let Some(value) = value {
                self.values[id as usize] = Some((value, Origin::Flag(id.setting().flag.unwrap_or_default())));
            }
        };
        let dir = globals.dir.as_ref().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
        set(Id::Dir, dir.map(Value::Path));
        set(Id::Namespace, globals.namespace.as_ref().map(|name| Value::Text(name.to_string())));
        set(Id::Color, globals.color.clone().map(Value::Text));
        set(Id::TrustDir, globals.trust_dir.then_some(Value::Switch(true)));
        set(Id::TrustConfig, globals.trust_config.then_some(Value::Switch(true)));
    }

    fn take_project(&mut self, named: Option<&Path>, trusting: bool) -> Result {
        let path = match named {
            Some(path) => absolute(path)?,
            None => match dirs::find_upward(PROJECT_FILE) {
                Some(path) => path,
                None => return Ok(()),
            },
        };
        let Some(text) = self.read(&path, trusting, named.is_some())? else { return Ok(()) };
        let file = ConfigFile::parse(path, &text, file::Role::Project).map_err(Failure::usage)?;
        self.take_file(&file);
        self.project = Some(file);
        Ok(())
    }

    /// Takes the user's own file; `named` is the address of a remote cache that the project's file gave.
    fn take_user(&mut self, trusting: bool, named: Option<(Value, Origin)>) -> Result {
        let text = match dirs::user_config() {
            Some(path) => self.read(&path, trusting, false)?.map(|text| (path, text)),
            None => None,
        };
        let file = text.map(|(path, text)| ConfigFile::parse(path, &text, file::Role::User)).transpose();
        self.take_user_file(file.map_err(Failure::usage)?.as_ref(), named);
        Ok(())
    }

    fn take_user_file(&mut self, file: Option<&ConfigFile>, named: Option<(Value, Origin)>) {
        if let Some(file) = file {
            self.take_file(file);
        }
        // Only now it is known whom the user trusts. Whoever clones a project has not read its file, and what comes from a
        // cache is as good as who runs it; so one that is not trusted is as if nobody had named it.
        let Some((Value::Text(url), origin)) = named else { return };
        if self.trusts(&url) {
            return;
        }
        self.values[Id::RemoteUrl as usize] = None;
        if let Some(file) = file {
            self.take_file(file);
        }
        self.stranger = Some((url, origin));
    }

    /// Returns whether the user said that the remote cache at `url` is one of theirs.
    pub(crate) fn trusts(&self, url: &str) -> bool {
        self.word(Id::RemoteTrusted).split_whitespace().any(|place| is_below(url, place))
    }

    /// Returns the text of a file, or nothing if it is not there or not to be obeyed.
    fn read(&mut self, path: &Path, trusting: bool, needed: bool) -> Result<Option<String>> {
        match trust::read(path, trusting) {
            Ok(trust::Content::Text(text)) => Ok(Some(text)),
            Ok(trust::Content::Missing) if !needed => Ok(None),
            Ok(trust::Content::Missing) => Err(Failure::usage(format_args!(
                "there is no file {}; give --config the path of an existing one",
                path.display()
            ))),
            Ok(trust::Content::Untrusted(why)) => {
                self.warnings.push(format!("{} is ignored because {why}", path.display()));
                self.untrusted = Some((path.to_path_buf(), why));
                Ok(None)
            }
            Err(error) => Err(Failure::usage(error)),
        }
    }

    fn take_file(&mut self, file: &ConfigFile) {
        for (id, value, line) in &file.values {
            let slot = &mut self.values[*id as usize];
            if slot.is_none() {
                *slot = Some((value.clone(), Origin::File { path: file.path.clone(), line: *line }));
            }
        }
    }

    /// Returns the value that somebody gave to a setting; nothing if its default holds.
    pub(crate) fn given(&self, id: Id) -> Option<&Value> {
        self.values[id as usize].as_ref().map(|(value, _)| value)
    }

    /// Returns the value that the environment or a flag gave to a setting.
    pub(crate) fn given_for_this_call(&self, id: Id) -> Option<&Value> {
        let (value, origin) = self.values[id as usize].as_ref()?;
        matches!(origin, Origin::Env(_) | Origin::Flag(_)).then_some(value)
    }

    /// Returns where the value of a setting comes from.
    pub(crate) fn origin(&self, id: Id) -> Origin {
        self.values[id as usize].as_ref().map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Returns where the value of a setting comes from, in words.
    pub(crate) fn source(&self, id: Id) -> String {
        let origin = self.origin(id);
        if id != Id::Namespace || self.word(id) != AUTO_NAMESPACE {
            return origin.to_string();
        }
        let job = Job::current();
        match job.as_ref().and_then(Job::repository) {
            Some((_, variables)) => format!("{origin}: {AUTO_NAMESPACE}, from {}", variables.join(" and ")),
            None => format!("{origin}: {AUTO_NAMESPACE}, and no CI system names a repository"),
        }
    }

    /// Returns the value of a setting as a person would write it.
    pub(crate) fn show(&self, setting: &Setting) -> String {
        match (self.given(setting.id), setting.id) {
            (_, Id::Namespace) => self.namespace().into(),
            (Some(value), _) => setting.kind.show(value),
            (None, Id::Dir) => {
                dirs::default_cache().map_or_else(|| "none".to_owned(), |dir| dir.display().to_string())
            }
            (None, Id::Session) => crate::session::current(self),
            (None, Id::ServerTokens) => {
                self.tokens_file().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
            }
            (None, _) => setting.default.to_owned(),
        }
    }

    /// Returns whether something is switched on.
    pub(crate) fn switch(&self, id: Id) -> bool {
        matches!(self.given(id), Some(Value::Switch(true)))
    }

    /// Returns the word that a setting has, its default included.
    pub(crate) fn word(&self, id: Id) -> &str {
        match self.given(id) {
            Some(Value::Text(text)) => text,
            _ => id.setting().default,
        }
    }

    /// Returns the number that was given; nothing if none was, or the word `none`.
    pub(crate) fn number(&self, id: Id) -> Option<u64> {
        match self.given(id)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the words that were given; none if nothing was.
    #[cfg(feature = "server")]
    pub(crate) fn words(&self, id: Id) -> &[String] {
        match self.given(id) {
            Some(Value::List(words)) => words,
            _ => &[],
        }
    }

    /// Returns the time that was given; nothing if none was, or the word `none`.
    pub(crate) fn duration(&self, id: Id) -> Option<Duration> {
        match self.given(id)? {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// Returns the directory of the cache.
    ///
    /// # Errors
    /// If none was named and the user has no home directory.
    pub(crate) fn dir(&self) -> Result<PathBuf, String> {
        match self.given(Id::Dir) {
            Some(Value::Path(path)) => Ok(path.clone()),
            _ => dirs::default_cache().ok_or_else(|| {
                "there is no home directory to keep the cache in; set VITTE_CACHE_DIR or give --dir"
                    .to_owned()
            }),
        }
    }

    /// Returns the file that a setting names, if it names one.
    pub(crate) fn file(&self, id: Id) -> Option<&Path> {
        match self.given(id)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the file with the tokens of the server, unless there is to be none.
    pub(crate) fn tokens_file(&self) -> Option<PathBuf> {
        match self.given(Id::ServerTokens) {
            Some(Value::Path(path)) => Some(path.clone()),
            Some(_) => None,
            None => dirs::user_config().map(|path| path.with_file_name(TOKENS_FILE)),
        }
    }

    /// Returns the namespace.
    pub(crate) fn namespace(&self) -> Namespace {
        match self.word(Id::Namespace) {
            AUTO_NAMESPACE => {
                let job = Job::current();
                let repository = job.as_ref().and_then(Job::repository);
                repository.map_or_else(Namespace::default, |(namespace, _)| namespace.clone())
            }
            // The value was parsed as one when it was taken.
            name => Namespace::new(name).unwrap_or_default(),
        }
    }

    /// Returns the namespace if anybody named one.
    pub(crate) fn namespace_filter(&self) -> Option<Namespace> {
        self.given(Id::Namespace).map(|_| self.namespace())
    }

    /// Returns the run that the project file calls `label`, and the directory that it runs in.
    ///
    /// # Errors
    /// If there is none, or the file is not to be obeyed.
    pub(crate) fn run_table(&self, label: &str) -> Result<(&RunTable, &Path)> {
        if let Some((path, why)) = &self.untrusted {
            return Err(Failure::usage(format_args!(
                "{} may not name commands because {why}",
                path.display()
            )));
        }
        let Some(file) = &self.project else {
            return Err(Failure::usage(format_args!(
                "there is no {PROJECT_FILE} here or above that could describe `{label}`; to run the command \
                 `{label}`, put `--` before it"
            )));
        };
        let table = file.runs.get(label).ok_or_else(|| {
            let near = cache_run::project::nearest(label, file.runs.keys().map(String::as_str));
            let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            Failure::usage(format_args!(
                "there is no [run.{label}] in {}; {hint}To run the command `{label}`, put `--` before it",
                file.path.display()
            ))
        })?;
        Ok((table, file.root()))
    }
}

/// Returns whether `url` is `place` or below it, by whole parts of the path.
fn is_below(url: &str, place: &str) -> bool {
    let rest = url.strip_prefix(place.trim_end_matches('/'));
    place.contains("://") && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(format_args!(
            "cannot tell where {} is: {error}; give an absolute path",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_before_environment_before_files() {
        let mut config = Config::empty();
        let file = "namespace = 'file'\nlow_water = 50\nmax_entries = 7\n";
        let file = ConfigFile::parse("/p/.vitte/config.toml".into(), file, file::Role::Project).unwrap();
        let env = |name: &str| match name {
            "VITTE_CACHE_NAMESPACE" => Some("env".into()),
            "VITTE_CACHE_LOW_WATER" => Some("60".into()),
            "VITTE_CACHE_TTL" => Some("".into()),
            _ => None,
        };
        config.take_environment(env).unwrap();
        let namespace = Some(Namespace::new("flag").unwrap());
        config.take_flags(&Globals { namespace, ..Globals::default() });
        config.take_file(&file);
        assert_eq!(
            (config.word(Id::Namespace), config.origin(Id::Namespace)),
            ("flag", Origin::Flag("--namespace"))
        );
        assert_eq!(
            (config.number(Id::LowWater), config.origin(Id::LowWater)),
            (Some(60), Origin::Env("VITTE_CACHE_LOW_WATER"))
        );
        assert_eq!(config.origin(Id::MaxEntries).to_string(), "/p/.vitte/config.toml:3");
        assert_eq!((config.duration(Id::Ttl), config.origin(Id::Ttl)), (None, Origin::Default));
    }

    #[test]
    fn below_goes_by_whole_parts() {
        for (url, place, below) in [
            ("https://a.example/kv/x", "https://a.example", true),
            ("https://a.example/kv/x", "https://a.example/kv/x/", true),
            ("https://a.example.evil.example/kv", "https://a.example", false),
            ("https://a.example:444/kv", "https://a.example", false),
            ("https://a.example/kv-evil", "https://a.example/kv", false),
            ("http://a.example/kv", "https://a.example", false),
            ("https://a.example/kv", "https:", false),
            ("https://a.example/kv", "", false),
        ] {
            assert_eq!(is_below(url, place), below, "{url} below {place}");
        }
    }

    /// What is in force if the project's file, the user's file and the environment say this.
    fn remote(project: &str, user: &str, env: &[(&str, &str)]) -> Config {
        let mut config = Config::empty();
        let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        config.take_environment(find).unwrap();
        let above = config.values[Id::RemoteUrl as usize].is_some();
        let file = |path: &str, text: &str, role| {
            ConfigFile::parse(path.into(), &format!("[remote-cache]\n{text}"), role).unwrap()
        };
        config.project = Some(file("/p/.vitte/config.toml", project, file::Role::Project));
        config.take_file(&file("/p/.vitte/config.toml", project, file::Role::Project));
        let named = config.values[Id::RemoteUrl as usize].clone().filter(|_| !above);
        config.take_user_file(Some(&file("/home/me/config.toml", user, file::Role::User)), named);
        config
    }

    #[test]
    fn a_project_names_only_caches_that_the_user_trusts() {
        let (theirs, mine) =
            ("url = 'https://evil.example/kv'", "url = 'https://mine.example/kv'\ntoken = 'secret'");
        let url = |config: &Config| config.given(Id::RemoteUrl).cloned();
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        let config = remote(theirs, "", &[]);
        assert_eq!((url(&config), config.stranger.is_some()), (None, true));
        let config = remote(theirs, mine, &[]);
        assert_eq!((url(&config), config.stranger.is_some()), (text("https://mine.example/kv"), true));
        let config = remote(theirs, mine, &[("VITTE_REMOTE_CACHE_TRUSTED", "https://evil.example")]);
        assert_eq!((url(&config), config.stranger.is_some()), (text("https://evil.example/kv"), false));
        let config = remote(theirs, mine, &[("VITTE_REMOTE_CACHE_URL", "https://ci.example/kv")]);
        assert_eq!((url(&config), config.stranger.is_some()), (text("https://ci.example/kv"), false));
        for line in ["token = 'x'", "trusted = 'https://evil.example'", "mode = 'readwrite'"] {
            let text = format!("[remote-cache]\n{line}");
            let parsed = ConfigFile::parse("/p/.vitte/config.toml".into(), &text, file::Role::Project);
            assert!(parsed.is_err(), "{line}");
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let env = |name: &str| (name == "VITTE_CACHE").then(|| "readonly".into());
        let error = Config::empty().take_environment(env).unwrap_err();
        assert_eq!(error.message(), "VITTE_CACHE: `readonly` is not allowed: write off, ro, rw or refresh");
    }
}
