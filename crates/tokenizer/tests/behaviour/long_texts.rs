//! Texts of a megabyte: time must grow with their length and nothing worse.

use std::time::{Duration, Instant};

use docent_tokenizer::{Tokenizer, TruncationSide};
use serde_json::json;

use crate::vocabularies::{DOCUMENT, UNCASED, from_value};

/// Far above what any of these takes (tens of milliseconds), far below what a quadratic step would.
const LIMIT: Duration = Duration::from_secs(20);

fn texts() -> Vec<(&'static str, String)> {
    let megabyte = |piece: &str| piece.repeat((1 << 20) / piece.len());
    vec![
        ("no spaces", megabyte("a")),
        ("spaces", megabyte(" ")),
        ("emoji", megabyte("😀")),
        ("emoji with joiners", megabyte("👩\u{200d}👩\u{200d}👧")),
        ("ideographs", megabyte("我")),
        ("hangul", megabyte("한")),
        ("marks", megabyte("\u{301}")),
        ("marks to reorder", format!("a{}", megabyte("\u{301}\u{323}"))),
        ("controls", megabyte("\0")),
        ("punctuation", megabyte("!")),
        ("special tokens", megabyte("[SEP]")),
        ("half special tokens", megabyte("[SE")),
        ("words of 100 characters", megabyte(&("zq".repeat(50) + " "))),
        ("accented words of 100 characters", megabyte(&("é".repeat(100) + " "))),
    ]
}

fn check(tokenizer: &Tokenizer) {
    for (name, text) in texts() {
        let started = Instant::now();
        let whole = tokenizer.encode(&text).unwrap();
        let (ids, dropped) = tokenizer.ids_truncated(&text, 512, TruncationSide::Left).unwrap();
        assert!(started.elapsed() < LIMIT, "{name}: {:?}", started.elapsed());
        assert_eq!(ids.len() + dropped, whole.ids.len(), "{name}");
    }
}

#[test]
fn a_megabyte_of_anything_is_quick() {
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
