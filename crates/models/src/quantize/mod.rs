//! A GGUF file as another GGUF file with its matrices in another type.
//!
//! The result is the file that llama.cpp's quantiser makes without an importance matrix: the same metadata, of which only
//! `general.file_type` and `general.quantization_version` change, the same type for every tensor, the same bytes in it. [`FileType`] is
//! the type of most matrices; norms, biases, tables of positions and types stay as they are, some tensors get more bits, and rows that the
//! type's blocks do not divide get a type with smaller blocks ([`Report::fallbacks`]).
//!
//! The adapters of tasks that lie beside a model are copied as they are, to lie beside the new file.
//!
//! Every weight is checked to be finite on the way. Memory stays below a few MiB plus the vocabulary, whatever the size of the model: it is
//! read through a mapping and written in pieces, which all threads of the pool encode. The output appears under its name whole, or not at
//! all.

mod adapters;
mod choose;
mod error;
mod file_type;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use docent_gguf::codec::{self, CodecError};
use docent_gguf::{DataSink, Gguf, OwnedValue, Tensor, TensorInfo, TensorType, Writer};
use docent_kernels::ThreadPool;

use crate::unchecked::{self, Unchecked};
use choose::{Choice, Rules, Shape, layer_of};

pub use error::Error;
pub use file_type::FileType;

/// How a file is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The type of most matrices.
    pub file_type: FileType,
    /// Whether a file at the output path may be replaced.
    pub overwrite: bool,
    /// Whether tensors that are quantised already may be quantised again, which loses accuracy twice.
    pub requantize: bool,
    /// How many threads encode, from 1.
    pub threads: usize,
}

/// How far the work is, several times a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of tensor data written so far.
    pub written_bytes: u64,
    /// Bytes of tensor data in the whole file.
    pub total_bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tensors in the file.
    pub tensors: usize,
    /// Weights in the file.
    pub parameters: u64,
    /// Size of the input, all its files together.
    pub input_bytes: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The types in the file, by ascending id.
    pub types: Vec<Share>,
    /// Tensors whose rows the blocks of the wanted type do not divide.
    pub fallbacks: Vec<Fallback>,
    /// Tensors that were quantised before and are now again.
    pub requantized: usize,
    /// Files that were copied to stand beside the new one: the adapters of the model's tasks, as they were.
    pub adapters: Vec<PathBuf>,
}

/// What is stored in one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The type.
    pub ty: TensorType,
    /// How many tensors.
    pub tensors: usize,
    /// Their weights.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A tensor that got another type than its place in the model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The tensor.
    pub tensor: String,
    /// The type that the rules wanted.
    pub wanted: TensorType,
    /// The type that it has.
    pub ty: TensorType,
}

/// Quantises the model at `input` (the first file, if it is split) to one file at `out`. `on_progress` is called as pieces are written.
///
/// # Errors
///
/// [`Error`] names the file, the place and what was expected there. What was at `out` before is still there then.
pub fn quantize(
    input: &Path,
    out: &Path,
    options: &Options,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    if input.is_dir() {
        return Err(Error::Folder { path: input.to_owned() });
    }
    if let (Ok(a), Ok(b)) = (input.canonicalize(), out.canonicalize())
        && a == b
    {
        return Err(Error::SameFile { path: out.to_owned() });
    }
    if !options.overwrite && out.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: out.to_owned() });
    }
    let model = Gguf::open(input)?;
    let plan = Plan::new(input, &model, options)?;
    let writer = plan.describe(&model, options.file_type)?;
    let mut report = plan.report(&model, &writer);
    let beside = adapters::copy(input, out, &model, options.overwrite)?;

    let total_bytes = writer.tensors().iter().map(TensorInfo::n_bytes).sum();
    let mut written_bytes = 0;
    let mut encoder = Encoder::new(input, options.threads);
    let mut planned = plan.tensors.iter();
    let file = Unchecked::beside(out)?;
    let saved = writer.save(&file.path, |_, sink| {
        let (tensor, choice) = planned.next().expect("the writer has the tensors of the plan, in its order");
        encoder.write(tensor, choice.ty, sink, &mut |bytes| {
            written_bytes += bytes;
            on_progress(Progress { written_bytes, total_bytes });
        })
    });
    saved.map_err(|error| match error {
        Error::Write(error) => unchecked::renamed(error, out).into(),
        error => error,
    })?;
    for (copy, path) in beside {
        copy.commit(&path)?;
        report.adapters.push(path);
    }
    // Last, so that a model under its name is whole.
    file.commit(out)?;
    Ok(report)
}

