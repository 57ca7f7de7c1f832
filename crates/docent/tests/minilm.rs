//! The real all-MiniLM-L6-v2 against transformers in `float32`, 213 texts.
//!
//! `cargo test -p docent --test minilm -- --nocapture` prints the figures.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // a failed unwrap is a failed test

mod support;

use docent::convert::OutputType;
use docent::{EmbedOptions, Embedder};
use serde::Deserialize;
use support::{bits, converted, cosine, fixture, max_difference, minilm, open, read_npy};

#[derive(Deserialize)]
struct Lengths {
    tokens: Vec<usize>,
    vectors_256_ids: Vec<usize>,
}

struct Texts {
    texts: Vec<String>,
    lengths: Lengths,
    vectors: Vec<Vec<f32>>,
    vectors_256: Vec<Vec<f32>>,
    /// Of the weights as an F16 file holds them.
    vectors_f16: Vec<Vec<f32>>,
}

fn texts() -> Texts {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let folder = fixture("minilm");
    let lines = std::fs::read_to_string(folder.join("texts.jsonl")).unwrap();
    let texts: Vec<String> = lines.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().text).collect();
    let lengths: Lengths = serde_json::from_slice(&std::fs::read(folder.join("lengths.json")).unwrap()).unwrap();
    let (vectors, vectors_256) = (read_npy(&folder.join("vectors.npy")), read_npy(&folder.join("vectors_256.npy")));
    assert_eq!((texts.len(), vectors.len(), lengths.tokens.len()), (213, 213, 213));
    assert_eq!(vectors_256.len(), lengths.vectors_256_ids.len());
    let vectors_f16 = read_npy(&folder.join("vectors_f16.npy"));
    Texts { texts, lengths, vectors, vectors_256, vectors_f16 }
}

/// Largest difference of a component, smallest and mean cosine over all texts, each cut at 512 tokens.
fn compare(name: &str, embedder: &Embedder, reference: &Texts, vectors: &[Vec<f32>]) -> (f32, f64, f64) {
    let options = EmbedOptions { max_length: Some(512), ..EmbedOptions::default() };
    let found = embedder.embed_with(&reference.texts, &options).unwrap();
    let pairs = || found.iter().zip(vectors);
    let difference = pairs().map(|(a, b)| max_difference(a.vector(), b)).fold(0.0, f32::max);
    let cosines: Vec<f64> = pairs().map(|(a, b)| cosine(a.vector(), b)).collect();
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    eprintln!("{name:26} max difference {difference:.2e}  cosine least {least:.7} mean {mean:.7}");
    for (embedding, &tokens) in found.iter().zip(&reference.lengths.tokens) {
        assert_eq!(embedding.tokens, tokens.min(512), "{name}");
    }
    (difference, least, mean)
}

#[test]
fn every_format_gives_the_vectors_of_transformers() {
    let Some(directory) = minilm() else { return };
    let reference = texts();
    let folder = tempfile::tempdir().unwrap();
    let gguf = |ty| open(&converted(&directory, ty, folder.path()), 2);
    let f16 = gguf(OutputType::F16);
    for (name, embedder, vectors, least_cosine) in [
        ("safetensors", &open(&directory, 2), &reference.vectors, 0.999_99),
        ("F32 GGUF", &gguf(OutputType::F32), &reference.vectors, 0.999_99),
        ("F16 GGUF, its own weights", &f16, &reference.vectors_f16, 0.999_99),
    ] {
        let (difference, least, _) = compare(name, embedder, &reference, vectors);
        assert!(difference <= 1e-4, "{name}: a component is off by {difference}");
        assert!(least >= least_cosine, "{name}: least cosine {least}");
    }
    // What rounding the weights to F16 does, whoever computes with them: 2.3e-4 in transformers too.
    let (difference, least, _) = compare("F16 GGUF", &f16, &reference, &reference.vectors);
    assert!(difference <= 3e-4 && least >= 0.9999, "F16: off by {difference}, least cosine {least}");
    let (_, least, mean) = compare("Q8_0 GGUF", &gguf(OutputType::Q8_0), &reference, &reference.vectors);
    assert!(least >= 0.9985 && mean >= 0.9995, "Q8_0: least {least}, mean {mean}");
}

#[test]
fn long_texts_are_cut_where_the_publisher_says() {
    let Some(directory) = minilm() else { return };
    let reference = texts();
    let embedder = open(&directory, 2);
    assert_eq!(embedder.settings().max_length, 256);
    for (&index, expected) in reference.lengths.vectors_256_ids.iter().zip(&reference.vectors_256) {
        let embedding = &embedder.embed(&[&reference.texts[index]]).unwrap()[0];
        assert_eq!(embedding.tokens, 256);
        assert!(embedding.truncated());
        assert!(max_difference(embedding.vector(), expected) <= 1e-4, "text {index}");
    }
}

/// Values that fastembed and the model card publish for this model.
#[test]
fn published_values_hold() {
    let Some(directory) = minilm() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (embedder, tolerance) in
        [(open(&directory, 2), 1e-4), (open(&converted(&directory, OutputType::Q8_0, folder.path()), 2), 5e-3)]
    {
        let hello = embedder.embed(&["hello world"]).unwrap().remove(0);
        let first = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362];
        assert!(max_difference(&hello.vector()[..5], &first) <= tolerance, "{:?}", &hello.vector()[..5]);
        let texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
        let vectors = embedder.embed(&texts).unwrap();
        for (a, b, expected) in [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)] {
            let found = cosine(vectors[a].vector(), vectors[b].vector());
            assert!((found - expected).abs() <= f64::from(tolerance), "{a} and {b}: {found}, expected {expected}");
        }
    }
}

#[test]
fn the_same_bits_alone_and_in_a_batch_on_one_and_two_threads() {
    let Some(directory) = minilm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = converted(&directory, OutputType::Q8_0, folder.path());
    let (one, two) = (open(&path, 1), open(&path, 2));
    let texts = texts().texts;
    let together = two.embed(&texts).unwrap();
    let reversed: Vec<&String> = texts.iter().rev().collect();
    let reversed = one.embed(&reversed).unwrap();
    for (i, text) in texts.iter().enumerate() {
        assert_eq!(bits(&together[i]), bits(&reversed[texts.len() - 1 - i]), "text {i}: order and threads");
        if i % 5 == 0 {
            assert_eq!(bits(&together[i]), bits(&two.embed(&[text]).unwrap()[0]), "text {i}: alone");
        }
    }
}
