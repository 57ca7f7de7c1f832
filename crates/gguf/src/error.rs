//! What can be wrong with a file, and how it is said.
//!
//! Every error is one line that names the file, the place in it (byte offset, metadata key or tensor), what was expected,
//! what was found and, where the reader can do something about it, what to do. Names that come out of a file are escaped
//! and shortened before they are shown, so a hostile file can neither forge a second line nor flood a terminal.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::tensor_type::TensorType;

/// Why a GGUF file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file, as it was named by the caller.
        path: PathBuf,
        /// What was tried: "open the file", "map the file into memory".
        action: &'static str,
        /// The system's own reason.
        source: io::Error,
    },
    /// The path names something that is not a plain file.
    #[error("{}: expected a file, found {found}", path.display())]
    NotAFile {
        /// The path, as it was named by the caller.
        path: PathBuf,
        /// What is there instead: "a directory", "a device, pipe or socket".
        found: &'static str,
    },
    /// The contents break the format.
    #[error(transparent)]
    Format(#[from] Box<FormatError>),
}

/// A violation of the GGUF format: which file, where in it, and what.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {place}{problem}")]
pub struct FormatError {
    /// The path as it was named by the caller, or `memory` for [`Gguf::from_bytes`](crate::Gguf::from_bytes).
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// A place in a GGUF file. Byte offsets count from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A position in the header.
    Byte(u64),
    /// A metadata entry.
    Key {
        /// The key, escaped and shortened for display.
        key: String,
        /// Byte offset at which the problem was met.
        at: u64,
    },
    /// A tensor record.
    Tensor {
        /// The name, escaped and shortened for display.
        name: String,
        /// Byte offset of the tensor's record in the header.
        at: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(at) => write!(f, "byte {at}: "),
            Self::Key { key, at } => write!(f, "key `{key}` (byte {at}): "),
            Self::Tensor { name, at } => write!(f, "tensor `{name}` (byte {at}): "),
        }
    }
}