/// Every tensor with its new type, in the order of the file.
struct Plan<'a> {
    tensors: Vec<(Tensor<'a>, Choice)>,
}

impl<'a> Plan<'a> {
    fn new(input: &Path, model: &'a Gguf, options: &Options) -> Result<Self, Error> {
        // By layer, then by name: llama.cpp's order, which its rules depend on.
        let mut tensors: Vec<Tensor<'a>> = model.tensors().collect();
        tensors.sort_by(|a, b| (layer_of(a.name()), a.name()).cmp(&(layer_of(b.name()), b.name())));
        let metadata = model.metadata();
        let architecture = metadata.str("general.architecture").ok().flatten().unwrap_or_default();
        let count = |key: &str| metadata.u64(&format!("{architecture}.{key}")).ok().flatten();
        let named = || {
            tensors.iter().filter_map(|tensor| layer_of(tensor.name())).max().map_or(0, |last| last.saturating_add(1))
        };
        // No model has as many layers as would overflow the rules' arithmetic.
        let layers = count("block_count").unwrap_or_else(named).min(u64::from(u32::MAX));
        let names = tensors.iter().map(Tensor::name);
        let mut rules = Rules::new(options.file_type, layers, count("expert_count").unwrap_or(0), names);

        let mut plan = Self { tensors: Vec::with_capacity(tensors.len()) };
        for tensor in tensors {
            let choice = rules.next(Shape { name: tensor.name(), dims: tensor.dims(), ty: tensor.tensor_type() });
            let (found, name) = (tensor.tensor_type(), || tensor.name().to_owned());
            if found != choice.ty && !found.is_supported() {
                let source = CodecError::Unsupported { ty: found };
                return Err(Error::Undecodable { path: input.to_owned(), name: name(), source });
            }
            if found != choice.ty && found.is_quantized() && !options.requantize {
                return Err(Error::Quantized { path: input.to_owned(), name: name(), found });
            }
            plan.tensors.push((tensor, choice));
        }
        Ok(plan)
    }

    fn describe(&self, model: &Gguf, file_type: FileType) -> Result<Writer, Error> {
        const QUANTIZATION_VERSION: &str = "general.quantization_version";
        const FILE_TYPE: &str = "general.file_type";
        let mut writer = Writer::new();
        for (key, value) in model.metadata().iter() {
            // What was split is whole now.
            if !matches!(key, QUANTIZATION_VERSION | FILE_TYPE | "split.no" | "split.count" | "split.tensors.count") {
                writer.metadata(key, value)?;
            }
        }
        // 2 is the version in which all of today's block formats are laid out.
        writer.metadata(QUANTIZATION_VERSION, OwnedValue::U32(2))?;
        writer.metadata(FILE_TYPE, OwnedValue::U32(file_type.id()))?;
        for (tensor, choice) in &self.tensors {
            writer.tensor(tensor.name(), tensor.dims(), choice.ty)?;
        }
        Ok(writer)
    }

    fn report(&self, model: &Gguf, writer: &Writer) -> Report {
        let mut types = BTreeMap::new();
        let mut fallbacks = vec![];
        for ((tensor, choice), info) in self.tensors.iter().zip(writer.tensors()) {
            let empty = Share { ty: choice.ty, tensors: 0, parameters: 0, bytes: 0 };
            let share = types.entry(choice.ty.id()).or_insert(empty);
            share.tensors += 1;
            share.parameters += tensor.n_elements() as u64;
            share.bytes += info.n_bytes();
            if let Some(wanted) = choice.instead_of {
                fallbacks.push(Fallback { tensor: tensor.name().to_owned(), wanted, ty: choice.ty });
            }
        }
        let types: Vec<Share> = types.into_values().collect();
        let again = |(tensor, choice): &&(Tensor<'_>, Choice)| {
            tensor.tensor_type().is_quantized() && tensor.tensor_type() != choice.ty
        };
        Report {
            tensors: self.tensors.len(),
            parameters: types.iter().map(|share| share.parameters).sum(),
            input_bytes: model.n_bytes(),
            bytes: writer.n_bytes(),
            types,
            fallbacks,
            requantized: self.tensors.iter().filter(again).count(),
            adapters: Vec::new(),
        }
    }
}

