//! A vector is a function of its text and the model alone.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::sync::OnceLock;

use docent::convert::OutputType;
use docent::{Embedder, Pooling};
use proptest::prelude::*;
use support::{bits, converted, fixture, open};

/// The same model on one thread and on several, from `float32` and from `Q8_0` weights.
fn embedders() -> &'static [(&'static str, Embedder, Embedder)] {
    static EMBEDDERS: OnceLock<Vec<(&str, Embedder, Embedder)>> = OnceLock::new();
    EMBEDDERS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let directory = fixture("bert-tiny");
        let quantised = converted(&directory, OutputType::Q8_0, folder.path());
        vec![("f32", open(&directory, 1), open(&directory, 2)), ("q8_0", open(&quantised, 1), open(&quantised, 3))]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_text_has_the_same_bits_alone_and_in_any_company(
        texts in prop::collection::vec("[a-zäöü0-9 .,]{0,300}", 1..24),
        order in any::<prop::sample::Index>(),
    ) {
        for (name, one, several) in embedders() {
            let together = several.embed(&texts).unwrap();
            let mut rotated = texts.clone();
            rotated.rotate_left(order.index(texts.len()));
            let rotated = one.embed(&rotated).unwrap();
            for (i, text) in texts.iter().enumerate() {
                let alone = &one.embed(&[text]).unwrap()[0];
                prop_assert_eq!(bits(alone), bits(&several.embed(&[text]).unwrap()[0]), "{}: threads", name);
                prop_assert_eq!(bits(alone), bits(&together[i]), "{}: batch", name);
                let place = (i + texts.len() - order.index(texts.len())) % texts.len();
                prop_assert_eq!(bits(alone), bits(&rotated[place]), "{}: order", name);
            }
        }
    }
}

#[test]
fn concurrent_callers_get_the_same_bits() {
    let (_, one, several) = &embedders()[1];
    let texts: Vec<String> = (0..40).map(|i| "word and another ".repeat(i % 13)).collect();
    let expected: Vec<_> = one.embed(&texts).unwrap().iter().map(bits).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let found: Vec<_> = several.embed(&texts).unwrap().iter().map(bits).collect();
                    assert!(found == expected);
                }
            });
        }
    });
}

#[test]
fn token_vectors_do_not_depend_on_company_either() {
    let (_, one, several) = &embedders()[0];
    let options = docent::EmbedOptions { pooling: Some(Pooling::None), ..Default::default() };
    let texts = ["a", "hello world", "", "the quick brown fox jumps over the lazy dog"];
    let together = several.embed_with(&texts, &options).unwrap();
    for (text, together) in texts.iter().zip(&together) {
        assert_eq!(bits(&one.embed_with(&[text], &options).unwrap()[0]), bits(together));
    }
}

/// Where pooling reads one token, the last layer computes no others.
#[test]
fn the_vector_of_a_token_has_the_bits_of_its_row() {
    let texts: Vec<String> = (0..20).map(|i| "the quick brown fox jumps over it ".repeat(i * i % 11)).collect();
    for (name, one, several) in embedders() {
        for embedder in [one, several] {
            let with = |pooling, texts: &[String]| {
                let options = docent::EmbedOptions { pooling: Some(pooling), normalize: false, ..Default::default() };
                embedder.embed_with(texts, &options).unwrap()
            };
            // One text is spread over the threads, many are dealt out to them.
            for texts in [&texts[..1], &texts[3..4], &texts] {
                let tokens = with(Pooling::None, texts);
                let (first, last) = (with(Pooling::Cls, texts), with(Pooling::Last, texts));
                for ((tokens, first), last) in tokens.iter().zip(&first).zip(&last) {
                    let rows: Vec<&[f32]> = tokens.rows().collect();
                    let equal = |row: &[f32], vector: &docent::Embedding| {
                        row.iter().map(|value| value.to_bits()).eq(vector.vector().iter().map(|value| value.to_bits()))
                    };
                    assert!(equal(rows[0], first), "{name}: first token of {}", rows.len());
                    assert!(equal(rows[rows.len() - 1], last), "{name}: last token of {}", rows.len());
                }
            }
        }
    }
}
