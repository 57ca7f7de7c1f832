//! Panels of block-quantised weights.
//!
//! A panel holds sixteen output channels; for each block of 32 inputs it has one record of 576 bytes: the sixteen
//! scales as `f32`, then the codes in the [`Layout`] of the instructions that multiply them. A kernel that walks a
//! panel reads memory strictly forward. 1.125 bytes a weight, against 1.0625 in the file.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::raw::{Q8_0_BYTES, RawMatrix, WeightError, q8_0_block};
use super::{BlockPanels, PANEL, pack_panels};
use crate::buffer::AlignedBuffer;
use crate::kernels::Kernels;
use crate::threads::ThreadPool;

/// Inputs that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Bytes of the scales, which begin a record.
pub(crate) const SCALES_BYTES: usize = PANEL * size_of::<f32>();
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = SCALES_BYTES + PANEL * BLOCK;

/// How the codes of sixteen channels and 32 inputs lie in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[16 pairs of inputs][16 channels][2 inputs]` signed bytes, for instructions that multiply 16-bit numbers and add two
    /// products into each 32-bit lane, which is a channel.
    SignedPairs,
    /// `[8 fours of inputs][16 channels][4 inputs]` unsigned bytes, each the code plus 128, for instructions that multiply
    /// unsigned with signed bytes and add four products into each lane.
    OffsetFours,
}

impl Layout {
    /// Writes the codes of a channel's block to their places in a record.
    #[inline(always)]
    pub(crate) fn write(self, codes: &[u8; BLOCK], channel: usize, record: &mut [u8; PANEL * BLOCK]) {
        match self {
            Layout::SignedPairs => {
                let pairs = record.as_chunks_mut::<{ 2 * PANEL }>().0;
                for (pair, &codes) in pairs.iter_mut().zip(codes.as_chunks::<2>().0) {
                    pair.as_chunks_mut().0[channel] = codes;
                }
            }
            Layout::OffsetFours => {
                let fours = record.as_chunks_mut::<{ 4 * PANEL }>().0;
                for (four, &codes) in fours.iter_mut().zip(codes.as_chunks().0) {
                    // Adding 128 to each byte, modulo 256, all four at once in a register.
                    let codes = u32::from_ne_bytes(codes) ^ 0x8080_8080;
                    four.as_chunks_mut().0[channel] = codes.to_ne_bytes();
                }
            }
        }
    }

    /// The codes of a channel's block, from their places in a record.
    fn read(self, channel: usize, record: &[u8; PANEL * BLOCK]) -> [u8; BLOCK] {
        std::array::from_fn(|k| match self {
            Layout::SignedPairs => record[k / 2 * 2 * PANEL + channel * 2 + k % 2],
            Layout::OffsetFours => record[k / 4 * 4 * PANEL + channel * 4 + k % 4] ^ 0x80,
        })
    }
}

pub(crate) struct QuantizedPanels {
    records: AlignedBuffer<u8>,
    layout: Layout,
    /// The same weights in the other layout, once an instruction set has asked for it.
    other: OnceLock<AlignedBuffer<u8>>,
    /// Blocks of a row.
    pub(crate) blocks: usize,
}

impl QuantizedPanels {
    /// Packs `Q8_0` matrices, stacked by rows. Channels that fill up the last panel are zero.
    pub(crate) fn pack(
        parts: &[RawMatrix<'_>],
        columns: usize,
        layout: Layout,
        pool: &ThreadPool,
    ) -> Result<Self, WeightError> {
        let rows = parts.iter().map(RawMatrix::rows).sum::<usize>();
        let blocks = columns / BLOCK;
        let panel_bytes = blocks * RECORD_BYTES;
        let mut records = AlignedBuffer::<u8>::zeroed_among_others(rows.div_ceil(PANEL) * panel_bytes);
        pack_panels(records.as_mut_slice(), panel_bytes, pool, |panel, records| {
            let channels = (panel * PANEL..rows.min((panel + 1) * PANEL)).map(|row| row_of(parts, row));
            pack_panel(channels, layout, records).map_err(|(channel, block)| WeightError::NotFinite {
                row: panel * PANEL + channel,
                column: block * BLOCK,
            })
        })?;
        Ok(QuantizedPanels { records, layout, other: OnceLock::new(), blocks })
    }

    /// Expands panels of blocks of other kinds once and for all, to the records that they would be expanded to each time.
    pub(crate) fn expand(panels: &BlockPanels, rows: usize, kernels: &Kernels, pool: &ThreadPool) -> Self {
        let blocks = panels.blocks;
        let panel_bytes = blocks * RECORD_BYTES;
        let mut records = AlignedBuffer::<u8>::zeroed_among_others(rows.div_ceil(PANEL) * panel_bytes);
        let expanded = pack_panels(records.as_mut_slice(), panel_bytes, pool, |panel, records| {
            let (mut codes, mut scales) = (vec![0; blocks * BLOCK], vec![0.0; blocks]);
            // SAFETY: the instruction set of the kernels is present.
            unsafe { (kernels.expand)(panels, panel, records, &mut codes, &mut scales) };
            Ok(())
        });
        expanded.expect("no panel fails");
        QuantizedPanels { records, layout: kernels.layout, other: OnceLock::new(), blocks }
    }

    /// The records of all panels in a layout. In another one than they were packed in, they are reordered the first time
    /// and kept.
    pub(crate) fn records(&self, layout: Layout) -> Records<'_> {
        let records = if layout == self.layout {
            &self.records
        } else {
            self.other.get_or_init(|| reordered(self.records.as_slice(), self.layout, layout))
        };
        Records { records: records.as_slice(), blocks: self.blocks }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.as_slice().len() + self.other.get().map_or(0, |records| records.as_slice().len())
    }
}

