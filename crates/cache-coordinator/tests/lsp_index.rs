//! The example `lsp_index` parses what was edited, and nothing else.

#![cfg(feature = "watch")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../examples/lsp_index.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod lsp_index;

use std::fs;
use std::path::Path;
use std::time::Duration;

use lsp_index::{Index, Update};

/// How long the system has to tell of a change; it takes milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// Returns the first update of a new process.
async fn once(project: &Path) -> Update {
    let mut first = None;
    let index = Index::open(project).await.unwrap();
    let go_on = |update: &Update| {
        let Update { invalidated, computed, symbols } = update;
        first = Some(Update {
            invalidated: invalidated.clone(),
            computed: computed.clone(),
            symbols: symbols.clone(),
        });
        false
    };
    index.serve(go_on).await.unwrap();
    first.unwrap()
}

#[tokio::test]
async fn only_what_was_edited_is_parsed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join("src").join(name), text).unwrap();
    fs::create_dir_all(dir.path().join("src/deep")).unwrap();
    write("a.rs", "fn a() {}\npub fn b<T>() {}\n");
    write("deep/c.rs", "fn c() {}\n");

    let first = once(dir.path()).await;
    assert_eq!(first.computed, ["src/a.rs", "src/deep/c.rs", "index"]);
    assert_eq!(first.symbols, ["src/a.rs a", "src/a.rs b", "src/deep/c.rs c"]);
    assert!(first.invalidated.is_empty());
    let second = once(dir.path()).await;
    assert!(second.computed.is_empty(), "{second:?}");
    assert_eq!(second.symbols, first.symbols);

    // While no process runs: a comment, so that the index is right as it is.
    write("a.rs", "fn a() {} // A comment.\npub fn b<T>() {}\n");
    let third = once(dir.path()).await;
    assert_eq!(third.computed, ["src/a.rs"]);
    assert_eq!(third.invalidated, ["src/a.rs: src/a.rs has changed"]);

    // While one runs.
    let index = Index::open(dir.path()).await.unwrap();
    let mut computed: Vec<String> = Vec::new();
    let mut round = 0;
    let served = index.serve(|update| {
        if round == 0 {
            assert!(update.computed.is_empty(), "{update:?}");
            write("deep/c.rs", "fn c() {}\nfn d() {}\n");
        }
        round += 1;
        computed.extend(update.computed.clone());
        !update.symbols.contains(&"src/deep/c.rs d".to_owned())
    });
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
    assert!(!computed.contains(&"src/a.rs".to_owned()), "{computed:?}");
    assert_eq!(computed.last().unwrap(), "index");
}
