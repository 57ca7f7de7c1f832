//! A thread pool for phases of a few microseconds.
//!
//! A forward pass is some dozens of parallel phases, each shorter than the time an operating system takes to wake a
//! thread. Workers therefore spin for a moment after each phase before they park; an idle pool uses no processor time.
//! The calling thread works too, so a pool of `n` threads has `n - 1` workers.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for a next phase before it parks.
const SPIN: Duration = Duration::from_micros(50);

/// The largest pool; more threads than this cannot help models of the sizes Docent runs.
pub const MAX_THREADS: usize = 64;

/// Set in [`Shared::gate`] while a phase may be joined; the bits below count the workers inside.
const OPEN: usize = 1 << (usize::BITS - 1);

/// A fixed set of threads that run the phases of one computation at a time.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<(JoinHandle<()>, Thread)>,
    /// One phase at a time: a second caller waits here.
    caller: Mutex<()>,
}

struct Shared {
    /// Counts phases; workers watch it.
    epoch: AtomicU64,
    /// [`OPEN`] plus the number of workers inside the current phase.
    gate: AtomicUsize,
    /// The next job to claim.
    next: AtomicUsize,
    /// Written by the caller while the gate is closed and nobody is inside.
    phase: UnsafeCell<Option<Phase>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Phase {
    /// The caller's closure, its lifetime erased; see [`ThreadPool::run`] for why it outlives every use.
    job: *const (dyn Fn(usize, usize) + Sync),
    jobs: usize,
}

// SAFETY: `phase` is the only part that is not already `Sync`. It is written only by the holder of `caller` while the
// gate is closed and empty, and read only by workers inside the open gate.
unsafe impl Sync for Shared {}
// SAFETY: the pointer inside `phase` refers to a `Sync` closure, so any thread may call it.
unsafe impl Send for Shared {}

thread_local! {
    /// Whether this thread is running a job of some pool: a nested phase then runs inline instead of waiting for itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller of [`run`](Self::run) included; at least 1, at most [`MAX_THREADS`].
    ///
    /// If the operating system refuses a thread, the pool has fewer, and a warning is logged.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, MAX_THREADS);
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            gate: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            phase: UnsafeCell::new(None),
            panic: Mutex::new(None),
            parked: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        let mut workers = Vec::with_capacity(threads - 1);
        for worker in 1..threads {
            let shared = Arc::clone(&shared);
            match thread::Builder::new().name(format!("docent-{worker}")).spawn(move || shared.work(worker)) {
                Ok(handle) => {
                    let thread = handle.thread().clone();
                    workers.push((handle, thread));
                }
                Err(error) => {
                    tracing::warn!("running with {worker} of {threads} threads: {error}");
                    break;
                }
            }
        }
        ThreadPool { shared, workers, caller: Mutex::new(()) }
    }

    /// Threads that work in a phase, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(index, thread)` once for every `index` below `jobs`, spread over the pool, and returns when all calls
    /// have returned. `thread` is below [`threads`](Self::threads) and differs between calls that overlap in time.
    ///
    /// Jobs are claimed one by one, so uneven ones balance. A second caller waits until the pool is free. Called from
    /// inside a job, the phase runs on the calling thread alone.
    ///
    /// # Panics
    /// With the payload of the first job that panicked, after every other running job has returned.
    pub fn run(&self, jobs: usize, job: impl Fn(usize, usize) + Sync) {
        if jobs <= 1 || self.workers.is_empty() || INSIDE.get() {
            for index in 0..jobs {
                job(index, 0);
            }
            return;
        }
        let shared = &*self.shared;
        let guard = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        let job: &(dyn Fn(usize, usize) + Sync) = &job;
        // SAFETY: the lifetime is erased, not extended in use: this function does not return or unwind before the gate
        // is closed and empty again, and workers call the closure only while inside the gate.
        let job: *const (dyn Fn(usize, usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static (dyn Fn(usize, usize) + Sync)>(job)
        };
        let phase = Phase { job, jobs };
        // SAFETY: `guard` makes this the only caller, and the previous one left the gate closed and empty.
        unsafe { *shared.phase.get() = Some(phase) };
        shared.next.store(0, Ordering::Relaxed);
        shared.gate.store(OPEN, Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for ((_, thread), parked) in self.workers.iter().zip(&shared.parked) {
            if parked.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
        shared.claim(phase, 0);
        shared.gate.fetch_and(!OPEN, Ordering::SeqCst);
        let mut spins = 0u32;
        while shared.gate.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins.is_multiple_of(4096) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        let payload = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guard);
        if let Some(payload) = payload {
            panic::resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (handle, thread) in self.workers.drain(..) {
            thread.unpark();
            // A worker catches the panics of its jobs, so it ends only by returning.
            let _ = handle.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

impl Shared {
    /// A worker's life: wait for a phase, join it, claim jobs, leave.
    fn work(&self, worker: usize) {
        let mut seen = 0;
        while let Some(epoch) = self.wait_for_phase(worker, seen) {
            seen = epoch;
            if self.enter() {
                // SAFETY: inside the open gate the phase is set and not written.
                if let Some(phase) = unsafe { *self.phase.get() } {
                    self.claim(phase, worker);
                }
                self.gate.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// The next epoch after `seen`, or `None` when the pool is being dropped.
    fn wait_for_phase(&self, worker: usize, seen: u64) -> Option<u64> {
        let parked = &self.parked[worker - 1];
        let mut since = Instant::now();
        let mut spins = 0u32;
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if epoch != seen {
                return Some(epoch);
            }
            spins += 1;
            if !spins.is_multiple_of(64) || since.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            // Announce first, look once more, then sleep: a caller that misses the announcement has already moved the
            // epoch, and one that sees it unparks.
            parked.store(true, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            parked.store(false, Ordering::SeqCst);
            since = Instant::now();
        }
    }

    /// Joins the current phase if it is still open.
    fn enter(&self) -> bool {
        let mut gate = self.gate.load(Ordering::SeqCst);
        while gate & OPEN != 0 {
            match self.gate.compare_exchange_weak(gate, gate + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
        false
    }

    /// Runs jobs until none is left. A panic is kept for the caller of the phase, and ends the claiming.
    fn claim(&self, phase: Phase, thread: usize) {
        INSIDE.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller of the phase is still in `run`, which keeps the closure alive.
            let job = unsafe { &*phase.job };
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= phase.jobs {
                    break;
                }
                job(index, thread);
            }
        }));
        INSIDE.set(false);
        if let Err(payload) = outcome {
            self.next.store(phase.jobs, Ordering::Relaxed);
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            match &*first {
                None => *first = Some(payload),
                // To drop it could panic in turn, here where nothing catches it and the phase is still open.
                Some(_) => std::mem::forget(payload),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

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