/// The records of all panels, in one layout.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    records: &'a [u8],
    blocks: usize,
}

impl<'a> Records<'a> {
    /// The records of the panels from `panel` on.
    pub(crate) fn panels_from(self, panel: usize) -> &'a [u8] {
        &self.records[panel * self.blocks * RECORD_BYTES..]
    }
}

/// The scales and the codes of a record.
fn parts_of(record: &mut [u8; RECORD_BYTES]) -> (&mut [[u8; 4]], &mut [u8; PANEL * BLOCK]) {
    let (scales, codes) = record.split_first_chunk_mut::<SCALES_BYTES>().expect("a record begins with its scales");
    (scales.as_chunks_mut().0, codes.first_chunk_mut().expect("the codes are the rest of a record"))
}

/// The records of panels in another layout.
fn reordered(records: &[u8], from: Layout, to: Layout) -> AlignedBuffer<u8> {
    let mut out = AlignedBuffer::<u8>::zeroed_among_others(records.len());
    out.as_mut_slice().copy_from_slice(records);
    for record in out.as_mut_slice().as_chunks_mut().0 {
        let codes = parts_of(record).1;
        let before = *codes;
        for channel in 0..PANEL {
            to.write(&from.read(channel, &before), channel, codes);
        }
    }
    out
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
fn pack_panel<'a>(
    channels: impl Iterator<Item = &'a [u8]>,
    layout: Layout,
    records: &mut [u8],
) -> Result<(), (usize, usize)> {
    for (channel, row) in channels.enumerate() {
        let blocks = row.as_chunks::<Q8_0_BYTES>().0;
        for (block, (bytes, record)) in blocks.iter().zip(records.as_chunks_mut().0).enumerate() {
            let (scale, codes) = q8_0_block(bytes);
            if !scale.is_finite() {
                return Err((channel, block));
            }
            let (scales, packed) = parts_of(record);
            scales[channel] = scale.to_ne_bytes();
            layout.write(codes, channel, packed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightType;

    /// A matrix of `Q8_0` with the scale 1 and a code from every place.
    fn matrix(rows: usize, blocks: usize) -> Vec<u8> {
        let block = |row: usize, block: usize| {
            let codes = (0..BLOCK).map(move |k| (row * 67 + block * 41 + k * 5) as u8);
            [0x00, 0x3c].into_iter().chain(codes)
        };
        (0..rows).flat_map(|row| (0..blocks).flat_map(move |b| block(row, b))).collect()
    }

    #[test]
    fn codes_lie_where_the_layout_says() {
        let (rows, blocks) = (PANEL + 3, 2);
        let bytes = matrix(rows, blocks);
        let raw = RawMatrix::new(&bytes, WeightType::Q8_0, rows, blocks * BLOCK).unwrap();
        let pack = |layout| QuantizedPanels::pack(&[raw], blocks * BLOCK, layout, &ThreadPool::new(1)).unwrap();
        let (pairs, fours) = (pack(Layout::SignedPairs), pack(Layout::OffsetFours));
        for (row, k) in (0..rows).flat_map(|row| (0..blocks * BLOCK).map(move |k| (row, k))) {
            let code = bytes[(row * blocks + k / BLOCK) * Q8_0_BYTES + 2 + k % BLOCK];
            let start = SCALES_BYTES + k / BLOCK * RECORD_BYTES;
            let (panel, channel, k) = (row / PANEL, row % PANEL, k % BLOCK);
            let signed = pairs.records(Layout::SignedPairs).panels_from(panel);
            assert_eq!(signed[start + k / 2 * 32 + channel * 2 + k % 2], code);
            let offset = fours.records(Layout::OffsetFours).panels_from(panel);
            assert_eq!(offset[start + k / 4 * 64 + channel * 4 + k % 4], code.wrapping_add(128));
        }
    }

    #[test]
    fn reordered_records_are_those_packed_in_that_layout() {
        let (rows, blocks) = (2 * PANEL, 3);
        let bytes = matrix(rows, blocks);
        let raw = RawMatrix::new(&bytes, WeightType::Q8_0, rows, blocks * BLOCK).unwrap();
        let pack = |layout| QuantizedPanels::pack(&[raw], blocks * BLOCK, layout, &ThreadPool::new(1)).unwrap();
        let (pairs, fours) = (pack(Layout::SignedPairs), pack(Layout::OffsetFours));
        for layout in [Layout::SignedPairs, Layout::OffsetFours] {
            assert_eq!(pairs.records(layout).panels_from(0), fours.records(layout).panels_from(0), "{layout:?}");
        }
        assert_eq!(pairs.bytes(), 2 * 2 * blocks * RECORD_BYTES);
    }
}
