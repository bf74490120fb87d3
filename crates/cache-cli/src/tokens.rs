//! The file with the tokens of a server: read by `serve`, written by `token`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cache_core::{Timestamp, files};
use cache_server::Token;
use serde::{Deserialize, Serialize};

use crate::config::{self, Content};

/// Version of the file that is written.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    /// Whether it is obeyed although others could have written it.
    trusting: bool,
}

/// A token with what people want to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) token: Token,
    /// When it was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Content1 {
    version: u32,
    tokens: Vec<Record>,
}

/// Only the version, so that a newer file is recognised whatever else is in it.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Record {
    pub(crate) fn new(token: Token, created: Timestamp) -> Self {
        Self { token, created_ms: created.as_millis() }
    }
}

impl Tokens {
    pub(crate) fn at(path: PathBuf, trusting: bool) -> Self {
        Self { path, trusting }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is in the file; nothing if there is no file.
    ///
    /// # Errors
    /// In one sentence, if the file cannot be read, is none, or could have been written by others.
    pub(crate) fn read(&self) -> Result<Option<Vec<Record>>, String> {
        let shown = self.path.display();
        let text = match config::read_trusted(&self.path, self.trusting)? {
            Content::Missing => return Ok(None),
            Content::Text(text) => text,
            Content::Untrusted(why) => {
                return Err(format!("the tokens in {shown} do not count because {why}"));
            }
        };
        let broken = |error: serde_json::Error| {
            format!(
                "{shown} is no file of tokens: {error}; restore it, or remove it and create the tokens again"
            )
        };
        let Head { version } = serde_json::from_str(&text).map_err(broken)?;
        if version > VERSION {
            return Err(format!(
                "{shown} was written by a newer version of this program; use that one, or name another file with --tokens"
            ));
        }
        let Content1 { tokens, .. } = serde_json::from_str(&text).map_err(broken)?;
        Ok(Some(tokens))
    }

    /// Replaces what is in the file by what `change` makes of it, as one step for everybody who reads or changes it.
    ///
    /// # Errors
    /// In one sentence: what `change` says, or why the file cannot be read or written. It is unchanged then.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Record>) -> Result<T, String>,
    ) -> Result<T, String> {
        let failed = |error: io::Error| {
            format!(
                "cannot write {}: {error}; make it and its directory writable, or name another file with --tokens",
                self.path.display()
            )
        };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        files::create_private_dir(dir).map_err(failed)?;
        let lock = private(&self.lock_path()).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut tokens = self.read()?.unwrap_or_default();
        let result = change(&mut tokens)?;
        self.write(dir, tokens).map_err(failed)?;
        Ok(result)
    }

    fn write(&self, dir: &Path, tokens: Vec<Record>) -> io::Result<()> {
        // Only its owner may read such a file, and nobody ever sees a part of it.
        let mut file = tempfile::Builder::new().prefix(".tokens-").tempfile_in(dir)?;
        serde_json::to_writer_pretty(&mut file, &Content1 { version: VERSION, tokens })?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// A file of its own: the one with the tokens is replaced, and a lock would go with it.
    fn lock_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        self.path.with_file_name(name)
    }
}

/// Opens a file that only its owner may use.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cache_server::Right;

    use super::*;

    fn record(name: &str) -> Record {
        Record::new(Token::create(name, Right::Read, None).unwrap().0, Timestamp::from_millis(7))
    }

    fn add(tokens: &Tokens, name: &str) {
        let added = tokens.change(|all| {
            all.push(record(name));
            Ok(())
        });
        added.unwrap();
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/tokens.json");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let path = path.clone();
                scope.spawn(move || {
                    let tokens = Tokens::at(path, false);
                    add(&tokens, &number.to_string());
                });
            }
        });
        assert_eq!(Tokens::at(path, false).read().unwrap().unwrap().len(), 16);
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(dir.path().join("tokens.json"), false);
        assert_eq!(tokens.read(), Ok(None));
        add(&tokens, "a");
        let before = tokens.read();
        let refused: Result<(), _> = tokens.change(|all| {
            all.clear();
            Err("no".to_owned())
        });
        assert_eq!((refused, tokens.read()), (Err("no".to_owned()), before));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_it_and_what_others_may_write_does_not_count() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(dir.path().join("tokens.json"), false);
        add(&tokens, "a");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(tokens.path()), mode(&tokens.lock_path())), (0o600, 0o600));
        fs::set_permissions(tokens.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(tokens.read().unwrap_err().contains("everybody may write to it"));
        assert!(Tokens::at(tokens.path, true).read().is_ok());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(dir.path().join("tokens.json"), false);
        for (text, says) in [
            ("{", "is no file of tokens: EOF"),
            ("[]", "is no file of tokens: "),
            ("{\"version\": 2, \"people\": 1}", "newer version"),
            ("{\"version\": 1, \"tokens\": [{\"name\": 1}]}", "is no file of tokens: "),
        ] {
            fs::write(tokens.path(), text).unwrap();
            let said = tokens.read().unwrap_err();
            assert!(said.contains(says) && said.contains("tokens.json"), "{text}: {said}");
        }
    }
}
