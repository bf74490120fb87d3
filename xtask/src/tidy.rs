//! `tidy`: the house rules that no other tool checks.

mod layers;
mod leftovers;
mod links;
mod rust_text;
mod sizes;
mod trees;
mod whitespace;

use std::path::{Path, PathBuf};

use crate::files;
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

/// A text file of the repository.
pub(crate) struct Source {
    /// Relative to the root of the repository.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    fn is_markdown(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "md")
    }

    /// Returns whether the bytes are those of a test, and must stay as they are.
    fn is_fixture(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "fixtures")
    }
}

/// What a rule found: where, and what to do about it.
pub(crate) type Problems = Vec<String>;

pub(crate) fn run(workspace: &Workspace) -> Result {
    let sources = sources(&workspace.root)?;
    let mut problems = layers::check(workspace);
    problems.extend(trees::check()?);
    for source in &sources {
        problems.extend(sizes::check(source));
        problems.extend(leftovers::check(source));
        problems.extend(whitespace::check(source));
    }
    problems.extend(links::check(&workspace.root, &sources));
    println!("{} crates, {} files", workspace.packages.len(), sources.len());
    report(&problems)
}

/// Checks nothing but the links between Markdown files.
pub(crate) fn check_links(root: &Path) -> Result {
    report(&links::check(root, &sources(root)?))
}

fn report(problems: &[String]) -> Result {
    for problem in problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(Stop::failed(problems.concat())),
        count => Err(Stop::failed(format!("{count} problems, the first: {}", problems[0]))),
    }
}

/// Reads every text file of the repository.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in files::of_repository(root)? {
        if let Ok(text) = String::from_utf8(files::read_bytes(&root.join(&path))?)
            && !text.contains('\0')
        {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.to_owned() }
}
