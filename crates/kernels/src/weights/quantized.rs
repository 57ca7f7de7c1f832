//! Panels of block-quantised weights.
//!
//! A panel holds sixteen output channels; for each block of 32 inputs it has one record of 576 bytes: the sixteen
//! scales as `f32`, then the codes, plus 128, as `[8 fours of inputs][16 channels][4 inputs]` bytes. A kernel that walks a
//! panel reads memory strictly forward. 1.125 bytes a weight, against 1.0625 in the file.
//!
//! The layout serves two kinds of instruction. One multiplies unsigned with signed bytes and adds four products into each
//! 32-bit lane, which is a channel. The other multiplies 16-bit numbers in pairs: it takes the bytes at even and at odd
//! places, each by a single mask or shift. So that the pairs are neighbours in K, the inputs of a four lie in the order of
//! [`PLACES`].

use super::raw::{Q8_0_BYTES, RawMatrix, WeightError, q8_0_block};
use super::{PANEL, pack_panels};
use crate::buffer::AlignedBuffer;
use crate::threads::ThreadPool;

/// Inputs that share a scale.
pub(crate) const BLOCK: usize = 32;
/// The place in K, within its four, of the input at each place in memory.
pub(crate) const PLACES: [usize; 4] = [0, 2, 1, 3];
/// Bytes of the scales, which begin a record.
pub(crate) const SCALES_BYTES: usize = PANEL * size_of::<f32>();
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = SCALES_BYTES + PANEL * BLOCK;

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
        let mut records = AlignedBuffer::<u8>::zeroed_among_others(rows.div_ceil(PANEL) * panel_bytes);
        pack_panels(records.as_mut_slice(), panel_bytes, pool, |panel, records| {
            let channels = (panel * PANEL..rows.min((panel + 1) * PANEL)).map(|row| row_of(parts, row));
            pack_panel(channels, records).map_err(|(channel, block)| WeightError::NotFinite {
                row: panel * PANEL + channel,
                column: block * BLOCK,
            })
        })?;
        Ok(QuantizedPanels { records, blocks })
    }

    /// The records of the panels from `panel` on.
    pub(crate) fn panels_from(&self, panel: usize) -> &[u8] {
        &self.records.as_slice()[panel * self.blocks * RECORD_BYTES..]
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
        for (block, (bytes, record)) in blocks.iter().zip(records.as_chunks_mut::<RECORD_BYTES>().0).enumerate() {
            let (scale, codes) = q8_0_block(bytes);
            if !scale.is_finite() {
                return Err((channel, block));
            }
            let (scales, packed) = record.split_at_mut(SCALES_BYTES);
            scales.as_chunks_mut().0[channel] = scale.to_ne_bytes();
            let packed = packed.as_chunks_mut::<{ 4 * PANEL }>().0;
            for (four, &codes) in packed.iter_mut().zip(codes.as_chunks().0) {
                four.as_chunks_mut().0[channel] = stored(codes);
            }
        }
    }
    Ok(())
}

/// Four codes as they lie in a record: in the order of [`PLACES`], plus 128; all four at once in a register.
fn stored(codes: [u8; 4]) -> [u8; 4] {
    let codes = u32::from_le_bytes(codes);
    let (outer, up, down) = (codes & 0xff00_00ff, codes << 8 & 0x00ff_0000, codes >> 8 & 0x0000_ff00);
    ((outer | up | down) ^ 0x8080_8080).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stored_in_their_places() {
        let codes = [1, 2, 253, 128];
        assert_eq!(stored(codes), PLACES.map(|place| codes[place] ^ 0x80));
    }
}
