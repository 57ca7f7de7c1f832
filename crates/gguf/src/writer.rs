//! Writing GGUF files.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use crate::atomic_file::AtomicFile;
use crate::error::show;
use crate::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_KEY_BYTES, MAX_NAME_BYTES};
use crate::owned_value::{OwnedValue, encode_text};
use crate::tensor_type::TensorType;

/// The version written.
const VERSION: u32 = 3;
/// How many bytes are gathered before they go to the operating system.
const BUFFER: usize = 1 << 20;

/// Describes a GGUF file, then writes it.
///
/// Metadata and the shapes of all tensors come first, because the header needs them; the data are asked for afterwards, one
/// tensor after the other in the order in which they were described, and may come in pieces of any size. Memory is bounded by
/// the header and the largest piece, so a model of any size can be written.
///
/// ```
/// use docent_gguf::{Gguf, TensorType, WriteError, Writer};
///
/// let mut writer = Writer::new();
/// writer.metadata("general.architecture", "bert")?;
/// writer.metadata("bert.block_count", 6u32)?;
/// writer.tensor("token_embd.weight", &[2, 3], TensorType::F32)?;
///
/// let mut file = vec![];
/// writer.write(&mut file, |tensor, data| {
///     for row in 0..tensor.dims()[1] {
///         data.write(&[row as f32; 2].map(f32::to_le_bytes).concat())?;
///     }
///     Ok::<_, WriteError>(())
/// })?;
///
/// let model = Gguf::from_bytes(file)?;
/// assert_eq!(model.metadata().require_u32("bert.block_count")?, 6);
/// assert_eq!(model.tensor("token_embd.weight").unwrap().n_rows(), 3);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Writer {
    alignment: u32,
    metadata: Vec<(String, OwnedValue)>,
    tensors: Vec<TensorInfo>,
    keys: HashSet<String>,
    names: HashSet<String>,
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    name: String,
    dims: Vec<u64>,
    ty: TensorType,
    n_bytes: u64,
}

impl TensorInfo {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sizes, fastest-varying first.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    /// How the elements are stored.
    #[must_use]
    pub fn tensor_type(&self) -> TensorType {
        self.ty
    }

    /// Bytes of data.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }
}

/// Why a GGUF file could not be described or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk is full.
    #[error("{file}: no space left on the disk for a file of {needed} bytes; free some or choose another place")]
    DiskFull {
        /// The file.
        file: String,
        /// The size of the whole file.
        needed: u64,
    },
    /// The operating system refused.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file, or `output` for a caller's own [`Write`].
        file: String,
        /// What was tried.
        action: &'static str,
        /// The system's own reason.
        source: io::Error,
    },
    /// A key or tensor name that is empty or too long.
    #[error("expected a {what} of 1 to {limit} bytes, found {found} bytes: `{name}`")]
    Name {
        /// Which name.
        what: &'static str,
        /// The name, shortened.
        name: String,
        /// Its length in bytes.
        found: usize,
        /// The longest that every reader accepts.
        limit: u64,
    },
    /// The same key or tensor name twice.
    #[error("expected every {what} once, found `{name}` again")]
    Duplicate {
        /// Which name.
        what: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// An alignment that readers refuse.
    #[error("key `general.alignment`: expected a u32 power of two from 1 to {limit}, found {found}")]
    Alignment {
        /// The value or its type.
        found: String,
        /// The largest alignment.
        limit: u32,
    },
    /// A shape that the format or the type cannot have.
    #[error("tensor `{name}`: expected {expected}, found the dimensions {dims:?} of type {ty}")]
    Shape {
        /// The tensor.
        name: String,
        /// What is asked of a shape.
        expected: &'static str,
        /// The sizes given, fastest first.
        dims: Vec<u64>,
        /// The element type.
        ty: TensorType,
    },
    /// More or fewer data than the shape takes.
    #[error("tensor `{name}`: expected {expected} bytes of data, found {found}")]
    DataLength {
        /// The tensor.
        name: String,
        /// Bytes that the shape takes.
        expected: u64,
        /// Bytes that came (at least; writing stops at the first too many).
        found: u64,
    },
}

