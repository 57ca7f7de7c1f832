//! Metadata values as they lie in the file: numbers copied, texts and arrays borrowed.

use std::fmt;

/// The type of a metadata value. The discriminants are the ids in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is its own description
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every type, by ascending id.
    pub const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type of an id, or `None` when there is none.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The id in the file.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// A short lower-case name: `u32`, `string`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes that a value takes, or `None` for texts and arrays, whose size depends on the value.
    #[must_use]
    pub const fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value. `'a` is the life of the [`Gguf`](crate::Gguf) it is read from.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // each variant is its own description
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value of any of the eight integer types, without loss; `None` for the others.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value of f32 or f64; `None` for the others.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The type in words, for messages: `u32`, `array of 30522 string`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {} {}", array.len(), array.element_type()),
            other => other.value_type().name().to_owned(),
        }
    }

    /// Reads a value of a type with a fixed size from exactly that many bytes; `None` when the lengths differ.
    pub(crate) fn from_fixed(ty: ValueType, bytes: &[u8]) -> Option<Value<'a>> {
        /// The number types of the format are all read alike: little-endian, from an array of their size.
        macro_rules! number {
            ($variant:ident, $type:ty) => {
                Value::$variant(<$type>::from_le_bytes(bytes.try_into().ok()?))
            };
        }
        Some(match ty {
            ValueType::U8 => number!(U8, u8),
            ValueType::I8 => number!(I8, i8),
            ValueType::U16 => number!(U16, u16),
            ValueType::I16 => number!(I16, i16),
            ValueType::U32 => number!(U32, u32),
            ValueType::I32 => number!(I32, i32),
            ValueType::F32 => number!(F32, f32),
            ValueType::U64 => number!(U64, u64),
            ValueType::I64 => number!(I64, i64),
            ValueType::F64 => number!(F64, f64),
            ValueType::Bool => Value::Bool(*bytes.first()? != 0),
            ValueType::String | ValueType::Array => return None,
        })
    }
}

impl fmt::Display for Value<'_> {
    /// The value itself; an array shows its length and type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::String(v) => v.fmt(f),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
            Self::Array(_) => f.write_str(&self.describe()),
        }
    }
}

/// An array of plain values, borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    element: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// `bytes` are the packed elements; the header parser has checked that there are `len` of them.
    pub(crate) fn new(element: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Self { element, len, bytes }
    }

    /// The type of every element.
    #[must_use]
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements as they lie in the file: little-endian numbers without gaps, or texts each behind its 64-bit length.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements in order.
    #[must_use]
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter { element: self.element, left: self.len, bytes: self.bytes }
    }

    /// The array as texts, or `None` when its elements are of another type.
    #[must_use]
    pub fn strings(&self) -> Option<StringArray<'a>> {
        (self.element == ValueType::String).then_some(StringArray { array: *self })
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;

    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// The elements of an [`Array`].
///
/// Each element is read, and each text validated, again from the file. They were all checked at opening, so a failure here
/// means that the file was overwritten in place meanwhile; the sequence then ends early or shows an empty text.
#[derive(Debug, Clone)]
pub struct ArrayIter<'a> {
    element: ValueType,
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let Some(size) = self.element.fixed_bytes() else {
            return self.next_string().map(Value::String);
        };
        let (element, rest) = self.bytes.split_at_checked(size)?;
        self.bytes = rest;
        Value::from_fixed(self.element, element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ArrayIter<'_> {}

impl<'a> ArrayIter<'a> {
    fn next_string(&mut self) -> Option<&'a str> {
        let (len, rest) = self.bytes.split_first_chunk::<8>()?;
        let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        self.bytes = rest;
        Some(text_of(text))
    }
}

/// A text that was found to be UTF-8 at opening. It is checked again instead of trusted, because only a check keeps `&str`
/// sound when the file is overwritten in place; whoever does that reads an empty text, as he reads wrong weights.
pub(crate) fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An array of texts, borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StringArray<'a> {
    array: Array<'a>,
}

impl<'a> StringArray<'a> {
    /// The number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// Whether there are no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    /// The texts in order. There is no access by position: texts differ in length, so collect them if you need it.
    #[must_use]
    pub fn iter(&self) -> Strings<'a> {
        Strings { array: self.array.iter() }
    }
}

impl<'a> IntoIterator for StringArray<'a> {
    type Item = &'a str;
    type IntoIter = Strings<'a>;

    fn into_iter(self) -> Strings<'a> {
        self.iter()
    }
}

/// The texts of a [`StringArray`]; see [`ArrayIter`] about files that change.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    array: ArrayIter<'a>,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match self.array.next()? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.array.size_hint()
    }
}

impl ExactSizeIterator for Strings<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        for ty in ValueType::ALL {
            assert_eq!(ValueType::from_id(ty.id()), Some(ty));
        }
        assert_eq!(ValueType::from_id(13), None);
        assert_eq!(ValueType::from_id(u32::MAX), None);
    }

    #[test]
    fn integers_and_floats_widen_without_loss() {
        assert_eq!(Value::U64(u64::MAX).integer(), Some(u64::MAX.into()));
        assert_eq!(Value::I64(i64::MIN).integer(), Some(i64::MIN.into()));
        assert_eq!(Value::Bool(true).integer(), None);
        assert_eq!(Value::F32(0.1).float(), Some(f64::from(0.1f32)));
        assert_eq!(Value::U8(1).float(), None);
    }

    #[test]
    fn an_array_overwritten_in_place_ends_early_instead_of_panicking() {
        let mut bytes = vec![];
        for text in ["ab", "c"] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        fn strings(bytes: &[u8]) -> Vec<&str> {
            Array::new(ValueType::String, 2, bytes).strings().unwrap().iter().collect()
        }
        assert_eq!(strings(&bytes), ["ab", "c"]);
        bytes[8] = 0xff;
        assert_eq!(strings(&bytes), ["", "c"]);
        bytes[7] = 0x7f;
        assert!(strings(&bytes).is_empty());
        assert_eq!(Array::new(ValueType::U32, 2, &[1, 0, 0, 0, 2, 0]).iter().count(), 1);
    }
}
