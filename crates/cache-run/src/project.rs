//! The `[run.LABEL]` tables of a project file: a run written down, so that `vitte-cache run LABEL` is enough.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::environment::EnvMode;
use crate::human;
use crate::spec::{Failures, MtimeMode, RestoreMode, Spec, StdinMode};

/// The words for [`EnvMode`], on the command line and in a project file.
pub const ENV_MODES: &[(&str, EnvMode)] = &[("strict", EnvMode::Strict), ("loose", EnvMode::Loose)];
/// The words for [`StdinMode`].
pub const STDIN_MODES: &[(&str, StdinMode)] = &[("null", StdinMode::Null), ("key", StdinMode::Key)];
/// The words for [`RestoreMode`].
pub const RESTORE_MODES: &[(&str, RestoreMode)] =
    &[("copy", RestoreMode::Copy), ("hardlink-ro", RestoreMode::HardlinkReadOnly)];
/// The words for [`MtimeMode`].
pub const MTIME_MODES: &[(&str, MtimeMode)] =
    &[("auto", MtimeMode::Auto), ("now", MtimeMode::Now), ("preserve", MtimeMode::Preserve)];

/// The keys of a `[run.LABEL]` table: name, form and meaning, in the order of the manual.
pub const KEYS: &[(&str, &str, &str)] = &[
    (
        "command",
        "list, or text without quotes",
        "Program and arguments. Needed unless `-- command` is given.",
    ),
    ("inputs", "list of patterns", "As `-i`, relative to the directory that `.vitte` is in."),
    ("outputs", "list of patterns", "As `-o`."),
    ("env", "list of names", "As `-e`."),
    ("pass_env", "list of names", "As `--pass-env`."),
    ("env_mode", "`strict` or `loose`", "As `--env-mode`."),
    ("depfile", "path", "As `--depfile`."),
    ("tool", "text", "As `--tool`."),
    ("salt", "text", "As `--salt`."),
    ("base", "path", "As `--base`."),
    ("stdin", "`null` or `key`", "As `--stdin`."),
    ("ttl", "duration", "As `--ttl`."),
    ("stale", "`true` or `false`", "As `--stale`."),
    ("cache_failures", "`true`, `false` or list of exit codes", "As `--cache-failures`."),
    ("verify", "percentage", "As `--verify`."),
    ("max_entry", "size", "As `--max-entry`."),
    ("min_time", "duration", "As `--min-time`."),
    ("restore", "`copy` or `hardlink-ro`", "As `--restore`."),
    ("mtime", "`auto`, `now` or `preserve`", "As `--mtime`."),
    ("wait", "duration", "As `--wait`."),
];

/// Characters that mean something to a shell. A command in one text is split at blanks, which is only right without them.
const SHELL_CHARACTERS: &[char] =
    &['"', '\'', '\\', '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '[', '{', '~', '#', '\n'];

/// One `[run.LABEL]` table. What it does not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunTable {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Input patterns.
    pub inputs: Vec<String>,
    /// Output patterns.
    pub outputs: Vec<String>,
    /// Variables that are part of the key.
    pub env: Vec<String>,
    /// Variables that are passed on and are not part of the key.
    pub pass_env: Vec<String>,
    /// Whether the command sees other variables.
    pub env_mode: Option<EnvMode>,
    /// File in which the command names further inputs.
    pub depfile: Option<PathBuf>,
    /// How the program is identified.
    pub tool: Option<String>,
    /// Any text: another text, other entries.
    pub salt: Option<String>,
    /// Directory that paths in the key are relative to.
    pub base: Option<PathBuf>,
    /// What the command reads.
    pub stdin: Option<StdinMode>,
    /// How long a stored result is valid.
    pub ttl: Option<Duration>,
    /// Whether an expired result is served while a fresh one is made.
    pub stale: Option<bool>,
    /// Which failures are stored.
    pub failures: Option<Failures>,
    /// Percentage of hits that are run again and compared.
    pub verify_percent: Option<u8>,
    /// Largest result that is stored, in bytes.
    pub max_entry: Option<u64>,
    /// Results that took less are not stored.
    pub min_time: Option<Duration>,
    /// How files come back.
    pub restore: Option<RestoreMode>,
    /// Which modification time restored files get.
    pub mtime: Option<MtimeMode>,
    /// How long to wait for another process that runs the same command.
    pub wait: Option<Duration>,
}

/// Says what is wrong in a table, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TableError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Bytes of the text that it concerns.
    pub at: Range<usize>,
}

impl TableError {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), at }
    }
}

