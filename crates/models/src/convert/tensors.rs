//! Which tensors are written, in which type, and the writing itself.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use docent_gguf::codec::{self, CodecError};
use docent_gguf::{DataSink, TensorInfo, TensorType, WriteError, Writer};

use super::config::Config;
use super::names::{self, Target};
use super::source::RawTensor;
use super::{Error, OutputType, Progress};

/// How many elements are converted at a time; a multiple of every block length. It bounds the memory that a conversion takes.
const CHUNK: usize = 1 << 16;

/// The tensors to be written, in order.
pub(super) struct Plan<'a> {
    pub(super) tensors: Vec<Planned<'a>>,
    /// Names of the tensors that are left out.
    pub(super) dropped: Vec<String>,
}

pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) ty: TensorType,
    pub(super) source: RawTensor<'a>,
}

impl<'a> Plan<'a> {
    /// Names, checks and types every tensor of the source.
    pub(super) fn new(
        dir: &Path,
        config: &Config,
        ty: OutputType,
        source: impl Iterator<Item = RawTensor<'a>>,
    ) -> Result<Self, Error> {
        let family = config.family.name();
        let mut plan = Self { tensors: Vec::new(), dropped: Vec::new() };
        let mut seen = HashSet::new();
        for tensor in source {
            let name = match names::target(tensor.view.name, config) {
                Target::Tensor(name) => name,
                Target::Dropped => {
                    plan.dropped.push(tensor.view.name.to_owned());
                    continue;
                }
                Target::Unknown => {
                    let (file, name) = (tensor.file.to_owned(), tensor.view.name.to_owned());
                    return Err(Error::UnknownTensor { file, name, family, layers: config.layers });
                }
            };
            if !seen.insert(name.clone()) {
                let (file, source) = (tensor.file.to_owned(), tensor.view.name.to_owned());
                return Err(Error::Ambiguous { file, name: source, target: name });
            }
            tensor.check_type()?;
            check_shape(&tensor, &name, config)?;
            plan.tensors.push(Planned { ty: stored_type(&name, &tensor.view.shape, ty), name, source: tensor });
        }
        let missing: Vec<String> = names::required(config).filter(|name| !seen.contains(name)).collect();
        if let Some(first) = missing.first().cloned() {
            let count = missing.len();
            return Err(Error::MissingTensors {
                dir: dir.to_owned(),
                first,
                count,
                names: missing,
                family,
                layers: config.layers,
            });
        }
        Ok(plan)
    }

    /// Number of weights.
    pub(super) fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.source.elements()).sum()
    }

    /// Rows of the embedding table.
    pub(super) fn vocabulary_rows(&self) -> u64 {
        self.tensors.iter().find(|t| t.name == "token_embd.weight").map_or(0, |t| t.source.view.shape[0])
    }

    /// Tensors that could not have the type asked for, because their rows are no multiple of its block.
    pub(super) fn fallbacks(&self, ty: OutputType) -> Vec<String> {
        let other = |t: &&Planned<'_>| ty == OutputType::Q8_0 && t.ty == TensorType::F16;
        self.tensors.iter().filter(other).map(|t| t.name.clone()).collect()
    }

    pub(super) fn describe(&self, writer: &mut Writer) -> Result<(), WriteError> {
        for tensor in &self.tensors {
            let dims: Vec<u64> = tensor.source.view.shape.iter().rev().copied().collect();
            writer.tensor(&tensor.name, &dims, tensor.ty)?;
        }
        Ok(())
    }

    /// Writes the file, tensor by tensor, calling `on_tensor` before each.
    pub(super) fn save(
        &self,
        writer: &Writer,
        out: &Path,
        on_tensor: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        let by_name: HashMap<&str, (usize, &Planned<'_>)> =
            self.tensors.iter().enumerate().map(|(index, t)| (t.name.as_str(), (index, t))).collect();
        let total_bytes = writer.tensors().iter().map(TensorInfo::n_bytes).sum();
        let mut written_bytes = 0;
        let mut values = vec![0f32; CHUNK];
        let mut encoded = Vec::new();
        writer.save(out, |info: &TensorInfo, sink: &mut DataSink<'_>| {
            let (index, planned) = by_name[info.name()];
            on_tensor(Progress { tensor: info.name(), index, count: self.tensors.len(), written_bytes, total_bytes });
            written_bytes += info.n_bytes();
            planned.encode(&mut values, &mut encoded, sink)
        })
    }
}

impl Planned<'_> {
    fn encode(&self, values: &mut [f32], encoded: &mut Vec<u8>, sink: &mut DataSink<'_>) -> Result<(), Error> {
        let elements = self.source.elements() as usize; // of a tensor that is mapped into memory
        for start in (0..elements).step_by(CHUNK) {
            let values = &mut values[..CHUNK.min(elements - start)];
            self.source.decode(start, values)?;
            encoded.clear();
            codec::quantize(self.ty, values, encoded).map_err(|e| self.codec_error(e, start))?;
            sink.write(encoded)?;
        }
        Ok(())
    }

    fn codec_error(&self, error: CodecError, start: usize) -> Error {
        let (file, name) = (self.source.file.to_owned(), self.source.view.name.to_owned());
        match error {
            CodecError::Unrepresentable { ty, index, value, .. } => {
                Error::Range { file, name, ty, index: (start + index) as u64, value }
            }
            source => Error::Codec { file, name, source },
        }
    }
}

/// Vectors, norms, positions and token types stay in single precision: they are small, and every reader expects it. What
/// remains gets the type asked for, or F16 where a row is no whole number of blocks.
fn stored_type(name: &str, shape: &[u64], ty: OutputType) -> TensorType {
    let single = shape.len() <= 1
        || name.ends_with("_norm.weight")
        || !name.ends_with(".weight")
        || matches!(name, "position_embd.weight" | "token_types.weight");
    if single {
        return TensorType::F32;
    }
    let wanted = ty.tensor_type();
    let whole = shape.last().is_some_and(|row| row.is_multiple_of(wanted.block_elements() as u64));
    if whole { wanted } else { TensorType::F16 }
}

fn check_shape(tensor: &RawTensor<'_>, name: &str, config: &Config) -> Result<(), Error> {
    let found = &tensor.view.shape;
    let mut expected = names::shape(name, config).unwrap_or_default();
    if name == "token_embd.weight" && config.vocabulary.is_none() {
        // Any number of tokens will do.
        expected[0] = found.first().copied().unwrap_or_default().max(1);
    }
    if *found == expected {
        return Ok(());
    }
    let (file, name) = (tensor.file.to_owned(), tensor.view.name.to_owned());
    Err(Error::Shape { file, name, expected, found: found.clone() })
}
