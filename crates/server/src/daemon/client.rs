//! A command's side of the socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wire::{SearchRequest, Status};
use crate::search::Found;

/// Time for an answer: loading a model, and letting a large one read many candidates. A command that has waited so long does the work itself.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(600);

/// Time for an answer that takes no work.
#[cfg(unix)]
const PROMPT: Duration = Duration::from_secs(10);

/// The socket of a daemon, which may or may not listen.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Why a daemon does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens.
    #[error("no daemon runs at {}", path.display())]
    None {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is another user's, who would read what is asked.
    #[error("the socket {} belongs to another user", path.display())]
    NotOurs {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon is of another version.
    #[error("the daemon at {} is of another version of docent; `docent daemon restart` starts this one", path.display())]
    OtherVersion {
        /// The socket.
        path: PathBuf,
    },
    /// It refuses.
    #[error("the daemon refuses: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// The connection breaks, or the answer is none.
    #[error("the daemon at {} does not answer as it should: {what}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        what: String,
    },
}

impl Client {
    /// The daemon at a socket.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Client { path: path.into() }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn broken(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::Broken { path: self.path.clone(), what: what.to_string() }
    }
}

#[cfg(unix)]
mod over_sockets {
    use std::io::ErrorKind;

    use http_body_util::{BodyExt, Full};
    use hyper::body::Bytes;
    use hyper::{Method, Request, StatusCode, header};
    use hyper_util::rt::TokioIo;
    use serde::de::DeserializeOwned;
    use tokio::net::UnixStream;

    use super::{Client, ClientError, Duration, Found, PATIENCE, PROMPT, SearchRequest, Status};
    use crate::daemon::{SEARCH, STATUS, STOP};

    impl Client {
        /// Lets the daemon search.
        ///
        /// # Errors
        /// Whenever the command had better search itself.
        pub fn search(&self, request: &SearchRequest) -> Result<Found, ClientError> {
            let body = serde_json::to_vec(request).map_err(|error| self.broken(error))?;
            self.read(Method::POST, SEARCH, body, PATIENCE)
        }

        /// What the daemon has in memory.
        ///
        /// # Errors
        /// If there is none, or it does not answer.
        pub fn status(&self) -> Result<Status, ClientError> {
            self.read(Method::GET, STATUS, Vec::new(), PROMPT)
        }

        /// Tells the daemon to stop when it has done what it does.
        ///
        /// # Errors
        /// If there is none, or it does not answer.
        pub fn stop(&self) -> Result<(), ClientError> {
            self.ask(Method::POST, STOP, Vec::new(), PROMPT).map(drop)
        }

        fn read<T: DeserializeOwned>(
            &self,
            method: Method,
            route: &str,
            body: Vec<u8>,
            patience: Duration,
        ) -> Result<T, ClientError> {
            let answer = self.ask(method, route, body, patience)?;
            serde_json::from_slice(&answer).map_err(|error| self.broken(error))
        }

        fn ask(&self, method: Method, route: &str, body: Vec<u8>, patience: Duration) -> Result<Bytes, ClientError> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| self.broken(error))?;
            let asked = async { tokio::time::timeout(patience, self.exchange(method, route, body)).await };
            let (status, answer) = runtime.block_on(asked).map_err(|_| self.broken("it takes too long"))??;
            match status {
                StatusCode::OK => Ok(answer),
                StatusCode::NOT_FOUND if route == SEARCH && is_unknown_route(&answer) => {
                    Err(ClientError::OtherVersion { path: self.path.clone() })
                }
                _ => Err(ClientError::Refused { message: message(&answer) }),
            }
        }

        async fn exchange(
            &self,
            method: Method,
            route: &str,
            body: Vec<u8>,
        ) -> Result<(StatusCode, Bytes), ClientError> {
            let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::None { path: self.path.clone() },
                _ => self.broken(error),
            })?;
            let owner = stream.peer_cred().map_err(|error| self.broken(error))?.uid();
            if owner != rustix::process::geteuid().as_raw() {
                return Err(ClientError::NotOurs { path: self.path.clone() });
            }
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| self.broken(error))?;
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(route)
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|error| self.broken(error))?;
            let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| self.broken(error))?;
            Ok((status, body.to_bytes()))
        }
    }

    /// Whether it is the route that is not there, and not what was asked for.
    fn is_unknown_route(answer: &[u8]) -> bool {
        let code = serde_json::from_slice(answer).ok().and_then(|answer: serde_json::Value| {
            answer.pointer("/error/code").and_then(|code| code.as_str()).map(str::to_owned)
        });
        code.as_deref() == Some("unknown_url")
    }

    fn message(answer: &[u8]) -> String {
        let json: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
        let message =
            json.as_ref().and_then(|json| json.pointer("/error/message")).and_then(|message| message.as_str());
        message.unwrap_or("it does not say why").to_owned()
    }
}

#[cfg(not(unix))]
impl Client {
    /// There are no Unix sockets on this system, and so no daemon.
    ///
    /// # Errors
    /// Always.
    pub fn search(&self, _: &SearchRequest) -> Result<Found, ClientError> {
        Err(ClientError::None { path: self.path.clone() })
    }

    /// The same.
    ///
    /// # Errors
    /// Always.
    pub fn status(&self) -> Result<Status, ClientError> {
        Err(ClientError::None { path: self.path.clone() })
    }

    /// The same.
    ///
    /// # Errors
    /// Always.
    pub fn stop(&self) -> Result<(), ClientError> {
        Err(ClientError::None { path: self.path.clone() })
    }
}
