//! Long texts: time must grow with their length and nothing worse.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use docent_tokenizer::{Tokenizer, TruncationSide};
use serde_json::json;

use crate::vocabularies::{DOCUMENT, UNCASED, from_value};

fn texts(length: usize) -> Vec<(&'static str, String)> {
    let long = |piece: &str| piece.repeat(length / piece.len());
    vec![
        ("no spaces", long("a")),
        ("spaces", long(" ")),
        ("emoji", long("😀")),
        ("emoji with joiners", long("👩\u{200d}👩\u{200d}👧")),
        ("ideographs", long("我")),
        ("hangul", long("한")),
        ("marks", long("\u{301}")),
        ("marks to reorder", format!("a{}", long("\u{301}\u{323}"))),
        ("controls", long("\0")),
        ("punctuation", long("!")),
        ("special tokens", long("[SEP]")),
        ("half special tokens", long("[SE")),
        ("words of 100 characters", long(&("zq".repeat(50) + " "))),
        ("accented words of 100 characters", long(&("é".repeat(100) + " "))),
    ]
}

/// The time that this thread has had on a processor, where the system tells (Linux), else the time of day. The former does
/// not mind what else the machine is doing.
fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let own = own.and_then(|stat| stat.split_whitespace().next()?.parse().ok()).map(Duration::from_nanos);
    own.unwrap_or_else(|| START.elapsed())
}

fn time(tokenizer: &Tokenizer, text: &str) -> Duration {
    let started = now();
    let whole = tokenizer.encode(text).unwrap();
    let (ids, dropped) = tokenizer.ids_truncated(text, 512, TruncationSide::Left).unwrap();
    assert_eq!(ids.len() + dropped, whole.ids.len());
    now() - started
}

/// Eight times the text may take 24 times the time (caches are small, pages are not free); a quadratic step takes 64.
fn check(tokenizer: &Tokenizer) {
    const SHORT: usize = 1 << 16;
    for ((name, short), (_, long)) in texts(SHORT).into_iter().zip(texts(SHORT * 8)) {
        let short = (0..3).map(|_| time(tokenizer, &short)).min().unwrap_or_default().max(Duration::from_millis(4));
        let mut last = Duration::MAX;
        let linear = (0..4).any(|_| {
            last = last.min(time(tokenizer, &long));
            last < short * 24
        });
        assert!(linear, "{name}: {SHORT} bytes took {short:?}, eight times as many took {last:?}");
    }
}

#[test]
fn time_is_linear_whatever_the_text() {
    check(&UNCASED);
}

#[test]
fn the_general_engine_is_linear_too() {
    let mut document = DOCUMENT.clone();
    document["normalizer"] = json!({"type": "Sequence", "normalizers": [document["normalizer"]]});
    check(&from_value(&document).unwrap());
}

#[test]
fn a_word_of_a_megabyte_is_one_unknown_token() {
    let text = "a".repeat(1 << 20);
    let encoding = UNCASED.encode(&text).unwrap();
    assert_eq!((encoding.ids, encoding.offsets[1]), (vec![101, 100, 102], (0, 1 << 20)));
}
