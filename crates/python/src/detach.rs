//! Computing without the interpreter, and coming back to one that may be gone.
//!
//! When the main thread of a program ends, daemon threads may be inside a model. One that asks for the interpreter while it is
//! finalized is ended by `CPython` (before 3.14) in a way that cannot pass through Rust's frames: the process would abort.
//! So an `atexit` function closes the door, lets those through that already wait behind it, and from then on threads that
//! come back sleep until the process is gone, as `CPython` 3.14 has them do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// The thread that ends the interpreter, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// Threads that are on their way back into the interpreter.
static RETURNING: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the interpreter waits for threads that are on their way back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `work` while other threads have the interpreter.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let outcome = py.detach(|| {
        let outcome = work();
        RETURNING.fetch_add(1, Ordering::SeqCst);
        if ENDING.get().is_some_and(|&thread| thread != thread::current().id()) {
            RETURNING.fetch_sub(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        }
        outcome
    });
    leave();
    outcome
}

/// One thread less is on its way.
fn leave() {
    // A fork may have set the number to zero meanwhile.
    let _ = RETURNING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |threads| threads.checked_sub(1));
}

/// To be called by `atexit`: from now on only the calling thread gets back into the interpreter.
#[pyfunction]
pub(crate) fn end_of_interpreter(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    py.detach(|| {
        let begin = Instant::now();
        while RETURNING.load(Ordering::SeqCst) > 0 && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(100));
        }
    });
}

/// To be called in a forked child: the threads that were on their way are not in this process.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    RETURNING.store(0, Ordering::SeqCst);
}
