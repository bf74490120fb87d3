//! One configuration file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use cache_run::project::{self, RunTable};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::dirs;
use crate::settings::{Files, Id, Kind, Setting, TABLE, Value};

/// The key under which a project file describes runs.
const RUN: &str = "run";
/// Tables of settings: `key` in `[server]` is the setting `server.key`.
const TABLES: &[&str] = &["remote-cache", "server"];

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Project,
    User,
}

/// A configuration file that was read.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// What it sets, and in which line.
    pub(crate) values: Vec<(Id, Value, usize)>,
    /// Its `[run.LABEL]` tables.
    pub(crate) runs: BTreeMap<String, RunTable>,
}

impl ConfigFile {
    /// Returns what `text` says.
    ///
    /// # Errors
    /// In one sentence with file and line, if something in it is not understood.
    pub(super) fn parse(path: PathBuf, text: &str, role: Role) -> Result<Self, String> {
        let place = Place { path: &path, text };
        let table = DeTable::parse(text)
            .map_err(|error| place.say(&error.span().unwrap_or_default(), &in_one_line(error.message())))?;
        let (mut values, mut runs) = (Vec::new(), BTreeMap::new());
        for (key, value) in table.get_ref() {
            if key.get_ref() == RUN && role == Role::Project {
                runs = place.runs(value)?;
                continue;
            }
            if TABLES.contains(&key.get_ref().as_ref()) {
                place.table(key, value, role, &mut values)?;
                continue;
            }
            values.push(place.entry("", key, value, role)?);
        }
        Ok(Self { path, values, runs })
    }

    /// Returns the root of the project: the directory that holds `.vitte`, or the file itself if it is elsewhere.
    pub(crate) fn root(&self) -> &Path {
        let dir = self.path.parent().unwrap_or(&self.path);
        if dir.file_name().is_some_and(|name| name == ".vitte") { dir.parent().unwrap_or(dir) } else { dir }
    }
}

/// A text, for messages that name the line.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, at: &Range<usize>) -> usize {
        self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1
    }

    fn say(&self, at: &Range<usize>, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), self.line(at))
    }

    /// Adds to `values` what the table under `key` sets.
    fn table(
        &self,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        role: Role,
        values: &mut Vec<(Id, Value, usize)>,
    ) -> Result<(), String> {
        let name = key.get_ref();
        let Some(table) = value.get_ref().as_table() else {
            return Err(self
                .say(&value.span(), &format!("`{name}` is a table; write [{name}] and its settings below")));
        };
        for (key, value) in table {
            values.push(self.entry(&format!("{name}."), key, value, role)?);
        }
        Ok(())
    }

    /// Returns what one line sets, in the table whose name and dot are the prefix.
    fn entry(
        &self,
        prefix: &str,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        role: Role,
    ) -> Result<(Id, Value, usize), String> {
        let setting = self.setting(prefix, key, role)?;
        Ok((setting.id, self.value(setting, value, role)?, self.line(&key.span())))
    }

    fn setting(
        &self,
        prefix: &str,
        key: &Spanned<Cow<'_, str>>,
        role: Role,
    ) -> Result<&'static Setting, String> {
        let name: &str = &format!("{prefix}{}", key.get_ref());
        let Some(setting) = TABLE.iter().find(|setting| setting.key == name) else {
            let names =
                TABLE.iter().filter(|setting| setting.files != Files::None).map(|setting| setting.key);
            let what = match project::nearest(name, names.chain([RUN])) {
                _ if name == RUN => "runs are described in the file of a project, not here".to_owned(),
                Some(near) => format!("there is no setting `{name}`; did you mean `{near}`?"),
                None => format!("there is no setting `{name}`; `vitte-cache config` lists them"),
            };
            return Err(self.say(&key.span(), &what));
        };
        let instead = setting.env;
        match setting.files {
            Files::None => {
                Err(self.say(&key.span(), &format!("`{name}` cannot be set in a file; set {instead}")))
            }
            Files::User if role == Role::Project => {
                let user = dirs::user_config()
                    .map_or_else(String::new, |path| format!(" or put it into {}", path.display()));
                Err(self.say(
                    &key.span(),
                    &format!("`{name}` is for the user to decide, not for a project; set {instead}{user}"),
                ))
            }
            _ => Ok(setting),
        }
    }

    fn value(&self, setting: &Setting, value: &Spanned<DeValue<'_>>, role: Role) -> Result<Value, String> {
        let fail = |what: String| self.say(&value.span(), &format!("`{}`: {what}", setting.key));
        let numeric = matches!(
            setting.kind,
            Kind::Size { .. } | Kind::Count | Kind::Days | Kind::Percent | Kind::Port | Kind::Repeats
        );
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if numeric && number.radix() == 10 => number.as_str(),
            DeValue::Boolean(on) if setting.kind == Kind::Switch => {
                if *on {
                    "true"
                } else {
                    "false"
                }
            }
            DeValue::Array(items) if matches!(setting.kind, Kind::Addresses | Kind::Words) => {
                let words: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
                let words = words.ok_or_else(|| fail("write texts in quotes in the list".to_owned()))?;
                return setting.kind.parse_list(words).map_err(fail);
            }
            _ => return Err(fail(format!("write {}", setting.kind.allowed()))),
        };
        match setting.kind.parse(text).map_err(fail)? {
            Value::Path(path) => self.resolve(path, role).map(Value::Path).map_err(fail),
            other => Ok(other),
        }
    }

    /// Returns the absolute form of `path`.
    fn resolve(&self, path: PathBuf, role: Role) -> Result<PathBuf, String> {
        match role {
            Role::User => {
                let path = match path.strip_prefix("~") {
                    Ok(below) => dirs::home().map(|home| home.join(below)),
                    Err(_) => Some(path),
                };
                path.filter(|path| path.is_absolute())
                    .ok_or_else(|| "write an absolute path, or one that starts with ~/".to_owned())
            }
            Role::Project => {
                // A file that came with a clone must not point the cache at what others may write.
                if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                    let file = ConfigFile {
                        path: self.path.to_path_buf(),
                        values: Vec::new(),
                        runs: BTreeMap::new(),
                    };
                    return Ok(file.root().join(path));
                }
                Err("a project can only choose a directory inside itself; write a relative path without `..`, or set VITTE_CACHE_DIR".to_owned())
            }
        }
    }

    fn runs(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, RunTable>, String> {
        let wrong = |at: &Range<usize>| self.say(at, "runs are tables with a name, as in [run.docs]");
        let tables = value.get_ref().as_table().ok_or_else(|| wrong(&value.span()))?;
        let mut runs = BTreeMap::new();
        for (label, table) in tables {
            let table = table.get_ref().as_table().ok_or_else(|| wrong(&label.span()))?;
            let run = RunTable::read(table).map_err(|error| self.say(&error.at, &error.message))?;
            runs.insert(label.get_ref().to_string(), run);
        }
        Ok(runs)
    }
}

