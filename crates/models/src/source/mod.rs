//! Named tensors, whatever kind of file they lie in.
//!
//! The rest of the crate sees one set of names, those of GGUF: the tensors of a Hugging Face directory are renamed as
//! they are listed, by the rule that the architecture states in its own file.

mod directory;
pub(crate) mod safetensors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_gguf::{Gguf, TensorType};
use docent_kernels::SharedBytes;

pub(crate) use directory::Directory;
pub(crate) use safetensors::Safetensors;

use crate::Error;
use crate::sentence_transformers::{WeightModule, name_in_module};

/// The tensors of a model, by GGUF name.
pub(crate) enum Source {
    Gguf {
        path: PathBuf,
        gguf: Arc<Gguf>,
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
    },
}

/// A tensor in place.
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
        Source::Gguf { path: path.to_owned(), gguf: Arc::new(gguf) }
    }

    /// Opens the weights of a Hugging Face directory, and those of its `modules`.
    pub(crate) fn from_directory(
        path: &Path,
        rename: fn(&str) -> HfName,
        modules: &[WeightModule],
    ) -> Result<Self, Error> {
        let mut files = Safetensors::open_directory(path)?;
        for module in modules {
            files.add_module(path, &module.folder)?;
        }
        let files = Arc::new(files);
        let mut names = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut plus_one = BTreeSet::new();
        for name in files.names() {
            match name_in_module(modules, name).unwrap_or_else(|| rename(name)) {
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
        Ok(Source::Directory { path: path.to_owned(), files, names, plus_one, unknown })
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

    /// GGUF names of all tensors.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Source::Gguf { gguf, .. } => gguf.tensors().map(|tensor| tensor.name()).collect(),
            Source::Directory { names, .. } => names.keys().map(String::as_str).collect(),
        }
    }

    /// The tensor of a GGUF name.
    pub(crate) fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            Source::Gguf { gguf, .. } => gguf.tensor(name).map(|tensor| TensorView {
                name: tensor.name(),
                shape: tensor.dims().iter().rev().copied().collect(),
                ty: tensor.tensor_type(),
                bytes: tensor.bytes(),
                plus_one: false,
            }),
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
            Source::Gguf { gguf, .. } => {
                let position = gguf.position(name)?;
                let length = gguf.bytes_at(position).len();
                let owner = GgufTensor { gguf: Arc::clone(gguf), position };
                Some(SharedBytes::new(Arc::new(owner), 0..length))
            }
            Source::Directory { files, names, .. } => files.shared_bytes(names.get(name)?),
        }
    }
}

/// One tensor of a GGUF model, as an owner of its bytes.
struct GgufTensor {
    gguf: Arc<Gguf>,
    position: usize,
}

impl AsRef<[u8]> for GgufTensor {
    fn as_ref(&self) -> &[u8] {
        self.gguf.bytes_at(self.position)
    }
}
