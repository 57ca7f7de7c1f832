//! Memory that starts on a cache line, and the matrix of hidden rows built on it.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use crate::memory::{CacheLine, Memory};
use crate::weights::PANEL;

/// Types for which every bit pattern is a value, so that zeroed memory may be read as them.
///
/// # Safety
/// Every bit pattern of `Self` must be valid, its alignment must divide 64, and it must have no padding.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: numbers without invalid patterns.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above; a transparent `u16`.
unsafe impl Plain for half::f16 {}
// SAFETY: as above; a transparent `u16`.
unsafe impl Plain for half::bf16 {}
// SAFETY: numbers only, of four bytes or in arrays of whole fours of bytes, at an alignment of 4.
unsafe impl Plain for crate::generic::block_product::QuantizedBlock {}

/// A fixed number of values, the first on a cache-line boundary.
pub(crate) struct AlignedBuffer<T> {
    memory: Memory,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Plain> AlignedBuffer<T> {
    pub(crate) fn zeroed(len: usize) -> Self {
        AlignedBuffer { memory: Memory::zeroed(Self::lines_for(len)), len, element: PhantomData }
    }

    /// As [`zeroed`](Self::zeroed), for one of many buffers that live as long as each other: those of a model's weights,
    /// which are then on huge pages even if each is smaller than one.
    pub(crate) fn zeroed_among_others(len: usize) -> Self {
        AlignedBuffer { memory: Memory::zeroed_among_others(Self::lines_for(len)), len, element: PhantomData }
    }

    /// Cache lines that hold `len` values.
    fn lines_for(len: usize) -> usize {
        let bytes = len.checked_mul(size_of::<T>()).expect("the size of a buffer fits the address space");
        bytes.div_ceil(size_of::<CacheLine>())
    }

    /// Makes room for `len` values. What they are then is not said.
    pub(crate) fn grow(&mut self, len: usize) {
        self.memory.grow(Self::lines_for(len));
        self.len = len;
    }

    /// Makes it `len` values, of which those that it has stay. Memory grows by halves, so that values added a few at a time are
    /// copied a bounded number of times each.
    pub(crate) fn resize(&mut self, len: usize) {
        if len > self.capacity() {
            let mut larger = AlignedBuffer::zeroed(len.max(self.len + self.len / 2));
            larger.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
            *self = larger;
        }
        self.len = len;
    }

    /// Values that fit without another allocation.
    pub(crate) fn capacity(&self) -> usize {
        self.memory.lines() * size_of::<CacheLine>() / size_of::<T>()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the memory holds at least `len` initialised values of a `Plain` type, aligned to 64 bytes.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.len) }
    }
}

/// A matrix of `f32`, one row a token, made and taken back by an [`Executor`](crate::Executor).
///
/// Rows are padded to a multiple of sixteen columns, so that kernels write whole vectors; nothing depends on what the padding holds.
pub struct Matrix {
    buffer: AlignedBuffer<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Matrix {
    pub(crate) fn stride_of(columns: usize) -> usize {
        columns.checked_next_multiple_of(PANEL).expect("a row fits the address space")
    }

    /// Values of the memory of `rows` x `columns`, padding included.
    pub(crate) fn len_of(rows: usize, columns: usize) -> usize {
        rows.checked_mul(Self::stride_of(columns)).expect("a matrix fits the address space")
    }

    /// Shapes `buffer` as `rows` x `columns`; the values are whatever the buffer held.
    pub(crate) fn from_buffer(mut buffer: AlignedBuffer<f32>, rows: usize, columns: usize) -> Self {
        let stride = Self::stride_of(columns);
        buffer.grow(Self::len_of(rows, columns));
        Matrix { buffer, rows, columns, stride }
    }

    pub(crate) fn into_buffer(self) -> AlignedBuffer<f32> {
        self.buffer
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Makes it one of `rows` rows. Those that it has and keeps are as they were; of further ones nothing is said.
    pub fn set_rows(&mut self, rows: usize) {
        self.buffer.resize(rows.checked_mul(self.stride).expect("a matrix fits the address space"));
        self.rows = rows;
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The values of one row.
    ///
    /// # Panics
    /// If `row` is not below [`rows`](Self::rows).
    pub fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.buffer.as_slice()[row * self.stride..][..self.columns]
    }

    /// The values of one row, writable.
    ///
    /// # Panics
    /// If `row` is not below [`rows`](Self::rows).
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &mut self.buffer.as_mut_slice()[row * self.stride..][..self.columns]
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.buffer.as_slice().as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.buffer.as_mut_slice().as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_on_a_cache_line_and_have_their_length() {
        let mut buffer = AlignedBuffer::<f32>::zeroed(5);
        assert_eq!(buffer.as_slice(), [0.0; 5]);
        buffer.as_mut_slice().copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        buffer.grow(100);
        assert_eq!(buffer.as_slice().as_ptr() as usize % 64, 0);
        assert_eq!((buffer.as_slice().len(), buffer.capacity()), (100, 112));
        buffer.grow(3);
        assert_eq!((buffer.as_slice().len(), buffer.capacity()), (3, 112));
    }

    #[test]
    fn rows_that_stay_are_as_they_were() {
        let mut matrix = Matrix::from_buffer(AlignedBuffer::zeroed(0), 1, 17);
        for rows in 1..100 {
            matrix.set_rows(rows);
            matrix.row_mut(rows - 1).fill(rows as f32);
        }
        matrix.set_rows(50);
        assert!((0..50).all(|row| matrix.row(row) == [row as f32 + 1.0; 17]));
        assert!(matrix.into_buffer().capacity() <= 150 * 32);
    }

    #[test]
    fn rows_are_padded_but_not_shown_so() {
        let mut matrix = Matrix::from_buffer(AlignedBuffer::zeroed(0), 3, 17);
        assert_eq!((matrix.rows(), matrix.columns(), matrix.stride()), (3, 17, 32));
        matrix.row_mut(2).fill(1.0);
        assert_eq!(matrix.row(2).len(), 17);
        assert_eq!(matrix.row(1), [0.0; 17]);
    }
}
