//! Anonymous mappings that ask for huge pages (`madvise(2)`, `MADV_HUGEPAGE`).
//!
//! A page is backed by memory when it is first touched, a huge one as a whole. So a mapping costs what is used of it,
//! rounded up to 2 MiB where huge pages were asked for; and it is asked only where all of it will be used, or is shared
//! by so much that the rest does not matter.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{Advice, MmapMut};

/// The size and alignment of a huge page on x86-64, and on 64-bit ARM with pages of 4 KiB. Where it is another, advice is
/// given in vain.
const HUGE_PAGE: usize = 2 << 20;

/// The least size of memory with a mapping of its own.
pub(super) const LEAST_ALONE: usize = HUGE_PAGE;

/// The least size of memory in a mapping shared with others. What is smaller is no part of a model for which a huge page
/// would pay.
pub(super) const LEAST_SHARED: usize = 64 << 10;

/// From here on, memory that might share has a mapping of its own: most of it fills huge pages.
const MOST_SHARED: usize = 2 * HUGE_PAGE;

/// Size of a mapping that is shared: so large that what remains of its last huge page is a small part.
const CHUNK: usize = 32 << 20;

/// A part of a mapping, and a share in keeping it.
pub(super) struct Block {
    region: Arc<Region>,
    start: NonNull<u8>,
    /// Whether the block begins the mapping and has it to itself, so that it may be extended to the mapping's end.
    alone: bool,
}

impl Block {
    /// A mapping of its own for `bytes` zero bytes, which can be extended up to `room`. Huge pages are used as far as
    /// `bytes` fill them. `None` if the system refuses.
    pub(super) fn alone(bytes: usize, room: usize) -> Option<Self> {
        let region = Region::map(room.max(bytes))?;
        region.ask_for_huge_pages(bytes);
        let start = region.at(0)?;
        Some(Block { region: Arc::new(region), start, alone: true })
    }

    /// `bytes` zero bytes, a multiple of 64, on a boundary of 64, in a mapping that may hold other blocks. `None` if the
    /// system refuses.
    pub(super) fn shared(bytes: usize) -> Option<Self> {
        /// The mapping that blocks are cut from, as long as any of them is in use.
        struct Current {
            region: Weak<Region>,
            /// Bytes given out, from the beginning.
            used: usize,
        }
        static CURRENT: Mutex<Current> = Mutex::new(Current { region: Weak::new(), used: 0 });

        if bytes >= MOST_SHARED {
            return Self::alone(bytes, bytes);
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let region = match current.region.upgrade() {
            Some(region) if bytes <= region.bytes - current.used => region,
            _ => {
                let region = Arc::new(Region::map(CHUNK)?);
                region.ask_for_huge_pages(CHUNK);
                *current = Current { region: Arc::downgrade(&region), used: 0 };
                region
            }
        };
        let start = region.at(current.used)?;
        current.used += bytes;
        Some(Block { region, start, alone: false })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Makes the block `bytes` long, if its mapping has them; they are zero as far as they were never written.
    pub(super) fn extend(&self, bytes: usize) -> bool {
        let fits = self.alone && bytes <= self.region.bytes;
        if fits {
            self.region.ask_for_huge_pages(bytes);
        }
        fits
    }
}

/// Zeroed memory from the system that starts on the boundary of a huge page.
struct Region {
    /// Undone when the region is dropped; its bytes are read and written by the blocks alone.
    map: MmapMut,
    /// Where in `map` the region begins.
    offset: usize,
    bytes: usize,
}

impl Region {
    fn map(bytes: usize) -> Option<Self> {
        // The system aligns a mapping to pages; what is too much before and behind is never touched, and costs nothing.
        let map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let address = map.as_ptr().addr();
        let offset = address.next_multiple_of(HUGE_PAGE) - address;
        Some(Region { map, offset, bytes })
    }

    /// Asks for huge pages where the first `bytes` fill them. Without them the memory is the same, only slower.
    fn ask_for_huge_pages(&self, bytes: usize) {
        let whole = bytes / HUGE_PAGE * HUGE_PAGE;
        if let Err(error) = self.map.advise_range(Advice::HugePage, self.offset, whole) {
            tracing::debug!(%error, "no huge pages");
        }
    }

    /// The byte at `index`, which is at most the region's length.
    fn at(&self, index: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.map.as_ptr().cast_mut().wrapping_add(self.offset + index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_a_mapping_until_none_is_left() {
        let first = Block::shared(LEAST_SHARED).unwrap();
        let region = Arc::downgrade(&first.region);
        let second = Block::shared(LEAST_SHARED).unwrap();
        drop(first);
        drop(second);
        // Other tests may hold blocks of the same mapping: it goes with the last of them, whichever that is.
        let large = Block::alone(MOST_SHARED, MOST_SHARED).unwrap();
        assert!(region.upgrade().is_none_or(|region| !Arc::ptr_eq(&region, &large.region)));
        let region = Arc::downgrade(&large.region);
        drop(large);
        assert!(region.upgrade().is_none());
    }

    #[test]
    fn mappings_start_on_a_huge_page() {
        let block = Block::alone(HUGE_PAGE + 64, HUGE_PAGE + 64).unwrap();
        assert_eq!(block.start().addr().get() % HUGE_PAGE, 0);
    }

    #[test]
    fn a_block_is_extended_as_far_as_its_room() {
        let block = Block::alone(HUGE_PAGE, 2 * HUGE_PAGE).unwrap();
        assert!(block.extend(2 * HUGE_PAGE));
        assert!(!block.extend(2 * HUGE_PAGE + 64));
        assert!(!Block::shared(LEAST_SHARED).unwrap().extend(LEAST_SHARED));
    }

    #[test]
    fn what_the_system_refuses_is_no_block() {
        assert!(Block::alone(usize::MAX / 2, usize::MAX / 2).is_none());
        assert!(Block::alone(usize::MAX, usize::MAX).is_none());
    }
}
