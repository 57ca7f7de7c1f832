//! The server as a program that listens: sockets, connections, their times and their end.

mod activity;
mod connection;
mod files;
mod heads;
mod listener;
pub(crate) mod payload;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::guard::{AccessError, Guard};
use crate::layers::{self, Layers};
use crate::{Config, Limits, Listen, Service};
use connection::Connections;
pub(crate) use listener::Client;
use listener::Listener;

/// A server that listens, and answers from [`serve`](Self::serve) on. HTTP/1.1 and HTTP/2 without TLS are spoken on the same socket.
pub struct Server {
    listener: Listener,
    address: Listen,
    router: Router,
    limits: Limits,
    layers: Arc<Layers>,
}

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Another server listens on the socket.
    #[error("{path} is the socket of a server that runs; stop it, or choose another path")]
    InUse {
        /// The socket's file.
        path: PathBuf,
    },
    /// There is something else where the socket should be.
    #[error("{path} exists and is no socket; remove it, or choose another path")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The socket's file cannot be made.
    #[error("cannot listen on the socket {path}: {source}")]
    Socket {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no such sockets.
    #[error("cannot listen on {path}: this system has no Unix sockets; listen on an address")]
    NoUnixSockets {
        /// The file.
        path: PathBuf,
    },
    /// The service manager has handed over more than one socket.
    #[error(
        "the service manager has handed over {count} sockets, and one is served; give the socket unit one `ListenStream`"
    )]
    Sockets {
        /// How many.
        count: usize,
    },
    /// What the service manager has handed over cannot be listened on.
    #[error(
        "what the service manager has handed over is no socket to listen on: {source}; give the socket unit a `ListenStream`"
    )]
    NoStream {
        /// What is wrong with it.
        source: io::Error,
    },
    /// A key, origin or host that cannot be one.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Time to wait after the system had no file descriptor or memory for a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

impl Server {
    /// Begins to listen; who connects before [`serve`](Self::serve) waits. The router is that of the dialects, and whatever else is to be served.
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the address or socket is not to be had, or a key, origin or host cannot be one.
    pub fn bind(config: &Config, service: Service, router: Router) -> Result<Self, ServerError> {
        Self::on(Listener::bind(&config.listen)?, config, service, router)
    }

    /// Takes over the socket that the service manager listens on for this process, if there is one, whatever the configuration says about
    /// where to listen: who connected before waits. It comes by systemd's variables, `LISTEN_FDS` and `LISTEN_PID`, which are taken out of
    /// the environment; so this is to be called early, and once. Otherwise as [`bind`](Self::bind).
    ///
    /// # Errors
    /// If there is more than one socket, or the one is not of a kind that is served, or as of [`bind`](Self::bind).
    pub fn take_over(config: &Config, service: Service, router: Router) -> Result<Option<Self>, ServerError> {
        match Listener::take_over()? {
            Some(listener) => Self::on(listener, config, service, router).map(Some),
            None => Ok(None),
        }
    }

    fn on(listener: Listener, config: &Config, service: Service, router: Router) -> Result<Self, ServerError> {
        let address = listener.address()?;
        let guard = Guard::new(&config.access, &address)?;
        let open = match &address {
            Listen::Tcp(address) => !address.ip().is_loopback() && config.access.keys.is_empty(),
            Listen::Unix(_) => false,
        };
        if open {
            tracing::warn!(%address, "anyone who reaches this address may use the server: no API key is asked for");
        }
        let limits = Limits { connections: files::allow(config.limits.connections), ..config.limits.clone() };
        let layers = Arc::new(Layers::new(service, guard, &limits));
        Ok(Server { router: layers::around(router, &layers), listener, address, limits, layers })
    }

    /// Where it listens, with the port that the system chose if it was left to it.
    pub fn address(&self) -> &Listen {
        &self.address
    }

    /// Answers until `shutdown` is ready; then takes no more connections, ends those that are idle, and lets requests finish for as
    /// long as [`Limits::drain`] says. Gives the number of connections that had to be cut.
    ///
    /// There are never more connections than [`Limits::connections`]. Further ones wait in the system's queue, and each of them ends the
    /// connection that has been idle for the longest time: idle clients come back when they need to, and cannot keep others out.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> usize {
        let Server { listener, address, router, limits, layers } = self;
        let (stop, stopped) = watch::channel(false);
        let room = Arc::new(Semaphore::new(limits.connections));
        let connections = Arc::new(Connections::new(router, limits.clone(), stopped));
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        tracing::info!(%address, "listening");
        loop {
            let (stream, client, permit) = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accept(&listener, &connections, &room) => accepted,
            };
            while tasks.try_join_next().is_some() {}
            let connections = Arc::clone(&connections);
            tasks.spawn(async move {
                connections.serve(stream, client).await;
                drop(permit);
            });
        }
        layers.stop();
        drop(listener);
        let _ = stop.send(true);
        tracing::info!(connections = tasks.len(), "stopping");
        let end = Instant::now() + limits.drain;
        while let Ok(Some(_)) = tokio::time::timeout_at(end, tasks.join_next()).await {}
        let cut = tasks.len();
        if cut > 0 {
            tracing::warn!(connections = cut, "cut what was not finished in time");
        }
        tasks.shutdown().await;
        tracing::info!("stopped");
        cut
    }
}

/// The next connection, when there is room for it.
async fn accept(
    listener: &Listener,
    connections: &Connections,
    room: &Arc<Semaphore>,
) -> (socket::Stream, Client, Option<OwnedSemaphorePermit>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let room = Arc::clone(room);
                if room.available_permits() == 0 {
                    connections.make_room();
                }
                // The semaphore is never closed.
                let permit = room.acquire_owned().await.ok();
                connections.has_room();
                return (stream, client, permit);
            }
            Err(error) if is_of_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted at the moment");
                connections.make_room();
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Whether the error is that of one connection, and the next may do better.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};

    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected)
}
