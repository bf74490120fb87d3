//! A server that runs in a scratch place.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub(crate) use crate::place::{Place, finish};

/// How long anything may take before a test gives up. Nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

impl Place {
    /// A place where the file of tokens is `tokens.json`.
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        let tokens = place.path("tokens.json");
        place.set("VITTE_SERVER_TOKENS", tokens)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
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

/// A server that runs. It is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// Everything that it has logged and that somebody waited for.
    pub(crate) log: String,
    pub(crate) listen: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
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
