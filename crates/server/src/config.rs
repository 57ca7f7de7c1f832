//! What a server is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use docent::ModelRef;

use crate::failure::{Failure, FailureKind};

/// Everything that a [`Server`](crate::Server) is told. The default listens on 127.0.0.1:8080, serves no model, and takes what one
/// machine's clients ask for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The models.
    pub models: ModelsConfig,
    /// Who may ask.
    pub access: Access,
    /// How much at a time.
    pub limits: Limits,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; port 0 for any that is free.
    Tcp(SocketAddr),
    /// A socket in the file system, which only this user may connect to.
    Unix(PathBuf),
}

/// The models of a server.
#[derive(Clone, Debug, Default)]
pub struct ModelsConfig {
    /// Those that are always served, in the order in which they were named. The first embedder and the first reranker answer requests
    /// that name no model.
    pub models: Vec<NamedModel>,
    /// Whether any other model of the catalogue that is on this machine is loaded when a request names it. Never by path or address:
    /// those come from a stranger.
    pub on_demand: bool,
    /// How each is opened.
    pub open: docent::OpenOptions,
    /// Bytes of memory that the models may take together, before the one that was not used for the longest time is unloaded; `None` for
    /// no bound.
    pub memory: Option<u64>,
    /// Whether each model computes something before the server says that it is ready, so that no request pays for the first touch.
    pub warm: bool,
}

/// A model and the name by which requests ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// The name in requests and answers.
    pub name: String,
    /// The model.
    pub model: ModelRef,
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Keys of which a request must have one, as `Authorization: Bearer KEY`, or in `x-api-key`; if there are none, none is asked for.
    pub keys: Vec<String>,
    /// Whether `/health` and `/metrics` ask for a key too.
    pub guard_probes: bool,
    /// Origins of web pages that may call, such as `https://notes.example`; a page of any other is refused.
    pub origins: Vec<String>,
    /// Names, without a port, by which the server may be called besides loopback's names and the address that it listens on.
    pub hosts: Vec<String>,
}

/// How much at a time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens that a forward pass takes up at a time, unless one text alone has more: the unit in which requests wait for each other.
    pub step_tokens: usize,
    /// Requests that are worked on or wait at a time.
    pub concurrent_requests: usize,
    /// Tokens that wait at a time.
    pub queue_tokens: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are read or worked on at a time.
    pub bodies_bytes: usize,
    /// Bytes of all answers that are sent at a time; small ones are not counted, and one alone is never too much.
    pub answers_bytes: usize,
    /// Texts or documents of a request.
    pub items: usize,
    /// Tokens of a request.
    pub request_tokens: usize,
    /// Numbers in the vectors of an answer.
    pub answer_values: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Time for a request's head, between two parts of its body, and for the client to take
    /// anything of its answer.
    pub read_timeout: Duration,
    /// Time that a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Time that requests get to finish when the server is told to stop.
    pub drain: Duration,
}

impl Limits {
    /// # Errors
    /// If a request has no items, or too many.
    pub(crate) fn check_items(&self, items: usize, field: &str) -> Result<(), Failure> {
        if items == 0 {
            let message = format!("`{field}` is empty: give at least one text");
            return Err(Failure::new(FailureKind::Empty, message).about(field));
        }
        if items > self.items {
            let message = format!("`{field}` has {items} items, more than the {} of a request; divide it", self.items);
            return Err(Failure::new(FailureKind::TooManyItems, message).about(field));
        }
        Ok(())
    }

    /// # Errors
    /// If so many bytes would be tokenized: more than bodies have, because a `field` is read with every text.
    pub(crate) fn check_work(&self, bytes: usize, field: &str) -> Result<(), Failure> {
        let most = self.body_bytes.saturating_mul(2);
        if bytes > most {
            let message = format!("`{field}` is read with every text, which makes more than {most} bytes; shorten it");
            return Err(Failure::new(FailureKind::TooManyTokens, message).about(field));
        }
        Ok(())
    }

    /// # Errors
    /// If a request has too many tokens.
    pub(crate) fn check_tokens(&self, tokens: usize) -> Result<(), Failure> {
        if tokens > self.request_tokens {
            let most = self.request_tokens;
            let message = format!("the request has {tokens} tokens, more than the {most} of a request; divide it");
            return Err(Failure::new(FailureKind::TooManyTokens, message));
        }
        Ok(())
    }

    /// # Errors
    /// If the vectors of an answer have too many numbers together.
    pub(crate) fn check_values(&self, values: usize) -> Result<(), Failure> {
        if values > self.answer_values {
            let most = self.answer_values;
            let message =
                format!("the vectors would have {values} numbers, more than the {most} of an answer; divide it");
            return Err(Failure::new(FailureKind::TooManyTokens, message));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            step_tokens: 1024,
            concurrent_requests: 512,
            queue_tokens: 1 << 20,
            body_bytes: 16 << 20,
            bodies_bytes: 256 << 20,
            answers_bytes: 256 << 20,
            items: 2048,
            request_tokens: 300_000,
            answer_values: 8 << 20,
            connections: 16_384,
            read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            drain: Duration::from_secs(30),
        }
    }
}

/// As an address that clients are given: `http://127.0.0.1:8080`, `unix:/run/docent.sock`.
impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080))),
            models: ModelsConfig::default(),
            access: Access::default(),
            limits: Limits::default(),
        }
    }
}
