//! The header of one file, parsed and checked as a whole before anything is handed out.
//!
//! ```text
//! magic "GGUF" | version u32 | number of tensors u64 | number of metadata entries u64
//! entries: key text, value type u32, value
//! tensors: name text, number of dimensions u32, dimensions u64 each, type u32, data offset u64
//! zeros up to a multiple of the alignment, then the data section, in which the offsets count
//! ```
//!
//! Nothing is copied out of the file except positions: an entry is where its key and value lie.

use std::ops::Range;

use crate::cursor::{Cursor, Parsed, Within, fail};
use crate::error::{Place, Problem, show};
use crate::tensor_type::TensorType;
use crate::value::{Array, Value, ValueType, text_of};

/// The key that sets the alignment of a file.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// The alignment of a file that does not set one.
pub(crate) const DEFAULT_ALIGNMENT: u32 = 32;
/// The largest alignment accepted, the size of a huge page: more is no alignment but an attempt to make offsets overflow.
pub(crate) const MAX_ALIGNMENT: u32 = 1 << 21;
/// The longest key, from the specification.
pub(crate) const MAX_KEY_BYTES: u64 = (1 << 16) - 1;
/// The longest tensor name, from the specification. (llama.cpp stops one byte earlier, and so does our writer.)
pub(crate) const MAX_NAME_BYTES: u64 = 64;
/// The longest text, as in llama.cpp.
const MAX_TEXT_BYTES: u64 = 1 << 30;
/// The longest array, as in llama.cpp.
const MAX_ARRAY_LEN: u64 = 1 << 30;
/// The most metadata entries and the most tensors. Real files have dozens and hundreds to some thousands.
const MAX_RECORDS: u64 = 1 << 20;
/// The smallest entry: key length, type, one byte of value.
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;
/// The smallest tensor record: name length, number of dimensions, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// One file's header.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) alignment: u32,
    /// In file order.
    pub(crate) entries: Vec<Entry>,
    /// Indices into `entries`, by ascending key.
    by_key: Vec<u32>,
    /// In file order.
    pub(crate) tensors: Vec<TensorRecord>,
}

/// Where a metadata entry lies in the file.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Range<usize>,
    value: ValueAt,
}

/// The type and place of a value.
#[derive(Debug)]
enum ValueAt {
    /// A number, a truth value or a text (without its length).
    Plain(ValueType, Range<usize>),
    /// An array (without its type and length).
    Array { element: ValueType, len: usize, body: Range<usize> },
}

/// A tensor as the header describes it, with its data found in the file.
#[derive(Debug, Clone)]
pub(crate) struct TensorRecord {
    /// Byte offset of the record.
    pub(crate) at: u64,
    /// The name's bytes in the file.
    pub(crate) name: Range<usize>,
    /// Sizes, fastest first; unused ones are 1.
    pub(crate) dims: [u64; 4],
    /// How many of `dims` are used, 1 to 4.
    pub(crate) n_dims: usize,
    pub(crate) ty: TensorType,
    /// The data's bytes in the file (while parsing: in the data section).
    pub(crate) data: Range<u64>,
}

impl Header {
    /// Parses and checks the header of `bytes`, a whole file. `file` names it in errors.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(file, bytes);
        let version = preamble(&mut cursor, bytes)?;
        let n_tensors = cursor.count("tensors", MIN_TENSOR_BYTES, MAX_RECORDS)?;
        let n_entries = cursor.count("metadata entries", MIN_ENTRY_BYTES, MAX_RECORDS)?;

        // The vectors grow as records are found in the file; a count alone reserves nothing.
        let mut entries = vec![];
        for _ in 0..n_entries {
            entries.push(entry(&mut cursor)?);
        }
        let by_key = sorted_keys(file, bytes, &entries)?;
        let mut header = Self { version, alignment: DEFAULT_ALIGNMENT, entries, by_key, tensors: vec![] };
        header.alignment = header.find_alignment(file, bytes)?;

        for _ in 0..n_tensors {
            header.tensors.push(tensor(&mut cursor, header.alignment)?);
        }
        let data_start = (cursor.at() as u64).next_multiple_of(header.alignment.into());
        locate_data(file, bytes, data_start, &mut header.tensors)?;
        Ok(header)
    }

    pub(crate) fn key<'a>(&self, bytes: &'a [u8], entry: &Entry) -> &'a str {
        text_of(&bytes[entry.key.clone()])
    }

    pub(crate) fn value<'a>(&self, bytes: &'a [u8], entry: &Entry) -> Value<'a> {
        match &entry.value {
            ValueAt::Plain(ValueType::String, range) => Value::String(text_of(&bytes[range.clone()])),
            ValueAt::Plain(ty, range) => {
                Value::from_fixed(*ty, &bytes[range.clone()]).expect("parsing took as many bytes as the type has")
            }
            ValueAt::Array { element, len, body } => Value::Array(Array::new(*element, *len, &bytes[body.clone()])),
        }
    }

    pub(crate) fn find(&self, bytes: &[u8], key: &str) -> Option<&Entry> {
        let found = self.by_key.binary_search_by(|&index| {
            let entry = &self.entries[index as usize];
            bytes[entry.key.clone()].cmp(key.as_bytes())
        });
        found.ok().map(|position| &self.entries[self.by_key[position] as usize])
    }

    /// Byte offset of the entry of a key, 0 when there is none. For messages.
    pub(crate) fn place_of(&self, bytes: &[u8], key: &str) -> Place {
        Place::Key { key: key.to_owned(), at: self.find(bytes, key).map_or(0, |entry| entry.key.start as u64) }
    }

    fn find_alignment(&self, file: &str, bytes: &[u8]) -> Parsed<u32> {
        let Some(entry) = self.find(bytes, ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
        let problem = match self.value(bytes, entry) {
            Value::U32(found) if found.is_power_of_two() && found <= MAX_ALIGNMENT => return Ok(found),
            Value::U32(found) => Problem::Alignment { found, limit: MAX_ALIGNMENT },
            other => Problem::AlignmentType { found: other.value_type().name() },
        };
        fail(file, self.place_of(bytes, ALIGNMENT_KEY), problem)
    }
}

