//! Transformer architectures: from a configuration and named tensors to hidden states.
//!
//! [`Model::open`] reads a GGUF file or a Hugging Face directory, checks every tensor against the shape that the settings ask for, and
//! packs the weights for the kernels. [`Model::forward`] runs a [`Batch`] of token ids, packed without padding, and returns the last
//! hidden state of every token:
//!
//! ```
//! use docent_kernels::{Executor, Isa, ThreadPool};
//! use docent_models::{Batch, Model};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");
//! let model = Model::open(path, &ThreadPool::new(2))?;
//! let ids = [model.tokenizer().ids("hello world")?, model.tokenizer().ids("and another text")?];
//! let batch = Batch::new(ids.iter().map(Vec::as_slice));
//!
//! let mut executor = Executor::inline(Isa::best());
//! let hidden = model.forward(&mut executor, &batch)?;
//! assert_eq!(hidden.rows(), batch.ids().len());
//! assert_eq!(hidden.columns(), model.description().hidden_size);
//! executor.recycle(hidden);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An architecture is one file
//!
//! Each file under `arch/` reads like the paper: the settings, the weights by name, the forward pass in the operations of
//! [`docent_kernels::Executor`]. It knows GGUF's names only; the tensors of a Hugging Face directory are renamed as they are listed, by
//! a function in the same file, so that both kinds of file share all code behind it.
//!
//! # What is checked
//!
//! Missing and misshapen tensors, weights that are not finite, settings out of range or at odds with each other, a vocabulary larger
//! than its embedding table, modules of a sentence-transformers repository that would change the vectors and are not known: each is an
//! [`Error`] of one line with file, place, expected and found. Tensors that the architecture does not know are named in a warning and
//! otherwise ignored: the count of tensors says nothing about whether a model can be run.
//!
//! [`inspect`] reads what a file says about itself whether or not it can be run; [`convert`] writes GGUF,
//! and [`quantize`] changes the type of its weights.

mod arch;
mod batch;
mod blocks;
mod chat_template;
pub mod convert;
mod description;
mod error;
mod head;
mod inspect;
mod keys;
mod model;
mod output;
mod pass;
pub mod quantize;
mod repository;
mod rerank_template;
mod sentence_transformers;
mod settings;
mod source;
mod unchecked;
mod weights;

pub use arch::supported_architectures;
pub use batch::{Batch, BatchError};
pub use description::{Description, Format, Prompts};
pub use error::Error;
pub use head::ScoreKind;
pub use inspect::{Inspection, TensorInfo, inspect};
pub use model::{Model, directory_tokenizer};
pub use pass::Prefix;
pub use rerank_template::RerankTemplate;
pub use source::safetensors::{SafetensorsEntry, SafetensorsError, read_safetensors_header};
pub use source::tasks::{adapter_files, is_adapter_file};
