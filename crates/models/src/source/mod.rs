//! Named tensors, whatever kind of file they lie in.
//!
//! The rest of the crate sees one set of names, those of GGUF: the tensors of a Hugging Face directory are renamed as
//! they are listed, by the rule that the architecture states in its own file.

mod directory;
pub(crate) mod peft;
pub(crate) mod safetensors;
pub(crate) mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_gguf::{Gguf, TensorType};
use docent_kernels::SharedBytes;

pub(crate) use directory::Directory;
use peft::PeftAdapter;
pub(crate) use safetensors::Safetensors;
use tasks::{AdapterFile, Task};

use crate::Error;
use crate::sentence_transformers::{SentenceTransformers, name_in_module};

/// The tensors of a model, by GGUF name.
pub(crate) enum Source {
    Gguf {
        path: PathBuf,
        gguf: Arc<Gguf>,
        /// A file for each task.
        adapters: Vec<AdapterFile>,
    },
    Directory {
        path: PathBuf,
        files: Arc<Safetensors>,
        /// GGUF name to the name in the files.
        names: BTreeMap<String, String>,
        /// GGUF names of the tensors to whose values GGUF adds one.
        plus_one: BTreeSet<String>,
        /// Names in the files that the architecture does not know.
        unknown: Vec<String>,
        tasks: Vec<Task>,
        /// A folder for each task, or none if the factors of all are among the tensors.
        adapters: Vec<PeftAdapter>,
    },
}

/// A tensor in place.
#[derive(Clone)]
pub(crate) struct TensorView<'a> {
    /// The name in the file.
    pub(crate) name: &'a str,
    /// Outermost dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) ty: TensorType,
    pub(crate) bytes: &'a [u8],
    /// Whether one is to be added to every value.
    pub(crate) plus_one: bool,
}

/// What an architecture makes of a tensor name of a Hugging Face file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HfName {
    /// The tensor is known in GGUF by this name.
    Gguf(String),
    /// The tensor is known in GGUF by this name, where one is added to each of its values.
    GgufPlusOne(String),
    /// The tensor takes no part in inference (an optimiser's buffer, a training head).
    Unused,
    /// The architecture has no such tensor.
    Unknown,
}

impl Source {
    pub(crate) fn from_gguf(path: &Path, gguf: Gguf) -> Self {
        Source::Gguf { path: path.to_owned(), gguf: Arc::new(gguf), adapters: Vec::new() }
    }

    /// A GGUF file and the adapter files that lie beside it.
    pub(crate) fn of_gguf_and_adapters(path: &Path, gguf: Gguf) -> Result<Self, Error> {
        let adapters = tasks::beside(path, gguf.metadata())?;
        Ok(Self::from_gguf(path, gguf).with_adapters(adapters))
    }

    /// The same with the adapter files of the model's tasks.
    pub(crate) fn with_adapters(mut self, files: Vec<AdapterFile>) -> Self {
        if let Source::Gguf { adapters, .. } = &mut self {
            *adapters = files;
        }
        self
    }

    /// Opens the weights of the model in a Hugging Face directory, and those of its further `modules` and its `tasks`.
    pub(crate) fn from_directory(
        path: &Path,
        rename: fn(&str) -> HfName,
        modules: &SentenceTransformers,
        tasks: Vec<Task>,
    ) -> Result<Self, Error> {
        let inner = if modules.folder.is_empty() { path.to_owned() } else { path.join(&modules.folder) };
        let mut files = Safetensors::open_directory(&inner)?;
        for module in &modules.weights {
            files.add_module(path, &module.folder)?;
        }
        let files = Arc::new(files);
        let mut names = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut plus_one = BTreeSet::new();
        for name in files.names() {
            match name_in_module(&modules.weights, name).unwrap_or_else(|| rename(name)) {
                renamed @ (HfName::Gguf(_) | HfName::GgufPlusOne(_)) => {
                    let gguf = match renamed {
                        HfName::GgufPlusOne(gguf) => {
                            plus_one.insert(gguf.clone());
                            gguf
                        }
                        HfName::Gguf(gguf) => gguf,
                        HfName::Unused | HfName::Unknown => continue,
                    };
                    if let Some(other) = names.insert(gguf, name.to_owned()) {
                        return Err(Error::SameTensor { path: path.to_owned(), one: other, other: name.to_owned() });
                    }
                }
                HfName::Unused => {}
                HfName::Unknown => unknown.push(name.to_owned()),
            }
        }
        let folders = tasks.iter().filter_map(|task| task.folder.as_ref());
        let adapters =
            folders.map(|folder| PeftAdapter::open(&inner.join(folder), rename)).collect::<Result<Vec<_>, _>>()?;
        unknown.extend(adapters.iter().flat_map(|adapter| adapter.unknown.iter().cloned()));
        // A base model may have kept the configuration of the model that it was taken from.
        let adapted = !adapters.is_empty() || names.keys().any(|name| name.ends_with(LOW_RANK[0]));
        let tasks = if adapted { tasks } else { Vec::new() };
        Ok(Source::Directory { path: path.to_owned(), files, names, plus_one, unknown, tasks, adapters })
    }

