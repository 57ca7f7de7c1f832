//! Opening a model: one file, a split set, or bytes in memory.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::cursor::fail;
use crate::error::{Error, Place, Problem, show};
use crate::header::Header;
use crate::mapped::MappedFile;
use crate::metadata::Metadata;
use crate::split;
use crate::tensor::Tensor;
use crate::value::text_of;

/// A GGUF model, open for reading: its metadata and its tensors, from one file or from all files of a split set.
///
/// Opening checks the whole header (see the [crate documentation](crate)), so that what is handed out afterwards needs no
/// further checks of the container: names are unique, every tensor's bytes are there, its size is that of its shape and
/// type. What the values mean is the caller's to check.
pub struct Gguf {
    /// The first one carries the metadata.
    shards: Vec<Shard>,
    /// In file order: shard and position in the shard's header.
    tensors: Vec<TensorAt>,
    /// Indices into `tensors`, by ascending name.
    by_name: Vec<u32>,
}

/// One file.
pub(crate) struct Shard {
    /// What errors call it.
    pub(crate) file: String,
    pub(crate) data: Data,
    pub(crate) header: Header,
}

/// The bytes of a file.
pub(crate) enum Data {
    Mapped(MappedFile),
    Owned(Vec<u8>),
}

#[derive(Clone, Copy)]
struct TensorAt {
    shard: u32,
    index: u32,
}

impl Shard {
    pub(crate) fn map(path: &Path) -> Result<Self, Error> {
        Self::parse(path.display().to_string(), Data::Mapped(MappedFile::open(path)?))
    }

    fn parse(file: String, data: Data) -> Result<Self, Error> {
        let header = Header::parse(&file, data.bytes())?;
        Ok(Self { file, data, header })
    }

    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata::new(&self.file, self.data.bytes(), &self.header)
    }

    fn tensor_bytes(&self, index: usize) -> &[u8] {
        // The header's checks put the range inside the file, so its ends fit in a usize.
        let Range { start, end } = self.header.tensors[index].data;
        &self.data.bytes()[start as usize..end as usize]
    }
}

impl Data {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Gguf {
    /// Opens the model at `path`, memory-mapped. For a split model name its first file,
    /// `PREFIX-00001-of-0000N.gguf`; the others are found beside it.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file cannot be opened or breaks the format in any way.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let first = Shard::map(path)?;
        let shards = split::complete(path, first)?;
        let model = Self::assemble(shards)?;
        tracing::debug!(
            file = %path.display(),
            version = model.version(),
            shards = model.shards.len(),
            tensors = model.tensors.len(),
            "opened a GGUF model"
        );
        Ok(model)
    }

    /// Opens a model that is already in memory, with the same checks. Errors call the file `memory`.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the bytes break the format in any way, or are one file of a split model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let shard = Shard::parse("memory".to_owned(), Data::Owned(bytes))?;
        if let Some(split) = split::read(&shard)? {
            fail(&shard.file, split.place(&shard), Problem::SplitInMemory { count: split.count })?;
        }
        Self::assemble(vec![shard])
    }

    /// Indexes the tensors of all shards; a name that comes twice is an error.
    fn assemble(shards: Vec<Shard>) -> Result<Self, Error> {
        let mut tensors = vec![];
        for (shard, number) in shards.iter().zip(0u32..) {
            let indices = 0..shard.header.tensors.len() as u32; // at most the header's limit
            tensors.extend(indices.map(|index| TensorAt { shard: number, index }));
        }
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        let name = |index: u32| name_bytes(&shards, tensors[index as usize]);
        by_name.sort_by(|&a, &b| name(a).cmp(name(b))); // stable: equal names stay in file order
        for pair in by_name.windows(2) {
            if name(pair[0]) == name(pair[1]) {
                let (first, second) = (tensors[pair[0] as usize], tensors[pair[1] as usize]);
                let record = |at: TensorAt| shards[at.shard as usize].header.tensors[at.index as usize].at;
                let file = |at: TensorAt| &shards[at.shard as usize].file;
                let place = Place::Tensor { name: show(text_of(name(pair[1]))), at: record(second) };
                let problem = Problem::DuplicateTensor { file: file(first).clone(), first: record(first) };
                fail(file(second), place, problem)?;
            }
        }
        Ok(Self { shards, tensors, by_name })
    }

    /// The version of the format, 2 or 3. They have the same layout.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.first().header.version
    }

    /// The alignment of tensor data in the (first) file, in bytes.
    #[must_use]
    pub fn alignment(&self) -> u32 {
        self.first().header.alignment
    }

    /// The number of files, 1 unless the model is split.
    #[must_use]
    pub fn n_files(&self) -> usize {
        self.shards.len()
    }

    /// The size of all files together, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.data.bytes().len() as u64).sum()
    }

    /// The name of the (first) file as errors show it: the path given to [`open`](Self::open), or `memory`.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.first().file
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> Metadata<'_> {
        self.first().metadata()
    }

    /// All tensors in file order; those of a split model file after file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|&at| self.tensor_at(at))
    }

    /// The tensor of a name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.position(name).map(|position| self.tensor_at(self.tensors[position]))
    }

    /// The place of a tensor among [`tensors`](Self::tensors).
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        let bytes = |&index: &u32| name_bytes(&self.shards, self.tensors[index as usize]).cmp(name.as_bytes());
        let found = self.by_name.binary_search_by(bytes).ok()?;
        Some(self.by_name[found] as usize)
    }

    /// The bytes of the tensor at a [`position`](Self::position); unlike [`tensor`](Self::tensor), this reads nothing of
    /// the file's header again.
    ///
    /// # Panics
    ///
    /// If there are not so many tensors.
    #[must_use]
    pub fn bytes_at(&self, position: usize) -> &[u8] {
        let at = self.tensors[position];
        self.shards[at.shard as usize].tensor_bytes(at.index as usize)
    }

    /// Lets the operating system take back the memory of a tensor that will not be read again soon
    /// ([`MappedFile::release`]). Does nothing if there is no such tensor, or the file was not mapped.
    pub fn release(&self, name: &str) {
        let Some(at) = self.position(name).map(|position| self.tensors[position]) else { return };
        let shard = &self.shards[at.shard as usize];
        if let Data::Mapped(file) = &shard.data {
            // The header's checks put the range inside the file, so its ends fit in a usize.
            let Range { start, end } = shard.header.tensors[at.index as usize].data;
            file.release(start as usize..end as usize);
        }
    }

    fn first(&self) -> &Shard {
        &self.shards[0]
    }

    fn tensor_at(&self, at: TensorAt) -> Tensor<'_> {
        let shard = &self.shards[at.shard as usize];
        let record = &shard.header.tensors[at.index as usize];
        Tensor {
            name: text_of(&shard.data.bytes()[record.name.clone()]),
            dims: &record.dims[..record.n_dims],
            ty: record.ty,
            bytes: shard.tensor_bytes(at.index as usize),
        }
    }
}

fn name_bytes(shards: &[Shard], at: TensorAt) -> &[u8] {
    let shard = &shards[at.shard as usize];
    &shard.data.bytes()[shard.header.tensors[at.index as usize].name.clone()]
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("file", &self.file())
            .field("version", &self.version())
            .field("n_files", &self.n_files())
            .field("n_metadata", &self.metadata().len())
            .field("n_tensors", &self.tensors.len())
            .finish()
    }
}
