//! One warm server for embedding models and rerankers, which speaks the dialects of the clients that people already have.

mod body;
mod config;
mod failure;
mod guard;
mod layers;
mod log;
mod metrics;
mod models;
pub mod native;
mod scheduler;
mod service;
mod transport;

pub use config::{Access, Config, Limits, Listen, ModelsConfig, NamedModel};
pub use failure::{Failure, FailureKind};
pub use guard::{AccessError, KeyFileError, read_keys};
pub use metrics::Metrics;
pub use models::{Loaded, ModelInfo, Models, Served, Task};
pub use service::{EmbedCall, Embedded, Input, RerankCall, Reranked, Service, Timings};
pub use transport::{Server, ServerError};
