//! Metadata by key, with getters that say exactly what is wrong.

use std::fmt;

use crate::header::Header;
use crate::value::{Array, StringArray, Value, ValueType};

/// The metadata of a model: texts, numbers and arrays by key, such as `bert.embedding_length`. Cheap to copy.
///
/// The typed getters have three outcomes. `Ok(None)`: the key is absent. `Ok(Some(..))`: the value, when its type can
/// express it without loss; integers of every width are taken for one another when they fit, and so are f32 and f64. `Err`:
/// a value of another type or out of range, with key, expectation and finding. The `require_` getters turn absence into an
/// error too. Nothing is ever wrapped or cut silently.
///
/// For the metadata of a split model this is its first file, which carries all of it.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    file: &'a str,
    bytes: &'a [u8],
    header: &'a Header,
}

/// Why a metadata value could not be had as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is absent.
    #[error("{file}: key `{key}`: expected {expected}, found no such key")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// The value is of a type that cannot express what was asked for.
    #[error("{file}: key `{key}`: expected {expected}, found {found}")]
    WrongType {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// The type found, in words.
        found: String,
    },
    /// The value, or an element of it, does not fit the type asked for.
    #[error("{file}: key `{key}`: expected {expected}, found the value {found}")]
    OutOfRange {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What was asked for.
        expected: &'static str,
        /// The value found.
        found: String,
    },
}

impl<'a> Metadata<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8], header: &'a Header) -> Self {
        Self { file, bytes, header }
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, of whatever type it is.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let entry = self.header.find(self.bytes, key)?;
        Some(self.header.value(self.bytes, entry))
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let Self { bytes, header, .. } = *self;
        header.entries.iter().map(move |entry| (header.key(bytes, entry), header.value(bytes, entry)))
    }

    /// The name of the file the metadata comes from, as errors show it.
    #[must_use]
    pub fn file(&self) -> &'a str {
        self.file
    }

    fn error(&self, key: &str, expected: &'static str, fault: Fault) -> MetadataError {
        let (file, key) = (self.file.to_owned(), key.to_owned());
        match fault {
            Fault::Type(found) => MetadataError::WrongType { file, key, expected, found },
            Fault::Range(found) => MetadataError::OutOfRange { file, key, expected, found },
        }
    }
}

/// What a conversion found instead of what it wanted.
enum Fault {
    Type(String),
    Range(String),
}

fn wrong_type(value: &Value<'_>) -> Fault {
    Fault::Type(value.describe())
}

/// Defines a getter that returns `Ok(None)` for an absent key, and its `require_` twin.
macro_rules! getters {
    ($($get:ident, $require:ident -> $type:ty, $expected:literal, $what:literal, $convert:expr;)+) => {
        impl<'a> Metadata<'a> {
            $(
                #[doc = concat!("The value of `key` as ", $what, ", or `None` when there is no such key.")]
                ///
                /// # Errors
                ///
                /// [`MetadataError::WrongType`] or [`MetadataError::OutOfRange`] when the value is something else.
                pub fn $get(&self, key: &str) -> Result<Option<$type>, MetadataError> {
                    let Some(value) = self.get(key) else { return Ok(None) };
                    let convert: fn(Value<'a>) -> Result<$type, Fault> = $convert;
                    convert(value).map(Some).map_err(|fault| self.error(key, $expected, fault))
                }

                #[doc = concat!("The value of `key` as ", $what, ".")]
                ///
                /// # Errors
                ///
                #[doc = concat!("As [`", stringify!($get), "`](Self::", stringify!($get), "), and")]
                /// [`MetadataError::Missing`] when there is no such key.
                pub fn $require(&self, key: &str) -> Result<$type, MetadataError> {
                    self.$get(key)?.ok_or_else(|| MetadataError::Missing {
                        file: self.file.to_owned(),
                        key: key.to_owned(),
                        expected: $expected,
                    })
                }
            )+
        }
    };
}

getters! {
    u32, require_u32 -> u32, "an integer from 0 to 4294967295", "a u32 (from any integer type)", integer;
    i32, require_i32 -> i32, "an integer from -2147483648 to 2147483647", "an i32 (from any integer type)", integer;
    u64, require_u64 -> u64, "an integer from 0 to 18446744073709551615", "a u64 (from any integer type)", integer;
    i64, require_i64 -> i64, "an integer that fits in 64 bits with sign", "an i64 (from any integer type)", integer;
    f32, require_f32 -> f32, "a number of type f32 or f64", "an f32 (an f64 is rounded)", float;
    bool, require_bool -> bool, "a bool", "a truth value", |value| match value {
        Value::Bool(value) => Ok(value),
        other => Err(wrong_type(&other)),
    };
    str, require_str -> &'a str, "a string", "a text", |value| match value {
        Value::String(value) => Ok(value),
        other => Err(wrong_type(&other)),
    };
    array, require_array -> Array<'a>, "an array", "an array of any type", array;
    strings, require_strings -> StringArray<'a>, "an array of strings", "an array of texts, borrowed from the file", |value| {
        array(value)?.strings().ok_or_else(|| wrong_type(&value))
    };
    u32s, require_u32s -> Vec<u32>, "an array of integers from 0 to 4294967295", "u32 numbers (from an array of any integer type)",
        |value| elements(value, is_integer, integer);
    i32s, require_i32s -> Vec<i32>, "an array of integers from -2147483648 to 2147483647", "i32 numbers (from an array of any integer type)",
        |value| elements(value, is_integer, integer);
    f32s, require_f32s -> Vec<f32>, "an array of f32 or f64", "f32 numbers (an array of f64 is rounded)",
        |value| elements(value, is_float, float);
    bools, require_bools -> Vec<bool>, "an array of bool", "truth values", |value| {
        elements(value, |ty| ty == ValueType::Bool, |element| Ok(element == Value::Bool(true)))
    };
    bytes, require_bytes -> &'a [u8], "an array of u8 or i8", "raw bytes, borrowed from the file (an array of u8 or i8)", |value| {
        let array = array(value)?;
        match array.element_type() {
            ValueType::U8 | ValueType::I8 => Ok(array.raw()),
            _ => Err(wrong_type(&value)),
        }
    };
}

fn integer<T: TryFrom<i128>>(value: Value<'_>) -> Result<T, Fault> {
    let integer = value.integer().ok_or_else(|| wrong_type(&value))?;
    T::try_from(integer).map_err(|_| Fault::Range(integer.to_string()))
}

fn float(value: Value<'_>) -> Result<f32, Fault> {
    let wide = value.float().ok_or_else(|| wrong_type(&value))?;
    let narrow = wide as f32;
    if narrow.is_infinite() && wide.is_finite() {
        return Err(Fault::Range(wide.to_string()));
    }
    Ok(narrow)
}

fn array(value: Value<'_>) -> Result<Array<'_>, Fault> {
    match value {
        Value::Array(array) => Ok(array),
        other => Err(wrong_type(&other)),
    }
}

fn is_integer(ty: ValueType) -> bool {
    use ValueType::{I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(ty, U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
}

fn is_float(ty: ValueType) -> bool {
    matches!(ty, ValueType::F32 | ValueType::F64)
}

/// Converts an array element by element. An array of a wrong element type is wrong even when it is empty.
fn elements<'a, T>(
    value: Value<'a>,
    suits: fn(ValueType) -> bool,
    convert: fn(Value<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let array = array(value)?;
    if !suits(array.element_type()) {
        return Err(wrong_type(&value));
    }
    array.iter().map(convert).collect()
}

impl fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
