//! The adapters of a model's tasks, each as a file of its own beside the model's.

use std::path::{Path, PathBuf};

use docent_gguf::{DataSink, Gguf, TensorInfo, TensorType, WriteError, Writer};
use docent_kernels::ThreadPool;

use super::Error;
use super::model::Model;
use super::plan::Plan;
use super::source::RawTensor;
use super::write::{refuse_unused, renamed};
use crate::keys::Keys;
use crate::settings::Settings;
use crate::source::Source;
use crate::source::tasks::{AdapterFile, Task, file_name};
use crate::unchecked::Unchecked;
use crate::weights::{Threads, Weights};

/// A factor of what every task adds to a weight: the part of each task after that of the one before.
pub(super) struct Factor<'a> {
    pub(super) name: String,
    pub(super) source: RawTensor<'a>,
}

/// The one factor that GGUF has the other way round than the authors' code.
const TURNED: &str = "token_embd.weight.lora_b";

/// Where the adapters of a model go whose file is `out`.
pub(super) fn paths(model: &Model<'_>, out: &Path) -> Vec<PathBuf> {
    let name = out.file_name().unwrap_or_default();
    model.tasks.iter().map(|task| out.with_file_name(file_name(&task.name, name))).collect()
}

/// Writes the adapters beside their places and checks them with the model's file `base`, which has not its name yet either.
pub(super) fn save(
    model: &Model<'_>,
    plan: &Plan<'_>,
    base: &Unchecked,
    out: &Path,
) -> Result<Vec<(Unchecked, PathBuf)>, Error> {
    if plan.factors.is_empty() {
        return Ok(Vec::new());
    }
    let mut saved = Vec::new();
    for (place, (task, path)) in model.tasks.iter().zip(paths(model, out)).enumerate() {
        let unchecked = Unchecked::beside(&path)?;
        let writer = describe(model, plan, task)?;
        let mut factors = plan.factors.iter();
        let written = writer.save(&unchecked.path, |_: &TensorInfo, sink: &mut DataSink<'_>| {
            let factor = factors.next().expect("the writer has the factors of the plan, in its order");
            factor.encode(place, sink)
        });
        written.map_err(|error| renamed(error, &path))?;
        saved.push((unchecked, path));
    }
    check(model, base, out, &saved)?;
    Ok(saved)
}

fn describe(model: &Model<'_>, plan: &Plan<'_>, task: &Task) -> Result<Writer, WriteError> {
    let mut keys = Keys::default();
    keys.text("general.architecture", model.architecture.name);
    keys.text("general.type", "adapter");
    keys.text("adapter.type", "lora");
    keys.f32("adapter.lora.alpha", task.alpha);
    keys.text("adapter.lora.task_name", &task.name);
    keys.optional_text("adapter.lora.prompt_prefix", task.prompt.as_deref());
    let mut writer = Writer::new();
    keys.add_to(&mut writer)?;
    for factor in &plan.factors {
        let [rows, columns] = factor.shape();
        writer.tensor(&factor.name, &[columns, rows], TensorType::F32)?;
    }
    Ok(writer)
}

/// Opens the model with its adapters, without reading the values of matrices.
fn check(model: &Model<'_>, base: &Unchecked, out: &Path, saved: &[(Unchecked, PathBuf)]) -> Result<(), Error> {
    let open = |(unchecked, path): &(Unchecked, PathBuf)| {
        let file = AdapterFile::open(unchecked.path.clone(), model.architecture.name)?;
        Ok(AdapterFile { path: path.clone(), ..file })
    };
    let files = saved.iter().map(open).collect::<Result<_, crate::Error>>()?;
    let gguf = Gguf::open(&base.path).map_err(crate::Error::from)?;
    let source = Source::from_gguf(out, gguf).with_adapters(files);
    let Source::Gguf { gguf, .. } = &source else { unreachable!("made from a GGUF file just above") };
    let pool = ThreadPool::new(1);
    let threads = Threads::of(&pool);
    let weights = Weights::for_checking(&source, &threads);
    (model.architecture.load)(&Settings::of_gguf(out, model.architecture.name, gguf.metadata()), &weights)?;
    refuse_unused(model, &weights)
}

impl<'a> Factor<'a> {
    /// A factor of `tasks` tasks.
    pub(super) fn new(name: String, source: RawTensor<'a>, tasks: usize) -> Result<Self, Error> {
        source.check_type()?;
        match source.view.shape[..] {
            [found, _, _] if found == tasks as u64 => Ok(Factor { name, source }),
            _ => {
                let expected = format!("a matrix for each of {tasks} tasks");
                let found = format!("the shape {:?}", source.view.shape);
                Err(crate::Error::config(source.file, source.view.name, expected, found).into())
            }
        }
    }

    /// Of one task, as the file has it.
    fn shape(&self) -> [u64; 2] {
        match self.source.view.shape[..] {
            [_, rows, columns] if self.name == TURNED => [columns, rows],
            [_, rows, columns] => [rows, columns],
            _ => [0, 0],
        }
    }

    /// Writes the part of a task. All of it is in memory at once: the largest has a few numbers for each token.
    fn encode(&self, task: usize, sink: &mut DataSink<'_>) -> Result<(), Error> {
        let [rows, columns] = self.shape().map(|size| size as usize); // of a tensor that is mapped into memory
        let mut values = vec![0.0; rows * columns];
        self.source.decode(task * values.len(), &mut values)?;
        if self.name == TURNED {
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
            values = places.map(|place| values[place]).collect();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(sink.write(&bytes)?)
    }
}
