//! The servers that are measured, each a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::cpus::Cpus;
use crate::memory::{self, Memory};

/// How long a server may take until it answers, and until it has stopped.
const PATIENCE: Duration = Duration::from_mins(5);
/// What a server may store, in GiB: more than is ever stored here.
const MAX_GIB: u64 = 64;

/// Size of our memory tier: the default of `vitte-cache serve`.
pub(crate) const MEMORY_TIER_MIB: u64 = 64;

/// A server that can be started, by its program.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    Ours(PathBuf),
    Nginx(PathBuf),
    BazelRemote(PathBuf),
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) dir: PathBuf,
}

impl Server {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => OURS,
            Self::Nginx(_) => NGINX,
            Self::BazelRemote(_) => BAZEL_REMOTE,
        }
    }

    /// Starts the server for what is in `dir`, and returns at once.
    pub(crate) fn start(&self, dir: &Path, cpus: &Cpus) -> Result<Running> {
        fs::create_dir_all(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
        let address = free_address()?;
        let log = dir.with_extension("log");
        let log =
            fs::File::create(&log).map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let mut command = self.command(dir, address, cpus.server.len())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = cpus
            .as_server(|| command.spawn())?
            .map_err(|error| format!("cannot start {}: {error}", self.name()))?;
        Ok(Running { child, address, dir: dir.to_owned() })
    }

    fn command(&self, dir: &Path, address: SocketAddr, workers: usize) -> Result<Command> {
        let (Self::Ours(program) | Self::Nginx(program) | Self::BazelRemote(program)) = self;
        let mut command = Command::new(program);
        match self {
            Self::Ours(_) => {
                command.arg("serve").arg("--listen").arg(address.to_string()).arg("--dir").arg(dir);
                command.args(["--memory", &format!("{MEMORY_TIER_MIB}MiB"), "--log-level", "warn"]);
            }
            Self::Nginx(_) => {
                fs::create_dir_all(dir.join("files"))?;
                let path = dir.join("nginx.conf");
                fs::write(&path, nginx(dir, address, workers))?;
                command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(path);
            }
            Self::BazelRemote(_) => {
                command.arg("--dir").arg(dir).args(["--max_size", &MAX_GIB.to_string()]);
                command.args(["--http_address", &address.to_string(), "--grpc_address", "none"]);
                // Nothing here can be compressed, and its clients do not ask for zstd.
                command.args(["--storage_mode", "uncompressed", "--access_log_level", "none"]);
            }
        }
        Ok(command)
    }
}

pub(crate) const OURS: &str = "vitte-cache";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const BAZEL_REMOTE: &str = "bazel-remote";

/// As one would set it up for the files of a cache. Buffers of uploads are files beside those that are served, so that a PUT
/// ends with a rename.
fn nginx(dir: &Path, address: SocketAddr, workers: usize) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let dir = dir.display();
    format!(
        "{user} daemon off; worker_processes {workers}; worker_rlimit_nofile 4096; pid {dir}/pid;
         error_log {dir}/error.log; events {{ worker_connections 1024; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
           keepalive_requests 1000000000; keepalive_timeout 600s;
           client_max_body_size 0; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
           fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
           default_type application/octet-stream;
           server {{
             listen {address} backlog=1024; root {dir}/files;
             location / {{ dav_methods PUT; create_full_put_path on; }}
           }}
         }}\n"
    )
}

/// Returns an address that nobody uses at the moment.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Running {
    /// Waits until a GET of `path` has an answer for which `is_ready`, and returns it.
    pub(crate) fn wait(&mut self, path: &str, is_ready: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(self.address, path) {
                Ok(answer) if is_ready(&answer) => return Ok(answer),
                // A port that nobody listens at yet, or a server that is not done with its start.
                _ if Instant::now() < deadline => thread::sleep(Duration::from_micros(200)),
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
                    return Err(format!("{path} is not there:\n{text}").into());
                }
                Err(error) => return Err(error),
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
                return Err(format!("the server ended by itself, {status}:\n{log}").into());
            }
        }
    }

    /// Returns the memory of the process and of those that it has started.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.child.id())
    }

    /// Returns how long the server has worked so far.
    pub(crate) fn worked(&self) -> Result<Duration> {
        memory::worked(self.child.id())
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result {
        self.end()
    }

    fn end(&mut self) -> Result {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failure, which is what is reported.
        let _ = self.end();
    }
}

/// Returns the answer to a GET of `path`, header and all, on a connection of its own.
pub(crate) fn ask(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
