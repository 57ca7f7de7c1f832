//! How the work of a linear layer is cut: into pieces that stay in a thread's caches, and into shares for threads.

use std::ops::Range;

use crate::Executor;

/// Rows per thread from which a linear layer may be split by rows; below, it is by output channels, so that a short text still
/// keeps every thread busy and each streams its own part of the weights.
const ROWS_PER_THREAD: usize = 32;

/// Bytes of weights above which a layer is split by output channels whatever its rows: what does not stay in a second-level cache
/// each thread should read as little of as it can, and for as many rows.
const CACHED_WEIGHTS: usize = 1 << 20;

/// Bytes of rows that a thread multiplies with its panels before it goes on, where that is no fewer than [`ROWS_PER_THREAD`] and no
/// more than [`ROWS_AT_ONCE`]: they stay in the second-level cache from one panel to the next.
const CACHED_ROWS: usize = 256 << 10;

const ROWS_AT_ONCE: usize = 256;

/// Shares of strips for each thread, so that one that is held up does not hold up the others.
pub(super) const STRIP_JOBS: usize = 4;

/// The rows and the panels of a linear layer to multiply.
pub(super) struct Work {
    pub(super) rows: usize,
    pub(super) panels: Range<usize>,
    pub(super) panel_bytes: usize,
    pub(super) depth: Depth,
}

/// How long rows and panels are, in the blocks or whatever their products are added up in, and how they are walked along.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    pub(super) whole: usize,
    /// So much of it is multiplied with all panels before the next.
    pub(super) part: usize,
    /// Bytes of a row's part.
    pub(super) row_bytes: usize,
}

/// What a kernel multiplies at a time.
pub(super) struct Tile {
    pub(super) rows: Range<usize>,
    /// At most as many as the kernels want at a time.
    pub(super) panels: Range<usize>,
    pub(super) part: Range<usize>,
    /// The panel and the place in it from which the same thread takes weights for its next tile.
    pub(super) next: (usize, usize),
}

impl Executor {
    /// Whether a linear layer is split by rows, and not by output channels.
    pub(super) fn splits_by_rows(&self, work: &Work) -> bool {
        let threads = self.thread_count();
        let large = work.panels.len() * work.panel_bytes > CACHED_WEIGHTS;
        threads == 1 || work.rows >= threads * ROWS_PER_THREAD && !(large && self.has_even_strips(work))
    }

    /// Whether threads that share the strips of panels have nearly as many each.
    fn has_even_strips(&self, work: &Work) -> bool {
        let (strips, threads) = (work.panels.len().div_ceil(self.kernels.strip), self.thread_count());
        strips.div_ceil(threads) * threads * 15 <= strips * 16
    }

    /// Runs `job` on tiles that cover the work; where it is split by rows, after `prepare` of the tiles' rows on the same thread.
    pub(super) fn for_tiles(&self, work: &Work, prepare: impl Fn(Range<usize>) + Sync, job: impl Fn(Tile) + Sync) {
        let (strip, threads) = (self.kernels.strip, self.thread_count());
        let times = work.rows.div_ceil(work.depth.rows_at_once());
        if self.splits_by_rows(work) {
            // At least two shares for each thread, and as many for each.
            let least = if threads == 1 { 1 } else { 2 * threads };
            self.for_shares(work.rows, times.max(least).next_multiple_of(threads), |rows, _| {
                prepare(rows.clone());
                for_parts(rows, work.panels.clone(), strip, work.depth, &job);
            });
        } else {
            self.for_shares(work.panels.len().div_ceil(strip), STRIP_JOBS * threads, |strips, _| {
                let [start, end] =
                    [strips.start, strips.end].map(|at| work.panels.end.min(work.panels.start + at * strip));
                for rows in shares(work.rows, times) {
                    for_parts(rows, start..end, strip, work.depth, &job);
                }
            });
        }
    }

    /// Runs `job(share, thread)` on so many [`shares`] of `0..count`.
    pub(super) fn for_shares(&self, count: usize, parts: usize, job: impl Fn(Range<usize>, usize) + Sync) {
        let parts = parts.min(count);
        self.for_jobs(parts, |index, thread| job(share(count, parts, index), thread));
    }
}

impl Depth {
    /// Rows to multiply with all panels before the next.
    pub(super) fn rows_at_once(self) -> usize {
        (CACHED_ROWS / self.row_bytes.max(1)).clamp(ROWS_PER_THREAD, ROWS_AT_ONCE)
    }

