//! A Unix socket in the file system.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::Listen;
use crate::ServerError;

/// Connections that wait to be accepted, as many as tokio has for TCP.
const BACKLOG: u32 = 1024;
/// Who may connect: the user of the server.
const MODE: u32 = 0o600;

/// A listener on a socket file, which is removed at the end.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file, so that the one of a successor is left alone.
    id: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. What a dead server left there is replaced.
    pub(super) async fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address: Listen::Unix(path.to_owned()), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(file) if !file.file_type().is_socket() => {
                return Err(ServerError::NotASocket { path: path.to_owned() });
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => return Err(ServerError::SocketInUse { path: path.to_owned() }),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tracing::info!(path = %path.display(), "replacing the socket of a server that is gone");
                    fs::remove_file(path).map_err(failed)?;
                }
                // Too many are waiting there already, but for somebody.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(ServerError::SocketInUse { path: path.to_owned() });
                }
                Err(error) => return Err(failed(error)),
            },
        }
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        // Nobody can connect before it listens, and then only the right one can.
        let id = fs::set_permissions(path, Permissions::from_mode(MODE)).and_then(|()| id_of(path));
        let listener = id.and_then(|id| Ok((socket.listen(BACKLOG)?, id)));
        match listener {
            Ok((listener, id)) => Ok(Self { listener, path: path.to_owned(), id }),
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(failed(error))
            }
        }
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            // What stays is replaced by the next server.
            let _ = fs::remove_file(&self.path);
        }
    }
}
