//! Compiles and runs the examples of the pages that are marked `rust`.
//!
//! rustdoc can test a Markdown file, once it is told where the compiled crates are: cargo prints
//! that while it builds them. Every page is found by itself, no crate has to include it, and what
//! is not marked `rust` is left alone (rustdoc would take an unmarked block for Rust).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::skip_reason;
use crate::files;
use crate::markdown::{self, Line};
use crate::step::{Step, all};
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

/// The facade: besides our own crates, an example may use what this one depends on.
const FACADE: &str = "vitte-cache";

pub(super) fn run(workspace: &Workspace, paths: &[PathBuf]) -> Result {
    let dir = workspace.target.join("doc-examples");
    files::fresh_dir(&dir)?;
    let mut pages = Vec::new();
    for path in paths {
        if let Some(text) = only_rust(&files::read(&workspace.root.join(path))?) {
            files::write(&dir.join(path), text)?;
            pages.push(path);
        }
    }
    if pages.is_empty() {
        println!("rust examples: none");
        return Ok(());
    }
    let externs = build(workspace)?;
    let scratch = dir.join("scratch");
    files::create_dirs(&scratch)?;
    let library_dir = format!("dependency={}", workspace.target.join("debug/deps").display());
    all(pages.iter().map(|page| {
        let mut step = Step::new("rustdoc").args(["--test", "--edition", "2024", "-L", &library_dir]);
        for (name, artifact) in &externs {
            step = step.arg("--extern").arg(format!("{name}={}", artifact.display()));
        }
        println!("$ rustdoc --test {}", page.display());
        let status = step.arg(dir.join(page)).dir(&scratch).status()?;
        if status.success() {
            return Ok(());
        }
        Err(Stop::failed(format!("the Rust examples of {} fail", page.display())))
    }))
}

/// Blanks every line out that is not part of a Rust example, so that line numbers stay true.
/// Returns `None` if nothing is left.
fn only_rust(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut before, mut inside, mut found) = ("", false, false);
    for line in markdown::lines(text) {
        match line {
            Line::Prose(prose) if prose.trim().is_empty() => {}
            Line::Prose(prose) => before = prose,
            Line::Open(info) => {
                let is_rust = info.split([',', ' ']).next() == Some("rust");
                inside = is_rust && skip_reason(before).is_none();
                if inside {
                    found = true;
                    out.push_str("```");
                    out.push_str(info);
                }
                before = "";
            }
            Line::Code(code) if inside => out.push_str(code),
            Line::Close if inside => {
                out.push_str("```");
                inside = false;
            }
            Line::Code(_) | Line::Close => {}
        }
        out.push('\n');
    }
    found.then_some(out)
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds all crates with all features; returns the compiled libraries of them, and of what the facade depends on.
fn build(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    let facade = workspace.package(FACADE)?;
    let crates = workspace.packages.iter().map(|package| package.name.as_str());
    let wanted: Vec<String> = crates
        .chain(facade.dependencies.iter().map(|dependency| dependency.name.as_str()))
        .map(crate_name)
        .collect();
    // Everything is built as the tests are, so that next to nothing has to be compiled again. Only a
    // build of tests compiles the dev-dependencies; only one of libraries, the facade as others see it.
    let mut found = BTreeMap::new();
    for verb in [&["test", "--no-run"][..], &["build"]] {
        let step = Step::cargo(verb).args(["--workspace", "--all-features", "--lib", "--quiet"]);
        println!("$ {step}");
        found.extend(externs(&step.arg("--message-format=json").text()?, &wanted)?);
    }
    Ok(found)
}

fn crate_name(package: &str) -> String {
    package.replace('-', "_")
}

fn externs(messages: &str, wanted: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line)
            .map_err(|error| Stop::failed(format!("cannot understand cargo's message {line:?}: {error}")))?;
        let Some(target) = message.target.filter(|_| message.reason == "compiler-artifact") else { continue };
        let name = crate_name(&target.name);
        let is_library = target.kind.iter().any(|kind| kind == "lib" || kind == "proc-macro");
        if is_library && wanted.contains(&name) {
            let library = message.filenames.into_iter().find(|path| is_loadable(path));
            found.extend(library.map(|path| (name, path)));
        }
    }
    Ok(found)
}

fn is_loadable(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["rlib", "so", "dylib", "dll"].contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rust_examples_are_left_and_lines_stay() {
        let text = "# a\n```\nplain\n```\n```rust,no_run\nlet x = 1;\n```\nb\n\
                    <!-- doc-test: skip pseudo code -->\n```rust\nno\n```\n";
        assert_eq!(only_rust(text).unwrap(), "\n\n\n\n```rust,no_run\nlet x = 1;\n```\n\n\n\n\n\n");
        assert!(only_rust("a\n```console\n$ b\n```\n").is_none());
    }

    #[test]
    fn libraries_are_found_in_the_messages_of_cargo() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"vitte_cache","kind":["lib"]},"filenames":["/t/libvitte_cache.rlib","/t/libvitte_cache.rmeta"]}
{"reason":"compiler-artifact","target":{"name":"other","kind":["lib"]},"filenames":["/t/libother.rlib"]}
{"reason":"build-finished","success":true}"#;
        let found = externs(messages, &["vitte_cache".to_owned()]).unwrap();
        assert_eq!(found, BTreeMap::from([("vitte_cache".to_owned(), "/t/libvitte_cache.rlib".into())]));
        assert!(externs("not json", &[]).is_err());
    }
}
