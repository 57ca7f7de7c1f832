//! What can go wrong when a file is quantised.

use std::path::PathBuf;

use docent_gguf::codec::CodecError;
use docent_gguf::{TensorType, WriteError};

/// Why a file could not be quantised. Each message is one line that names the place, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a file at the output path already.
    #[error("{}: the file exists; choose another name or allow overwriting", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Input and output are one file.
    #[error("{}: expected another file for the output than for the input", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// A folder was given.
    #[error("{}: expected a GGUF file, found a folder; a conversion makes one of a Hugging Face directory", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The input is no GGUF file that can be read.
    #[error(transparent)]
    Open(#[from] docent_gguf::Error),
    /// The adapter of a task beside the input cannot be read.
    #[error(transparent)]
    Adapter {
        /// What is wrong with it.
        source: Box<crate::Error>,
    },
    /// A tensor of the input is quantised already.
    #[error(
        "{}: tensor `{name}`: expected F32, F16 or BF16, found {found}: rounding twice loses accuracy; start from the original, or allow \
         requantising",
        path.display()
    )]
    Quantized {
        /// The input.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: TensorType,
    },
    /// A tensor cannot be decoded.
    #[error("{}: tensor `{name}`: {source}", path.display())]
    Undecodable {
        /// The input.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The reason.
        source: CodecError,
    },
    /// A weight is not a number or infinite.
    #[error("{}: tensor `{name}`: expected finite weights, found {value} at element {index}; the model is damaged", path.display())]
    NotFinite {
        /// The input.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position in the tensor.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// A weight does not fit in the type.
    #[error("{}: tensor `{name}`: {source}", path.display())]
    Unrepresentable {
        /// The input.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position in the tensor, and the type.
        source: CodecError,
    },
    /// The output could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
