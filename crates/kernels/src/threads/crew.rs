//! The workers of a pool, and how they come together for a phase.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::MAX_THREADS;
use super::turns::Turns;

/// How long a worker looks for a next phase before it parks.
pub(super) const SPIN: Duration = Duration::from_micros(50);

/// Set in [`Shared::gate`] while a phase may be joined; the bits below count the workers inside.
const OPEN: usize = 1 << (usize::BITS - 1);

/// Threads that run phases, one at a time. A phase has the first so many of them; the others sleep on.
pub(super) struct Crew {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    turns: Turns,
    /// The process that the threads are in: a fork has the memory, but not the threads.
    process: u32,
}

struct Shared {
    /// Counts phases; workers watch it.
    epoch: AtomicU64,
    /// [`OPEN`] plus the number of workers inside the current phase.
    gate: AtomicUsize,
    /// How many jobs of each thread's share have been claimed.
    claimed: [Claimed; MAX_THREADS],
    /// Threads that take part in the current phase, the caller included: workers from this number on stay out.
    threads: AtomicUsize,
    /// Written by the caller while the gate is closed and nobody is inside.
    phase: UnsafeCell<Option<Phase>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Places for as many workers as there can be; the first so many are taken.
    berths: [Berth; MAX_THREADS - 1],
    stop: AtomicBool,
}

/// A count in a cache line of its own (two, since processors fetch pairs): what a thread claims of its own share costs no other anything.
#[repr(align(128))]
struct Claimed(AtomicUsize);

