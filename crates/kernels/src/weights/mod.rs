//! Weights in the layouts that the kernels read.

mod embedding;
mod float;
mod linear;
pub(crate) mod quantized;
mod raw;

pub use embedding::{EmbeddingTable, SharedBytes};
pub use linear::{Linear, Norm};
pub use raw::{RawMatrix, WeightError, WeightType};

pub(crate) use float::{Float, FloatPanels};
pub(crate) use linear::Panels;

/// Output channels of a weight panel: what one pass of a GEMM kernel computes for a row.
pub(crate) const PANEL: usize = 16;
