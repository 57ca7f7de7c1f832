//! What holds for every text.

use docent_tokenizer::{Encoding, Error, Kind, Tokenizer, TruncationSide};
use proptest::prelude::*;
use serde_json::json;

use crate::vocabularies::{DOCUMENT, UNCASED, document_with, from_value, small};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "(\\PC|[a-z ]{1,9}|\\p{M}|\\p{C}|\\[SEP\\]|\\p{Hangul}|\\s){0,60}"]
}

fn check_offsets(text: &str, encoding: &Encoding, specials: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(encoding.ids.len(), encoding.offsets.len());
    let body = &encoding.offsets[1..encoding.offsets.len() + 1 - specials];
    for &(start, end) in body {
        prop_assert!(start < end && end <= text.len());
        prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
    }
    for pair in body.windows(2) {
        prop_assert!(pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1, "{:?}", pair);
    }
    prop_assert_eq!(encoding.offsets[0], (0, 0));
    prop_assert_eq!(encoding.offsets[encoding.offsets.len() - 1], (0, 0));
    Ok(())
}

#[test]
fn offsets_lie_in_the_text_in_order() {
    let mut general = document_with(false, None, true, true);
    general["normalizer"] =
        json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, general["normalizer"], {"type": "NFD"}]});
    let tokenizers = [
        from_value(&DOCUMENT).unwrap(),
        from_value(&document_with(true, Some(false), true, true)).unwrap(),
        from_value(&document_with(false, Some(true), false, false)).unwrap(),
        from_value(&general).unwrap(),
    ];
    proptest!(|(text in any_text())| {
        for tokenizer in &tokenizers {
            check_offsets(&text, &tokenizer.encode(&text).unwrap(), 2)?;
        }
    });
}

#[test]
fn truncation_keeps_one_end_of_the_whole() {
    let mut general = small();
    general["normalizer"] = json!({"type": "Lowercase"});
    let tokenizers = [from_value(&DOCUMENT).unwrap(), from_value(&general).unwrap()];
    proptest!(|(text in any_text(), max_tokens in 2usize..40)| {
        for tokenizer in &tokenizers {
            let whole = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(whole.dropped, 0);
            let n = whole.ids.len();
            let dropped = n.saturating_sub(max_tokens);
            for side in [TruncationSide::Right, TruncationSide::Left] {
                let cut = tokenizer.encode_truncated(&text, max_tokens, side).unwrap();
                let gone = if side == TruncationSide::Right { n - 1 - dropped..n - 1 } else { 1..1 + dropped };
                let keep = |i: &usize| !gone.contains(i);
                let ids: Vec<u32> = (0..n).filter(keep).map(|i| whole.ids[i]).collect();
                let offsets: Vec<_> = (0..n).filter(keep).map(|i| whole.offsets[i]).collect();
                prop_assert_eq!(tokenizer.ids_truncated(&text, max_tokens, side).unwrap(), (ids.clone(), dropped));
                prop_assert_eq!(cut, Encoding { ids, offsets, dropped });
            }
        }
    });
}

#[test]
fn truncation_of_a_long_text_is_exact() {
    let text = "all work and no play, ".repeat(5000);
    let whole = UNCASED.encode(&text).unwrap();
    let n = whole.ids.len();
    for max_tokens in [2, 3, 512, n - 1, n, n + 1, usize::MAX] {
        let kept = max_tokens.min(n);
        let right = UNCASED.encode_truncated(&text, max_tokens, TruncationSide::Right).unwrap();
        let left = UNCASED.encode_truncated(&text, max_tokens, TruncationSide::Left).unwrap();
        assert_eq!((right.dropped, left.dropped), (n - kept, n - kept));
        assert_eq!(right.ids[..kept - 1], whole.ids[..kept - 1]);
        assert_eq!(left.ids[1..], whole.ids[n - kept + 1..]);
        assert_eq!(left.offsets[1..], whole.offsets[n - kept + 1..]);
    }
}

#[test]
fn special_tokens_need_room() {
    for max_tokens in [0, 1] {
        for side in [TruncationSide::Right, TruncationSide::Left] {
            let error = UNCASED.encode_truncated("a", max_tokens, side).unwrap_err();
            assert!(matches!(error, Error::NoRoom { special_tokens: 2, .. }));
        }
    }
    assert_eq!(
        UNCASED.ids_truncated("a", 1, TruncationSide::Right).unwrap_err().to_string(),
        "cannot truncate to 1 tokens: the special tokens alone are 2; ask for at least that many"
    );
}

#[test]
fn facts_about_the_tokenizer() {
    assert_eq!(UNCASED.vocab_size(), 30522);
    assert_eq!(UNCASED.special_token_count(), 2);
    assert_eq!((UNCASED.kind(), UNCASED.kind().to_string()), (Kind::WordPiece, "WordPiece".to_owned()));
    assert_eq!(UNCASED.model_max_length(), None);
    assert_eq!((UNCASED.token(7592), UNCASED.id("hello")), (Some("hello".to_owned()), Some(7592)));
    assert_eq!(UNCASED.token(2075), Some("##ing".to_owned()));
    assert_eq!((UNCASED.token(30522), UNCASED.id("Hello")), (None, None));
    assert_eq!(UNCASED.encode("").unwrap(), Encoding { ids: vec![101, 102], offsets: vec![(0, 0); 2], dropped: 0 });
    assert!(matches!(UNCASED.decode(&[101, 30522]), Err(Error::UnknownId { id: 30522, vocab_size: 30522 })));
    assert!(matches!(UNCASED.decode(&[u32::MAX]), Err(Error::UnknownId { .. })));
}

#[test]
fn one_tokenizer_serves_many_threads() {
    fn shared<T: Send + Sync>(value: &T) -> &T {
        value
    }
    let tokenizer: &Tokenizer = shared(&*UNCASED);
    let expected = tokenizer.ids("Łódź, 한국어 and more").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(tokenizer.ids("Łódź, 한국어 and more").unwrap(), expected));
        }
    });
}
