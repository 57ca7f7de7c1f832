//! Exclusive pieces of memory for jobs that run at the same time.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};

/// A slice cut into equal chunks, each of which one job may take once.
pub(crate) struct UniqueSlices<'a, T> {
    start: *mut T,
    chunk: usize,
    taken: Vec<AtomicU8>,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it only hands out exclusive references to distinct chunks, each at most once.
unsafe impl<T: Send> Sync for UniqueSlices<'_, T> {}

impl<'a, T> UniqueSlices<'a, T> {
    /// Cuts `slice` into chunks of `chunk` values; what is left over at the end is out of reach.
    pub(crate) fn new(slice: &'a mut [T], chunk: usize) -> Self {
        let taken = (0..slice.len() / chunk).map(|_| AtomicU8::new(0)).collect();
        UniqueSlices { start: slice.as_mut_ptr(), chunk, taken, slice: PhantomData }
    }

    /// The chunk `index`.
    ///
    /// # Panics
    /// If there is no such chunk, or it was taken before.
    pub(crate) fn take(&self, index: usize) -> &'a mut [T] {
        assert_eq!(self.taken[index].swap(1, Ordering::Relaxed), 0, "chunk {index} is taken");
        // SAFETY: `taken` has one entry for each whole chunk of the slice, and the swap lets one caller through.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.chunk), self.chunk) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_distinct() {
        let mut values = [0; 7];
        let slices = UniqueSlices::new(&mut values, 3);
        slices.take(1).fill(2);
        slices.take(0).fill(1);
        assert_eq!(values, [1, 1, 1, 2, 2, 2, 0]);
    }

    #[test]
    #[should_panic(expected = "taken")]
    fn a_chunk_is_given_once() {
        let mut values = [0; 4];
        let slices = UniqueSlices::new(&mut values, 2);
        slices.take(1);
        slices.take(1);
    }
}