fn in_one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, role: Role) -> Result<ConfigFile, String> {
        ConfigFile::parse("/p/.vitte/config.toml".into(), text, role)
    }

    #[test]
    fn settings_and_runs_are_read_with_their_lines() {
        let text = "# ours\nmax_size = '5 GB'\nmax_entries = 1000\nmode = \"ro\"\ndir = \"build/cache\"\n\n[run.docs]\ncommand = 'cargo doc'\n";
        let file = parse(text, Role::Project).unwrap();
        let expected = [
            (Id::Dir, Value::Path("/p/build/cache".into()), 5),
            (Id::MaxEntries, Value::Number(1000), 3),
            (Id::MaxSize, Value::Number(5_000_000_000), 2),
            (Id::Mode, Value::Text("ro".to_owned()), 4),
        ];
        let mut values = file.values.clone();
        values.sort_by_key(|(id, ..)| id.setting().key);
        assert_eq!(values, expected);
        assert_eq!(file.runs["docs"].command, ["cargo", "doc"]);
        assert_eq!(file.root(), Path::new("/p"));
    }

    #[test]
    fn mistakes_name_file_line_and_remedy() {
        for (text, message) in [
            ("max_sise = 1", "1: there is no setting `max_sise`; did you mean `max_size`?"),
            ("\nzzz = 1", "2: there is no setting `zzz`; `vitte-cache config` lists them"),
            ("max_size = true", "1: `max_size`: write a size such as 500MB or 1.5GiB, or none"),
            ("mode = 'x'", "1: `mode`: `x` is not allowed: write off, ro, rw or refresh"),
            ("session = 'x'", "1: `session` cannot be set in a file; set VITTE_CACHE_SESSION"),
            ("run = 1", "1: runs are tables with a name, as in [run.docs]"),
            ("[run]\ncommand = 'x'", "2: runs are tables with a name, as in [run.docs]"),
            ("[run.a]\n\ninputz = []", "3: `inputz` is no key of a [run] table; did you mean `inputs`?"),
        ] {
            assert_eq!(parse(text, Role::Project).unwrap_err(), format!("/p/.vitte/config.toml:{message}"));
        }
        let broken = parse("a = 1\nb = = 2", Role::Project).unwrap_err();
        assert!(broken.starts_with("/p/.vitte/config.toml:2: ") && !broken.contains('\n'), "{broken}");
    }

    #[test]
    fn a_project_decides_nothing_dangerous() {
        for text in [
            "dir = '/tmp/shared'",
            "dir = '../elsewhere'",
            "dir = 'a/../../b'",
            "trust_dir = true",
            "trust_config = true",
            "access_log = 'build/accesses'",
        ] {
            assert!(parse(text, Role::Project).is_err(), "{text}");
        }
        let dir = if cfg!(windows) { "C:/shared" } else { "/shared" };
        let user = format!("dir = '{dir}'\ntrust_dir = true\naccess_log = '~/accesses'");
        assert_eq!(parse(&user, Role::User).unwrap().values.len(), 3);
        assert!(parse("access_log = 'relative'", Role::User).is_err());
        assert!(parse("dir = 'relative'", Role::User).is_err() && parse("[run.a]\n", Role::User).is_err());
    }
}
