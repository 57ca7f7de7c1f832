//! Panels of block-quantised weights.
//!
//! A panel holds sixteen output channels; for each block of 32 inputs it has one record of 576 bytes: the sixteen
//! scales as `f32`, then the codes as `[16 pairs of inputs][16 channels][2 inputs]` signed bytes. A kernel that walks a
//! panel reads memory strictly forward, and each sixteen bytes of codes are eight channels of one pair of inputs.
//! 1.125 bytes a weight, against 1.0625 in the file.

use super::raw::{Q8_0_BYTES, RawMatrix, WeightError, q8_0_block};
use super::{PANEL, pack_panels};
use crate::buffer::AlignedBuffer;
use crate::threads::ThreadPool;

/// Inputs that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = PANEL * size_of::<f32>() + PANEL * BLOCK;

pub(crate) struct QuantizedPanels {
    records: AlignedBuffer<u8>,
    /// Blocks of a row.
    pub(crate) blocks: usize,
}

impl QuantizedPanels {
    /// Packs `Q8_0` matrices, stacked by rows. Channels that fill up the last panel are zero.
    pub(crate) fn pack(parts: &[RawMatrix<'_>], columns: usize, pool: &ThreadPool) -> Result<Self, WeightError> {
        let rows = parts.iter().map(RawMatrix::rows).sum::<usize>();
        let blocks = columns / BLOCK;
        let panel_bytes = blocks * RECORD_BYTES;
        let mut records = AlignedBuffer::<u8>::zeroed(rows.div_ceil(PANEL) * panel_bytes);
        pack_panels(records.as_mut_slice(), panel_bytes, pool, |panel, records| {
            let channels = (panel * PANEL..rows.min((panel + 1) * PANEL)).map(|row| row_of(parts, row));
            pack_panel(channels, records).map_err(|(channel, block)| WeightError::NotFinite {
                row: panel * PANEL + channel,
                column: block * BLOCK,
            })
        })?;
        Ok(QuantizedPanels { records, blocks })
    }

    /// The records of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        let panel_bytes = self.blocks * RECORD_BYTES;
        &self.records.as_slice()[panel * panel_bytes..][..panel_bytes]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.as_slice().len()
    }
}

/// The bytes of row `row` of the stack.
fn row_of<'a>(parts: &[RawMatrix<'a>], mut row: usize) -> &'a [u8] {
    for part in parts {
        if row < part.rows() {
            return part.row(row);
        }
        row -= part.rows();
    }
    unreachable!("row below the sum of the parts' rows")
}

/// Writes the records of one panel; fails with (channel, block) of a scale that is not finite.
fn pack_panel<'a>(channels: impl Iterator<Item = &'a [u8]>, records: &mut [u8]) -> Result<(), (usize, usize)> {
    for (channel, row) in channels.enumerate() {
        let blocks = row.as_chunks::<Q8_0_BYTES>().0;
        for (block, (bytes, record)) in blocks.iter().zip(records.chunks_exact_mut(RECORD_BYTES)).enumerate() {
            let (scale, codes) = q8_0_block(bytes);
            if !scale.is_finite() {
                return Err((channel, block));
            }
            let (scales, packed) = record.split_at_mut(PANEL * size_of::<f32>());
            scales.as_chunks_mut().0[channel] = scale.to_ne_bytes();
            for (pair, codes) in packed.chunks_exact_mut(2 * PANEL).zip(codes.as_chunks::<2>().0) {
                pair.as_chunks_mut().0[channel] = *codes;
            }
        }
    }
    Ok(())
}
