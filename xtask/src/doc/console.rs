//! Runs the examples of a page that are marked `console`: lines that start with `$ ` are typed,
//! `> ` continues them, the other lines are what must come out on either stream.
//!
//! All examples of one page run in order in one shell and one empty directory, which is also the
//! home and the cache of that shell, so that a page can be read, and tried, from top to bottom.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{matcher, skip_reason};
use crate::files;
use crate::markdown::{self, Line};
use crate::step::Step;
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;

/// A page of examples takes seconds; one that waits for something would wait forever.
const PAGE_TIMEOUT: Duration = Duration::from_mins(5);
/// Ends the output of each command. A control character that no program of ours prints.
const SEPARATOR: char = '\u{1e}';

/// The variables by which `vitte-cache` knows a job of a CI system: the pages show what people see at their own machines.
const CI_JOBS: [&str; 7] = [
    "GITHUB_RUN_ID",
    "CI_JOB_ID",
    "BUILDKITE_JOB_ID",
    "CIRCLE_WORKFLOW_JOB_ID",
    "BUILD_BUILDID",
    "BUILD_TAG",
    "TRAVIS_JOB_ID",
];

/// A command of an example, and what it must write.
#[derive(Debug, PartialEq, Eq)]
struct Exchange {
    /// Line of the page, from 1.
    line: usize,
    command: String,
    expected: String,
}

#[derive(Debug, Default)]
struct Page {
    exchanges: Vec<Exchange>,
    /// Line and reason of each example that the page asks to leave out.
    skipped: Vec<(usize, String)>,
}

pub(super) fn run(workspace: &Workspace, paths: &[PathBuf]) -> Result {
    let mut pages = BTreeMap::new();
    for path in paths {
        let page = parse(&files::read(&workspace.root.join(path))?)
            .map_err(|why| Stop::failed(format!("{}: {why}", path.display())))?;
        pages.insert(path, page);
    }
    let count: usize = pages.values().map(|page| page.exchanges.len()).sum();
    let mut problems = Vec::new();
    if count > 0 {
        // The same features as the tests, so that next to nothing has to be compiled again.
        Step::cargo(["build", "--workspace", "--all-features", "--bin", "vitte-cache"]).run()?;
        for (path, page) in pages.iter().filter(|(_, page)| !page.exchanges.is_empty()) {
            problems.extend(run_page(workspace, path, &page.exchanges)?);
        }
    }
    let mut skips = 0;
    for (path, page) in &pages {
        for (line, reason) in &page.skipped {
            println!("{}:{line}: not run: {reason}", path.display());
            skips += 1;
        }
    }
    println!("console examples: {count} commands, {} wrong, {skips} examples not run", problems.len());
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    Err(Stop::failed(format!("{} console examples do not do what they show", problems.len())))
}

fn parse(text: &str) -> std::result::Result<Page, String> {
    let mut page = Page::default();
    let mut before = "";
    let mut inside = false;
    let mut may_continue = false;
    let mut block_start = 0;
    for (index, line) in markdown::lines(text).into_iter().enumerate() {
        let number = index + 1;
        match line {
            Line::Prose(prose) if prose.trim().is_empty() => {}
            Line::Prose(prose) => before = prose,
            Line::Open("console") => {
                match skip_reason(before) {
                    Some(reason) => page.skipped.push((number, reason.to_owned())),
                    None => inside = true,
                }
                block_start = page.exchanges.len();
                before = "";
            }
            Line::Open(_) | Line::Close => {
                inside = false;
                before = "";
            }
            Line::Code(code) if inside => {
                if let Some(command) = code.strip_prefix("$ ") {
                    let (command, expected) = (command.to_owned(), String::new());
                    page.exchanges.push(Exchange { line: number, command, expected });
                    may_continue = true;
                    continue;
                }
                let exchange = page.exchanges[block_start..]
                    .last_mut()
                    .ok_or_else(|| format!("line {number}: a console example starts with `$ `"))?;
                let continued = code.strip_prefix("> ").or((code == ">").then_some(""));
                if let Some(more) = continued.filter(|_| may_continue) {
                    exchange.command.push('\n');
                    exchange.command.push_str(more);
                } else {
                    may_continue = false;
                    exchange.expected.push_str(code);
                    exchange.expected.push('\n');
                }
            }
            Line::Code(_) => {}
        }
    }
    Ok(page)
}

/// Runs one page and returns what differed.
fn run_page(workspace: &Workspace, path: &Path, exchanges: &[Exchange]) -> Result<Vec<String>> {
    println!("$ bash -e, with the {} commands of {}", exchanges.len(), path.display());
    let scratch = tempfile::tempdir().map_err(Stop::io("create a directory in", &env::temp_dir()))?;
    let child = shell(workspace, scratch.path())?
        .arg(script(exchanges))
        .spawn()
        .map_err(|error| Stop::absent(format!("cannot start bash: {error}")))?;
    let (output, ended) = read_all(child, PAGE_TIMEOUT)?;
    let mut problems = compare(path, exchanges, &output);
    if !ended {
        let seconds = PAGE_TIMEOUT.as_secs();
        problems.push(format!("{}: stopped, its examples took more than {seconds} s", path.display()));
    }
    Ok(problems)
}

/// Joins the commands, each followed by a separator that is printed only if it succeeded.
fn script(exchanges: &[Exchange]) -> String {
    let mut script = String::from("exec 2>&1\n");
    for exchange in exchanges {
        script.push_str(&exchange.command);
        script.push_str("\nprintf '\\036'\n");
    }
    script
}

