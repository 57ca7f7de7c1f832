//! docent
pub mod catalog;
mod embedder;
mod engine;
mod error;
pub mod hub;
pub mod model_ref;
mod options;

pub use docent_gguf as gguf;
pub use docent_kernels::Isa;
pub use docent_models::convert;
pub use docent_models::{
    Description, Format, Inspection, Prompts, TensorInfo, inspect, supported_architectures,
};
pub use docent_tokenizer as tokenizer;
pub use embedder::{Embedder, Embedding, MAX_DEFAULT_THREADS, ModelSettings, SettingFrom, default_threads};
pub use error::Error;
pub use model_ref::ModelRef;
pub use options::{EmbedOptions, OpenOptions, Pooling, Prompt, Truncate};
