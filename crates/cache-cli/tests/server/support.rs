//! A scratch place, the program in it, and a server that it runs.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up. Nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

/// A directory with a cache, a file of tokens and a configuration. Nothing of the machine's configuration is seen.
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) root: PathBuf,
}

/// What a call left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        Self { _dir: dir, root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As editors do it.
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitte-cache"));
        command.args(args).current_dir(&self.root).env_clear().stdin(Stdio::null());
        for kept in ["PATH", "SYSTEMROOT"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        let home = &self.root;
        command.env("HOME", home).env("USERPROFILE", home).env("APPDATA", home).env("LOCALAPPDATA", home);
        command
            .env("VITTE_CACHE_DIR", self.path("cache"))
            .env("VITTE_SERVER_TOKENS", self.path("tokens.json"));
        command
    }

    /// Runs the command line `line`, split at blanks.
    pub(crate) fn run(&self, line: &str) -> Done {
        finish(&mut self.command(line.split_whitespace()))
    }

    /// Creates a token and returns its secret.
    pub(crate) fn token(&self, line: &str) -> String {
        let done = self.run(&format!("token create {line}")).code(0);
        done.stdout.trim_end().to_owned()
    }

    /// Starts a server with the flags `line` on a free port, and waits until it serves.
    pub(crate) fn serve(&self, line: &str) -> Running {
        Running::start(&mut self.command(format!("serve --port 0 --log json {line}").split_whitespace()))
    }
}

pub(crate) fn finish(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server that runs. It is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// Everything that it has logged and that somebody waited for.
    pub(crate) log: String,
    pub(crate) listen: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Self { child, lines, log: String::new(), listen: String::new() };
        let first = running.wait_for("\"message\":\"serving ");
        first["listen"].as_str().unwrap().clone_into(&mut running.listen);
        running
    }

    /// Waits for a line of the log with this text, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {text} after:\n{}", self.log));
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(text) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.split(',').next().unwrap().parse().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn put(&self, path: &str, token: Option<&str>, content: &[u8]) -> u16 {
        let mut stream = self.connect();
        stream.write_all(head("PUT", path, token, content.len()).as_bytes()).unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(content);
        answer(stream).0
    }

    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(head("GET", path, token, 0).as_bytes()).unwrap();
        answer(stream)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end, and takes what was logged until then.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn head(method: &str, path: &str, token: Option<&str>, len: usize) -> String {
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "{method} {path} HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n{token}Content-Length: {len}\r\n\r\n"
    )
}

/// Reads an answer to its end.
pub(crate) fn answer(mut stream: impl Read) -> (u16, Vec<u8>) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let split = all.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
    let status = String::from_utf8_lossy(&all[..split]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, all.split_off(split + 4))
}