impl Writer {
    /// An empty file: no metadata, no tensors, alignment 32.
    #[must_use]
    pub fn new() -> Self {
        Self {
            alignment: DEFAULT_ALIGNMENT,
            metadata: vec![],
            tensors: vec![],
            keys: HashSet::new(),
            names: HashSet::new(),
        }
    }

    /// Adds a metadata entry. Entries are written in the order in which they were added.
    ///
    /// The key `general.alignment` (a u32) sets the alignment of the tensor data.
    ///
    /// # Errors
    ///
    /// [`WriteError::Name`] for a key of 0 or more than 65535 bytes, [`WriteError::Duplicate`] for a key that is already
    /// there, [`WriteError::Alignment`] for an alignment that is no u32 power of two up to 2 MiB.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<OwnedValue>) -> Result<&mut Self, WriteError> {
        let (key, value) = (key.into(), value.into());
        name_fits("key", &key, MAX_KEY_BYTES)?;
        let alignment = if key == ALIGNMENT_KEY { alignment_of(&value)? } else { self.alignment };
        if !self.keys.insert(key.clone()) {
            return Err(WriteError::Duplicate { what: "key", name: show(&key) });
        }
        self.alignment = alignment;
        self.metadata.push((key, value));
        Ok(self)
    }

    /// Adds a tensor of the shape `dims` (fastest-varying first). Its data are asked for when the file is written.
    ///
    /// # Errors
    ///
    /// [`WriteError::Name`] for a name of 0 or more than 63 bytes (the format allows 64, llama.cpp reads 63),
    /// [`WriteError::Duplicate`] for a name that is already there, [`WriteError::Shape`] when there are not one to four
    /// sizes, one is 0, rows are no whole blocks, or the size does not fit in 63 bits.
    pub fn tensor(&mut self, name: impl Into<String>, dims: &[u64], ty: TensorType) -> Result<&mut Self, WriteError> {
        let name = name.into();
        name_fits("tensor name", &name, MAX_NAME_BYTES - 1)?;
        let shape = |expected| WriteError::Shape { name: show(&name), expected, dims: dims.to_vec(), ty };
        if !(1..=4).contains(&dims.len()) {
            return Err(shape("1 to 4 dimensions"));
        }
        if dims.contains(&0) {
            return Err(shape("dimensions of at least 1"));
        }
        if !dims[0].is_multiple_of(ty.block_elements() as u64) {
            return Err(shape("rows in whole blocks"));
        }
        let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let n_bytes = elements.and_then(|elements| ty.bytes_for(elements)).filter(|&size| size <= i64::MAX as u64);
        let n_bytes = n_bytes.ok_or_else(|| shape("a size below 2^63 bytes"))?;
        if !self.names.insert(name.clone()) {
            return Err(WriteError::Duplicate { what: "tensor name", name: show(&name) });
        }
        self.tensors.push(TensorInfo { name, dims: dims.to_vec(), ty, n_bytes });
        Ok(self)
    }

    /// The tensors added so far, in the order in which their data will be asked for.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The size of the file to be written, in bytes (saturated when it does not fit).
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.tensors.iter().fold(self.header().len() as u64, |sum, tensor| {
            sum.saturating_add(tensor.n_bytes).saturating_add(self.padding(tensor.n_bytes) as u64)
        })
    }

    /// Writes the file to `out`. `data` is called once for each tensor, in order, and must write exactly its bytes to the
    /// sink that it is given.
    ///
    /// # Errors
    ///
    /// Those of `data`; [`WriteError::Io`] when `out` fails; [`WriteError::DataLength`] when `data` wrote too little or too
    /// much for a tensor.
    pub fn write<E: From<WriteError>>(
        &self,
        mut out: impl Write,
        data: impl FnMut(&TensorInfo, &mut DataSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.write_named("output", &mut out, data)
    }

    /// Writes the file to `path`, whole or not at all: to a temporary file in the same folder, which is flushed to the disk
    /// and then renamed. On any failure the temporary file is removed, and what was at `path` before is still there.
    ///
    /// `data` is as in [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`WriteError::DiskFull`] when the disk has no room.
    pub fn save<E: From<WriteError>>(
        &self,
        path: impl AsRef<Path>,
        data: impl FnMut(&TensorInfo, &mut DataSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let create = |source| self.io_error(&name, "create the file", source);
        let mut file = AtomicFile::create(path).map_err(create)?;
        self.write_named(&name, file.as_write(), data)?;
        file.commit().map_err(|source| self.io_error(&name, "finish the file", source))?;
        Ok(())
    }

    fn write_named<E: From<WriteError>>(
        &self,
        name: &str,
        out: &mut dyn Write,
        mut data: impl FnMut(&TensorInfo, &mut DataSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out = io::BufWriter::with_capacity(BUFFER, out);
        let failed = |source| self.io_error(name, "write", source);
        out.write_all(&self.header()).map_err(failed)?;
        for tensor in &self.tensors {
            let mut sink = DataSink { writer: self, file: name, tensor, out: &mut out, written: 0 };
            data(tensor, &mut sink)?;
            sink.finish()?;
        }
        out.flush().map_err(failed)?;
        Ok(())
    }

    /// Everything before the data, padded to the alignment.
    fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            encode_text(key, &mut out);
            out.extend(value.value_type().id().to_le_bytes());
            value.encode(&mut out);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            encode_text(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.ty.id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = offset.saturating_add(tensor.n_bytes).saturating_add(self.padding(tensor.n_bytes) as u64);
        }
        out.resize(out.len() + self.padding(out.len() as u64), 0);
        out
    }

    /// How many zeros follow `length` bytes up to the next aligned position.
    fn padding(&self, length: u64) -> usize {
        let alignment = u64::from(self.alignment);
        ((alignment - length % alignment) % alignment) as usize // below 2 MiB
    }

    fn io_error(&self, file: &str, action: &'static str, source: io::Error) -> WriteError {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WriteError::DiskFull { file, needed: self.n_bytes() }
            }
            _ => WriteError::Io { file, action, source },
        }
    }
}

