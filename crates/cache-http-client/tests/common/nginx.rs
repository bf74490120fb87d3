//! A private nginx that stores files.
#![expect(clippy::print_stderr, reason = "it says what it skips")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Whoever has a loaded machine waits this long for nginx to listen.
const START: Duration = Duration::from_secs(20);

/// An nginx with the DAV module, on a port and in a directory of its own. It ends with this.
pub(crate) struct Nginx {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one that makes collections by itself, or wants `MKCOL` for them. Nothing if there is no nginx here, which
    /// is not allowed in CI.
    pub(crate) fn start(makes_collections: bool) -> Option<Self> {
        let version = Command::new("nginx").arg("-V").output();
        let has_dav = version
            .is_ok_and(|version| String::from_utf8_lossy(&version.stderr).contains("with-http_dav_module"));
        if !has_dav {
            assert!(
                !std::env::var("CI").is_ok_and(|ci| ci == "true"),
                "nginx with its DAV module is needed by this test: cargo xtask setup"
            );
            eprintln!("skipped: there is no nginx with its DAV module here");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        let deadline = Instant::now() + START;
        loop {
            // Somebody may take the port before nginx does: it ends then, and gets another one.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            let config = dir.path().join("nginx.conf");
            fs::write(&config, configuration(dir.path(), address, makes_collections)).unwrap();
            let mut child = Command::new("nginx")
                .arg("-c")
                .arg(&config)
                .arg("-p")
                .arg(dir.path())
                .args(["-e", "error.log"])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self { child, dir, address });
                }
                assert!(Instant::now() < deadline, "nginx does not listen");
                std::thread::yield_now();
            }
            let log = fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "nginx does not start: {log}");
        }
    }

    /// Returns the address of a directory `name` of its own.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Returns where the files of the directory `name` are.
    pub(crate) fn files(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("files").join(name)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(dir: &Path, address: SocketAddr, makes_collections: bool) -> String {
    let dir = dir.display();
    let full_paths = if makes_collections { "on" } else { "off" };
    // One process, so that nothing changes its user or outlives the test.
    format!(
        "daemon off; master_process off; worker_rlimit_nofile 4096; pid {dir}/pid; error_log {dir}/error.log;
        events {{ worker_connections 1024; }}
        http {{
          access_log off;
          client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
          uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
          client_max_body_size 0;
          server {{
            listen {address};
            root {dir}/files;
            location / {{ dav_methods PUT DELETE MKCOL; create_full_put_path {full_paths}; }}
            location /secret/ {{ if ($http_authorization != \"Bearer s3cret\") {{ return 401; }}
              dav_methods PUT DELETE; create_full_put_path on; }}
            location /small/ {{ client_max_body_size 1k; dav_methods PUT DELETE; create_full_put_path on; }}
            location /readonly/ {{ }}
          }}
        }}"
    )
}
