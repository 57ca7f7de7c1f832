//! One warm server for embedding models and rerankers, which speaks the dialects of the clients that people already have.
//!
//! Models stay loaded, and any number of clients use them: through `OpenAI`'s routes, Cohere's, Jina's, those of
//! text-embeddings-inference, llama-server and Ollama, and Docent's own ([`native`]), all on one port. `docent serve` is this crate with a
//! command line; a program of one's own puts it together like this:
//!
//! ```
//! use docent_server::{Config, EmbedCall, Input, NamedModel, Server, Service};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut config = Config::default();
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");
//! # config.listen = docent_server::Listen::Tcp(([127, 0, 0, 1], 0).into());
//! config.models.models.push(NamedModel { name: "tiny".to_owned(), model: path.parse()? });
//! let service = Service::new(&config);
//! service.load().await?;
//!
//! // The service can be asked without a connection,
//! let inputs = vec![Input::Text("how do tides work".to_owned())];
//! let embedded = service.embed(EmbedCall { model: None, inputs, options: Default::default() }).await?;
//! assert_eq!(embedded.all()?[0].vector().len(), 96);
//!
//! // and answers on its port until it is told to stop.
//! let router = docent_server::router(service.clone());
//! let server = Server::bind(&config, service, router)?;
//! # let stop = std::future::ready(());
//! server.serve(stop).await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of a request
//!
//! A connection is accepted while there is room for one, and its request goes through the layers: an id and a line in the log, the name
//! and the page by which it comes, its key, room among the requests at a time, its body within the limits. The route translates its dialect
//! into a call of the [`Service`]. There the texts are tokenized, which for a short one takes a few microseconds on the spot, and handed to
//! the scheduler as items with a weight in tokens.
//!
//! One thread runs all models. It takes about [`step_tokens`](Limits::step_tokens) tokens of items of one model, of however many requests, runs
//! them through it at once, and looks again at what waits. There is no timer that waits for a batch to fill: an idle server answers at once, a
//! busy one finds its next batch waiting. Nothing is padded, so short and long texts share a pass at no cost. Half of a pass goes to the
//! requests with the least left to do and half to those that came first: a short request is behind the running pass at most, and no long
//! one starves. When a client goes, what it still waited for is never run.
//!
//! What becomes of a text does not depend on its company: each vector and score has the bits that the library gives for it alone.
//!
//! # Documents
//!
//! A [`Searcher`] searches an index of documents with the models of the service. [`router_with_search`] serves it to programs and, over
//! the Model Context Protocol, to agents; [`mcp`] does the same over any pair of streams.
//!
//! # Failures
//!
//! Everything that can go wrong is a [`Failure`] of a [kind](FailureKind), and the dialect of the route gives it status, body and words.
//! Where a dialect can carry it, one bad text fails alone; truncation is in every answer that has a place for it.

mod blocking;
mod body;
mod config;
pub mod daemon;
mod dialects;
mod failure;
mod floats;
mod guard;
mod layers;
mod log;
pub mod mcp;
mod metrics;
mod models;
pub mod native;
mod router;
mod scheduler;
mod search;
mod service;
#[cfg(feature = "otel")]
mod traces;
mod transport;

pub use config::{Access, Config, Limits, Listen, ModelsConfig, NamedModel};
#[doc(hidden)]
pub use dialects::read_as_every_request;
pub use failure::{Failure, FailureKind};
pub use guard::{AccessError, KeyFileError, read_keys};
pub use metrics::Metrics;
pub use models::{Loaded, ModelFacts, ModelInfo, Models, Served, Task};
pub use router::{router, router_with_search};
pub use search::{Found, Search, SearchCall, SearchModels, Searcher};
pub use service::{EmbedCall, Embedded, Input, RerankCall, Reranked, Service, Timings};
#[cfg(feature = "otel")]
pub use traces::{Traces, TracesError};
pub use transport::{Server, ServerError};
