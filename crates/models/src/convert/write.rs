//! Writing the file, and checking that it can be opened before it has its name.

use std::collections::HashMap;
use std::fs;
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
use crate::weights::Weights;

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
        saved.map_err(|error| unchecked.renamed(error, out))?;
        check_file(&unchecked.path, out, model)?;
        Ok(unchecked)
    }
}

/// A written file that has not its name yet; dropped before it has, it is removed.
pub(super) struct Unchecked {
    pub(super) path: PathBuf,
}

impl Unchecked {
    pub(super) fn beside(out: &Path) -> Result<Self, Error> {
        let refused = |source| WriteError::Io { file: out.display().to_string(), action: "create the file", source };
        let Some(name) = out.file_name() else {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path does not end in a file name");
            return Err(refused(source).into());
        };
        if out.is_dir() {
            return Err(refused(std::io::Error::from(std::io::ErrorKind::IsADirectory)).into());
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.unchecked", std::process::id()));
        Ok(Unchecked { path: out.with_file_name(hidden) })
    }

    /// An error of writing, in the name that the caller knows.
    pub(super) fn renamed(&self, error: Error, out: &Path) -> Error {
        let name = out.display().to_string();
        match error {
            Error::Write(WriteError::Io { action, source, .. }) => WriteError::Io { file: name, action, source }.into(),
            Error::Write(WriteError::DiskFull { needed, .. }) => WriteError::DiskFull { file: name, needed }.into(),
            error => error,
        }
    }

    /// Gives the file its name.
    pub(super) fn commit(self, out: &Path) -> Result<(), Error> {
        let action = "finish the file";
        let refused = |source| WriteError::Io { file: out.display().to_string(), action, source };
        fs::rename(&self.path, out).map_err(refused)?;
        // Makes the name durable where the system can; the contents are on the disk already.
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if cfg!(unix) {
            let _ = fs::File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Unchecked {
    fn drop(&mut self) {
        // Gone if it has its name by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// Checks the tensors of the directory against its settings, as when the directory is opened but without reading their values.
pub(super) fn check_directory(model: &Model<'_>) -> Result<(), Error> {
    let source =
        Source::from_directory(model.dir, model.architecture.gguf_name, &model.modules.weights, model.tasks.clone())?;
    let threads = ThreadPool::new(1);
    let weights = Weights::for_checking(&source, &threads);
    (model.architecture.load)(&model.settings(), &weights)?;
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
    let threads = ThreadPool::new(1);
    let weights = Weights::for_checking(&source, &threads);
    let settings = Settings::of_gguf(out, model.architecture.name, gguf.metadata());
    (model.architecture.load)(&settings, &weights)?;
    refuse_unused(model, &weights)
}

/// A tensor that the model has no use for would be lost, or make another model of it.
pub(super) fn refuse_unused(model: &Model<'_>, weights: &Weights<'_>) -> Result<(), Error> {
    let unused = weights.unused();
    if unused.iter().any(|name| name.starts_with("dense_")) {
        let path = model.dir.join("modules.json");
        return Err(Error::Module { path, module: "sentence_transformers.models.Dense".to_owned() });
    }
    match unused.into_iter().next() {
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
