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
use crate::source::tasks::{AdapterFile, Task, file_name};
use crate::source::{Source, TensorView};
use crate::unchecked::Unchecked;
use crate::weights::{Threads, Weights};

/// A factor of what every task adds to a weight: the part of each task after that of the one before.
pub(super) struct Factor<'a> {
    pub(super) name: String,
    pub(super) source: RawTensor<'a>,
}

/// A factor of what one task adds to a weight, as its file is to have it.
struct FactorOfTask<'a> {
    name: &'a str,
    source: RawTensor<'a>,
    /// Where the task's part begins in the source, in values.
    start: usize,
    shape: [u64; 2],
    /// Whether rows become columns.
    turned: bool,
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
    if !adapts(model, plan) {
        return Ok(Vec::new());
    }
    let mut saved = Vec::new();
    for (place, (task, path)) in model.tasks.iter().zip(paths(model, out)).enumerate() {
        let unchecked = Unchecked::beside(&path)?;
        let factors = factors_of_task(model, plan, place)?;
        let writer = describe(model, task, &factors)?;
        let mut factors = factors.iter();
        let written = writer.save(&unchecked.path, |_: &TensorInfo, sink: &mut DataSink<'_>| {
            factors.next().expect("the writer has these factors, in their order").encode(sink)
        });
        written.map_err(|error| renamed(error, &path))?;
        saved.push((unchecked, path));
    }
    check(model, base, out, &saved)?;
    Ok(saved)
}

/// Whether there is anything that tasks add to weights.
pub(super) fn adapts(model: &Model<'_>, plan: &Plan<'_>) -> bool {
    !model.adapters.is_empty() || !plan.factors.is_empty()
}

/// The factors of a task: its parts of what those of all tasks are in, or those in a folder of its own.
fn factors_of_task<'f>(model: &'f Model<'_>, plan: &'f Plan<'_>, task: usize) -> Result<Vec<FactorOfTask<'f>>, Error> {
    let Some(adapter) = model.adapters.get(task) else {
        return Ok(plan.factors.iter().map(|factor| factor.of_task(task)).collect());
    };
    let views = adapter.names().filter_map(|name| Some((name, adapter.tensor(name)?)));
    let factor = |(name, view): (&'f str, TensorView<'f>)| {
        let source = RawTensor { file: &adapter.path, view };
        source.check_type(false)?;
        let [rows, columns] = source.view.shape[..] else {
            let found = format!("the shape {:?}", source.view.shape);
            return Err(crate::Error::config(&adapter.path, source.view.name, "a matrix", found).into());
        };
        Ok(FactorOfTask { name, source, start: 0, shape: [rows, columns], turned: false })
    };
    views.map(factor).collect()
}

fn describe(model: &Model<'_>, task: &Task, factors: &[FactorOfTask<'_>]) -> Result<Writer, WriteError> {
    let mut keys = Keys::default();
    keys.text("general.architecture", model.architecture.name);
    keys.text("general.type", "adapter");
    keys.text("adapter.type", "lora");
    keys.f32("adapter.lora.alpha", task.alpha);
    keys.text("adapter.lora.task_name", &task.name);
    keys.optional_text("adapter.lora.prompt_prefix", task.prompt.as_deref());
    let mut writer = Writer::new();
    keys.add_to(&mut writer)?;
    for FactorOfTask { name, shape: [rows, columns], .. } in factors {
        writer.tensor(*name, &[*columns, *rows], TensorType::F32)?;
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
    model.architecture.load(&Settings::of_gguf(out, model.architecture.name, gguf.metadata()), &weights)?;
    refuse_unused(model, &weights)
}

impl<'a> Factor<'a> {
    /// A factor of `tasks` tasks.
    pub(super) fn new(name: String, source: RawTensor<'a>, tasks: usize) -> Result<Self, Error> {
        source.check_type(false)?;
        match source.view.shape[..] {
            [found, _, _] if found == tasks as u64 => Ok(Factor { name, source }),
            _ => {
                let expected = format!("a matrix for each of {tasks} tasks");
                let found = format!("the shape {:?}", source.view.shape);
                Err(crate::Error::config(source.file, source.view.name, expected, found).into())
            }
        }
    }

    fn of_task(&self, task: usize) -> FactorOfTask<'_> {
        let turned = self.name == TURNED;
        let [rows, columns] = match self.source.view.shape[..] {
            [_, rows, columns] => [rows, columns],
            _ => [0, 0],
        };
        let source = RawTensor { file: self.source.file, view: self.source.view.clone() };
        let start = task * (rows * columns) as usize; // in a tensor that is mapped into memory
        FactorOfTask {
            name: &self.name,
            source,
            start,
            shape: if turned { [columns, rows] } else { [rows, columns] },
            turned,
        }
    }
}

impl FactorOfTask<'_> {
    /// Writes it. All of it is in memory at once: the largest has a few numbers for each token.
    fn encode(&self, sink: &mut DataSink<'_>) -> Result<(), Error> {
        let [rows, columns] = self.shape.map(|size| size as usize); // of a tensor that is mapped into memory
        let mut values = vec![0.0; rows * columns];
        self.source.decode(self.start, &mut values)?;
        if self.turned {
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
            values = places.map(|place| values[place]).collect();
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(sink.write(&bytes)?)
    }
}