/// What is wrong at a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first four bytes are not `GGUF`.
    #[error("expected the magic bytes \"GGUF\", found \"{}\"; {hint}", found.escape_ascii())]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
        /// What the file seems to be, and what to do.
        hint: &'static str,
    },
    /// The version field only makes sense with its bytes swapped.
    #[error(
        "expected a little-endian file, found big-endian version {version}; convert the model with little-endian output"
    )]
    BigEndian {
        /// The version after swapping.
        version: u32,
    },
    /// A version this reader does not know.
    #[error("expected GGUF version 2 or 3, found {found}; {}", version_hint(*found))]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The file ends before something it announces.
    #[error(
        "expected {needed} bytes for {what}, found {left} before the end of the file; the file is cut short or damaged, fetch it again"
    )]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes it takes.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// A count that the rest of the file cannot hold, or that no sane file has.
    #[error("expected at most {limit} {what}, found a count of {found}; the file is damaged or hostile")]
    Count {
        /// What is counted, in the plural.
        what: &'static str,
        /// The count in the file.
        found: u64,
        /// The most that is possible here.
        limit: u64,
    },
    /// A text that is not UTF-8.
    #[error("expected UTF-8 text in {what}, found an invalid byte at position {position} of it")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
        /// How many of its bytes are valid.
        position: u64,
    },
    /// A key or tensor name of length 0.
    #[error("expected a name, found an empty {what}")]
    EmptyName {
        /// Which name.
        what: &'static str,
    },
    /// A key or tensor name beyond the format's limit.
    #[error("expected a {what} of at most {limit} bytes, found {found}")]
    NameTooLong {
        /// Which name.
        what: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The format's limit in bytes.
        limit: u64,
    },
    /// The same key twice.
    #[error("expected every key once, found it already at byte {first}")]
    DuplicateKey {
        /// Byte offset of the first entry.
        first: u64,
    },
    /// A metadata value type outside the format's table.
    #[error("expected a value type from 0 to 12, found {found}")]
    ValueType {
        /// The type id in the file.
        found: u32,
    },
    /// An array of arrays.
    #[error(
        "expected an array of plain values, found an array of arrays; no known reader or writer of models uses them"
    )]
    NestedArray,
    /// `general.alignment` is of another type than u32.
    #[error("expected a u32, found {found}")]
    AlignmentType {
        /// The type in the file.
        found: &'static str,
    },
    /// `general.alignment` is no usable alignment.
    #[error("expected a power of two from 1 to {limit}, found {found}")]
    Alignment {
        /// The value in the file.
        found: u32,
        /// The largest alignment accepted.
        limit: u32,
    },
    /// More dimensions than the format has.
    #[error("expected at most 4 dimensions, found {found}")]
    Dimensions {
        /// The number of dimensions in the file.
        found: u32,
    },
    /// A dimension of size 0.
    #[error("expected dimensions of at least 1, found 0 in {dims:?}")]
    ZeroDimension {
        /// All dimensions, fastest first.
        dims: Vec<u64>,
    },
    /// The number of elements or bytes does not fit.
    #[error("expected a size below 2^63 bytes, found the dimensions {dims:?} of type {ty}")]
    SizeOverflow {
        /// All dimensions, fastest first.
        dims: Vec<u64>,
        /// The element type.
        ty: TensorType,
    },
    /// A type id outside the table.
    #[error("expected a known tensor type, found id {found}; the file is newer than this program, or damaged")]
    TensorType {
        /// The type id in the file.
        found: u32,
    },
    /// A type id that was withdrawn from the format.
    #[error(
        "expected a current tensor type, found {name} (id {found}), which was removed from the format; fetch or make the model in another quantisation"
    )]
    RemovedTensorType {
        /// The type id in the file.
        found: u32,
        /// Its former name.
        name: &'static str,
    },
    /// Rows that are not a whole number of blocks.
    #[error("expected rows in whole blocks of {block} elements for type {ty}, found {row} elements a row")]
    PartialBlock {
        /// Elements a row.
        row: u64,
        /// Elements a block.
        block: u64,
        /// The element type.
        ty: TensorType,
    },
    /// A data offset that is not aligned.
    #[error("expected a data offset divisible by {alignment}, found {offset}")]
    Misaligned {
        /// The offset from the start of the data section.
        offset: u64,
        /// The alignment of the file.
        alignment: u64,
    },
    /// Tensor data that would lie outside the file.
    #[error(
        "expected {size} bytes of data at byte {start}, found the end of the file at byte {file}; the file is cut short or damaged, fetch it again"
    )]
    PastEnd {
        /// First byte of the data, counted from the start of the file (saturated when it does not fit).
        start: u64,
        /// Bytes of data.
        size: u64,
        /// Length of the file.
        file: u64,
    },
    /// Two tensors that share bytes.
    #[error(
        "expected data of its own, found its first byte {start} inside tensor `{other}`, which ends at byte {other_end}"
    )]
    Overlap {
        /// First byte of this tensor's data.
        start: u64,
        /// The other tensor, escaped and shortened.
        other: String,
        /// End of the other tensor's data.
        other_end: u64,
    },
    /// The same tensor name twice.
    #[error("expected every tensor once, found it already at byte {first} of {file}")]
    DuplicateTensor {
        /// The file with the first one.
        file: String,
        /// Byte offset of the first record in that file.
        first: u64,
    },
    /// A key of a split set is missing or of the wrong type.
    #[error("expected {expected} in a file of a split model, found {found}")]
    SplitKey {
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file belongs to a split set but is not named like one.
    #[error(
        "expected a name that ends in -{number:05}-of-{count:05}.gguf for file {number} of {count} of a split model; restore the original names"
    )]
    SplitName {
        /// The number of this file, from 1.
        number: u32,
        /// The number of files of the set.
        count: u32,
    },
    /// The file belongs to a split set but is not its first.
    #[error("expected the first file of a split model, found number {number}; open {first} instead")]
    SplitNotFirst {
        /// The number of this file, from 1.
        number: u32,
        /// Path of the first file.
        first: String,
    },
    /// A split set given as bytes.
    #[error("expected a whole model, found the first of {count} files of a split model; open it by its path")]
    SplitInMemory {
        /// The number of files of the set.
        count: u32,
    },
    /// The files of a set hold another number of tensors than announced.
    #[error(
        "expected {expected} tensors in the {count} files of the split model, found {found}; the files are not of one set"
    )]
    SplitTensorCount {
        /// The number announced by the first file.
        expected: u64,
        /// The number found.
        found: u64,
        /// The number of files.
        count: u32,
    },
    /// A file of the set is not there.
    #[error(
        "expected file {number} of {count} of the split model next to the first, found none: {reason}; fetch the whole set"
    )]
    SplitMissing {
        /// The number of the missing file, from 1.
        number: u32,
        /// The number of files of the set.
        count: u32,
        /// The system's reason.
        reason: String,
    },
}

fn version_hint(found: u32) -> &'static str {
    match found {
        0 | 1 => "the file is older than the models this program runs, convert the model again",
        _ => "the file is newer than this program",
    }
}

/// The most characters of a name from a file that an error shows.
const SHOWN: usize = 96;

/// A name out of a file made fit for one line of an error: control characters escaped, long names cut.
pub(crate) fn show(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_stay_on_one_short_line() {
        assert_eq!(show("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(show("naïve"), "naïve");
        let long = show(&"x".repeat(5000));
        assert_eq!(long.len(), SHOWN + 3);
        assert!(long.ends_with("..."));
    }
}
