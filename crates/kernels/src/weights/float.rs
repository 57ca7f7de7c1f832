//! Panels of floating-point weights: `[k][16 channels]`, in the precision of the file.

use half::{bf16, f16};

use super::PANEL;
use super::raw::{RawMatrix, WeightError};
use crate::buffer::{AlignedBuffer, Plain};
use crate::threads::ThreadPool;
use crate::unique::UniqueSlices;

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
        let panels = rows.len().div_ceil(PANEL);
        let mut values = AlignedBuffer::<T>::zeroed(panels * panel_len);
        let error = std::sync::Mutex::new(None);
        let slices = UniqueSlices::new(values.as_mut_slice(), panel_len.max(1));
        pool.run(if panel_len == 0 { 0 } else { panels }, |panel, _| {
            let out = slices.take(panel);
            let mut decoded = vec![0.0; columns];
            for (channel, (part, row)) in rows.iter().skip(panel * PANEL).take(PANEL).enumerate() {
                part.decode_row(*row, &mut decoded);
                for (column, &value) in decoded.iter().enumerate() {
                    if !value.is_finite() {
                        let found = WeightError::NotFinite { row: panel * PANEL + channel, column };
                        *error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
                        return;
                    }
                    out[column * PANEL + channel] = T::from_f32(value);
                }
            }
        });
        match error.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(FloatPanels { values, columns }),
        }
    }

    /// The `[k][16]` values of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &[T] {
        let panel_len = self.columns * PANEL;
        &self.values.as_slice()[panel * panel_len..][..panel_len]
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}
