//! A thread pool for phases of a few microseconds.
//!
//! A forward pass is some dozens of parallel phases, each shorter than the time an operating system takes to wake a
//! thread. Workers therefore spin for a moment after each phase before they park; an idle pool uses no processor time.
//! The calling thread works too, so a pool of `n` threads has `n - 1` workers.

mod crew;
mod turns;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crew::Crew;

/// The largest pool; more threads than this cannot help models of the sizes Docent runs.
pub const MAX_THREADS: usize = 64;

/// A number of threads that run the phases of one computation at a time.
pub struct ThreadPool {
    crew: Arc<Crew>,
    threads: usize,
}

/// The workers of the pools that [`ThreadPool::shared`] gives out, while there are any.
static SHARED: Mutex<Weak<Crew>> = Mutex::new(Weak::new());

impl ThreadPool {
    /// A pool of `threads` threads of its own, the caller of [`run`](Self::run) included; at least 1, at most
    /// [`MAX_THREADS`].
    ///
    /// If the operating system refuses a thread, the pool has fewer, and a warning is logged.
    pub fn new(threads: usize) -> Self {
        Self::of(Arc::new(Crew::new()), threads)
    }

    /// A pool of `threads` threads, as [`new`](Self::new) makes it, whose workers it shares with every other pool that
    /// this function has given out in the process.
    ///
    /// Two models in one process would otherwise have twice the threads that the machine has cores for, each set spinning
    /// in the other's way. Of those with fewer threads than another, each uses the first so many of the same workers; the phases of all of
    /// them take turns, so that no more threads compute at once than the largest has. The workers end when the
    /// last pool that shares them is dropped.
    ///
    /// In a process that was forked after the first call, a pool from before the fork computes on the calling thread
    /// alone; the next call of this function there starts workers anew.
    pub fn shared(threads: usize) -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let live = shared.upgrade().filter(|crew| crew.is_here());
        let crew = live.unwrap_or_else(|| {
            let crew = Arc::new(Crew::new());
            *shared = Arc::downgrade(&crew);
            crew
        });
        drop(shared);
        Arc::new(Self::of(crew, threads))
    }

    fn of(crew: Arc<Crew>, threads: usize) -> Self {
        let threads = crew.hire(threads.clamp(1, MAX_THREADS));
        ThreadPool { crew, threads }
    }

    /// A pool of the first `threads` of these threads, at least 1 and at most as many as here; the phases of both take turns.
    pub fn fewer(&self, threads: usize) -> Self {
        ThreadPool { crew: Arc::clone(&self.crew), threads: threads.clamp(1, self.threads) }
    }

    /// Threads that work in a phase, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `job(index, thread)` once for every `index` below `jobs`, spread over the pool, and returns when all calls
    /// have returned. `thread` is below [`threads`](Self::threads) and differs between calls that overlap in time.
    ///
    /// Each thread has a share of neighbouring jobs, the same of every phase with so many, and begins with it; jobs are claimed one by one, and
    /// who is through takes what is left of other shares, so uneven ones balance. A second caller waits until the pool is free; callers that
    /// run one phase after the other change about every millisecond. Called from inside a job, the phase runs on
    /// the calling thread alone.
    ///
    /// # Panics
    /// With the payload of the first job that panicked, after every other running job has returned.
    pub fn run(&self, jobs: usize, job: impl Fn(usize, usize) + Sync) {
        self.crew.run(self.threads, jobs, &job);
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::thread;

    use super::crew::SPIN;
    use super::*;

    #[test]
    fn every_job_runs_exactly_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = ThreadPool::new(threads);
            for jobs in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicU32> = (0..jobs).map(|_| AtomicU32::new(0)).collect();
                pool.run(jobs, |index, thread| {
                    assert!(thread < threads);
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|count| count.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {jobs} jobs"
                );
            }
        }
    }

    #[test]
    fn phases_follow_each_other_through_sleep() {
        let pool = ThreadPool::new(3);
        let sum = AtomicUsize::new(0);
        for round in 0..200 {
            pool.run(5, |index, _| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            if round % 50 == 0 {
                thread::sleep(SPIN * 4);
            }
        }
        assert_eq!(sum.into_inner(), 200 * 10);
    }

    #[test]
    fn callers_on_several_threads_share_the_pool() {
        let pool = ThreadPool::new(2);
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(10, |_, _| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 100 * 10);
    }

    #[test]
    fn a_pool_of_fewer_threads_uses_no_others() {
        let pool = ThreadPool::new(3);
        assert_eq!([0, 1, 2, 9].map(|threads| pool.fewer(threads).threads()), [1, 1, 2, 3]);
        let fewer = pool.fewer(2);
        drop(pool);
        let most = AtomicUsize::new(0);
        fewer.run(1000, |_, thread| {
            most.fetch_max(thread, Ordering::Relaxed);
        });
        assert!(most.into_inner() < 2);
    }

    #[test]
    fn a_phase_inside_a_job_runs_inline() {
        let pool = ThreadPool::new(2);
        let sum = AtomicUsize::new(0);
        pool.run(4, |_, _| {
            pool.run(4, |_, _| {
                sum.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 16);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = ThreadPool::new(2);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, |index, _| assert!(index != 50, "job fifty"));
        }));
        let payload = outcome.unwrap_err();
        assert!(payload.downcast_ref::<&str>().is_some_and(|text| text.contains("job fifty")));
        // A payload that panics again when it is dropped, on both threads at once.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                assert!(thread::panicking(), "dropped");
            }
        }
        let both = std::sync::Barrier::new(2);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, |_, _| {
                both.wait();
                panic::panic_any(Bomb);
            });
        }));
        std::mem::forget(outcome.unwrap_err());
        let ran = AtomicUsize::new(0);
        pool.run(10, |_, _| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 10);
    }
}
