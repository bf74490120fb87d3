//! What the tests of all clients need: a server with a token, and programs.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use cache_server::{Anonymous, Right, Rights, Secret, ServerOptions, Token};
use tokio::process::Command;

use crate::common::{Running, memory, options, start_with};

/// How long a client may take. The slowest, with a JVM to start, take a tenth of it on a slow machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// Returns whether `program` can be started.
pub(crate) async fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().await;
    found.is_ok_and(|output| output.status.success()) || skip(program)
}

/// Returns the program `bin` of a package of npm that `cargo xtask setup` installs as `tool`.
pub(crate) fn npm(tool: &str, bin: &str) -> Option<PathBuf> {
    program(tool, &format!("node_modules/.bin/{bin}"))
}

/// Returns the program at `path` in the directory that `cargo xtask setup` installs `tool` to.
pub(crate) fn program(tool: &str, path: &str) -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools = named("VITTE_CACHE_TOOLS").or_else(|| Some(named("HOME")?.join(".cache/vitte-cache-tools")));
    let program = tools.map(|dir| dir.join(tool).join(path)).filter(|program| program.exists());
    if program.is_none() {
        skip(tool);
    }
    program
}

fn skip(program: &str) -> bool {
    assert!(env::var("CI").as_deref() != Ok("true"), "{program} has to be installed in CI");
    eprintln!("skipped: {program} is not installed; `cargo xtask setup` does that");
    false
}

/// Returns a server with one token, and the token's secret.
pub(crate) async fn start() -> (Running, Secret) {
    let (token, secret) = Token::create("client", Right::ReadWrite, None).unwrap();
    let rights = Rights { tokens: vec![token], anonymous: Anonymous::Off };
    (start_with(ServerOptions { rights, ..options() }, memory()).await, secret)
}

/// Returns the text that the documentation of a protocol has for `file`, for this server: what users copy is what is tested.
/// A page with more than one tool is named with the heading of one, as in `others#Rush`.
pub(crate) fn snippet(page: &str, file: &str, server: &Running) -> String {
    let (page, heading) = page.split_once('#').unwrap_or((page, ""));
    let path = format!("{}/../../docs/protocols/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let text = match heading {
        "" => &*text,
        heading => text.split_once(&format!("\n## {heading}\n")).expect("the page has the heading").1,
    };
    let (_, text) = text.split_once(&format!("`{file}`:\n\n```")).expect("the page has the file");
    let (_language, text) = text.split_once('\n').unwrap();
    let (text, _) = text.split_once("```").unwrap();
    text.replace("cache.example.com:8080", &server.address.to_string())
}

/// Returns the environment that the documentation of a protocol tells users to set, for this server.
pub(crate) fn exports(page: &str, server: &Running, secret: &Secret) -> Vec<(String, String)> {
    let text = snippet(page, "environment", server).replace("$VITTE_TOKEN", secret.reveal());
    let exports = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    exports.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// Writes files below `dir`.
pub(crate) fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Removes what is there of these files and directories below `dir`.
pub(crate) fn wipe(dir: &Path, names: &[&str]) {
    for path in names.iter().map(|name| dir.join(name)) {
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            Ok(_) => std::fs::remove_file(path).unwrap(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{}", path.display()),
        }
    }
}

/// Returns everything that a command wrote.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that has to succeed.
pub(crate) async fn run(command: &mut Command) -> Output {
    let output = output(command).await;
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output
}

/// Runs a command, however it ends.
pub(crate) async fn output(command: &mut Command) -> Output {
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output).await.expect("a client must come to its end").unwrap()
}
