//! Whose phase comes next, when several callers use the same threads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long callers may overtake the one that has waited longest: a wake-up takes as long as several phases, so to
/// change callers after each would leave the threads idle for most of the time.
const PATIENCE: Duration = Duration::from_millis(1);

/// A lock that no caller can be kept out of.
///
/// A forward pass takes it some dozens of times in a row. Under a plain mutex the thread that has just let go
/// would nearly always be the next to have it, and a short text would wait until a long call of another thread is over.
pub(super) struct Turns {
    state: Mutex<State>,
}

struct State {
    taken: bool,
    /// Callers that wait, the first to come first, under the numbers that they drew.
    queue: VecDeque<(u64, Thread)>,
    drawn: u64,
    /// When the first of the queue became the first.
    first_since: Instant,
}

/// The right to run a phase, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
}

impl Turns {
    pub(super) fn new() -> Self {
        let state = State { taken: false, queue: VecDeque::new(), drawn: 0, first_since: Instant::now() };
        Turns { state: Mutex::new(state) }
    }

    /// Waits until the threads are free.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = self.lock();
        if state.taken || (!state.queue.is_empty() && state.first_since.elapsed() >= PATIENCE) {
            let number = state.draw();
            while state.taken || state.queue.front().is_some_and(|(first, _)| *first != number) {
                drop(state);
                // Whoever lets go wakes the first of the queue; a wake-up before this line is not lost.
                thread::park();
                state = self.lock();
            }
            state.queue.pop_front();
            state.first_since = Instant::now();
        }
        state.taken = true;
        Turn { turns: self }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts the calling thread at the end of the queue.
    fn draw(&mut self) -> u64 {
        if self.queue.is_empty() {
            self.first_since = Instant::now();
        }
        self.drawn += 1;
        self.queue.push_back((self.drawn, thread::current()));
        self.drawn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.taken = false;
        if let Some((_, first)) = state.queue.front() {
            first.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time() {
        let (turns, inside, taken) = (Turns::new(), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = turns.take();
                        assert!(!inside.swap(true, Ordering::SeqCst), "two at once");
                        taken.fetch_add(1, Ordering::Relaxed);
                        inside.store(false, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 8 * 500);
        assert!(turns.lock().queue.is_empty());
    }

    /// Whoever has waited long enough comes before a thread that lets go and takes the next turn at once.
    #[test]
    fn nobody_is_kept_out() {
        for round in 0..30 {
            let (turns, order) = (Turns::new(), Mutex::new(Vec::new()));
            thread::scope(|scope| {
                let turn = turns.take();
                scope.spawn(|| {
                    let _turn = turns.take();
                    order.lock().unwrap().push("waited");
                });
                while turns.lock().queue.is_empty() {
                    thread::yield_now();
                }
                thread::sleep(PATIENCE * 2);
                drop(turn);
                let _turn = turns.take();
                order.lock().unwrap().push("came back");
            });
            assert_eq!(order.into_inner().unwrap(), ["waited", "came back"], "round {round}");
        }
    }
}