impl RunTable {
    /// Returns what `table` says.
    ///
    /// # Errors
    /// At the first key that is unknown, or value that does not fit its key.
    pub fn read(table: &DeTable<'_>) -> Result<Self, TableError> {
        let mut run = Self::default();
        for (key, value) in table {
            run.set(key, value)?;
        }
        Ok(run)
    }

    fn set(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), TableError> {
        let name: &str = key.get_ref();
        let field = Field { name, value };
        match name {
            "command" => self.command = field.command()?,
            "inputs" => self.inputs = field.texts()?,
            "outputs" => self.outputs = field.texts()?,
            "env" => self.env = field.texts()?,
            "pass_env" => self.pass_env = field.texts()?,
            "env_mode" => self.env_mode = Some(field.word(ENV_MODES)?),
            "depfile" => self.depfile = Some(field.text()?.into()),
            "tool" => self.tool = Some(field.text()?.to_owned()),
            "salt" => self.salt = Some(field.text()?.to_owned()),
            "base" => self.base = Some(field.text()?.into()),
            "stdin" => self.stdin = Some(field.word(STDIN_MODES)?),
            "ttl" => self.ttl = Some(field.parsed(human::parse_duration)?),
            "stale" => self.stale = Some(field.switch()?),
            "cache_failures" => self.failures = Some(field.failures()?),
            "verify" => self.verify_percent = Some(field.parsed(parse_percent)?),
            "max_entry" => self.max_entry = Some(field.parsed(human::parse_size)?),
            "min_time" => self.min_time = Some(field.parsed(human::parse_duration)?),
            "restore" => self.restore = Some(field.word(RESTORE_MODES)?),
            "mtime" => self.mtime = Some(field.word(MTIME_MODES)?),
            "wait" => self.wait = Some(field.parsed(human::parse_duration)?),
            _ => {
                let nearest = nearest(name, KEYS.iter().map(|(name, ..)| *name));
                let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
                return Err(TableError::new(
                    key.span(),
                    format!("`{name}` is no key of a [run] table{hint}"),
                ));
            }
        }
        Ok(())
    }

    /// Puts what the table says into `spec`.
    pub fn apply(&self, spec: &mut Spec) {
        fn list<T: Clone>(to: &mut Vec<T>, from: &[T]) {
            if !from.is_empty() {
                to.clone_from(&from.to_vec());
            }
        }
        fn one<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        if !self.command.is_empty() {
            spec.command = self.command.iter().map(Into::into).collect();
        }
        list(&mut spec.inputs, &self.inputs);
        list(&mut spec.outputs, &self.outputs);
        list(&mut spec.env, &self.env);
        list(&mut spec.pass_env, &self.pass_env);
        one(&mut spec.env_mode, self.env_mode.as_ref());
        one(&mut spec.tool, self.tool.as_ref());
        one(&mut spec.salt, self.salt.as_ref());
        one(&mut spec.stdin, self.stdin.as_ref());
        one(&mut spec.stale, self.stale.as_ref());
        one(&mut spec.failures, self.failures.as_ref());
        one(&mut spec.verify_percent, self.verify_percent.as_ref());
        one(&mut spec.max_entry, self.max_entry.as_ref());
        one(&mut spec.min_time, self.min_time.as_ref());
        one(&mut spec.restore, self.restore.as_ref());
        one(&mut spec.mtime, self.mtime.as_ref());
        one(&mut spec.wait, self.wait.as_ref());
        spec.depfile = self.depfile.clone().or_else(|| spec.depfile.take());
        spec.base = self.base.clone().or_else(|| spec.base.take());
        spec.ttl = self.ttl.or(spec.ttl);
    }
}

