//! `doc`: reference documentation with warnings denied, and every example of the README and of
//! `docs/` compiled or run.

mod console;
mod matcher;
mod rust_blocks;

use std::path::{Path, PathBuf};

use crate::files;
use crate::step::{Step, all};
use crate::stop::Result;
use crate::tidy;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result {
    let pages = pages(&workspace.root)?;
    all([
        reference(),
        tidy::check_links(&workspace.root),
        rust_blocks::run(workspace, &pages),
        console::run(workspace, &pages),
        book(&workspace.root),
    ])
}

fn reference() -> Result {
    Step::cargo(["doc", "--no-deps", "--workspace", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Builds the book where mdBook is; what it would find wrong is checked above in any case.
fn book(root: &Path) -> Result {
    if !root.join("docs/book.toml").is_file() {
        return Ok(());
    }
    if !Step::new("mdbook").arg("--version").succeeds() {
        println!("mdbook is not installed: the pages are checked, the book is not built");
        return Ok(());
    }
    Step::new("mdbook").args(["build", "docs"]).run()
}

/// Returns the pages whose examples are run: the README, and all of `docs/`.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let is_page = |path: &PathBuf| {
        path == Path::new("README.md")
            || path.starts_with("docs") && path.extension().is_some_and(|extension| extension == "md")
    };
    Ok(files::of_repository(root)?.into_iter().filter(is_page).collect())
}

/// Returns the reason if the lines before an example, or its first one, ask to leave it out:
/// `<!-- doc-test: skip REASON -->`.
fn skip_reason(line: &str) -> Option<&str> {
    let reason = line.trim().strip_prefix("<!-- doc-test: skip")?.strip_suffix("-->")?.trim();
    (!reason.is_empty()).then_some(reason)
}