/// Takes the data of one tensor, in pieces of any size.
pub struct DataSink<'a> {
    writer: &'a Writer,
    file: &'a str,
    tensor: &'a TensorInfo,
    out: &'a mut dyn Write,
    written: u64,
}

impl DataSink<'_> {
    /// Writes the next piece of the tensor's data.
    ///
    /// # Errors
    ///
    /// [`WriteError::DataLength`] when there are more bytes than the tensor takes, [`WriteError::Io`] and
    /// [`WriteError::DiskFull`] when writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.written + bytes.len() as u64;
        if written > self.tensor.n_bytes {
            return Err(self.wrong_length(written));
        }
        self.out.write_all(bytes).map_err(|source| self.writer.io_error(self.file, "write", source))?;
        self.written = written;
        Ok(())
    }

    /// Checks that all data came, and pads them.
    fn finish(self) -> Result<(), WriteError> {
        if self.written != self.tensor.n_bytes {
            return Err(self.wrong_length(self.written));
        }
        let zeros = vec![0; self.writer.padding(self.written)];
        self.out.write_all(&zeros).map_err(|source| self.writer.io_error(self.file, "write", source))
    }

    fn wrong_length(&self, found: u64) -> WriteError {
        WriteError::DataLength { name: show(&self.tensor.name), expected: self.tensor.n_bytes, found }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// The alignment that a value of its key sets.
fn alignment_of(value: &OwnedValue) -> Result<u32, WriteError> {
    let found = match value {
        OwnedValue::U32(alignment) if alignment.is_power_of_two() && *alignment <= MAX_ALIGNMENT => {
            return Ok(*alignment);
        }
        OwnedValue::U32(alignment) => alignment.to_string(),
        other => format!("a value of type {}", other.value_type()),
    };
    Err(WriteError::Alignment { found, limit: MAX_ALIGNMENT })
}

fn name_fits(what: &'static str, name: &str, limit: u64) -> Result<(), WriteError> {
    if name.is_empty() || name.len() as u64 > limit {
        return Err(WriteError::Name { what, name: show(name), found: name.len(), limit });
    }
    Ok(())
}
