//! Embedders of one process share their threads. The only test of its file: it counts the threads of the process.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::time::Duration;

use docent::convert::OutputType;
use support::{bits, converted, fixture, open};

#[test]
fn embedders_share_threads_and_still_give_the_right_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let directory = fixture("bert-tiny");
    let quantised = converted(&directory, OutputType::Q8_0, folder.path());
    // From one word, which all threads work on together, to more than a group of 256 tokens for each.
    let texts: Vec<String> = (0..60).map(|i| "word and another ".repeat(i % 13)).collect();
    let expected = [&directory, &quantised].map(|path| {
        let alone = open(path, 1);
        texts.iter().map(|text| bits(&alone.embed(&[text]).unwrap()[0])).collect::<Vec<_>>()
    });

    let (float, other) = (open(&directory, 3), open(&quantised, 3));
    expect_workers(2);
    let narrow = open(&directory, 2);
    expect_workers(2);
    assert_eq!([&float, &other, &narrow].map(docent::Embedder::threads), [3, 3, 2]);
    std::thread::scope(|scope| {
        for (embedder, expected) in [(&float, &expected[0]), (&other, &expected[1]), (&narrow, &expected[0])] {
            let texts = &texts;
            scope.spawn(move || {
                for _ in 0..4 {
                    let together: Vec<_> = embedder.embed(texts).unwrap().iter().map(bits).collect();
                    assert!(together == *expected);
                    for (text, expected) in texts.iter().zip(expected).take(20) {
                        assert!(bits(&embedder.embed(&[text]).unwrap()[0]) == *expected);
                    }
                }
            });
        }
    });
    drop((float, other));
    expect_workers(2);
    assert!(bits(&narrow.embed(&texts[..1]).unwrap()[0]) == expected[0][0]);
    drop(narrow);
    expect_workers(0);

    let wide = open(&quantised, 64);
    assert!(wide.threads() <= 64);
    let found: Vec<_> = wide.embed(&texts).unwrap().iter().map(bits).collect();
    assert!(found == expected[1]);
}

/// Waits a moment for the number of workers, where the system has Linux's process files: it takes a thread that has ended
/// from its list a little later.
fn expect_workers(expected: usize) {
    for _ in 0..200 {
        if workers().is_none_or(|workers| workers == expected) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(workers(), Some(expected));
}

fn workers() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Some(names.filter(|name| name.starts_with("docent-")).count())
}
