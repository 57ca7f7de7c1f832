//! What can go wrong in a conversion.

use std::io;
use std::path::PathBuf;

use docent_gguf::codec::CodecError;
use docent_gguf::{TensorType, WriteError};

/// Why a directory could not be converted. Each message is one line that names the place, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a file at the output path already.
    #[error("{}: the file exists; choose another name or allow overwriting", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// A file of the directory could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that a model directory needs is not there.
    #[error("{}: expected {expected}, found none; {hint}", dir.display())]
    MissingFile {
        /// The directory.
        dir: PathBuf,
        /// The file.
        expected: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A file is larger than any of its kind.
    #[error("{}: expected at most {limit} bytes, found {found}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// Its size.
        found: u64,
    },
    /// A file that should be JSON is not.
    #[error("{}: expected {expected}, found {detail}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What the parser says, with line and column.
        detail: String,
    },
    /// A value in a configuration file cannot be used.
    #[error("{}: key `{key}`: expected {expected}, found {found}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What can be used.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A setting, a weight or a weight file is missing, damaged or at odds with the others.
    #[error(transparent)]
    Source(#[from] crate::Error),
    /// The index names tensors that the shard does not hold.
    #[error("{}: expected tensor `{name}` in {shard}, found none", path.display())]
    Shard {
        /// The index.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The file it should be in.
        shard: String,
    },
    /// A tensor that the architecture does not have; leaving it out could make another model of it.
    #[error("{}: tensor `{name}` is no part of a `{architecture}` model with these settings", file.display())]
    UnknownTensor {
        /// The file or directory.
        file: PathBuf,
        /// The tensor, by its name there or in GGUF.
        name: String,
        /// The architecture by its name in GGUF.
        architecture: &'static str,
    },
    /// Two tensors have the same meaning.
    #[error("{}: tensor `{name}`: expected one tensor for `{target}`, found another before it", file.display())]
    Ambiguous {
        /// The file of the second.
        file: PathBuf,
        /// The second.
        name: String,
        /// What both would become.
        target: String,
    },
    /// A tensor does not fit the configuration.
    #[error("{}: tensor `{name}`: expected shape {expected:?}, found {found:?}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The shape by the configuration.
        expected: Vec<u64>,
        /// The shape in the file.
        found: Vec<u64>,
    },
    /// A tensor's numbers are of a type that weights are not stored in.
    #[error("{}: tensor `{name}`: expected F64, F32, F16 or BF16 numbers, found {found}", file.display())]
    Dtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The type.
        found: TensorType,
    },
    /// A weight is NaN or infinite.
    #[error("{}: tensor `{name}`: expected finite numbers, found {value:e} at element {index}; the model is damaged", file.display())]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Position in the tensor.
        index: u64,
        /// The number.
        value: f64,
    },
    /// A weight is beyond what the output type can hold.
    #[error("{}: tensor `{name}`: expected numbers that {ty} can hold, found {value} at element {index}; convert to f32 or bf16", file.display())]
    Range {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The output type.
        ty: TensorType,
        /// Position in the tensor.
        index: u64,
        /// The number.
        value: f32,
    },
    /// A tensor could not be encoded for another reason.
    #[error("{}: tensor `{name}`: {source}", file.display())]
    Codec {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The reason.
        source: CodecError,
    },
    /// The tokenizer cannot be expressed in a GGUF file.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The tokenizer could not be loaded.
    #[error(transparent)]
    Tokenizer(#[from] docent_tokenizer::Error),
    /// The output could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
