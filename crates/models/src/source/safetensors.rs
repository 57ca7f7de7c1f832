//! Safetensors files: an eight-byte length, a JSON header, the tensors.
//!
//! <https://github.com/huggingface/safetensors#format>. Model files are what this project reads, and a hostile one must
//! give an error and nothing worse; the header is therefore read here, with every offset checked in full.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_gguf::{MappedFile, TensorType};
use docent_kernels::SharedBytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{Directory, TensorView};
use crate::Error;

/// The largest header accepted: 100 MB, as in the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The tensors of one safetensors file, or of all shards of a model.
pub(crate) struct Safetensors {
    shards: Vec<Arc<Shard>>,
    tensors: BTreeMap<String, Entry>,
}

struct Shard(MappedFile);

impl AsRef<[u8]> for Shard {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

struct Entry {
    shard: usize,
    ty: TensorType,
    /// The type's name, of one that GGUF has no counterpart for.
    other: Option<&'static str>,
    shape: Vec<u64>,
    /// Within the file.
    bytes: Range<usize>,
}

/// Why a safetensors file cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// Too short for the header's length, or for the header.
    #[error(
        "expected a header of {expected} bytes, found {found} bytes in the file; it is cut short or not safetensors"
    )]
    HeaderCut {
        /// Bytes that the header takes, its length included.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A header beyond the limit.
    #[error("the header says it is {found} bytes long, expected at most {MAX_HEADER_BYTES}; not a safetensors file?")]
    HeaderTooLong {
        /// Its length.
        found: u64,
    },
    /// The header is not JSON of the format.
    #[error("the header is not what the format has: {0}")]
    Header(String),
    /// A tensor of a type that no model of ours uses.
    #[error("tensor {name:?} has the type {found:?}, which is unknown")]
    Type {
        /// The tensor.
        name: String,
        /// The type.
        found: String,
    },
    /// A tensor whose bytes are not those of its shape.
    #[error("tensor {name:?} of shape {shape:?} takes {expected} bytes, found {found}")]
    Size {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Bytes of the shape, if that is a number.
        expected: String,
        /// Bytes given.
        found: u64,
    },
    /// A tensor that reaches past the end of the file.
    #[error("tensor {name:?} ends at byte {end} of the data, which has {found}; the file is cut short")]
    PastEnd {
        /// The tensor.
        name: String,
        /// Its end.
        end: u64,
        /// Bytes of data in the file.
        found: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {one:?} and {other:?} overlap")]
    Overlap {
        /// A tensor.
        one: String,
        /// Another.
        other: String,
    },
}

impl Safetensors {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub(crate) fn open_directory(directory: &Path) -> Result<Self, Error> {
        const SINGLE: &str = "model.safetensors";
        const INDEX: &str = "model.safetensors.index.json";
        let paths: Vec<PathBuf> = if directory.join(SINGLE).exists() || !directory.join(INDEX).exists() {
            vec![directory.join(SINGLE)]
        } else {
            shard_paths(directory, INDEX)?
        };
        Self::of_files(&paths)
    }

    /// Opens one file.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::of_files(&[path.to_owned()])
    }

    fn of_files(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut files = Safetensors { shards: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            files.add_shard(path, "")?;
        }
        Ok(files)
    }

    /// Adds the tensors of `folder/model.safetensors`, their names with `folder/` in front: the weights of a module of
    /// sentence-transformers.
    pub(crate) fn add_module(&mut self, directory: &Path, folder: &str) -> Result<(), Error> {
        self.add_shard(&directory.join(folder).join("model.safetensors"), &format!("{folder}/"))
    }

    fn add_shard(&mut self, path: &Path, prefix: &str) -> Result<(), Error> {
        let file = MappedFile::open(path)?;
        let header = read_safetensors_header(&file)
            .map_err(|source| Error::Safetensors { path: path.to_owned(), source: Box::new(source) })?;
        let shard = self.shards.len();
        for tensor in header {
            let SafetensorsEntry { name, tensor_type, other, shape, bytes } = tensor;
            let name = format!("{prefix}{name}");
            if self.tensors.contains_key(&name) {
                return Err(Error::SameTensor { path: path.to_owned(), one: name.clone(), other: name });
            }
            self.tensors.insert(name, Entry { shard, ty: tensor_type, other, shape, bytes });
        }
        self.shards.push(Arc::new(Shard(file)));
        Ok(())
    }

    /// The names in the files, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        let bytes = &self.shards[entry.shard].0[entry.bytes.clone()];
        Some(TensorView { name, shape: entry.shape.clone(), ty: entry.ty, bytes, plus_one: false })
    }

    /// The type of the first of these tensors that has one without a counterpart of the same meaning in GGUF.
    pub(crate) fn unsigned<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Option<&'static str> {
        names.find_map(|name| self.tensors.get(name)?.other)
    }

    /// Lets the operating system take back the memory of a tensor that will not be read again soon.
    pub(super) fn release(&self, name: &str) {
        if let Some(entry) = self.tensors.get(name) {
            self.shards[entry.shard].0.release(entry.bytes.clone());
        }
    }

    /// The bytes of a tensor, kept alive on their own.
    pub(super) fn shared_bytes(&self, name: &str) -> Option<SharedBytes> {
        let entry = self.tensors.get(name)?;
        let shard = Arc::clone(&self.shards[entry.shard]);
        Some(SharedBytes::new(shard, entry.bytes.clone()))
    }
}