/// A value and the key that it belongs to.
struct Field<'a> {
    name: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    fn wrong(&self, wanted: impl Display) -> TableError {
        TableError::new(self.value.span(), format!("`{}` must be {wanted}", self.name))
    }

    fn text(&self) -> Result<&'a str, TableError> {
        self.value.get_ref().as_str().ok_or_else(|| self.wrong("a text in quotes"))
    }

    fn texts(&self) -> Result<Vec<String>, TableError> {
        let fail = || self.wrong(format_args!("a list of texts, as in {} = [\"…\"]", self.name));
        let items = self.value.get_ref().as_array().ok_or_else(fail)?;
        items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(fail)).collect()
    }

    fn command(&self) -> Result<Vec<String>, TableError> {
        let command = match self.value.get_ref().as_str() {
            None => self.texts()?,
            Some(text) if text.contains(SHELL_CHARACTERS) => {
                let message = "`command` has characters that only a shell understands; \
                               write a list, as in command = [\"sh\", \"-c\", \"…\"]";
                return Err(TableError::new(self.value.span(), message));
            }
            Some(text) => text.split_whitespace().map(str::to_owned).collect(),
        };
        if command.is_empty() { Err(self.wrong("a program and its arguments")) } else { Ok(command) }
    }

    fn switch(&self) -> Result<bool, TableError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, TableError> {
        choose(words, self.text()?).ok_or_else(|| self.wrong(one_of(words)))
    }

    /// Reads a text, or a number without a unit.
    fn parsed<T, E: Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, TableError> {
        let text = match self.value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.wrong("a text in quotes or a number")),
        };
        parse(text).map_err(|error| TableError::new(self.value.span(), format!("`{}`: {error}", self.name)))
    }

    fn failures(&self) -> Result<Failures, TableError> {
        let fail = || self.wrong("true, false or a list of exit codes from 1 to 255");
        match self.value.get_ref() {
            DeValue::Boolean(true) => Ok(Failures::All),
            DeValue::Boolean(false) => Ok(Failures::None),
            DeValue::Array(codes) => {
                let code = |code: &Spanned<DeValue<'_>>| parse_code(code.get_ref().as_integer()?.as_str());
                codes.iter().map(code).collect::<Option<_>>().map(Failures::Codes).ok_or_else(fail)
            }
            _ => Err(fail()),
        }
    }
}

/// Returns what `word` stands for in `words`.
pub fn choose<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// Returns the words, as in `auto, now or preserve`.
fn one_of<T>(words: &[(&str, T)]) -> String {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn parse_code(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|code| (1..=255).contains(code))
}

/// Returns the failures that a comma-separated list of exit codes means; all, if it is empty.
///
/// # Errors
/// If something in it is no exit code of a failure.
pub fn parse_failures(text: &str) -> Result<Failures, String> {
    if text.is_empty() {
        return Ok(Failures::All);
    }
    let codes = text.split(',').map(parse_code).collect::<Option<_>>();
    codes
        .map(Failures::Codes)
        .ok_or_else(|| format!("`{text}` is no list of exit codes: write 1,2 or any from 1 to 255"))
}

/// Returns the percentage that `text` means, with or without the sign.
///
/// # Errors
/// If it is not from 1 to 100.
pub fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("`{text}` is no percentage: write a number from 1 to 100"))
}

/// Returns the one of `names` that `name` was most probably meant to be.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let scored = names.map(|other| (distance(&name, other), other));
    let (steps, other) = scored.min_by_key(|(steps, _)| *steps)?;
    // A third of the letters may be wrong, one in short words; beyond that a guess confuses.
    (steps <= (name.len().max(other.len()) / 3).max(1)).then_some(other)
}