    fn parts(self) -> impl Iterator<Item = Range<usize>> {
        // Of nothing there is a part too: a layer without inputs still has a bias.
        (0..self.whole.max(1)).step_by(self.part.max(1)).map(move |start| start..self.whole.min(start + self.part))
    }
}

/// Calls `job` on the strips of some panels, with a part of the rows and then with the next.
pub(super) fn for_parts(rows: Range<usize>, panels: Range<usize>, strip: usize, depth: Depth, job: impl Fn(Tile)) {
    for part in depth.parts() {
        for start in panels.clone().step_by(strip) {
            let end = panels.end.min(start + strip);
            let next = match (end < panels.end, part.end < depth.whole) {
                (true, _) => (end, part.start),
                (false, true) => (panels.start, part.end),
                (false, false) => (panels.start, 0),
            };
            job(Tile { rows: rows.clone(), panels: start..end, part: part.clone(), next });
        }
    }
}

/// `0..count` in so many ranges of nearly equal length, or in `count`.
pub(super) fn shares(count: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.min(count);
    (0..parts).map(move |index| share(count, parts, index))
}

fn share(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Isa, ThreadPool};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_product_is_added_once_and_in_the_order_of_its_parts(
            rows in 0usize..900,
            first in 0usize..5,
            panels in 0usize..40,
            panel_bytes in prop_oneof![Just(10_000usize), Just(100_000)],
            (whole, part) in (0usize..40, 1usize..50),
            row_bytes in 0usize..20_000,
            threads in 1usize..5,
        ) {
            let executor = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(threads)));
            let depth = Depth { whole, part, row_bytes };
            let work = Work { rows, panels: first..first + panels, panel_bytes, depth };
            // How far each row was multiplied with each panel.
            let done = Mutex::new(vec![vec![0; first + panels]; rows]);
            let prepared = Mutex::new(vec![0; rows]);
            let prepare = |rows: Range<usize>| rows.for_each(|row| prepared.lock().unwrap()[row] += 1);
            executor.for_tiles(&work, prepare, |tile| {
                assert!(tile.panels.len() <= executor.kernels.strip);
                let mut done = done.lock().unwrap();
                for row in tile.rows {
                    for panel in tile.panels.clone() {
                        assert_eq!(done[row][panel], tile.part.start);
                        done[row][panel] = tile.part.end;
                    }
                }
            });
            let times = usize::from(executor.splits_by_rows(&work));
            prop_assert!(prepared.into_inner().unwrap().iter().all(|&count| count == times));
            for row in done.into_inner().unwrap() {
                prop_assert!(row[..first].iter().all(|&done| done == 0) && row[first..].iter().all(|&done| done == whole));
            }
        }
    }

    #[test]
    fn a_tile_tells_where_the_next_one_begins() {
        let tiles = RefCell::new(Vec::new());
        for_parts(5..9, 2..9, 4, Depth { whole: 5, part: 2, row_bytes: 1 }, |tile| {
            tiles.borrow_mut().push(((tile.panels.start, tile.part.start), tile.next));
        });
        let tiles = tiles.into_inner();
        let starts = [(2, 0), (6, 0), (2, 2), (6, 2), (2, 4), (6, 4)];
        assert_eq!(tiles.iter().map(|tile| tile.0).collect::<Vec<_>>(), starts);
        assert_eq!(tiles.iter().map(|tile| tile.1).collect::<Vec<_>>(), [&starts[1..], &starts[..1]].concat());
    }

    #[test]
    fn large_weights_are_shared_by_output_channels_where_threads_get_nearly_as_many() {
        let executor = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(3)));
        let depth = Depth { whole: 1, part: 1, row_bytes: 1 };
        let strips = |strips: usize, bytes| Work {
            rows: 200,
            panels: 0..strips * executor.kernels.strip,
            panel_bytes: bytes / (strips * executor.kernels.strip),
            depth,
        };
        assert!(executor.splits_by_rows(&strips(24, 1 << 20)));
        assert!(!executor.splits_by_rows(&strips(24, 2 << 20)));
        assert!(executor.splits_by_rows(&strips(16, 2 << 20)), "two threads would wait for one strip of the third");
        assert!(!executor.splits_by_rows(&Work { rows: 95, ..strips(24, 1 << 20) }));
    }
}
