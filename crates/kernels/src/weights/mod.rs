//! Weights in the layouts that the kernels read.

mod blocks;
mod embedding;
mod float;
mod linear;
pub(crate) mod quantized;
pub(crate) mod raw;

use std::sync::{Mutex, PoisonError};

use crate::threads::ThreadPool;
use crate::unique::UniqueSlices;

pub use blocks::BlockMatrix;
pub use embedding::{EmbeddingTable, SharedBytes};
pub use linear::{Linear, Norm};
pub use raw::{RawMatrix, WeightError, WeightType};

pub(crate) use blocks::BlockPanels;
pub(crate) use float::{Float, FloatPanels};
pub(crate) use linear::Panels;

/// Output channels of a weight panel: what one pass of a GEMM kernel computes for a row.
pub(crate) const PANEL: usize = 16;

/// Fills the panels of `values`, each of `panel_len` values, on the pool.
///
/// # Errors
/// That of the first panel which has one, whatever the order in which threads came to them.
fn pack_panels<T: Send>(
    values: &mut [T],
    panel_len: usize,
    pool: &ThreadPool,
    pack: impl Fn(usize, &mut [T]) -> Result<(), WeightError> + Sync,
) -> Result<(), WeightError> {
    let first = Mutex::new(None);
    let panels = values.len().checked_div(panel_len).unwrap_or(0);
    let slices = UniqueSlices::new(values, panel_len.max(1));
    pool.run(panels, |panel, _| {
        if let Err(error) = pack(panel, slices.take(panel)) {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none_or(|(earlier, _)| panel < earlier) {
                *first = Some((panel, error));
            }
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}