/// Magic and version.
fn preamble(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Parsed<u32> {
    let magic: [u8; 4] = cursor.take(4, "the magic bytes")?.try_into().expect("take returns as many bytes as asked");
    if magic != *b"GGUF" {
        let problem = Problem::Magic { found: magic, hint: foreign_format(bytes) };
        return fail(cursor.file(), Place::Byte(0), problem);
    }
    let at = cursor.at() as u64;
    let version = cursor.u32("the version")?;
    let problem = match version {
        2 | 3 => return Ok(version),
        found if (1..=0xffff).contains(&found.swap_bytes()) && found > 0xffff => {
            Problem::BigEndian { version: found.swap_bytes() }
        }
        found => Problem::Version { found },
    };
    fail(cursor.file(), Place::Byte(at), problem)
}

/// What a file that is not GGUF may be.
fn foreign_format(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'P', b'K', 3, 4, ..] => {
            "this looks like a zip archive, such as a PyTorch checkpoint: convert the model to GGUF"
        }
        [b'l' | b't' | b'f', b'm' | b'j', b'g', b'g', ..] => {
            "this looks like a GGML file from before GGUF: get the model as GGUF"
        }
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            "this looks like a Git LFS pointer: fetch the file itself, for instance with `git lfs pull`"
        }
        [b'<', ..] => "this looks like a web page: the download went wrong",
        [_, _, _, _, _, _, 0, 0, b'{', ..] => {
            "this looks like a safetensors file: open its folder, or convert the model"
        }
        [b'{', ..] => "this looks like JSON: name the model file itself",
        _ => "this is not a GGUF file",
    }
}

fn entry(cursor: &mut Cursor<'_>) -> Parsed<Entry> {
    let start = cursor.at() as u64;
    let key = cursor.text("a metadata key", MAX_TEXT_BYTES)?;
    let key_at = cursor.at() - key.len()..cursor.at();
    let problem = match key.len() as u64 {
        0 => Problem::EmptyName { what: "key" },
        1..=MAX_KEY_BYTES => {
            let value = value(cursor).within_key(key)?;
            return Ok(Entry { key: key_at, value });
        }
        found => Problem::NameTooLong { what: "key", found, limit: MAX_KEY_BYTES },
    };
    fail(cursor.file(), Place::Byte(start), problem)
}

fn value(cursor: &mut Cursor<'_>) -> Parsed<ValueAt> {
    let ty = value_type(cursor)?;
    if ty != ValueType::Array {
        let body = plain_value(cursor, ty, "a metadata value")?;
        return Ok(ValueAt::Plain(ty, body));
    }
    let at = cursor.at() as u64;
    let element = value_type(cursor)?;
    if element == ValueType::Array {
        return fail(cursor.file(), Place::Byte(at), Problem::NestedArray);
    }
    // A text takes at least the eight bytes of its length.
    let smallest = element.fixed_bytes().unwrap_or(8) as u64;
    let len = cursor.count("array elements", smallest, MAX_ARRAY_LEN)?;
    let start = cursor.at();
    match element.fixed_bytes() {
        Some(size) => {
            cursor.take(len * size as u64, "an array")?;
        }
        None => {
            for _ in 0..len {
                cursor.text("a text of an array", MAX_TEXT_BYTES)?;
            }
        }
    }
    let len = usize::try_from(len).expect("the array lies in memory");
    Ok(ValueAt::Array { element, len, body: start..cursor.at() })
}

fn value_type(cursor: &mut Cursor<'_>) -> Parsed<ValueType> {
    let at = cursor.at() as u64;
    let id = cursor.u32("a value type")?;
    match ValueType::from_id(id) {
        Some(ty) => Ok(ty),
        None => fail(cursor.file(), Place::Byte(at), Problem::ValueType { found: id }),
    }
}

fn plain_value(cursor: &mut Cursor<'_>, ty: ValueType, what: &'static str) -> Parsed<Range<usize>> {
    let size = match ty.fixed_bytes() {
        Some(size) => cursor.take(size as u64, what)?.len(),
        None => cursor.text(what, MAX_TEXT_BYTES)?.len(),
    };
    Ok(cursor.at() - size..cursor.at())
}