    /// Where the tensors are, for messages.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Source::Gguf { path, .. } | Source::Directory { path, .. } => path,
        }
    }

    /// Names in the files that no architecture of ours has a use for.
    pub(crate) fn unknown(&self) -> &[String] {
        match self {
            Source::Gguf { .. } => &[],
            Source::Directory { unknown, .. } => unknown,
        }
    }

    /// The tasks that there are adapters for.
    pub(crate) fn tasks(&self) -> Vec<&Task> {
        match self {
            Source::Gguf { adapters, .. } => adapters.iter().map(|file| &file.task).collect(),
            Source::Directory { tasks, .. } => tasks.iter().collect(),
        }
    }

    /// Where the adapters of a task are, for messages.
    pub(crate) fn task_path(&self, task: usize) -> &Path {
        match self {
            Source::Gguf { path, adapters, .. } => adapters.get(task).map_or(path, |file| &file.path),
            Source::Directory { path, adapters, .. } => adapters.get(task).map_or(path, |adapter| &adapter.path),
        }
    }

    /// A factor of what a task adds to a weight, by its GGUF name.
    pub(crate) fn task_tensor(&self, task: usize, name: &str) -> Option<TensorView<'_>> {
        match self {
            Source::Gguf { adapters, .. } => adapters.get(task)?.gguf.tensor(name).map(view),
            Source::Directory { adapters, .. } if !adapters.is_empty() => adapters.get(task)?.tensor(name),
            Source::Directory { tasks, .. } => {
                let all = self.tensor(name)?;
                let bytes = part_of_task(&all, task, tasks.len())?;
                // Of another number of tasks the shape is left whole, and does not fit.
                Some(TensorView { shape: all.shape[1..].to_vec(), bytes: &all.bytes[bytes], ..all })
            }
        }
    }

    /// The bytes of such a factor, kept alive on their own.
    pub(crate) fn shared_task_bytes(&self, task: usize, name: &str) -> Option<SharedBytes> {
        match self {
            Source::Gguf { adapters, .. } => GgufTensor::shared(&adapters.get(task)?.gguf, name),
            Source::Directory { adapters, .. } if !adapters.is_empty() => adapters.get(task)?.shared_bytes(name),
            Source::Directory { tasks, .. } => {
                let range = part_of_task(&self.tensor(name)?, task, tasks.len())?;
                Some(self.shared_bytes(name)?.part(range))
            }
        }
    }

    /// Whether factors of the token embeddings are as their authors' code lays them out: the second turned.
    pub(crate) fn turns_token_factor(&self) -> bool {
        matches!(self, Source::Directory { adapters, .. } if adapters.is_empty())
    }

    /// GGUF names of all tensors.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        match self {
            Source::Gguf { gguf, adapters, .. } => {
                let files = std::iter::once(gguf).chain(adapters.iter().map(|file| &file.gguf));
                files.flat_map(|gguf| gguf.tensors().map(|tensor| tensor.name())).collect()
            }
            Source::Directory { names, adapters, .. } => {
                let of_adapters = adapters.iter().flat_map(PeftAdapter::names);
                names.keys().map(String::as_str).chain(of_adapters).collect()
            }
        }
    }

    /// The tensor of a GGUF name.
    pub(crate) fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            Source::Gguf { gguf, .. } => gguf.tensor(name).map(view),
            Source::Directory { files, names, plus_one, .. } => {
                let tensor = files.tensor(names.get(name)?)?;
                Some(TensorView { plus_one: plus_one.contains(name), ..tensor })
            }
        }
    }

    /// Lets the operating system take back the memory of a tensor that will not be read again soon: it is packed, and the pages
    /// of the file would only count twice.
    pub(crate) fn release(&self, name: &str) {
        match self {
            Source::Gguf { gguf, .. } => gguf.release(name),
            Source::Directory { files, names, .. } => {
                names.get(name).into_iter().for_each(|name| files.release(name));
            }
        }
    }

    /// The bytes of a tensor, kept alive on their own.
    pub(crate) fn shared_bytes(&self, name: &str) -> Option<SharedBytes> {
        match self {
            Source::Gguf { gguf, .. } => GgufTensor::shared(gguf, name),
            Source::Directory { files, names, .. } => files.shared_bytes(names.get(name)?),
        }
    }
}

/// How the names end of the two factors of what a task adds to a weight.
pub(crate) const LOW_RANK: [&str; 2] = [".lora_a", ".lora_b"];

fn view(tensor: docent_gguf::Tensor<'_>) -> TensorView<'_> {
    TensorView {
        name: tensor.name(),
        shape: tensor.dims().iter().rev().copied().collect(),
        ty: tensor.tensor_type(),
        bytes: tensor.bytes(),
        plus_one: false,
    }
}

/// Where the part of a task lies in the bytes of a tensor that has one for each of `tasks`.
fn part_of_task(all: &TensorView<'_>, task: usize, tasks: usize) -> Option<std::ops::Range<usize>> {
    if task >= tasks || all.shape.first() != Some(&(tasks as u64)) {
        return None;
    }
    let length = all.bytes.len() / tasks;
    Some(task * length..(task + 1) * length)
}

/// One tensor of a GGUF model, as an owner of its bytes.
struct GgufTensor {
    gguf: Arc<Gguf>,
    position: usize,
}

impl GgufTensor {
    fn shared(gguf: &Arc<Gguf>, name: &str) -> Option<SharedBytes> {
        let position = gguf.position(name)?;
        let length = gguf.bytes_at(position).len();
        let owner = GgufTensor { gguf: Arc::clone(gguf), position };
        Some(SharedBytes::new(Arc::new(owner), 0..length))
    }
}

impl AsRef<[u8]> for GgufTensor {
    fn as_ref(&self) -> &[u8] {
        self.gguf.bytes_at(self.position)
    }
}
