//! A symbol index as a language server keeps one: a [`LiveCache`] knows which files have to be parsed again, and whether the
//! index made from them is still right.
//!
//! ```text
//! cargo run -p cache-coordinator --features watch --example lsp_index -- path/to/project [--once]
//! ```
//!
//! It finds the functions in `src/**/*.rs`, goes on as files change, and ends with `--once` after the first time. What it
//! found is in `.cache`, so that the next start parses what was edited in between.

#![expect(clippy::print_stdout, reason = "it shows what it did")]

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use cache_coordinator::action::FileStates;
use cache_coordinator::live::{LiveCache, Lookup, PersistError, Persisted, Upstream};
use cache_core::{KeyBuilder, Namespace};
use cache_fs::{FsStore, Options};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let usage = "say what to index: lsp_index path/to/project [--once]";
    let project = env::args_os().nth(1).ok_or(usage)?;
    let once = env::args_os().nth(2).is_some_and(|argument| argument == "--once");
    let index = Index::open(Path::new(&project)).await?;
    index
        .serve(|update| {
            update.invalidated.iter().for_each(|line| println!("invalidated {line}"));
            update.computed.iter().for_each(|name| println!("computed    {name}"));
            println!("{} symbols", update.symbols.len());
            !once
        })
        .await
}

/// What one look at the project found.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// What had to be computed anew, and why.
    pub(crate) invalidated: Vec<String>,
    /// What was computed, for that or as it is new.
    pub(crate) computed: Vec<String>,
    /// All functions, each with its file.
    pub(crate) symbols: Vec<String>,
}

pub(crate) struct Index {
    live: LiveCache,
    namespace: Namespace,
}

impl Index {
    pub(crate) async fn open(project: &Path) -> Result<Self> {
        let store = Arc::new(FsStore::open(&project.join(".cache"), Options::default())?);
        let files = Arc::new(FileStates::new(project)?);
        let namespace = Namespace::default();
        Ok(Self { live: LiveCache::open(store, files, namespace.clone()).await, namespace })
    }

    /// Updates the index now, and again as often as files change and `wants_more`.
    pub(crate) async fn serve(&self, mut wants_more: impl FnMut(&Update) -> bool) -> Result<()> {
        // Before the first update, so that nothing changes unseen between the two.
        let mut watch = self.live.watch(&["src"])?;
        while wants_more(&self.update().await?) {
            watch.changed().await;
        }
        Ok(self.live.close().await?)
    }

    async fn update(&self) -> Result<Update> {
        let mut update = Update::default();
        let mut sources = Vec::new();
        list(self.live.files().base(), "src", &mut sources)?;
        sources.sort();
        let mut parsed = Vec::new();
        for source in &sources {
            // Gone again, or not yet whole: what comes next says so.
            let Some((symbols, upstream)) = self.symbols(source, &mut update).await? else { continue };
            parsed.push((symbols, upstream));
        }
        // Which files there are is no input of the index, but part of its name.
        let key =
            KeyBuilder::new(&self.namespace, "index").list(&sources, |key, path| key.text(path)).finish();
        let index = match self.live.look_up(&key).await {
            Lookup::Hit(found) => found.bytes,
            lookup => {
                note("index", &lookup, &mut update);
                let symbols: Vec<&str> = parsed.iter().map(|(symbols, _)| symbols.as_str()).collect();
                let (index, upstreams) = (symbols.concat(), parsed.iter().map(|(_, from)| *from).collect());
                tolerate(
                    self.live
                        .persist_with_upstreams(&key, index.clone(), "index", Vec::new(), upstreams)
                        .await,
                )?;
                index.into()
            }
        };
        update.symbols = String::from_utf8_lossy(&index).lines().map(str::to_owned).collect();
        Ok(update)
    }

    /// Returns the functions of one file; nothing if it cannot be read.
    async fn symbols(&self, source: &str, update: &mut Update) -> Result<Option<(String, Upstream)>> {
        let key = KeyBuilder::new(&self.namespace, "symbols").text(source).finish();
        let lookup = self.live.look_up(&key).await;
        if let Lookup::Hit(found) = &lookup {
            return Ok(Some((String::from_utf8_lossy(&found.bytes).into_owned(), found.upstream)));
        }
        note(source, &lookup, update);
        // The state of the file first, then its content: an edit in between is found out.
        let roots = self.live.snapshot(&[source]).await?;
        let Ok(text) = fs::read_to_string(self.live.files().base().join(source)) else { return Ok(None) };
        let symbols = parse(source, &text);
        let upstream = Upstream::new(key, symbols.as_bytes());
        tolerate(self.live.persist(&key, symbols.clone(), "symbols", roots).await)?;
        Ok(Some((symbols, upstream)))
    }
}

fn note(name: &str, lookup: &Lookup, update: &mut Update) {
    if let Lookup::Invalidated(why) = lookup {
        update.invalidated.push(format!("{name}: {why}"));
    }
    update.computed.push(name.to_owned());
}

/// A file that changed while it was parsed is parsed again when the watcher says so.
fn tolerate(persisted: Result<Persisted, PersistError>) -> Result<()> {
    match persisted {
        Ok(_) | Err(PersistError::FileChanged(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn list(base: &Path, dir: &str, sources: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(base.join(dir))? {
        let entry = entry?;
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(base, &path, sources)?;
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

/// Returns a line for each function.
fn parse(source: &str, text: &str) -> String {
    let names =
        text.lines().filter_map(|line| line.trim_start().trim_start_matches("pub ").strip_prefix("fn "));
    let names = names.map(|rest| rest.split(['(', '<']).next().unwrap_or(rest));
    names.fold(String::new(), |lines, name| lines + source + " " + name + "\n")
}
