//! Panels of floating-point weights: `[k][16 channels]`, in the precision of the file.

use half::{bf16, f16};

use super::raw::{RawMatrix, WeightError};
use super::{PANEL, pack_panels};
use crate::buffer::{AlignedBuffer, Plain};
use crate::threads::ThreadPool;

/// A number type of a float panel.
pub(crate) trait Float: Plain + Send + Sync {
    fn from_f32(value: f32) -> Self;
}

impl Float for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Float for f16 {
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Float for bf16 {
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

pub(crate) struct FloatPanels<T> {
    values: AlignedBuffer<T>,
    columns: usize,
}

impl<T: Float> FloatPanels<T> {
    /// Packs matrices, stacked by rows. Channels that fill up the last panel are zero.
    ///
    /// `T` must hold every value of the parts exactly; the packing itself rounds to `T`.
    pub(crate) fn pack(parts: &[RawMatrix<'_>], columns: usize, pool: &ThreadPool) -> Result<Self, WeightError> {
        let rows: Vec<(RawMatrix<'_>, usize)> =
            parts.iter().flat_map(|&part| (0..part.rows()).map(move |row| (part, row))).collect();
        let panel_len = columns * PANEL;
        let mut values = AlignedBuffer::<T>::zeroed_among_others(rows.len().div_ceil(PANEL) * panel_len);
        pack_panels(values.as_mut_slice(), panel_len, pool, |panel, out| {
            let mut decoded = vec![0.0; columns];
            for (channel, (part, row)) in rows.iter().skip(panel * PANEL).take(PANEL).enumerate() {
                part.decode_row(*row, &mut decoded);
                for (column, &value) in decoded.iter().enumerate() {
                    if !value.is_finite() {
                        return Err(WeightError::NotFinite { row: panel * PANEL + channel, column });
                    }
                    out[column * PANEL + channel] = T::from_f32(value);
                }
            }
            Ok(())
        })?;
        Ok(FloatPanels { values, columns })
    }

    /// The `[k][16]` values of the panels from `panel` on.
    pub(crate) fn panels_from(&self, panel: usize) -> &[T] {
        &self.values.as_slice()[panel * self.columns * PANEL..]
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}
