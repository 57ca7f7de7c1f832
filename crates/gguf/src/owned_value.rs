//! Metadata values that own their contents, for writing.

use crate::value::{Array, Value, ValueType};

/// A metadata value to be written. Made with `into()` from the Rust type of the same width, from texts, vectors and from
/// the [`Value`] of an open file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each variant is its own description
pub enum OwnedValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(OwnedArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array to be written; its elements are all of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each variant is its own description
pub enum OwnedArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl OwnedValue {
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

    /// Appends the value as it is stored, after its type.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(v) => out.extend(v.to_le_bytes()),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::String(v) => encode_text(v, out),
            Self::Array(v) => v.encode(out),
        }
    }
}

impl OwnedArray {
    /// The type of every element.
    #[must_use]
    pub fn element_type(&self) -> ValueType {
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
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |len: usize| {
            out.extend(self.element_type().id().to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        };
        /// All number types are stored alike: little-endian without gaps.
        macro_rules! numbers {
            ($values:expr) => {{
                head($values.len());
                out.extend($values.iter().flat_map(|value| value.to_le_bytes()));
            }};
        }
        match self {
            Self::U8(v) => numbers!(v),
            Self::I8(v) => numbers!(v),
            Self::U16(v) => numbers!(v),
            Self::I16(v) => numbers!(v),
            Self::U32(v) => numbers!(v),
            Self::I32(v) => numbers!(v),
            Self::F32(v) => numbers!(v),
            Self::U64(v) => numbers!(v),
            Self::I64(v) => numbers!(v),
            Self::F64(v) => numbers!(v),
            Self::Bool(v) => {
                head(v.len());
                out.extend(v.iter().map(|&value| u8::from(value)));
            }
            Self::String(v) => {
                head(v.len());
                for text in v {
                    encode_text(text, out);
                }
            }
        }
    }
}

/// A text as it is stored: its length in 64 bits, then its bytes.
pub(crate) fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

macro_rules! from {
    ($($variant:ident $type:ty;)+) => {
        $(
            impl From<$type> for OwnedValue {
                fn from(value: $type) -> Self {
                    Self::$variant(value)
                }
            }

            impl From<Vec<$type>> for OwnedValue {
                fn from(values: Vec<$type>) -> Self {
                    Self::Array(OwnedArray::$variant(values))
                }
            }
        )+
    };
}

from! {
    U8 u8; I8 i8; U16 u16; I16 i16; U32 u32; I32 i32; F32 f32; Bool bool; String String; U64 u64; I64 i64; F64 f64;
}

impl From<&str> for OwnedValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<OwnedArray> for OwnedValue {
    fn from(array: OwnedArray) -> Self {
        Self::Array(array)
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(v) => Self::U8(v),
            Value::I8(v) => Self::I8(v),
            Value::U16(v) => Self::U16(v),
            Value::I16(v) => Self::I16(v),
            Value::U32(v) => Self::U32(v),
            Value::I32(v) => Self::I32(v),
            Value::F32(v) => Self::F32(v),
            Value::Bool(v) => Self::Bool(v),
            Value::String(v) => Self::String(v.to_owned()),
            Value::Array(v) => Self::Array(v.into()),
            Value::U64(v) => Self::U64(v),
            Value::I64(v) => Self::I64(v),
            Value::F64(v) => Self::F64(v),
        }
    }
}

impl From<Array<'_>> for OwnedArray {
    fn from(array: Array<'_>) -> Self {
        /// Every element of an array has the array's type, so nothing is filtered out.
        macro_rules! collect {
            ($variant:ident) => {
                Self::$variant(
                    array.iter().filter_map(|v| if let Value::$variant(v) = v { Some(v) } else { None }).collect(),
                )
            };
        }
        match array.element_type() {
            ValueType::U8 => collect!(U8),
            ValueType::I8 => collect!(I8),
            ValueType::U16 => collect!(U16),
            ValueType::I16 => collect!(I16),
            ValueType::U32 => collect!(U32),
            ValueType::I32 => collect!(I32),
            ValueType::F32 => collect!(F32),
            ValueType::Bool => collect!(Bool),
            ValueType::U64 => collect!(U64),
            ValueType::I64 => collect!(I64),
            ValueType::F64 => collect!(F64),
            ValueType::String => Self::String(array.strings().into_iter().flatten().map(str::to_owned).collect()),
            ValueType::Array => unreachable!("the reader refuses arrays of arrays"),
        }
    }
}