/// The files that an index names, each beside it.
fn shard_paths(directory: &Path, index: &str) -> Result<Vec<PathBuf>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = Directory::new(directory).require_json(index)?;
    let files: BTreeSet<String> = weight_map.into_values().collect();
    let path = directory.join(index);
    if files.is_empty() {
        return Err(Error::config(path, "weight_map", "at least one tensor", "none"));
    }
    files
        .into_iter()
        .map(|file| match Path::new(&file).file_name() {
            Some(name) if name == Path::new(&file).as_os_str() => Ok(directory.join(file)),
            _ => Err(Error::config(path.clone(), "weight_map", "names of files beside the index", format!("{file:?}"))),
        })
        .collect()
}

/// One tensor of a safetensors header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsEntry {
    /// Its name.
    pub name: String,
    /// Its type; buffers of bytes and booleans count as `I8`.
    pub tensor_type: TensorType,
    /// The name of the type of these: `U8` or `BOOL`.
    pub other: Option<&'static str>,
    /// Its shape, outermost dimension first.
    pub shape: Vec<u64>,
    /// Where its bytes lie in the file; inside the file, of the size of shape and type, shared with no other tensor.
    pub bytes: Range<usize>,
}

/// Reads and checks the header of a safetensors file held in memory; the tensors come in the order of their bytes.
///
/// # Errors
/// [`SafetensorsError`] if the file breaks the format in any way.
pub fn read_safetensors_header(file: &[u8]) -> Result<Vec<SafetensorsEntry>, SafetensorsError> {
    let found = file.len() as u64;
    let (length, rest) = file.split_first_chunk::<8>().ok_or(SafetensorsError::HeaderCut { expected: 8, found })?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(SafetensorsError::HeaderTooLong { found: length });
    }
    let cut = SafetensorsError::HeaderCut { expected: 8 + length, found };
    let length = usize::try_from(length).ok().filter(|&length| length <= rest.len()).ok_or(cut)?;
    let (json, data) = rest.split_at(length);
    let Header(entries) = serde_json::from_slice(json).map_err(|error| SafetensorsError::Header(error.to_string()))?;
    let mut tensors = entries
        .into_iter()
        .map(|(name, entry)| check_tensor(name, entry, 8 + length, data.len()))
        .collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by_key(|tensor| tensor.bytes.start);
    let non_empty: Vec<&SafetensorsEntry> = tensors.iter().filter(|tensor| !tensor.bytes.is_empty()).collect();
    if let Some(pair) = non_empty.windows(2).find(|pair| pair[0].bytes.end > pair[1].bytes.start) {
        return Err(SafetensorsError::Overlap { one: pair[0].name.clone(), other: pair[1].name.clone() });
    }
    Ok(tensors)
}

