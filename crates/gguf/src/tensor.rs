//! A tensor of an open file.

use std::fmt;

use crate::tensor_type::TensorType;

/// A tensor: name, shape, element type and its bytes in the file. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: &'a [u64],
    pub(crate) ty: TensorType,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// The name: `blk.0.attn_q.weight`.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The sizes, fastest-varying first, one to four of them, none 0. A weight matrix that maps `n` inputs to `m` outputs
    /// is `[n, m]`: `m` rows of `n` elements.
    #[must_use]
    pub fn dims(&self) -> &'a [u64] {
        self.dims
    }

    /// How the elements are stored.
    #[must_use]
    pub fn tensor_type(&self) -> TensorType {
        self.ty
    }

    /// The data as it lies in the file, [`n_rows`](Self::n_rows) rows of whole blocks without gaps, little-endian. No
    /// alignment in memory may be relied upon.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of elements, the product of all sizes.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.row_len() * self.n_rows()
    }

    /// Elements a row, the first size.
    #[must_use]
    pub fn row_len(&self) -> usize {
        // Every size is at most 8 times the number of bytes in memory, as no type packs more elements into one.
        self.dims[0] as usize
    }

    /// The number of rows, the product of all sizes but the first.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.dims[1..].iter().product::<u64>() as usize
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor")
            .field("name", &self.name)
            .field("dims", &self.dims)
            .field("tensor_type", &self.ty)
            .field("n_bytes", &self.bytes.len())
            .finish()
    }
}
