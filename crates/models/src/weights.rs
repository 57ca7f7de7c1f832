//! Tensors by name and shape, made into what the executor computes with.

use std::cell::RefCell;
use std::collections::BTreeSet;

use docent_gguf::{TensorType, codec};
use docent_kernels::{EmbeddingTable, Linear, Norm, RawMatrix, ThreadPool, WeightError, WeightType};

use crate::Error;
use crate::source::{Source, TensorView};

const SUPPORTED: &str = "F32, F16, BF16, Q8_0";

/// Hands an architecture its weights, each checked against the shape that the settings ask for.
pub(crate) struct Weights<'a> {
    source: &'a Source,
    threads: &'a ThreadPool,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(source: &'a Source, threads: &'a ThreadPool) -> Self {
        Weights { source, threads, used: RefCell::default() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.tensor(name).is_some()
    }

    /// A linear layer: `{stem}.weight` and, if it is there, `{stem}.bias`.
    pub(crate) fn linear(&self, stem: &str, inputs: usize, outputs: usize) -> Result<Linear, Error> {
        self.stacked_linear(&[(stem, outputs)], inputs)
    }

    /// Several linear layers of one input as one, their outputs one after the other.
    pub(crate) fn stacked_linear(&self, stems: &[(&str, usize)], inputs: usize) -> Result<Linear, Error> {
        let mut parts = Vec::new();
        for &(stem, outputs) in stems {
            let weight = self.require(&format!("{stem}.weight"), &[outputs as u64, inputs as u64])?;
            let ty = self.weight_type(&weight)?;
            let matrix = RawMatrix::new(weight.bytes, ty, outputs, inputs)
                .map_err(|source| self.unusable(&format!("{stem}.weight"), source))?;
            parts.push((matrix, self.vector_if_present(&format!("{stem}.bias"), outputs)?));
        }
        let parts: Vec<_> = parts.iter().map(|(matrix, bias)| (*matrix, bias.as_deref())).collect();
        Linear::pack(&parts, self.threads).map_err(|source| {
            let names: Vec<String> = stems.iter().map(|(stem, _)| format!("{stem}.weight")).collect();
            self.unusable(&names.join(", "), source)
        })
    }

    /// A LayerNorm: `{stem}.weight` and, if it is there, `{stem}.bias`.
    pub(crate) fn norm(&self, stem: &str, columns: usize, epsilon: f32) -> Result<Norm, Error> {
        let weight = self.vector(&format!("{stem}.weight"), columns)?;
        let bias = self.vector_if_present(&format!("{stem}.bias"), columns)?;
        Norm::new(weight, bias, epsilon).map_err(|source| self.unusable(stem, source))
    }

    /// A table of embeddings, left in the file.
    pub(crate) fn embedding(&self, name: &str, rows: usize, columns: usize) -> Result<EmbeddingTable, Error> {
        let tensor = self.require(name, &[rows as u64, columns as u64])?;
        let ty = self.weight_type(&tensor)?;
        let bytes = self.source.shared_bytes(name).ok_or_else(|| self.missing(name, &tensor.shape))?;
        EmbeddingTable::new(bytes, ty, rows, columns).map_err(|source| self.unusable(name, source))
    }

    /// The number of rows of a matrix that must be there.
    pub(crate) fn rows(&self, name: &str, columns: usize) -> Result<usize, Error> {
        let tensor = self.source.tensor(name).ok_or_else(|| self.missing(name, &[0, columns as u64]))?;
        match *trimmed(&tensor.shape) {
            // A table of one row may have lost its outer dimension.
            [found] if found == columns as u64 => Ok(1),
            [rows, found] if rows > 0 && found == columns as u64 => Ok(rows as usize),
            _ => Err(self.misshapen(&tensor, &[0, columns as u64])),
        }
    }

    /// The values of a vector that must be there.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.require(name, &[length as u64])?;
        self.weight_type(&tensor)?;
        let mut values = vec![0.0; length];
        codec::dequantize(tensor.ty, tensor.bytes, &mut values).map_err(|_| {
            let supported = "F32, F16, BF16";
            let (path, name) = (self.source.path().to_owned(), tensor.name.to_owned());
            Error::TensorType { path, name, found: tensor.ty, supported }
        })?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(column) => Err(self.unusable(name, WeightError::NotFinite { row: 0, column })),
            None => Ok(values),
        }
    }

    /// The values of a vector, or `None` if the model has no such tensor.
    pub(crate) fn vector_if_present(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, Error> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// The names of tensors that nobody asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let known = self.source.names().into_iter().filter(|&name| !used.contains(name)).map(str::to_owned);
        known.chain(self.source.unknown().iter().cloned()).collect()
    }

    fn require(&self, name: &str, shape: &[u64]) -> Result<TensorView<'a>, Error> {
        let tensor = self.source.tensor(name).ok_or_else(|| self.missing(name, shape))?;
        self.used.borrow_mut().insert(name.to_owned());
        if trimmed(&tensor.shape) != trimmed(shape) {
            return Err(self.misshapen(&tensor, shape));
        }
        Ok(tensor)
    }

    fn weight_type(&self, tensor: &TensorView<'_>) -> Result<WeightType, Error> {
        Ok(match tensor.ty {
            TensorType::F32 => WeightType::F32,
            TensorType::F16 => WeightType::F16,
            TensorType::BF16 => WeightType::Bf16,
            TensorType::Q8_0 => WeightType::Q8_0,
            found => {
                let (path, name) = (self.source.path().to_owned(), tensor.name.to_owned());
                return Err(Error::TensorType { path, name, found, supported: SUPPORTED });
            }
        })
    }

    fn missing(&self, name: &str, shape: &[u64]) -> Error {
        Error::MissingTensor { path: self.source.path().to_owned(), name: name.to_owned(), expected: shape.to_vec() }
    }

    fn misshapen(&self, tensor: &TensorView<'_>, expected: &[u64]) -> Error {
        let (path, name) = (self.source.path().to_owned(), tensor.name.to_owned());
        Error::Shape { path, name, expected: expected.to_vec(), found: tensor.shape.clone() }
    }

    fn unusable(&self, name: &str, source: WeightError) -> Error {
        Error::Weight { path: self.source.path().to_owned(), name: name.to_owned(), source }
    }
}

/// A shape without leading ones: writers differ in whether they keep the outer dimension of a single row.
fn trimmed(shape: &[u64]) -> &[u64] {
    let ones = shape.iter().take(shape.len().saturating_sub(1)).take_while(|&&dim| dim == 1).count();
    &shape[ones..]
}