/// Compares the output of each command; after one that failed there is nothing more to compare.
fn compare(path: &Path, exchanges: &[Exchange], output: &str) -> Vec<String> {
    let mut outputs = output.split(SEPARATOR);
    let mut problems = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        let place = format!("{}:{}: `{}`", path.display(), exchange.line, exchange.command);
        let actual = outputs.next().unwrap_or_default();
        // What follows the last separator is not the output of a command that succeeded.
        if output.matches(SEPARATOR).count() <= index {
            problems.push(format!("{place} failed, the rest of the page was not run:\n{actual}"));
            break;
        }
        if !matcher::matches(&exchange.expected, actual) {
            problems.push(format!("{place} shows\n{}but wrote\n{actual}", exchange.expected));
        }
    }
    problems
}

/// Returns a shell that sees the freshly built command and nothing of the user's home or caches.
fn shell(workspace: &Workspace, scratch: &Path) -> Result<Command> {
    let built = workspace.binary("debug", "vitte-cache");
    let dir = built.parent().unwrap_or(&built);
    let old = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(dir.to_owned()).chain(env::split_paths(&old)))
        .map_err(|error| Stop::failed(format!("cannot put {} on PATH: {error}", dir.display())))?;
    let home = scratch.join("home");
    let work = scratch.join("work");
    files::create_dirs(&home)?;
    files::create_dirs(&work)?;
    let mut shell = Command::new("bash");
    for (name, _) in env::vars_os() {
        let setting = name.to_string_lossy().starts_with("VITTE_CACHE_") || name == "VITTE_CACHE";
        if setting || CI_JOBS.iter().any(|job| name == *job) {
            shell.env_remove(name);
        }
    }
    // Rust's tools live in the home directory unless told otherwise.
    for (name, place) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        if let (None, Some(home)) = (env::var_os(name), env::home_dir()) {
            shell.env(name, home.join(place));
        }
    }
    shell
        .arg("-ec")
        .current_dir(work)
        .env("PATH", path)
        .env("HOME", &home)
        .env("XDG_CACHE_HOME", home.join(".cache"))
        .env("VITTE_CACHE_DIR", home.join(".cache/vitte-cache"))
        .env("NO_COLOR", OsString::from("1"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(shell)
}

/// Reads until the end of the output, and returns false in place of true if that took too long.
fn read_all(mut child: Child, timeout: Duration) -> Result<(String, bool)> {
    let Some(mut stdout) = child.stdout.take() else {
        return Err(Stop::failed("the shell of an example has no output"));
    };
    let (done, wait) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        // The receiver is gone only after the timeout, and nobody wants the bytes then.
        let _ = done.send(read.map(|_| bytes));
    });
    let received = wait.recv_timeout(timeout);
    if received.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    match received {
        Ok(bytes) => {
            let _ = reader.join();
            let bytes = bytes.map_err(|error| Stop::failed(format!("cannot read from bash: {error}")))?;
            Ok((String::from_utf8_lossy(&bytes).into_owned(), true))
        }
        Err(_) => Ok((String::new(), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_continuations_and_output_are_told_apart() {
        let page = parse("```console\n$ cat <<E\n> a\n>\n> E\na\n> b\n$ true\n```\n").unwrap();
        assert_eq!(
            page.exchanges,
            [
                Exchange { line: 2, command: "cat <<E\na\n\nE".into(), expected: "a\n> b\n".into() },
                Exchange { line: 8, command: "true".into(), expected: String::new() },
            ]
        );
    }

    #[test]
    fn only_console_blocks_that_do_not_ask_to_be_skipped_are_run() {
        let text = "<!-- doc-test: skip takes an hour -->\n\n```console\n$ sleep 3600\n```\n\
                    ```sh\n$ no\n```\n<!-- doc-test: skip -->\n```console\n$ yes\n```\n";
        let page = parse(text).unwrap();
        assert_eq!(page.skipped, [(3, "takes an hour".to_owned())]);
        assert_eq!(page.exchanges.len(), 1);
        assert_eq!(page.exchanges[0].command, "yes");
    }

    #[test]
    fn output_before_a_command_is_refused() {
        assert!(parse("```console\nhello\n```\n").unwrap_err().contains("line 2"));
        assert!(parse("```console\n$ a\n```\n```console\nhello\n```\n").unwrap_err().contains("line 5"));
    }

    #[test]
    fn each_command_is_compared_with_its_own_output() {
        let page = parse("```console\n$ a\none …\n$ b\n$ c\nx\n```\n").unwrap();
        let compare = |output: &str| compare(Path::new("a.md"), &page.exchanges, output);
        assert_eq!(compare("one 1\n\u{1e}\u{1e}x\u{1e}"), Vec::<String>::new());
        let wrong = compare("one 1\n\u{1e}noise\u{1e}x\u{1e}");
        assert!(wrong.len() == 1 && wrong[0].starts_with("a.md:4: `b` shows"), "{wrong:?}");
        let failed = compare("one 1\n\u{1e}no such file\n");
        assert!(failed.len() == 1 && failed[0].starts_with("a.md:4: `b` failed"), "{failed:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_page_that_hangs_is_stopped() {
        let child = Command::new("sleep").arg("1000").stdout(Stdio::piped()).spawn().unwrap();
        let (output, ended) = read_all(child, Duration::from_millis(10)).unwrap();
        assert!(output.is_empty() && !ended);
    }
}
