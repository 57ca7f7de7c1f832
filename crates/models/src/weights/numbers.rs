//! Numbers that are no weights of a matrix: rows of tables, values of bytes.

use std::sync::Arc;

use docent_gguf::TensorType;
use docent_kernels::{EmbeddingTable, SharedBytes, WeightType};

use super::Weights;
use crate::Error;

impl Weights<'_> {
    /// A table of embeddings, left in the file, or of signed bytes, which are made into floats in memory; and the bytes that these take.
    pub(crate) fn embedding_of_any_number(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<(EmbeddingTable, usize), Error> {
        let tensor = self.require(name, &[rows as u64, columns as u64])?;
        if tensor.ty != TensorType::I8 {
            return Ok((self.embedding(name, rows, columns)?, 0));
        }
        // Half of a float is enough for eight bits.
        let half = |byte: &u8| ((f32::from(byte.cast_signed()).to_bits() >> 16) as u16).to_le_bytes();
        let (mut values, size) = (Vec::new(), 2 * tensor.bytes.len());
        if values.try_reserve_exact(size).is_err() {
            let (expected, found) = ("a table that fits in memory as floats", format!("{size} bytes of it"));
            return Err(Error::config(self.source.path(), name, expected, found));
        }
        values.extend(tensor.bytes.iter().flat_map(half));
        let shared = SharedBytes::new(Arc::new(values), 0..size);
        let table = EmbeddingTable::new(shared, WeightType::Bf16, rows, columns);
        Ok((table.map_err(|source| self.unusable(name, source))?, size))
    }

    /// The numbers of rows below `count`, or `None` if the model has no such tensor.
    pub(crate) fn row_numbers(&self, name: &str, count: usize) -> Result<Option<Vec<u32>>, Error> {
        let Some(tensor) = self.source.tensor(name) else { return Ok(None) };
        let &[length] = &tensor.shape[..] else { return Err(self.misshapen(&tensor, &[0])) };
        let tensor = self.require(name, &[length])?;
        let numbers: Vec<i64> = match tensor.ty {
            TensorType::I64 => tensor.bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            TensorType::I32 => {
                tensor.bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
            }
            _ => return Err(self.of_other_type(&tensor, "I64 and I32")),
        };
        let row = |number: i64| u32::try_from(number).ok().filter(|&row| (row as usize) < count);
        numbers
            .into_iter()
            .map(|number| {
                row(number).ok_or_else(|| {
                    Error::config(self.source.path(), name, format!("rows below {count}"), number.to_string())
                })
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The values of a vector, which may be in double precision, or `None` if the model has no such tensor.
    pub(crate) fn doubles_if_present(&self, name: &str, length: usize) -> Result<Option<Vec<f64>>, Error> {
        let Some(tensor) = self.source.tensor(name) else { return Ok(None) };
        if tensor.ty != TensorType::F64 {
            let values = self.vector(name, length)?;
            return Ok(Some(values.into_iter().map(f64::from).collect()));
        }
        let tensor = self.require(name, &[length as u64])?;
        let values = tensor.bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(Some(values))
    }
}
