//! Embeddings, reranking and query expansion with GGUF and safetensors models, on an ordinary CPU, without a C++ runtime, `PyTorch` or ONNX.
//!
//! Open a model by name, path or address, and give it texts:
//!
//! ```no_run
//! use docent::Embedder;
//!
//! let embedder = Embedder::open("all-MiniLM-L6-v2")?;
//! for embedding in embedder.embed(&["Where are the settings kept?", "In the file settings.toml."])? {
//!     println!("{} tokens: {:?}...", embedding.tokens, &embedding.vector()[..4]);
//! }
//! # Ok::<(), docent::Error>(())
//! ```
//!
//! # Models
//!
//! A model is named by a path (a `.gguf` file or a Hugging Face directory with safetensors), by its name in the
//! [catalogue](catalog), by `hf:USER/REPO[/FILE]`, or by a web address; [`ModelRef`] has the rules. What is not on this machine is
//! fetched into the Hugging Face cache once, and from then on opened without a connection; see [`hub`].
//!
//! [`supported_architectures`] lists what this version runs, from BERT to Qwen3; [`inspect`] tells what any file is.
//!
//! # Vectors
//!
//! [`Embedder::embed`] uses a model as its publisher recommends: pooling, length limit and normalisation come from the model's
//! files or from the catalogue, and [`ModelSettings`] says which. [`EmbedOptions`] overrides them:
//!
//! ```
//! use docent::{EmbedOptions, Embedder, Prompt};
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");
//! let embedder = Embedder::open(model)?;
//! let options = EmbedOptions { prompt: Prompt::Query, dim: Some(32), ..EmbedOptions::default() };
//! let query = embedder.embed_with(&["hello world"], &options)?;
//! assert_eq!(query[0].vector().len(), 32);
//! assert!(!query[0].truncated());
//! # Ok::<(), docent::Error>(())
//! ```
//!
//! Three things can be relied on:
//!
//! - **The same bits.** A vector depends on its text, the options and the model alone, not on the other texts of the call,
//!   their order, or the number of threads.
//! - **Nothing is lost silently.** Each [`Embedding`] says how many tokens the model read and how many were cut off.
//! - **Errors, not panics.** A damaged file, a hostile download or an odd text gives an [`Error`] of one line that names the file and
//!   the place.
//!
//! Calls are blocking and use all threads of the embedder; an [`Embedder`] may be shared between threads, whose calls then take
//! turns, as do the calls of several embedders. Nothing is sent anywhere; there is no telemetry.
//!
//! # Reranking
//!
//! A [`Reranker`] reads a query together with each document, and orders what a search has found:
//!
//! ```
//! use docent::Reranker;
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/encoders/modern-bert-rerank");
//! let reranker = Reranker::open(model)?;
//! let ranked = reranker.rerank("where is the cat", &["a dog", "the cat sat on the mat"])?;
//! assert_eq!(ranked.len(), 2);
//! assert!(ranked[0].score >= ranked[1].score);
//! # Ok::<(), docent::Error>(())
//! ```
//!
//! # Query expansion
//!
//! An [`Expander`] is a language model that writes other ways of asking a question, for a search to look for beside it. Whatever the
//! model, the lines have the form that is asked for, and the same query gives the same lines:
//!
//! ```
//! use docent::Expander;
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/language-models/qwen3-tied");
//! let expander = Expander::open(model)?;
//! let lines = expander.expand("auth flow")?;
//! assert!(!lines.is_empty());
//! assert_eq!(lines, expander.expand("auth flow")?);
//! # Ok::<(), docent::Error>(())
//! ```
//!
//! # Converting
//!
//! [`convert`] turns a Hugging Face directory into the GGUF file that llama.cpp's converter would write, and [`mod@quantize`] a GGUF file
//! into one with smaller weights.

mod any_model;
pub mod catalog;
mod embedder;
mod engine;
mod error;
mod expander;
pub mod hub;
pub mod model_ref;
mod options;
mod pairs;
mod prepared;
mod rerank_prompt;
mod reranker;
mod settings;

pub use any_model::AnyModel;
pub use docent_gguf as gguf;
pub use docent_kernels::{ISA_VARIABLE, Isa, UnknownIsa, host};
pub use docent_kernels::{KernelRate, OperationTest, Rates, SelfTest, measure_rates, self_test};
pub use docent_models::{
    Description, Format, Inspection, Prompts, ScoreKind, TensorInfo, directory_tokenizer, inspect,
    supported_architectures,
};
pub use docent_models::{convert, quantize};
pub use docent_tokenizer as tokenizer;
pub use embedder::{Embedder, Embedding, MAX_DEFAULT_THREADS, default_threads};
pub use error::Error;
pub use expander::{ExpandOptions, ExpandedLine, Expander, ExpanderSettings, Expansion, LineKind};
pub use model_ref::ModelRef;
pub use options::{EmbedOptions, OpenOptions, Pooling, Prompt, Truncate};
pub use prepared::PreparedText;
pub use reranker::{LongDocuments, PreparedDocument, RankedDocument, RerankOptions, Reranker, RerankerSettings, Score};
pub use settings::{ModelSettings, SettingFrom};
