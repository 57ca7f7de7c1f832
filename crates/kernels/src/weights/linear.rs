//! Linear layers and norms.

use half::{bf16, f16};

use super::quantized::QuantizedPanels;
use super::{BlockMatrix, BlockPanels, FloatPanels, PANEL, RawMatrix, WeightError, WeightType};
use crate::Isa;
use crate::buffer::AlignedBuffer;
use crate::threads::ThreadPool;

/// The weights and the bias of a linear layer `y = Wx + b`, packed for the kernels.
pub struct Linear {
    pub(crate) panels: Panels,
    /// One per output, padded with zeros to whole panels.
    pub(crate) bias: AlignedBuffer<f32>,
    inputs: usize,
    outputs: usize,
}

pub(crate) enum Panels {
    Quantized(QuantizedPanels),
    F32(FloatPanels<f32>),
    F16(FloatPanels<f16>),
    Bf16(FloatPanels<bf16>),
    Blocks(BlockPanels),
}

impl Linear {
    /// Packs one matrix, or several that read the same input stacked one above the other (query, key and value).
    ///
    /// Each part is a matrix and its bias, if it has one. Parts of one type keep it; parts of different types are
    /// widened to `f32`, which holds each of them exactly. The weights suit executors of [`Isa::best`] best, and every other.
    ///
    /// # Errors
    /// If the parts' columns differ, a bias has the wrong length, or a weight or a bias is not finite.
    pub fn pack(parts: &[(RawMatrix<'_>, Option<&[f32]>)], pool: &ThreadPool) -> Result<Self, WeightError> {
        let matrices: Vec<RawMatrix<'_>> = parts.iter().map(|(matrix, _)| *matrix).collect();
        let inputs = matrices.first().map_or(0, RawMatrix::columns);
        let outputs = matrices.iter().map(RawMatrix::rows).sum::<usize>();
        let bias = stacked_bias(parts.iter().map(|(matrix, bias)| (matrix.rows(), matrix.columns(), *bias)))?;
        let ty = matrices.first().map_or(WeightType::F32, RawMatrix::weight_type);
        let same = matrices.iter().all(|matrix| matrix.weight_type() == ty);
        let panels = match if same { ty } else { WeightType::F32 } {
            WeightType::F32 => Panels::F32(FloatPanels::pack(&matrices, inputs, pool)?),
            WeightType::F16 => Panels::F16(FloatPanels::pack(&matrices, inputs, pool)?),
            WeightType::Bf16 => Panels::Bf16(FloatPanels::pack(&matrices, inputs, pool)?),
            // Matrices of blocks of several kinds are multiplied as one by `in_place`.
            WeightType::Blocks(_) => Panels::F32(FloatPanels::pack(&matrices, inputs, pool)?),
            WeightType::Q8_0 => {
                Panels::Quantized(QuantizedPanels::pack(&matrices, inputs, Isa::best().kernels().layout, pool)?)
            }
        };
        Ok(Linear { panels, bias, inputs, outputs })
    }

    /// Matrices of blocks that stay where they are, stacked like those of [`pack`](Self::pack), whatever their types. Nothing is
    /// copied, and nothing but the biases is checked to be finite.
    ///
    /// # Errors
    /// If the parts' columns differ, or a bias has the wrong length or is not finite.
    pub fn in_place(parts: Vec<(BlockMatrix, Option<Vec<f32>>)>) -> Result<Self, WeightError> {
        let of = |(matrix, bias): &(BlockMatrix, Option<Vec<f32>>)| (matrix.rows(), matrix.columns(), bias.clone());
        let shapes: Vec<_> = parts.iter().map(of).collect();
        let bias = stacked_bias(shapes.iter().map(|(rows, columns, bias)| (*rows, *columns, bias.as_deref())))?;
        let inputs = shapes.first().map_or(0, |(_, columns, _)| *columns);
        let outputs = shapes.iter().map(|(rows, ..)| rows).sum();
        let matrices = parts.into_iter().map(|(matrix, _)| matrix).collect();
        Ok(Linear { panels: Panels::Blocks(BlockPanels::new(matrices, inputs)), bias, inputs, outputs })
    }

    /// Expands weights that were left in blocks of fewer than 8 bits, which is otherwise done each time that they are multiplied. Results have
    /// the same bits; a layer takes 1.125 bytes a weight. Worth it where rows come one at a time, so that expanding would take most of the
    /// time: a language model that writes.
    pub fn expand(&mut self, pool: &ThreadPool) {
        if let Panels::Blocks(panels) = &self.panels {
            let expanded = QuantizedPanels::expand(panels, self.outputs, Isa::best().kernels(), pool);
            self.panels = Panels::Quantized(expanded);
        }
    }

    /// Length of `x`.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of `y`.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether the weights are quantised, so that rows are too before they are multiplied.
    pub fn is_quantized(&self) -> bool {
        matches!(self.panels, Panels::Quantized(_) | Panels::Blocks(_))
    }

    /// Bytes of memory that the packed weights take.
    pub fn bytes(&self) -> usize {
        let weights = match &self.panels {
            Panels::Quantized(panels) => panels.bytes(),
            Panels::F32(panels) => panels.bytes(),
            Panels::F16(panels) => panels.bytes(),
            Panels::Bf16(panels) => panels.bytes(),
            // Pages of the file.
            Panels::Blocks(_) => 0,
        };
        weights + size_of_val(self.bias.as_slice())
    }
}

/// The biases of matrices of so many rows and columns, one after the other, padded to whole panels.
fn stacked_bias<'a>(
    parts: impl Iterator<Item = (usize, usize, Option<&'a [f32]>)> + Clone,
) -> Result<AlignedBuffer<f32>, WeightError> {
    let outputs = parts.clone().map(|(rows, ..)| rows).sum::<usize>();
    let mut bias = AlignedBuffer::zeroed(outputs.next_multiple_of(PANEL));
    let (mut start, mut inputs) = (0, None);
    for (rows, columns, values) in parts {
        let expected = *inputs.get_or_insert(columns);
        if columns != expected {
            return Err(WeightError::Columns { expected, found: columns });
        }
        if let Some(values) = values {
            if values.len() != rows {
                return Err(WeightError::Bias { expected: rows, found: values.len() });
            }
            check_finite(values)?;
            bias.as_mut_slice()[start..][..values.len()].copy_from_slice(values);
        }
        start += rows;
    }
    Ok(bias)
}

/// Fails with the first value that is not finite.
fn check_finite(values: &[f32]) -> Result<(), WeightError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(WeightError::VectorNotFinite { index }),
        None => Ok(()),
    }
}

/// The parameters of a LayerNorm.
#[derive(Clone, Debug)]
pub struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl Norm {
    /// A LayerNorm with the given gain, shift (zeros if the model has none) and the constant under the square root.
    ///
    /// # Errors
    /// If `bias` has another length than `weight`, or a value of either is not finite.
    pub fn new(weight: Vec<f32>, bias: Option<Vec<f32>>, epsilon: f32) -> Result<Self, WeightError> {
        let bias = bias.unwrap_or_else(|| vec![0.0; weight.len()]);
        if bias.len() != weight.len() {
            return Err(WeightError::Bias { expected: weight.len(), found: bias.len() });
        }
        check_finite(&weight)?;
        check_finite(&bias)?;
        Ok(Norm { weight, bias, epsilon })
    }
}
