//! Reads, validates and writes GGUF, the container in which language models are published, and decodes its block formats.
//!
//! # The container
//!
//! A GGUF file is a header and a data section. The header holds *metadata* (numbers, texts and arrays by key: the
//! architecture, its sizes, the tokenizer with its whole vocabulary) and the *tensor records* (name, shape, element type,
//! where the data lie). The data section holds the tensors' bytes, each tensor at a multiple of the file's alignment. All
//! numbers are little-endian. A model may be split over several files, of which the first has the metadata.
//!
//! [`Gguf`] opens a model, [`Metadata`] answers for its keys, [`Tensor`] gives shape, [`TensorType`] and bytes of a tensor,
//! [`codec`] turns those bytes into numbers and back, and [`Writer`] makes a new file.
//!
//! ```
//! use docent_gguf::{Gguf, TensorType, WriteError, Writer, codec};
//!
//! // Write a model with one tensor of two rows, in blocks of 32 signed bytes with a common scale.
//! let mut writer = Writer::new();
//! writer.metadata("general.architecture", "bert")?;
//! writer.metadata("tokenizer.ggml.tokens", vec!["[PAD]".to_owned(), "[UNK]".to_owned()])?;
//! writer.tensor("token_embd.weight", &[32, 2], TensorType::Q8_0)?;
//! let weights: Vec<f32> = (0..64).map(|i| i as f32 - 32.0).collect();
//! let mut file = vec![];
//! writer.write(&mut file, |tensor, data| {
//!     let mut blocks = vec![];
//!     codec::quantize(tensor.tensor_type(), &weights, &mut blocks).expect("all weights are finite");
//!     data.write(&blocks)?;
//!     Ok::<_, WriteError>(())
//! })?;
//!
//! // Read it back; `Gguf::open(path)` does the same from a file.
//! let model = Gguf::from_bytes(file)?;
//! assert_eq!(model.metadata().require_str("general.architecture")?, "bert");
//! assert_eq!(model.metadata().require_strings("tokenizer.ggml.tokens")?.iter().nth(1), Some("[UNK]"));
//!
//! let tensor = model.tensor("token_embd.weight").expect("it was written above");
//! assert_eq!((tensor.dims(), tensor.tensor_type()), (&[32, 2][..], TensorType::Q8_0));
//! let mut decoded = vec![0.0; tensor.n_elements()];
//! codec::dequantize(tensor.tensor_type(), tensor.bytes(), &mut decoded)?;
//! assert!(weights.iter().zip(&decoded).all(|(a, b)| (a - b).abs() < 0.2));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Nothing is copied, nothing is trusted
//!
//! Opening maps the file ([`MappedFile`]) and walks its header once. What is kept are positions: texts, arrays and tensor
//! data are handed out as slices of the mapping. A vocabulary of a quarter of a million tokens costs its walk and no memory.
//!
//! The walk checks everything that can be checked without knowing what a model is, and all of it before anything is
//! allocated for it: counts and lengths against the bytes that are left, version and byte order, that keys and names are
//! UTF-8, not empty, not too long and not there twice, value types, the alignment, that shapes have one to four sizes whose
//! product fits, that types exist (removed ones are named) and rows are whole blocks, that data are aligned, inside the file
//! and apart from each other, and that the files of a split model belong together. A file that fails is an [`Error`] of one
//! line with the file, the place in it, what was expected and what was found. No file can make this crate panic, hang, or
//! allocate more than a small multiple of its own size.
//!
//! Where the specification and practice differ, this is what we do:
//!
//! * Versions 2 and 3 are read (their layout is the same); 3 is written. Big-endian files are refused.
//! * A truth value is any byte; all but 0 mean true.
//! * Arrays of arrays are refused, as llama.cpp does; no writer makes them.
//! * Data need not follow each other without gaps as llama.cpp demands. Our writer leaves none, so it can read our files.
//! * A tensor without sizes is one row of one element. A size of 0 is refused.
//! * Tensor names have at most 64 bytes when read, 63 when written, which is what llama.cpp accepts.
//! * Key order and tensor order are the file's and are kept.
//!
//! Sources: the GGUF specification of the ggml project for the container; ggml's reference quantisers for the codecs.

mod atomic_file;
pub mod codec;
mod cursor;
mod error;
mod header;
mod mapped;
mod metadata;
mod owned_value;
mod reader;
mod split;
mod tensor;
mod tensor_type;
mod value;
mod writer;

pub use error::{Error, FormatError, Place, Problem};
pub use mapped::MappedFile;
pub use metadata::{Metadata, MetadataError};
pub use owned_value::{OwnedArray, OwnedValue};
pub use reader::Gguf;
pub use tensor::Tensor;
pub use tensor_type::TensorType;
pub use value::{Array, ArrayIter, StringArray, Strings, Value, ValueType};
pub use writer::{DataSink, TensorInfo, WriteError, Writer};
