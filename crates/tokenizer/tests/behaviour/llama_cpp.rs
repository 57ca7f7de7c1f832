//! llama.cpp's published vectors for its bert-bge vocabulary.

use crate::vocabularies::{UNCASED, data};

/// Texts for which Hugging Face, which we follow, gives other ids than llama.cpp. llama.cpp keeps only the first code point
/// of a canonical decomposition, so hangul syllables (and nothing else in these files) differ; the published texts have none,
/// and any that is added to them must be listed here.
const DIFFERENT: &[&str] = &[];

#[test]
fn all_published_vectors_are_equal() {
    let texts = std::fs::read_to_string(data("ggml-vocab-bert-bge.gguf.inp")).unwrap();
    let expected = std::fs::read_to_string(data("ggml-vocab-bert-bge.gguf.out")).unwrap();
    let texts: Vec<&str> = texts.trim_end_matches('\n').split("\n__ggml_vocab_test__\n").collect();
    // The last text is followed by a separator.
    let texts = texts.iter().map(|text| text.trim_end_matches("\n__ggml_vocab_test__"));
    let mut compared = 0;
    let mut expected = expected.lines();
    for text in texts {
        let Some(line) = expected.next() else {
            assert_eq!(text, "", "a text without ids");
            break;
        };
        let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let ours = UNCASED.encode(text).unwrap().ids;
        assert_eq!((ours.first(), ours.last()), (Some(&101), Some(&102)));
        if DIFFERENT.contains(&text) {
            assert_ne!(&ours[1..ours.len() - 1], ids, "listed as different: {text:?}");
        } else {
            assert_eq!(&ours[1..ours.len() - 1], ids, "{text:?}");
        }
        compared += 1;
    }
    assert_eq!((compared, expected.next()), (46, None));
}

#[test]
fn hangul_follows_hugging_face() {
    let ids = UNCASED.encode("한국어 문장").unwrap().ids;
    assert_eq!(ids[1..13], [1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 1459, 30014, 30021, 30000]);
}
