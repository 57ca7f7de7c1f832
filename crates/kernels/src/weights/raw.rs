//! Weight matrices as they lie in a file.

use docent_gguf::{TensorType, codec};
use half::{bf16, f16};

/// The encodings of a weight matrix that kernels can pack or look rows up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Blocks of 32 signed bytes with an `f16` scale (GGUF type 8).
    Q8_0,
    /// Any other format of blocks, to be expanded to 8 bits ([`codec::expand_q8`](docent_gguf::codec::expand_q8)).
    Blocks(TensorType),
}

/// Values of a `Q8_0` block.
pub(crate) const Q8_0_VALUES: usize = 32;
/// Bytes of a `Q8_0` block: the scale, then the codes.
pub(crate) const Q8_0_BYTES: usize = 2 + Q8_0_VALUES;

impl WeightType {
    /// Its name in GGUF: `F32`, `F16`, `BF16`, `Q8_0`.
    pub fn name(self) -> &'static str {
        match self {
            WeightType::F32 => "F32",
            WeightType::F16 => "F16",
            WeightType::Bf16 => "BF16",
            WeightType::Q8_0 => "Q8_0",
            WeightType::Blocks(ty) => ty.name(),
        }
    }

    /// The encoding of a tensor of a file, or `None` if there is no computing with it.
    pub fn of(ty: TensorType) -> Option<Self> {
        Some(match ty {
            TensorType::F32 => WeightType::F32,
            TensorType::F16 => WeightType::F16,
            TensorType::BF16 => WeightType::Bf16,
            TensorType::Q8_0 => WeightType::Q8_0,
            ty if ty.is_supported() && ty.is_quantized() => WeightType::Blocks(ty),
            _ => return None,
        })
    }

    /// The type of a tensor so encoded.
    pub fn tensor_type(self) -> TensorType {
        match self {
            WeightType::F32 => TensorType::F32,
            WeightType::F16 => TensorType::F16,
            WeightType::Bf16 => TensorType::BF16,
            WeightType::Q8_0 => TensorType::Q8_0,
            WeightType::Blocks(ty) => ty,
        }
    }

    /// Whether it is codes of 8 bits or fewer with scales.
    pub fn is_blocks(self) -> bool {
        matches!(self, WeightType::Q8_0 | WeightType::Blocks(_))
    }

    /// Bytes of a row of `columns` values, or `None` if such a row cannot be encoded or its size overflows.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        match self {
            WeightType::F32 => columns.checked_mul(4),
            WeightType::F16 | WeightType::Bf16 => columns.checked_mul(2),
            WeightType::Q8_0 => {
                columns.is_multiple_of(Q8_0_VALUES).then_some(columns / Q8_0_VALUES)?.checked_mul(Q8_0_BYTES)
            }
            WeightType::Blocks(ty) => {
                let (values, bytes) = (ty.block_elements(), ty.block_bytes());
                columns.is_multiple_of(values).then_some(columns / values)?.checked_mul(bytes)
            }
        }
    }
}

/// A weight matrix of `rows` output channels by `columns` inputs, row after row, little-endian.
#[derive(Clone, Copy, Debug)]
pub struct RawMatrix<'a> {
    bytes: &'a [u8],
    ty: WeightType,
    rows: usize,
    columns: usize,
}

/// Why weights cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// A row of this many values cannot be encoded in this type.
    #[error("a row of {columns} values cannot be {ty:?}: expected at least one value, and whole blocks")]
    RowLength {
        /// Values of a row.
        columns: usize,
        /// The encoding.
        ty: WeightType,
    },
    /// The bytes are not those of the stated shape.
    #[error("{rows} x {columns} values of {ty:?} take {expected} bytes, found {found}")]
    Size {
        /// Output channels.
        rows: usize,
        /// Inputs.
        columns: usize,
        /// The encoding.
        ty: WeightType,
        /// Bytes of the shape.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A weight, or the scale of its block, is NaN or infinite.
    #[error("the weight at row {row}, column {column} is not a finite number")]
    NotFinite {
        /// Output channel.
        row: usize,
        /// Input, or the first of its block.
        column: usize,
    },
    /// Matrices that are to be stacked have different numbers of inputs.
    #[error("stacked matrices must have the same number of columns: expected {expected}, found {found}")]
    Columns {
        /// Columns of the first.
        expected: usize,
        /// Columns of another.
        found: usize,
    },
    /// A bias has another length than its matrix has rows.
    #[error("a bias of {found} values for {expected} rows")]
    Bias {
        /// Rows of the matrix.
        expected: usize,
        /// Values of the bias.
        found: usize,
    },
    /// A value of a bias, or of a norm's gain, is NaN or infinite.
    #[error("the value at index {index} of a bias or a norm is not a finite number")]
    VectorNotFinite {
        /// Which value.
        index: usize,
    },
}

