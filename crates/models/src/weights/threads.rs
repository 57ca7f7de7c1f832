//! The threads that weights are packed on.

use std::sync::atomic::{AtomicBool, Ordering};

use docent_kernels::ThreadPool;

/// The threads of a pool, of which something else may have one for a while: with more threads at work than there are processors,
/// those that are done spin in the way of those that are not.
pub(crate) struct Threads<'a> {
    all: &'a ThreadPool,
    all_but_one: ThreadPool,
    one_is_lent: AtomicBool,
}

impl<'a> Threads<'a> {
    /// All of them.
    pub(crate) fn of(pool: &'a ThreadPool) -> Self {
        Threads { all: pool, all_but_one: pool.fewer(pool.threads() - 1), one_is_lent: AtomicBool::new(false) }
    }

    /// Does without one until it is [given back](Self::give_back).
    pub(crate) fn lend_one(&self) {
        self.one_is_lent.store(true, Ordering::Relaxed);
    }

    /// Ends what [`lend_one`](Self::lend_one) began.
    pub(crate) fn give_back(&self) {
        self.one_is_lent.store(false, Ordering::Relaxed);
    }

    /// Those that are free now; at least one.
    pub(super) fn free(&self) -> &ThreadPool {
        if self.one_is_lent.load(Ordering::Relaxed) { &self.all_but_one } else { self.all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_lent_and_comes_back() {
        for (threads, fewer) in [(1, 1), (3, 2)] {
            let pool = ThreadPool::new(threads);
            let threads_of = Threads::of(&pool);
            assert_eq!(threads_of.free().threads(), threads);
            threads_of.lend_one();
            assert_eq!(threads_of.free().threads(), fewer);
            threads_of.give_back();
            assert_eq!(threads_of.free().threads(), threads);
        }
    }
}