/// How many elements a thread encodes at a time: whole blocks of every type, whose sizes all divide 256.
const PIECE: usize = 1 << 16;
/// How many pieces a thread gets between two writes, so that those who finish early take some of the others'.
const PIECES_A_THREAD: usize = 4;

/// Decodes and encodes tensors on several threads.
struct Encoder<'a> {
    input: &'a Path,
    pool: ThreadPool,
    pieces: Vec<Mutex<Piece>>,
}

/// The numbers of a piece, and what they became.
#[derive(Default)]
struct Piece {
    values: Vec<f32>,
    encoded: Vec<u8>,
    failed: Option<Failure>,
}

enum Failure {
    NotFinite { index: usize, value: f32 },
    Codec(CodecError),
}

impl<'a> Encoder<'a> {
    fn new(input: &'a Path, threads: usize) -> Self {
        let pool = ThreadPool::new(threads);
        let pieces = (0..pool.threads() * PIECES_A_THREAD).map(|_| Mutex::default()).collect();
        Self { input, pool, pieces }
    }

    /// Writes a tensor's data in a type, calling `wrote` with the bytes of each part.
    fn write(
        &mut self,
        tensor: &Tensor<'_>,
        ty: TensorType,
        sink: &mut DataSink<'_>,
        wrote: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let from = tensor.tensor_type();
        if from == ty {
            for bytes in tensor.bytes().chunks(PIECE * 4) {
                sink.write(bytes)?;
                wrote(bytes.len() as u64);
            }
            return Ok(());
        }
        let piece_bytes = PIECE / from.block_elements() * from.block_bytes();
        let at_once = self.pieces.len();
        for (round, part) in tensor.bytes().chunks(piece_bytes * at_once).enumerate() {
            let jobs = part.len().div_ceil(piece_bytes);
            let pieces = &self.pieces;
            self.pool.run(jobs, |job, _| {
                let end = part.len().min((job + 1) * piece_bytes);
                let mut piece = pieces[job].lock().expect("no thread panics while it encodes");
                piece.encode(from, &part[job * piece_bytes..end], ty);
            });
            for (job, piece) in self.pieces[..jobs].iter_mut().enumerate() {
                let piece = piece.get_mut().expect("no thread panics while it encodes");
                if let Some(failure) = piece.failed.take() {
                    let start = (round * at_once + job) * PIECE;
                    return Err(failure.at(self.input, tensor.name(), start));
                }
                sink.write(&piece.encoded)?;
                wrote(piece.encoded.len() as u64);
            }
        }
        Ok(())
    }
}

impl Piece {
    fn encode(&mut self, from: TensorType, bytes: &[u8], to: TensorType) {
        self.values.resize(bytes.len() / from.block_bytes() * from.block_elements(), 0.0);
        self.encoded.clear();
        let decoded = codec::dequantize(from, bytes, &mut self.values);
        let infinite = || self.values.iter().position(|value| !value.is_finite());
        self.failed = match decoded.err() {
            Some(error) => Some(Failure::Codec(error)),
            None => match infinite() {
                Some(index) => Some(Failure::NotFinite { index, value: self.values[index] }),
                None => codec::quantize(to, &self.values, &mut self.encoded).err().map(Failure::Codec),
            },
        };
    }
}

impl Failure {
    /// The error, for a piece that begins at element `start`.
    fn at(self, input: &Path, name: &str, start: usize) -> Error {
        let (path, name) = (input.to_owned(), name.to_owned());
        match self {
            Self::NotFinite { index, value } => Error::NotFinite { path, name, index: start + index, value },
            Self::Codec(CodecError::Unrepresentable { ty, index, value, hint }) => {
                let source = CodecError::Unrepresentable { ty, index: start + index, value, hint };
                Error::Unrepresentable { path, name, source }
            }
            Self::Codec(source) => Error::Undecodable { path, name, source },
        }
    }
}