impl<'a> RawMatrix<'a> {
    /// A view of `bytes` as a matrix.
    ///
    /// # Errors
    /// If the row length does not suit the type, or `bytes` has another size than the shape.
    pub fn new(bytes: &'a [u8], ty: WeightType, rows: usize, columns: usize) -> Result<Self, WeightError> {
        let row_bytes = ty.row_bytes(columns).ok_or(WeightError::RowLength { columns, ty })?;
        if columns == 0 && rows > 0 {
            // Any number of rows would fit no bytes at all.
            return Err(WeightError::RowLength { columns, ty });
        }
        let expected = row_bytes.saturating_mul(rows);
        if bytes.len() != expected {
            return Err(WeightError::Size { rows, columns, ty, expected, found: bytes.len() });
        }
        Ok(RawMatrix { bytes, ty, rows, columns })
    }

    /// The encoding.
    pub fn weight_type(&self) -> WeightType {
        self.ty
    }

    /// Output channels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows.max(1)
    }

    /// The bytes of one row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        let row_bytes = self.row_bytes();
        &self.bytes[row * row_bytes..][..row_bytes]
    }

    /// Writes the `f32` values of one row.
    pub(crate) fn decode_row(&self, row: usize, out: &mut [f32]) {
        decode(self.ty, self.row(row), out);
    }
}

/// Decodes a row of `out.len()` values.
pub(crate) fn decode(ty: WeightType, bytes: &[u8], out: &mut [f32]) {
    match ty {
        WeightType::F32 => {
            for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_le_bytes(bytes);
            }
        }
        WeightType::F16 => {
            for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f16::from_le_bytes(bytes).to_f32();
            }
        }
        WeightType::Bf16 => {
            for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = bf16::from_le_bytes(bytes).to_f32();
            }
        }
        WeightType::Q8_0 => {
            for (out, block) in out.chunks_mut(Q8_0_VALUES).zip(bytes.as_chunks().0) {
                let (scale, codes) = q8_0_block(block);
                for (out, &code) in out.iter_mut().zip(codes) {
                    *out = scale * f32::from(code as i8);
                }
            }
        }
        WeightType::Blocks(ty) => {
            codec::dequantize(ty, bytes, out).expect("the matrix was checked to have whole blocks of such a type");
        }
    }
}

/// The scale and the codes (as bytes) of a `Q8_0` block.
pub(crate) fn q8_0_block(block: &[u8; Q8_0_BYTES]) -> (f32, &[u8; Q8_0_VALUES]) {
    let (scale, codes) = block.split_first_chunk().expect("a block begins with its scale");
    (f16::from_le_bytes(*scale).to_f32(), codes.first_chunk().expect("the codes are the rest of a block"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert!(RawMatrix::new(&[0; 24], WeightType::F32, 2, 3).is_ok());
        assert_eq!(
            RawMatrix::new(&[0; 23], WeightType::F32, 2, 3).unwrap_err(),
            WeightError::Size { rows: 2, columns: 3, ty: WeightType::F32, expected: 24, found: 23 }
        );
        assert_eq!(
            RawMatrix::new(&[0; 34], WeightType::Q8_0, 1, 31).unwrap_err(),
            WeightError::RowLength { columns: 31, ty: WeightType::Q8_0 }
        );
        assert!(RawMatrix::new(&[], WeightType::F32, usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn rows_decode() {
        let mut out = [0.0; 32];
        let mut block = vec![0x00, 0x38]; // 0.5
        block.extend((0..32u8).map(|i| i.wrapping_sub(16)));
        decode(WeightType::Q8_0, &block, &mut out);
        assert_eq!(out[0], -8.0);
        assert_eq!(out[31], 7.5);
        decode(WeightType::Bf16, &[0x80, 0x3f, 0x00, 0xc0], &mut out[..2]);
        assert_eq!(out[..2], [1.0, -2.0]);
        decode(WeightType::F16, &[0x00, 0x3c, 0x00, 0xc0], &mut out[..2]);
        assert_eq!(out[..2], [1.0, -2.0]);
    }
}
