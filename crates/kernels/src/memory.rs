//! Where buffers lie: on the heap, or, from some size on, in mappings that the system backs with huge pages.
//!
//! A forward pass streams through all weights of a model. On pages of 4 KiB that is an address look-up every 64 cache
//! lines and, when the model is loaded, a page fault each; on pages of 2 MiB it is neither. Linux gives them to mappings
//! that ask ([`huge_pages`]); elsewhere, and where the system refuses, buffers lie on the heap.

#![allow(unsafe_code)]

use std::ptr::NonNull;

#[cfg(target_os = "linux")]
mod huge_pages;

/// Other systems have no huge pages that a program can ask for without a privilege.
#[cfg(not(target_os = "linux"))]
mod huge_pages {
    use std::convert::Infallible;
    use std::ptr::NonNull;

    /// More than any memory has: all of it lies on the heap.
    pub(super) const LEAST_ALONE: usize = isize::MAX as usize;
    pub(super) const LEAST_SHARED: usize = LEAST_ALONE;

    pub(super) struct Block(Infallible);

    impl Block {
        pub(super) fn alone(_bytes: usize, _room: usize) -> Option<Self> {
            None
        }

        pub(super) fn shared(_bytes: usize) -> Option<Self> {
            None
        }

        pub(super) fn start(&self) -> NonNull<u8> {
            match self.0 {}
        }

        pub(super) fn extend(&self, _bytes: usize) -> bool {
            match self.0 {}
        }
    }
}

use huge_pages::{Block, LEAST_ALONE, LEAST_SHARED};

/// What memory starts on a boundary of, and is a multiple of.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct CacheLine([u8; 64]);

/// Cache lines of initialised memory, at first zero.
pub(crate) struct Memory {
    start: NonNull<u8>,
    lines: usize,
    place: Place,
}

enum Place {
    Heap(Vec<CacheLine>),
    Mapped(Block),
}

// SAFETY: `start` points into `place`, at bytes that belong to this value alone (a mapping that several blocks share hands
// out no byte twice), and they are reached through borrows of this value only.
unsafe impl Send for Memory {}
// SAFETY: as above; a shared borrow of this value allows nothing but reading.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory for what changes its size and is given back by itself: the matrices of an executor.
    pub(crate) fn zeroed(lines: usize) -> Self {
        Self::with_room(lines, lines)
    }

    /// Memory for what stays as it is among many of its kind: the layers of a model. Those of a few hundred KiB share
    /// huge pages; they are given back when none of them is left.
    pub(crate) fn zeroed_among_others(lines: usize) -> Self {
        let bytes = bytes_of(lines);
        if bytes >= LEAST_SHARED
            && let Some(block) = Block::shared(bytes)
        {
            return Self::mapped(block, lines);
        }
        Self::on_heap(lines)
    }

    /// As [`zeroed`](Self::zeroed); a mapping has room for `room` lines, which cost nothing before they are touched.
    fn with_room(lines: usize, room: usize) -> Self {
        let bytes = bytes_of(lines);
        if bytes >= LEAST_ALONE
            && let Some(block) = Block::alone(bytes, bytes_of(room))
        {
            return Self::mapped(block, lines);
        }
        Self::on_heap(lines)
    }

    fn mapped(block: Block, lines: usize) -> Self {
        Memory { start: block.start(), lines, place: Place::Mapped(block) }
    }

    fn on_heap(lines: usize) -> Self {
        let mut memory = vec![CacheLine([0; 64]); lines];
        Memory { start: first_of(&mut memory), lines, place: Place::Heap(memory) }
    }

    /// Makes this at least `lines` long. What it holds then is initialised, but not said: large memory is not copied.
    pub(crate) fn grow(&mut self, lines: usize) {
        if lines <= self.lines {
            return;
        }
        match &mut self.place {
            Place::Mapped(block) if block.extend(bytes_of(lines)) => {}
            Place::Heap(memory) if bytes_of(lines) < LEAST_ALONE => {
                memory.resize(lines, CacheLine([0; 64]));
                self.start = first_of(memory);
            }
            _ => {
                // Batches that become longer little by little must not need a mapping each.
                let room = lines.max(self.lines.saturating_mul(2));
                // The old memory goes first: the two need never be there at once.
                *self = Self::on_heap(0);
                *self = Self::with_room(lines, room);
            }
        }
        self.lines = lines;
    }

    /// Length in cache lines.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The first of [`lines`](Self::lines) x 64 initialised bytes, on a cache-line boundary.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// As [`as_ptr`](Self::as_ptr), for writing.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

fn first_of(memory: &mut Vec<CacheLine>) -> NonNull<u8> {
    NonNull::new(memory.as_mut_ptr().cast()).expect("a vector's pointer is never null")
}

fn bytes_of(lines: usize) -> usize {
    lines.saturating_mul(size_of::<CacheLine>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(memory: &mut Memory) -> &mut [u8] {
        // SAFETY: `lines` cache lines of initialised bytes, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr(), bytes_of(memory.lines())) }
    }

    /// Sizes on both sides of every border between places.
    const LINES: [usize; 9] = [0, 1, 1023, 1024, 4096, (2 << 14) - 1, 2 << 14, 4 << 14, (5 << 14) + 3];

    #[test]
    fn memory_of_any_size_is_zero_aligned_and_its_own() {
        let mut all: Vec<Memory> =
            LINES.iter().flat_map(|&lines| [Memory::zeroed(lines), Memory::zeroed_among_others(lines)]).collect();
        for (index, memory) in all.iter_mut().enumerate() {
            assert_eq!((memory.as_ptr() as usize % 64, memory.lines()), (0, LINES[index / 2]));
            let bytes = bytes(memory);
            assert!(bytes.iter().all(|&byte| byte == 0), "memory {index}");
            bytes.fill(index as u8 + 1);
        }
        for (index, memory) in all.iter_mut().enumerate() {
            assert!(bytes(memory).iter().all(|&byte| byte == index as u8 + 1), "memory {index}");
        }
    }

    #[test]
    fn memory_grows_across_the_places() {
        let mut memory = Memory::zeroed(0);
        for lines in LINES {
            memory.grow(lines);
            memory.grow(lines / 2);
            assert_eq!((memory.lines(), memory.as_ptr() as usize % 64), (lines, 0));
            bytes(&mut memory).fill(7);
        }
        assert!(bytes(&mut memory).iter().all(|&byte| byte == 7));
    }

    #[test]
    fn threads_may_take_and_return_memory_at_once() {
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let mut pieces: Vec<Memory> =
                            (0..8).map(|piece| Memory::zeroed_among_others(4096 + 64 * piece + round)).collect();
                        for piece in &mut pieces {
                            let bytes = bytes(piece);
                            assert!(bytes.iter().all(|&byte| byte == 0));
                            bytes.fill(thread);
                        }
                        assert!(pieces.iter_mut().all(|piece| bytes(piece).iter().all(|&byte| byte == thread)));
                    }
                });
            }
        });
    }
}