/// Returns how many letters must be added, removed or replaced to make one word the other (Levenshtein 1966; the
/// algorithm of Wagner and Fischer 1974 with one row).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RunTable, TableError> {
        RunTable::read(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn every_key_is_read_and_applied() {
        let text = r#"
            command = "cargo doc --no-deps"
            inputs = ["src/**", "!src/gen/**"]
            outputs = ["target/doc/"]
            env = ["RUSTFLAGS"]
            pass_env = ["SSH_AUTH_SOCK"]
            env_mode = "loose"
            depfile = "out.d"
            tool = "cargo --version"
            salt = "2"
            base = ".."
            stdin = "key"
            ttl = "1h30m"
            stale = true
            cache_failures = [1, 2]
            verify = 5
            max_entry = "1 GiB"
            min_time = "100ms"
            restore = "hardlink-ro"
            mtime = "preserve"
            wait = 30
        "#;
        let table = read(text).unwrap();
        let named: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.trim()).collect();
        assert_eq!(named, KEYS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        let mut spec = Spec::new(Vec::new(), "/".into());
        table.apply(&mut spec);
        assert_eq!(spec.command, ["cargo", "doc", "--no-deps"]);
        assert_eq!(spec.inputs, ["src/**", "!src/gen/**"]);
        assert_eq!((spec.outputs, spec.env), (vec!["target/doc/".to_owned()], vec!["RUSTFLAGS".to_owned()]));
        assert_eq!((spec.pass_env, spec.env_mode), (vec!["SSH_AUTH_SOCK".to_owned()], EnvMode::Loose));
        assert_eq!((spec.depfile, spec.base), (Some("out.d".into()), Some("..".into())));
        assert_eq!(
            (spec.tool.as_str(), spec.salt.as_str(), spec.stdin),
            ("cargo --version", "2", StdinMode::Key)
        );
        assert_eq!((spec.ttl, spec.stale), (Some(Duration::from_mins(90)), true));
        assert_eq!((spec.failures, spec.verify_percent), (Failures::Codes(vec![1, 2]), 5));
        assert_eq!((spec.max_entry, spec.min_time), (1 << 30, Duration::from_millis(100)));
        assert_eq!((spec.restore, spec.mtime), (RestoreMode::HardlinkReadOnly, MtimeMode::Preserve));
        assert_eq!(spec.wait, Duration::from_secs(30));
    }

    #[test]
    fn an_empty_table_changes_nothing() {
        let mut spec = Spec::new(vec!["true".into()], "/".into());
        let before = format!("{spec:?}");
        read("").unwrap().apply(&mut spec);
        assert_eq!(format!("{spec:?}"), before);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, message) in [
            ("inputz = []", "`inputz` is no key of a [run] table; did you mean `inputs`?"),
            (
                "Cache-Failures = true",
                "`Cache-Failures` is no key of a [run] table; did you mean `cache_failures`?",
            ),
            ("zzz = 1", "`zzz` is no key of a [run] table"),
            ("inputs = 'a'", "`inputs` must be a list of texts, as in inputs = [\"…\"]"),
            ("inputs = [1]", "`inputs` must be a list of texts, as in inputs = [\"…\"]"),
            ("command = []", "`command` must be a program and its arguments"),
            ("mtime = 'never'", "`mtime` must be auto, now or preserve"),
            ("stale = 1", "`stale` must be true or false"),
            ("ttl = 'soon'", "`ttl`: `soon` is no duration: write 90s, 10m, 1h30m or 7d"),
            ("verify = 0", "`verify`: `0` is no percentage: write a number from 1 to 100"),
            (
                "cache_failures = [0]",
                "`cache_failures` must be true, false or a list of exit codes from 1 to 255",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().message, message);
        }
        assert!(read("command = 'a | b'").unwrap_err().message.contains("[\"sh\", \"-c\", \"…\"]"));
        assert_eq!(read("tool = 'x'\nstale = 1").unwrap_err().at, 19..20);
    }

    #[test]
    fn guesses_are_near_or_not_made() {
        let keys = || KEYS.iter().map(|(name, ..)| *name);
        assert_eq!(nearest("output", keys()), Some("outputs"));
        assert_eq!(nearest("max-entry", keys()), Some("max_entry"));
        assert_eq!(nearest("something", keys()), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