fn check_tensor(
    name: String,
    entry: RawEntry,
    data_start: usize,
    data: usize,
) -> Result<SafetensorsEntry, SafetensorsError> {
    let RawEntry { dtype, shape, data_offsets: [start, end] } = entry;
    let Some(ty) = tensor_type(&dtype) else {
        return Err(SafetensorsError::Type { name, found: dtype });
    };
    let element = ty.block_bytes() as u64;
    let expected = shape.iter().try_fold(element, |size, &dim| size.checked_mul(dim));
    let found = end.saturating_sub(start);
    if end < start || expected != Some(found) {
        let expected = expected.map_or_else(|| "more than 2^64".to_owned(), |expected| expected.to_string());
        return Err(SafetensorsError::Size { name, shape, expected, found });
    }
    if end > data as u64 {
        return Err(SafetensorsError::PastEnd { name, end, found: data as u64 });
    }
    // Below the length of the file, which is a `usize`.
    let bytes = data_start + start as usize..data_start + end as usize;
    let other = ["U8", "BOOL"].into_iter().find(|&other| other == dtype);
    Ok(SafetensorsEntry { name, tensor_type: ty, other, shape, bytes })
}

fn tensor_type(dtype: &str) -> Option<TensorType> {
    Some(match dtype {
        "F64" => TensorType::F64,
        "F32" => TensorType::F32,
        "F16" => TensorType::F16,
        "BF16" => TensorType::BF16,
        "I64" => TensorType::I64,
        "I32" => TensorType::I32,
        "I16" => TensorType::I16,
        // Types without a GGUF counterpart of the same meaning occur only in buffers; their size is what matters.
        "I8" | "U8" | "BOOL" => TensorType::I8,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header's entries without `__metadata__`; a name that comes twice is an error.
struct Header(BTreeMap<String, RawEntry>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of tensor names to their type, shape and offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match entries.entry(name) {
                        Slot::Vacant(slot) => {
                            slot.insert(map.next_value()?);
                        }
                        Slot::Occupied(slot) => {
                            return Err(A::Error::custom(format!("tensor {:?} comes twice", slot.key())));
                        }
                    }
                }
                Ok(Header(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    fn error(header: &str, data: usize) -> String {
        read_safetensors_header(&file(header, data)).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
        "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "b":{"dtype":"BF16","shape":[1],"data_offsets":[24,26]},
        "none":{"dtype":"F32","shape":[0,7],"data_offsets":[26,26]}}"#;

    #[test]
    fn a_header_is_read() {
        let tensors = read_safetensors_header(&file(GOOD, 26)).unwrap();
        assert_eq!(tensors.len(), 3);
        assert_eq!((tensors[0].name.as_str(), tensors[0].tensor_type), ("a", TensorType::F32));
        assert_eq!(tensors[0].bytes.len(), 24);
        assert_eq!(tensors[1].shape, [1]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = file(GOOD, 26);
        for length in 0..whole.len() {
            assert!(read_safetensors_header(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn bad_headers_are_named() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        assert!(error(&one("Q9", "[1]", "[0,4]"), 4).contains("\"Q9\", which is unknown"));
        assert!(error(&one("F32", "[2]", "[0,4]"), 4).contains("takes 8 bytes, found 4"));
        assert!(error(&one("F32", "[4294967296,4294967296]", "[0,4]"), 4).contains("more than 2^64"));
        assert!(error(&one("F32", "[1]", "[4,0]"), 4).contains("takes 4 bytes, found 0"));
        assert!(error(&one("F32", "[2]", "[0,8]"), 4).contains("cut short"));
        let end = u64::MAX;
        assert!(error(&one("I8", "[1]", &format!("[{},{end}]", end - 1)), 4).contains("cut short"));
        assert!(
            error(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                6
            )
            .contains("overlap")
        );
        assert!(
            error(
                r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},
            "a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
                1
            )
            .contains("comes twice")
        );
        assert!(error("[]", 0).contains("a map of tensor names"));
        assert!(error(&one("F32", "[-1]", "[0,4]"), 4).contains("not what the format has"));
        let mut long = u64::MAX.to_le_bytes().to_vec();
        long.push(b'{');
        assert_eq!(read_safetensors_header(&long).unwrap_err(), SafetensorsError::HeaderTooLong { found: u64::MAX });
    }
}
