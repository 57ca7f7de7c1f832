//! Pools that share their workers. The only test of its file: what is shared is shared by the whole process.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use docent_kernels::{MAX_THREADS, ThreadPool};

#[test]
fn pools_share_workers_until_the_last_is_gone() {
    expect_workers(0);

    // As many workers as the largest has use for, whatever the order in which pools come and go.
    let two = ThreadPool::shared(2);
    expect_workers(1);
    let also_two = ThreadPool::shared(2);
    expect_workers(1);
    let four = ThreadPool::shared(4);
    let three = ThreadPool::shared(3);
    assert_eq!([&two, &also_two, &four, &three].map(|pool| pool.threads()), [2, 2, 4, 3]);
    expect_workers(3);
    // A pool of its own has its own.
    let own = ThreadPool::new(2);
    expect_workers(4);
    drop(own);
    expect_workers(3);

    // A narrow pool keeps to its threads while the wide one's are awake.
    for _ in 0..200 {
        four.run(8, |_, thread| assert!(thread < 4));
        let seen = Mutex::new(HashSet::new());
        two.run(8, |_, thread| {
            assert!(thread < 2);
            seen.lock().unwrap().insert(thread::current().id());
        });
        assert!(seen.into_inner().unwrap().len() <= 2);
    }

    // Callers of different widths at once: every job once, and never more of them at a time than the largest has threads.
    let (ran, running, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for pool in [&two, &also_two, &four, &three] {
            let (ran, running, most) = (&ran, &running, &most);
            scope.spawn(move || {
                for round in 0..300 {
                    pool.run(2 + round % 9, |_, thread| {
                        assert!(thread < pool.threads());
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        ran.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    });
                    if round % 100 == 0 {
                        thread::sleep(Duration::from_millis(1)); // Until workers have parked.
                    }
                }
            });
        }
    });
    assert_eq!(ran.into_inner(), 4 * (0..300).map(|round| 2 + round % 9).sum::<usize>());
    assert!(most.into_inner() <= 4);

    drop((two, four, three));
    expect_workers(3);
    also_two.run(4, |_, thread| assert!(thread < 2));
    drop(also_two);
    expect_workers(0);

    // And again from nothing, as wide as it goes.
    let wide = ThreadPool::shared(MAX_THREADS + 1);
    assert!(wide.threads() <= MAX_THREADS);
    let ran = AtomicUsize::new(0);
    for _ in 0..20 {
        wide.run(1000, |_, _| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(ran.into_inner(), 20 * 1000);
    expect_workers(wide.threads() - 1);
    drop(wide);
    expect_workers(0);
}

/// Waits a moment for the number of workers: the system takes a thread that has ended from its list a little later.
fn expect_workers(expected: usize) {
    for _ in 0..200 {
        if workers().is_none_or(|workers| workers == expected) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(workers(), Some(expected));
}

/// The threads of this process that bear a worker's name, where the system has Linux's process files.
fn workers() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Some(names.filter(|name| name.starts_with("docent-")).count())
}
