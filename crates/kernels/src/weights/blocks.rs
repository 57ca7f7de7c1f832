//! Weights left in their file's blocks, and expanded to codes of 8 bits as they are multiplied.
//!
//! A file of 4-bit blocks is half the size of its codes, and packing it would take more memory than the file. So a panel of sixteen
//! channels is expanded into a buffer that stays in the second-level cache, multiplied with all rows, and forgotten.

use docent_gguf::codec;

use super::embedding::SharedBytes;
use super::quantized::{BLOCK, Layout, RECORD_BYTES, SCALES_BYTES};
use super::{PANEL, RawMatrix, WeightError, WeightType};

/// A matrix in the blocks of its file: `rows` output channels by `columns` inputs, row after row.
#[derive(Clone)]
pub struct BlockMatrix {
    bytes: SharedBytes,
    ty: WeightType,
    rows: usize,
    row_bytes: usize,
    columns: usize,
}

impl BlockMatrix {
    /// A view of `bytes` as a matrix of blocks of 8 bits or fewer.
    ///
    /// # Errors
    /// If the row length does not suit the type, or `bytes` has another size than the shape.
    pub fn new(bytes: SharedBytes, ty: WeightType, rows: usize, columns: usize) -> Result<Self, WeightError> {
        let row_bytes = RawMatrix::new(&bytes, ty, rows, columns)?.row_bytes();
        if !ty.is_blocks() {
            return Err(WeightError::RowLength { columns, ty });
        }
        Ok(BlockMatrix { bytes, ty, rows, row_bytes, columns })
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Output channels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }
}

/// Matrices of one input stacked by rows.
pub(crate) struct BlockPanels {
    parts: Vec<BlockMatrix>,
    /// Blocks of 32 inputs of a row.
    pub(crate) blocks: usize,
}

impl BlockPanels {
    pub(crate) fn new(parts: Vec<BlockMatrix>, columns: usize) -> Self {
        BlockPanels { parts, blocks: columns / BLOCK }
    }

    /// Writes the records of a panel, in a layout. `codes` has a byte and `scales` a place in 32 for each input.
    ///
    /// Loops are compiled for the instruction set of whoever calls.
    #[inline(always)]
    pub(crate) fn expand(
        &self,
        panel: usize,
        layout: Layout,
        records: &mut [u8],
        codes: &mut [i8],
        scales: &mut [f32],
    ) {
        let records = records.as_chunks_mut::<RECORD_BYTES>().0;
        let (mut part, mut first) = (0, 0);
        for channel in 0..PANEL {
            let row = panel * PANEL + channel;
            while part < self.parts.len() && row >= first + self.parts[part].rows {
                first += self.parts[part].rows;
                part += 1;
            }
            let Some(matrix) = self.parts.get(part) else {
                // A channel that fills up the last panel: whatever its codes are, they count nothing.
                records.iter_mut().for_each(|record| scale_of(record, channel).copy_from_slice(&[0; 4]));
                continue;
            };
            codec::expand_q8(matrix.ty.tensor_type(), matrix.row(row - first), codes, scales)
                .expect("the matrix was checked to have whole blocks of such a type");
            let (codes, _) = codes.as_chunks::<BLOCK>();
            for ((record, codes), scale) in records.iter_mut().zip(codes).zip(&*scales) {
                *scale_of(record, channel) = scale.to_ne_bytes();
                let packed = record.last_chunk_mut().expect("the codes end a record");
                layout.write(&codes.map(|code| code as u8), channel, packed);
            }
        }
    }
}

fn scale_of(record: &mut [u8; RECORD_BYTES], channel: usize) -> &mut [u8; 4] {
    let scales: &mut [u8; SCALES_BYTES] = record.first_chunk_mut().expect("a record begins with its scales");
    &mut scales.as_chunks_mut().0[channel]
}
