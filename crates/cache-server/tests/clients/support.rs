//! What the tests of all clients need: a server with a token, and programs.

use std::env;
use std::path::PathBuf;
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
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tools = named("VITTE_CACHE_TOOLS").or_else(|| Some(named("HOME")?.join(".cache/vitte-cache-tools")));
    let program = tools.map(|dir| dir.join(tool).join("node_modules/.bin").join(bin));
    let program = program.filter(|program| program.exists());
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

/// Runs a command that has to succeed.
pub(crate) async fn run(command: &mut Command) -> Output {
    let output = output(command).await;
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a command, however it ends.
pub(crate) async fn output(command: &mut Command) -> Output {
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output).await.expect("a client must come to its end").unwrap()
}