/// What a caller knows of a worker.
struct Berth {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

#[derive(Clone, Copy)]
struct Phase {
    /// The caller's closure, its lifetime erased; see [`Crew::run`] for why it outlives every use.
    job: *const (dyn Fn(usize, usize) + Sync),
    jobs: usize,
    threads: usize,
}

impl Phase {
    /// The jobs that a thread begins with.
    ///
    /// Neighbours, and the same of each phase with so many jobs: what a thread has left of them in its caches it finds there in the next.
    fn share(&self, thread: usize) -> Range<usize> {
        let start = |thread: usize| (self.jobs / self.threads) * thread + (self.jobs % self.threads).min(thread);
        start(thread)..start(thread + 1)
    }
}

// SAFETY: `phase` is the only part that is not already `Sync`. It is written only by the holder of the turn while the
// gate is closed and empty, and read only by workers inside the open gate.
unsafe impl Sync for Shared {}
// SAFETY: the pointer inside `phase` refers to a `Sync` closure, so any thread may call it.
unsafe impl Send for Shared {}

thread_local! {
    /// Whether this thread is running a job of some pool: a nested phase then runs inline instead of waiting for itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Crew {
    /// No workers yet.
    pub(super) fn new() -> Self {
        let berth = || Berth { parked: AtomicBool::new(false), thread: OnceLock::new() };
        let shared = Shared {
            epoch: AtomicU64::new(0),
            gate: AtomicUsize::new(0),
            claimed: std::array::from_fn(|_| Claimed(AtomicUsize::new(0))),
            threads: AtomicUsize::new(0),
            phase: UnsafeCell::new(None),
            panic: Mutex::new(None),
            berths: std::array::from_fn(|_| berth()),
            stop: AtomicBool::new(false),
        };
        Crew { shared: Arc::new(shared), workers: Mutex::default(), turns: Turns::new(), process: std::process::id() }
    }

    /// Sees to it that phases of so many threads, the caller included, can be run, and returns how many can: fewer if
    /// the operating system refuses a thread, which is logged.
    pub(super) fn hire(&self, threads: usize) -> usize {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        while workers.len() + 1 < threads {
            let (worker, shared) = (workers.len() + 1, Arc::clone(&self.shared));
            match thread::Builder::new().name(format!("docent-{worker}")).spawn(move || shared.work(worker)) {
                Ok(handle) => {
                    // The place is empty: nobody else hires while the list is locked.
                    let _ = self.shared.berths[worker - 1].thread.set(handle.thread().clone());
                    workers.push(handle);
                }
                Err(error) => {
                    tracing::warn!("running with {worker} of {threads} threads: {error}");
                    break;
                }
            }
        }
        threads.min(workers.len() + 1)
    }

    /// Whether the threads are in this process, and not in one that this one was forked from.
    pub(super) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Runs a phase on the first `threads` threads, of which there must be so many; see
    /// [`ThreadPool::run`](super::ThreadPool::run).
    pub(super) fn run(&self, threads: usize, jobs: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        if jobs <= 1 || threads <= 1 || INSIDE.get() {
            for index in 0..jobs {
                job(index, 0);
            }
            return;
        }
        let shared = &*self.shared;
        let turn = self.turns.take();
        // SAFETY: the lifetime is erased, not extended in use: this function does not return or unwind before the gate
        // is closed and empty again, and workers call the closure only while inside the gate.
        let job: *const (dyn Fn(usize, usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static (dyn Fn(usize, usize) + Sync)>(job)
        };
        let phase = Phase { job, jobs, threads };
        // SAFETY: `turn` makes this the only caller, and the previous one left the gate closed and empty.
        unsafe { *shared.phase.get() = Some(phase) };
        shared.claimed[..threads].iter().for_each(|claimed| claimed.0.store(0, Ordering::Relaxed));
        shared.threads.store(threads, Ordering::Relaxed);
        shared.gate.store(OPEN, Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for berth in &shared.berths[..threads - 1] {
            if berth.parked.swap(false, Ordering::SeqCst)
                && let Some(thread) = berth.thread.get()
            {
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
        drop(turn);
        if let Some(payload) = payload {
            panic::resume_unwind(payload);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let workers = std::mem::take(self.workers.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !self.is_here() {
            // There is nobody to wait for, and what the system knows of these threads is another process's.
            workers.into_iter().for_each(std::mem::forget);
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.thread().unpark();
            // A worker catches the panics of its jobs, so it ends only by returning.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life: wait for a phase, join it, claim jobs, leave.
    fn work(&self, worker: usize) {
        let mut seen = 0;
        let mut idle_since = Instant::now();
        while let Some(epoch) = self.wait_for_phase(worker, seen, &mut idle_since) {
            seen = epoch;
            if self.take_part(worker) {
                idle_since = Instant::now();
            }
        }
    }

    /// The next epoch after `seen`, or `None` when the crew is being dropped.
    fn wait_for_phase(&self, worker: usize, seen: u64, idle_since: &mut Instant) -> Option<u64> {
        let parked = &self.berths[worker - 1].parked;
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
            if !spins.is_multiple_of(64) || idle_since.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            // Announce first, look once more, then sleep: a caller that misses the announcement has already moved the
            // epoch, and one that sees it unparks.
            parked.store(true, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
                thread::park();
                *idle_since = Instant::now();
            }
            parked.store(false, Ordering::SeqCst);
        }
    }

    /// Joins the current phase if it is still open and has room for this worker. Whether it had room.
    fn take_part(&self, worker: usize) -> bool {
        // Outside the gate the number may be that of the next phase already: no more than a hint.
        let has_room = || worker < self.threads.load(Ordering::Relaxed);
        if !has_room() || !self.enter() {
            return has_room();
        }
        let joins = has_room();
        // SAFETY: inside the open gate the phase is set and not written.
        if let Some(phase) = unsafe { *self.phase.get() }.filter(|_| joins) {
            self.claim(phase, worker);
        }
        self.gate.fetch_sub(1, Ordering::Release);
        joins
    }

    /// Enters the gate if it is still open.
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

    /// Runs jobs until none is left: those of the thread's own share, then what others have not come to. A panic is kept for the caller of
    /// the phase, and ends the claiming.
    fn claim(&self, phase: Phase, thread: usize) {
        INSIDE.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller of the phase is still in `run`, which keeps the closure alive.
            let job = unsafe { &*phase.job };
            for owner in (thread..phase.threads).chain(0..thread) {
                let (share, claimed) = (phase.share(owner), &self.claimed[owner].0);
                // Looked at before it is counted, which would take the line from its owner.
                while claimed.load(Ordering::Relaxed) < share.len() {
                    let index = share.start + claimed.fetch_add(1, Ordering::Relaxed);
                    if !share.contains(&index) {
                        break;
                    }
                    job(index, thread);
                }
            }
        }));
        INSIDE.set(false);
        if let Err(payload) = outcome {
            self.claimed.iter().for_each(|claimed| claimed.0.store(phase.jobs, Ordering::Relaxed));
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            match &*first {
                None => *first = Some(payload),
                // To drop it could panic in turn, here where nothing catches it and the phase is still open.
                Some(_) => std::mem::forget(payload),
            }
        }
    }
}
