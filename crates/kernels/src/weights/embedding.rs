//! Tables of rows that are looked up, not multiplied.

use std::ops::Range;
use std::sync::Arc;

use super::raw::{RawMatrix, WeightError, WeightType};

/// Bytes shared with whoever else reads them: a range of a mapped file, or memory of their own.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of `owner`.
    ///
    /// # Panics
    /// If the range is not inside the owner's bytes.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= (*owner).as_ref().len(),
            "bytes {range:?} of {}",
            (*owner).as_ref().len()
        );
        SharedBytes { owner, range }
    }

    /// Some of these bytes.
    ///
    /// # Panics
    /// If the range is not inside them.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len(), "{range:?} of {} bytes", self.range.len());
        SharedBytes { range: self.range.start + range.start..self.range.start + range.end, ..self }
    }
}

impl std::ops::Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

/// A table of embeddings (of tokens, positions or segments), left in the file's own encoding.
///
/// A text touches a few hundred of tens of thousands of rows, so nothing is decoded ahead.
#[derive(Clone)]
pub struct EmbeddingTable {
    bytes: SharedBytes,
    ty: WeightType,
    rows: usize,
    columns: usize,
    row_bytes: usize,
}

impl EmbeddingTable {
    /// A table of `rows` embeddings of `columns` values each.
    ///
    /// # Errors
    /// If the row length does not suit the type, or `bytes` has another size than the shape.
    pub fn new(bytes: SharedBytes, ty: WeightType, rows: usize, columns: usize) -> Result<Self, WeightError> {
        RawMatrix::new(&bytes, ty, rows, columns)?;
        let row_bytes = bytes.len() / rows.max(1);
        Ok(EmbeddingTable { bytes, ty, rows, columns, row_bytes })
    }

    /// Number of embeddings.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of an embedding.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn weight_type(&self) -> WeightType {
        self.ty
    }

    /// The encoded embedding of `row`.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.row_bytes..][..self.row_bytes]
    }
}
