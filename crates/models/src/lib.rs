//! models
mod arch;
mod batch;
pub mod convert;
mod error;
mod inspect;
mod model;
mod sentence_transformers;
mod source;
mod weights;

pub use arch::supported_architectures;
pub use batch::{Batch, BatchError};
pub use error::{Error, SafetensorsError};
pub use inspect::{Inspection, TensorInfo, inspect};
pub use model::{Description, Format, Model, Prompts};
