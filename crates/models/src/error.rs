//! Why a model cannot be loaded.

use std::path::PathBuf;

use docent_gguf::TensorType;
use docent_kernels::WeightError;

use crate::source::safetensors::SafetensorsError;

/// Why a model cannot be loaded. Every variant prints as one line that names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GGUF file cannot be opened or breaks the format.
    #[error(transparent)]
    Gguf(#[from] docent_gguf::Error),
    /// A GGUF key is missing or has a value of the wrong type.
    #[error(transparent)]
    Metadata(#[from] docent_gguf::MetadataError),
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] docent_tokenizer::Error),
    /// The vocabulary of a directory that has SentencePiece's own file and no tokenizer.json cannot be read.
    #[error(transparent)]
    Pieces {
        /// What is wrong.
        source: Box<crate::convert::Error>,
    },
    /// A file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file does not parse, or lacks a field.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// A safetensors file breaks the format.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<SafetensorsError>,
    },
    /// The path is neither a GGUF file nor a model directory.
    #[error("{}: expected a .gguf file or a directory with config.json and model.safetensors, found {found}", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// No code for this architecture.
    #[error("{}: the architecture `{found}` is not supported (supported: {supported})", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// The architecture that the file names.
        found: String,
        /// Those that this version runs.
        supported: String,
    },
    /// A setting of the model is missing, out of range or at odds with another.
    #[error("{}: {key}: expected {expected}, found {found}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key or field.
        key: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The architecture needs a tensor that the file does not have.
    #[error("{}: tensor `{name}` is missing, expected with shape {expected:?}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The GGUF name of the tensor.
        name: String,
        /// The shape it should have, outermost dimension first.
        expected: Vec<u64>,
    },
    /// A tensor has another shape than the model's settings say.
    #[error("{}: tensor `{name}`: expected shape {expected:?}, found {found:?} (outermost dimension first)", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape it should have, outermost dimension first.
        expected: Vec<u64>,
        /// The shape it has.
        found: Vec<u64>,
    },
    /// A tensor of a type that cannot be computed with.
    #[error("{}: tensor `{name}` has the type {found}, which is not supported (supported: {supported})", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: TensorType,
        /// The types that would do.
        supported: &'static str,
    },
    /// The values of a tensor cannot be used.
    #[error("{}: tensor `{name}`: {source}", path.display())]
    Weight {
        /// The file.
        path: PathBuf,
        /// The tensor, or the several that are packed together.
        name: String,
        /// What is wrong.
        source: WeightError,
    },
    /// One tensor stands in the files twice, under the same or equivalent names.
    #[error("{}: tensor `{one}` comes again as `{other}`", path.display())]
    SameTensor {
        /// The file or directory.
        path: PathBuf,
        /// One name.
        one: String,
        /// The other.
        other: String,
    },
    /// The tokenizer can produce ids for which there is no embedding.
    #[error("{}: the tokenizer has {tokens} tokens but the embedding table only {rows} rows", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// Ids of the tokenizer.
        tokens: usize,
        /// Rows of the embedding table.
        rows: usize,
    },
}

impl Error {
    pub(crate) fn config(
        path: impl Into<PathBuf>,
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Error::Config { path: path.into(), key: key.into(), expected: expected.into(), found: found.into() }
    }
}
