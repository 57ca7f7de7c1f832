//! The thread pool under stress: many short phases, several callers, panics, sleep, drops.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use docent_kernels::{MAX_THREADS, ThreadPool};

#[test]
fn the_number_of_threads_is_bounded() {
    assert_eq!(ThreadPool::new(0).threads(), 1);
    assert_eq!(ThreadPool::new(5).threads(), 5);
    assert!(ThreadPool::new(usize::MAX).threads() <= MAX_THREADS);
}

#[test]
fn what_a_phase_writes_is_seen_by_the_next_phase_and_the_caller() {
    let pool = ThreadPool::new(4);
    let mut values = vec![0u64; 257];
    for round in 0..2000u64 {
        // Plain memory, shared through a pointer of the caller's: only the pool's own ordering protects it.
        let cells: Vec<&mut u64> = values.iter_mut().collect();
        let cells: Vec<std::sync::Mutex<&mut u64>> = cells.into_iter().map(std::sync::Mutex::new).collect();
        pool.run(cells.len(), |index, _| **cells[index].lock().unwrap() += index as u64);
        drop(cells);
        if round % 500 == 0 {
            thread::sleep(Duration::from_millis(1)); // Until the workers have parked.
        }
    }
    assert!(values.iter().enumerate().all(|(index, &value)| value == 2000 * index as u64));
}

#[test]
fn threads_that_overlap_have_different_numbers() {
    let pool = ThreadPool::new(6);
    let busy: Vec<AtomicU32> = (0..pool.threads()).map(|_| AtomicU32::new(0)).collect();
    for _ in 0..300 {
        pool.run(40, |_, thread| {
            assert_eq!(busy[thread].fetch_add(1, Ordering::SeqCst), 0, "thread {thread} is in two jobs");
            thread::yield_now();
            busy[thread].fetch_sub(1, Ordering::SeqCst);
        });
    }
}

#[test]
fn callers_panics_and_nested_phases_at_once() {
    let pool = Arc::new(ThreadPool::new(3));
    let counted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for caller in 0..6usize {
            let (pool, counted) = (&pool, &counted);
            scope.spawn(move || {
                for round in 0..300 {
                    match (caller + round) % 3 {
                        0 => pool.run(round % 17, |_, _| {
                            counted.fetch_add(1, Ordering::Relaxed);
                        }),
                        1 => {
                            let outcome = catch_unwind(AssertUnwindSafe(|| {
                                pool.run(9, |index, _| assert_ne!(index, round % 9, "caller {caller} round {round}"));
                            }));
                            // Its own panic, not that of another caller.
                            let payload = outcome.unwrap_err();
                            let message = payload.downcast_ref::<String>().unwrap();
                            assert!(message.contains(&format!("caller {caller} round {round}")), "{message}");
                        }
                        _ => pool.run(3, |_, _| {
                            pool.run(round % 5, |_, _| {
                                counted.fetch_add(1, Ordering::Relaxed);
                            });
                        }),
                    }
                }
            });
        }
    });
    let plain = |caller: usize| {
        (0..300).filter(|round| (caller + round).is_multiple_of(3)).map(|round| round % 17).sum::<usize>()
    };
    let nested =
        |caller: usize| (0..300).filter(|round| (caller + round) % 3 == 2).map(|round| 3 * (round % 5)).sum::<usize>();
    assert_eq!(counted.into_inner(), (0..6).map(|caller| plain(caller) + nested(caller)).sum());
}

#[test]
fn pools_come_and_go() {
    for round in 0..60u64 {
        let pool = ThreadPool::new(1 + round as usize % 7);
        let ran = AtomicUsize::new(0);
        for _ in 0..round % 4 {
            pool.run(5, |_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        if round % 5 == 0 {
            thread::sleep(Duration::from_micros(200)); // Dropped while its workers sleep.
        }
        drop(pool);
        assert_eq!(ran.into_inner() as u64, 5 * (round % 4));
    }
}