/// The entries' indices by ascending key; a key that comes twice is an error at its second place.
fn sorted_keys(file: &str, bytes: &[u8], entries: &[Entry]) -> Parsed<Vec<u32>> {
    let key = |index: u32| &bytes[entries[index as usize].key.clone()];
    let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
    by_key.sort_by(|&a, &b| key(a).cmp(key(b))); // stable: equal keys stay in file order
    for pair in by_key.windows(2) {
        if key(pair[0]) == key(pair[1]) {
            let at = |index: u32| entries[index as usize].key.start as u64;
            let place = Place::Key { key: show(text_of(key(pair[1]))), at: at(pair[1]) };
            return fail(file, place, Problem::DuplicateKey { first: at(pair[0]) });
        }
    }
    Ok(by_key)
}

fn tensor(cursor: &mut Cursor<'_>, alignment: u32) -> Parsed<TensorRecord> {
    let start = cursor.at() as u64;
    let name = cursor.text("a tensor name", MAX_TEXT_BYTES)?;
    let problem = match name.len() as u64 {
        0 => Problem::EmptyName { what: "tensor name" },
        1..=MAX_NAME_BYTES => {
            let name_at = cursor.at() - name.len()..cursor.at();
            return shape_and_place(cursor, start, name_at, alignment).within_tensor(name);
        }
        found => Problem::NameTooLong { what: "tensor name", found, limit: MAX_NAME_BYTES },
    };
    fail(cursor.file(), Place::Byte(start), problem)
}

/// The rest of a tensor record. The data's place is still relative to the data section, see [`locate_data`].
fn shape_and_place(cursor: &mut Cursor<'_>, at: u64, name: Range<usize>, alignment: u32) -> Parsed<TensorRecord> {
    let file = cursor.file();
    let wrong = |problem| fail(file, Place::Byte(at), problem);

    let n_dims = cursor.u32("the number of dimensions")?;
    if n_dims > 4 {
        return wrong(Problem::Dimensions { found: n_dims });
    }
    let mut dims = [1; 4];
    for dim in &mut dims[..n_dims as usize] {
        *dim = cursor.u64("a dimension")?;
    }
    // A number without dimensions is a row of one element.
    let n_dims = n_dims.max(1) as usize;
    let used = || dims[..n_dims].to_vec();
    if dims.contains(&0) {
        return wrong(Problem::ZeroDimension { dims: used() });
    }

    let id = cursor.u32("a tensor type")?;
    let Some(ty) = TensorType::from_id(id) else {
        return wrong(match TensorType::removed_name(id) {
            Some(name) => Problem::RemovedTensorType { found: id, name },
            None => Problem::TensorType { found: id },
        });
    };
    let block = ty.block_elements() as u64;
    if !dims[0].is_multiple_of(block) {
        return wrong(Problem::PartialBlock { row: dims[0], block, ty });
    }
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let fits = |size: &u64| i64::try_from(*size).is_ok();
    let Some(size) = elements.filter(fits).and_then(|elements| ty.bytes_for(elements)).filter(fits) else {
        return wrong(Problem::SizeOverflow { dims: used(), ty });
    };

    let offset = cursor.u64("a data offset")?;
    let alignment = u64::from(alignment);
    if !offset.is_multiple_of(alignment) {
        return wrong(Problem::Misaligned { offset, alignment });
    }
    match offset.checked_add(size) {
        Some(end) => Ok(TensorRecord { at, name, dims, n_dims, ty, data: offset..end }),
        None => wrong(Problem::PastEnd { start: offset, size, file: cursor.at() as u64 + cursor.left() }),
    }
}

/// Moves the tensors' data ranges from the data section to the file, and checks that they lie in it, each on its own bytes.
/// Gaps are allowed: they harm nobody, and tools that edit files leave them.
fn locate_data(file: &str, bytes: &[u8], data_start: u64, tensors: &mut [TensorRecord]) -> Parsed<()> {
    let name = |tensor: &TensorRecord| show(text_of(&bytes[tensor.name.clone()]));
    let place = |tensor: &TensorRecord| Place::Tensor { name: name(tensor), at: tensor.at };
    for tensor in &mut *tensors {
        let size = tensor.data.end - tensor.data.start;
        let start = data_start.saturating_add(tensor.data.start);
        let end = start.saturating_add(size);
        if end > bytes.len() as u64 {
            return fail(file, place(tensor), Problem::PastEnd { start, size, file: bytes.len() as u64 });
        }
        tensor.data = start..end;
    }
    let mut by_start: Vec<&TensorRecord> = tensors.iter().collect();
    by_start.sort_by_key(|tensor| tensor.data.start);
    for pair in by_start.windows(2) {
        let (other, tensor) = (pair[0], pair[1]);
        if other.data.end > tensor.data.start {
            let problem = Problem::Overlap { start: tensor.data.start, other: name(other), other_end: other.data.end };
            return fail(file, place(tensor), problem);
        }
    }
    Ok(())
}
