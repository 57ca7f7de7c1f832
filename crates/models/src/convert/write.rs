//! Writing the file, and checking that it can be opened before it has its name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use docent_gguf::codec::{self, CodecError};
use docent_gguf::{DataSink, Gguf, TensorInfo, TensorType, WriteError, Writer};
use docent_kernels::ThreadPool;
use docent_tokenizer::Tokenizer;

use super::model::Model;
use super::plan::{Plan, Planned};
use super::values::Values;
use super::{Error, Progress};
use crate::settings::Settings;
use crate::source::Source;
use crate::unchecked::{self, Unchecked};
use crate::weights::{Threads, Weights};

/// How many elements are converted at a time; a multiple of every block length. It bounds the memory that a conversion takes.
const CHUNK: usize = 1 << 16;

impl Plan<'_> {
    pub(super) fn describe(&self, writer: &mut Writer) -> Result<(), WriteError> {
        for tensor in &self.tensors {
            let dims: Vec<u64> = tensor.values.shape().iter().rev().copied().collect();
            writer.tensor(&tensor.name, &dims, tensor.ty)?;
        }
        Ok(())
    }

    /// Writes the file beside its place, tensor by tensor, calling `on_tensor` before each, and checks it.
    pub(super) fn save(
        &self,
        model: &Model<'_>,
        writer: &Writer,
        out: &Path,
        on_tensor: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Unchecked, Error> {
        let by_name: HashMap<&str, (usize, &Planned<'_>)> =
            self.tensors.iter().enumerate().map(|(index, t)| (t.name.as_str(), (index, t))).collect();
        let total_bytes = writer.tensors().iter().map(TensorInfo::n_bytes).sum();
        let mut written_bytes = 0;
        let mut values = vec![0f32; CHUNK];
        let mut encoded = Vec::new();
        let unchecked = Unchecked::beside(out)?;
        let saved = writer.save(&unchecked.path, |info: &TensorInfo, sink: &mut DataSink<'_>| {
            let (index, planned) = by_name[info.name()];
            on_tensor(Progress { tensor: info.name(), index, count: self.tensors.len(), written_bytes, total_bytes });
            written_bytes += info.n_bytes();
            planned.encode(&mut values, &mut encoded, sink)
        });
        saved.map_err(|error| renamed(error, out))?;
        check_file(&unchecked.path, out, model)?;
        Ok(unchecked)
    }
}

/// An error of writing, in the name that the caller knows.
pub(super) fn renamed(error: Error, out: &Path) -> Error {
    match error {
        Error::Write(error) => unchecked::renamed(error, out).into(),
        error => error,
    }
}

/// Checks the tensors of the directory against its settings, as when the directory is opened but without reading their values.
pub(super) fn check_directory(model: &Model<'_>) -> Result<(), Error> {
    let source = Source::from_directory(model.dir, model.architecture.gguf_name, model.modules, model.tasks.clone())?;
    let pool = ThreadPool::new(1);
    let threads = Threads::of(&pool);
    let weights = Weights::for_checking(&source, &threads);
    model.architecture.load(&model.settings(), &weights)?;
    refuse_unused(model, &weights)
}

/// Opens a file that was written, without reading the values of its matrices. `out` is what messages call it.
fn check_file(path: &Path, out: &Path, model: &Model<'_>) -> Result<(), Error> {
    let gguf = Gguf::open(path).map_err(crate::Error::from)?;
    let source = Source::from_gguf(out, gguf);
    let Source::Gguf { gguf, .. } = &source else { unreachable!("made from a GGUF file just above") };
    match Tokenizer::from_gguf(gguf.metadata()) {
        // A kind of tokenizer that this version cannot run is no fault of the file.
        Ok(_) | Err(docent_tokenizer::Error::Unsupported { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let pool = ThreadPool::new(1);
    let threads = Threads::of(&pool);
    let weights = Weights::for_checking(&source, &threads);
    let settings = Settings::of_gguf(out, model.architecture.name, gguf.metadata());
    model.architecture.load(&settings, &weights)?;
    refuse_unused(model, &weights)
}

/// A tensor that the model has no use for would be lost, or make another model of it.
pub(super) fn refuse_unused(model: &Model<'_>, weights: &Weights<'_>) -> Result<(), Error> {
    match weights.unused().into_iter().next() {
        Some(name) => {
            let architecture = model.architecture.name;
            Err(Error::UnknownTensor { file: model.dir.to_owned(), name, architecture })
        }
        None => Ok(()),
    }
}

impl Planned<'_> {
    fn encode(&self, values: &mut [f32], encoded: &mut Vec<u8>, sink: &mut DataSink<'_>) -> Result<(), Error> {
        let elements = self.values.elements() as usize; // of a tensor that is mapped into memory
        for start in (0..elements).step_by(CHUNK) {
            let values = &mut values[..CHUNK.min(elements - start)];
            self.values.decode(start, values)?;
            encoded.clear();
            codec::quantize(self.ty, values, encoded).map_err(|e| self.codec_error(e, start))?;
            sink.write(encoded)?;
        }
        Ok(())
    }

    fn codec_error(&self, error: CodecError, start: usize) -> Error {
        let (file, name) = match &self.values {
            Values::Tensor { source, .. } => (source.file.to_owned(), source.view.name.to_owned()),
            Values::Computed { .. } => (PathBuf::from("config.json"), self.name.clone()),
        };
        match error {
            CodecError::Unrepresentable { ty, index, value, .. } => {
                Error::Range { file, name, ty, index: (start + index) as u64, value }
            }
            source => Error::Codec { file, name, source },
        }
    }
}

/// Whether the values of every tensor are of a type that models are run with.
pub(super) fn runs_as_it_is(plan: &Plan<'_>) -> bool {
    plan.tensors.iter().all(|tensor| match &tensor.values {
        Values::Tensor { source, .. } => source.view.ty != TensorType::F64,
        Values::Computed { .. } => true,
    })
}
