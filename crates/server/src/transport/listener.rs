//! Where connections come from.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixSocket};

use super::ServerError;
use super::socket::Stream;
use crate::config::Listen;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A socket that takes connections.
pub(super) enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// In the file system.
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A program that reached the address.
    Tcp(SocketAddr),
    /// A program of this machine.
    #[cfg(unix)]
    Unix,
}

impl Listener {
    /// Begins to listen.
    pub(super) fn bind(listen: &Listen) -> Result<Self, ServerError> {
        match listen {
            Listen::Tcp(address) => {
                let failed = |source| ServerError::Address { address: *address, source };
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
                let socket = socket.map_err(failed)?;
                // Elsewhere it would let two servers share a port.
                #[cfg(unix)]
                socket.set_reuseaddr(true).map_err(failed)?;
                socket.bind(*address).map_err(failed)?;
                Ok(Listener::Tcp(socket.listen(BACKLOG).map_err(failed)?))
            }
            #[cfg(unix)]
            Listen::Unix(path) => bind_unix(path),
            #[cfg(not(unix))]
            Listen::Unix(path) => Err(ServerError::NoUnixSockets { path: path.clone() }),
        }
    }

    /// What the service manager listens on for this process, if it does.
    #[cfg(unix)]
    pub(super) fn take_over() -> Result<Option<Self>, ServerError> {
        let failed = |source| ServerError::NoStream { source };
        let variable = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
        // The variables of another process, which this one has only inherited.
        if variable("LISTEN_PID") != Some(std::process::id()) {
            return Ok(None);
        }
        let count = variable("LISTEN_FDS").unwrap_or(0) as usize;
        if count > 1 {
            return Err(ServerError::Sockets { count });
        }
        let mut handed = listenfd::ListenFd::from_env();
        if let Ok(Some(listener)) = handed.take_unix_listener(0) {
            listener.set_nonblocking(true).map_err(failed)?;
            let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
            // It stays when the server goes: the next one will be handed the same.
            let file = SocketFile { path: path.unwrap_or_default(), identity: None };
            return Ok(Some(Listener::Unix(UnixListener::from_std(listener).map_err(failed)?, file)));
        }
        let Some(listener) = handed.take_tcp_listener(0).map_err(failed)? else { return Ok(None) };
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Listener::Tcp(TcpListener::from_std(listener).map_err(failed)?)))
    }

    /// No other system hands over sockets.
    #[cfg(not(unix))]
    pub(super) fn take_over() -> Result<Option<Self>, ServerError> {
        Ok(None)
    }

    /// Where it listens, with the port that the system chose.
    pub(super) fn address(&self) -> Result<Listen, ServerError> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Listen::Tcp).map_err(|source| {
                let address = SocketAddr::from(([0, 0, 0, 0], 0));
                ServerError::Address { address, source }
            }),
            #[cfg(unix)]
            Listener::Unix(_, file) => Ok(Listen::Unix(file.path.clone())),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Client)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole; waiting for more to send would only delay them.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Client::Tcp(address)))
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => Ok((Stream::Unix(listener.accept().await?.0), Client::Unix)),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Client::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Client::Unix => f.write_str("unix"),
        }
    }
}

/// The file of a Unix socket, removed when the server ends.
#[cfg(unix)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, by which a file that another server has put in its place is left alone; `None` if it is not this server's at all.
    identity: Option<(u64, u64)>,
}

#[cfg(unix)]
fn bind_unix(path: &Path) -> Result<Listener, ServerError> {
    use std::os::unix::fs::PermissionsExt;

    let failed = |source| ServerError::Socket { path: path.to_owned(), source };
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path) };
    // Nobody can connect before `listen`, so at no time has it other permissions than these.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener::Unix(socket.listen(BACKLOG).map_err(failed)?, file))
}

/// Removes what a server that was killed left behind, and nothing else.
#[cfg(unix)]
fn remove_stale(path: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::FileTypeExt;

    let failed = |source| ServerError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed(source)),
        Ok(found) if !found.file_type().is_socket() => Err(ServerError::NotASocket { path: path.to_owned() }),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::info!(path = %path.display(), "replacing the socket of a server that is gone");
                std::fs::remove_file(path).map_err(failed)
            }
            Err(source) => Err(failed(source)),
            Ok(_) => Err(ServerError::InUse { path: path.to_owned() }),
        },
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // If it cannot be removed, the next server finds it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
