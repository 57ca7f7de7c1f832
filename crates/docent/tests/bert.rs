//! Small BERT models with random weights, against transformers in `float32`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use docent::convert::OutputType;
use docent::{EmbedOptions, Embedder, Pooling, Prompt};
use support::{Case, converted, cosine, fixture, max_difference, open, reference};

const DIRECTORIES: [&str; 8] = [
    "bert-tiny",
    "bert-variants/cls-f16",
    "bert-variants/max-bf16",
    "bert-variants/last-sharded",
    "bert-variants/legacy-names",
    "bert-variants/distilbert",
    "bert-variants/odd-width",
    "bert-variants/cased",
];

const POOLINGS: [Pooling; 4] = [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last];

fn options(case: &Case) -> EmbedOptions {
    let prompt = case.prompt.clone().map_or(Prompt::None, Prompt::Text);
    EmbedOptions { prompt, max_length: Some(case.max_length), ..EmbedOptions::default() }
}

fn embed(embedder: &Embedder, case: &Case, options: &EmbedOptions) -> docent::Embedding {
    embedder.embed_with(&[&case.text], options).unwrap_or_else(|error| panic!("{:?}: {error}", case.text)).remove(0)
}

fn expected(case: &Case, pooling: Pooling, normalize: bool) -> &[f32] {
    let by_pooling = if normalize { &case.normalised } else { &case.pooled };
    match pooling {
        Pooling::Cls => &by_pooling.cls,
        Pooling::Mean => &by_pooling.mean,
        Pooling::Max => &by_pooling.max,
        Pooling::Last => &by_pooling.last,
        Pooling::None => unreachable!("has no reference vector"),
    }
}

#[test]
fn directories_give_the_vectors_of_transformers() {
    for name in DIRECTORIES {
        let (embedder, reference) = (open(&fixture(name), 2), reference(name));
        assert_eq!(embedder.settings().max_length, reference.max_length, "{name}");
        for case in &reference.cases {
            for (pooling, normalize) in POOLINGS.into_iter().flat_map(|pooling| [(pooling, false), (pooling, true)]) {
                let options = EmbedOptions { pooling: Some(pooling), normalize, ..options(case) };
                let embedding = embed(&embedder, case, &options);
                assert_eq!(embedding.tokens, case.ids.len(), "{name}: {:?}", case.text);
                assert_eq!(embedding.dropped, case.tokens_before_cut - case.ids.len(), "{name}: {:?}", case.text);
                let difference = max_difference(embedding.vector(), expected(case, pooling, normalize));
                assert!(difference <= 2e-5, "{name}: {pooling:?} of {:?} is off by {difference}", case.text);
            }
        }
    }
}

#[test]
fn without_pooling_there_is_a_row_for_each_token() {
    for name in DIRECTORIES {
        let embedder = open(&fixture(name), 1);
        for case in &reference(name).cases {
            let options = EmbedOptions { pooling: Some(Pooling::None), ..options(case) };
            let embedding = embed(&embedder, case, &options);
            assert_eq!(embedding.rows().len(), case.ids.len());
            for (row, sum) in embedding.rows().zip(&case.hidden_row_sums) {
                let found = row.iter().map(|&value| f64::from(value)).sum::<f64>();
                assert!((found - sum).abs() <= 2e-4, "{name}: {:?}: sum {found}, expected {sum}", case.text);
            }
            for (row, expected) in embedding.rows().zip(case.hidden.iter().flatten()) {
                assert!(max_difference(row, expected) <= 2e-5, "{name}: {:?}", case.text);
            }
        }
    }
}

#[test]
fn the_files_own_pooling_is_the_default() {
    for name in DIRECTORIES {
        let (embedder, reference) = (open(&fixture(name), 1), reference(name));
        let expected_pooling = match reference.pooling.as_deref() {
            Some("cls") => Pooling::Cls,
            Some("max") => Pooling::Max,
            Some("last") => Pooling::Last,
            Some("mean") | None => Pooling::Mean,
            Some(other) => panic!("{other}"),
        };
        assert_eq!(embedder.settings().pooling, expected_pooling, "{name}");
        for case in &reference.cases {
            let embedding = embed(&embedder, case, &options(case));
            assert!(max_difference(embedding.vector(), expected(case, expected_pooling, true)) <= 2e-5, "{name}");
        }
    }
}

#[test]
fn gguf_files_give_the_vectors_of_their_directory() {
    let folder = tempfile::tempdir().unwrap();
    // GGUF has no number for pooling by the maximum.
    for name in DIRECTORIES.into_iter().filter(|&name| name != "bert-variants/max-bf16") {
        let reference = reference(name);
        for ty in OutputType::ALL {
            let out = folder.path().join(name).join(ty.name());
            std::fs::create_dir_all(&out).unwrap();
            let embedder = open(&converted(&fixture(name), ty, &out), 2);
            for case in &reference.cases {
                let options = EmbedOptions { pooling: Some(Pooling::Mean), ..options(case) };
                let embedding = embed(&embedder, case, &options);
                assert_eq!(embedding.tokens, case.ids.len(), "{name} as {ty}: {:?}", case.text);
                let cosine = cosine(embedding.vector(), &case.normalised.mean);
                let least = match ty {
                    OutputType::F32 => 0.999_999_9,
                    OutputType::F16 => 0.999_99,
                    OutputType::BF16 => 0.999,
                    OutputType::Q8_0 => 0.998,
                };
                assert!(cosine >= least, "{name} as {ty}: cosine {cosine} for {:?}", case.text);
            }
        }
    }
}

#[test]
fn prompts_come_from_the_files() {
    let embedder = open(&fixture("bert-tiny"), 1);
    assert_eq!(embedder.settings().query_prompt.as_deref(), Some("query: "));
    assert_eq!(embedder.settings().document_prompt.as_deref(), Some("the text is: "));
    let with = |prompt: Prompt, text: &str| {
        let options = EmbedOptions { prompt, ..EmbedOptions::default() };
        embedder.embed_with(&[text], &options).unwrap().remove(0)
    };
    assert_eq!(with(Prompt::Query, "hello"), with(Prompt::None, "query: hello"));
    assert_eq!(with(Prompt::Document, "hello"), with(Prompt::Text("the text is: ".into()), "hello"));
    assert_eq!(with(Prompt::Default, "hello"), with(Prompt::None, "hello"));
}

#[test]
fn matryoshka_cuts_then_scales() {
    let embedder = open(&fixture("bert-tiny"), 1);
    let whole =
        embedder.embed_with(&["hello world"], &EmbedOptions { normalize: false, ..Default::default() }).unwrap();
    let cut = embedder.embed_with(&["hello world"], &EmbedOptions { dim: Some(32), ..Default::default() }).unwrap();
    assert_eq!((cut[0].dim(), cut[0].vector().len()), (32, 32));
    let length = whole[0].vector()[..32].iter().map(|value| value * value).sum::<f32>().sqrt();
    let expected: Vec<f32> = whole[0].vector()[..32].iter().map(|value| value / length).collect();
    assert!(max_difference(cut[0].vector(), &expected) <= 1e-6);
    let rows = EmbedOptions { dim: Some(32), pooling: Some(Pooling::None), ..Default::default() };
    let rows = embedder.embed_with(&["hello world"], &rows).unwrap();
    assert_eq!((rows[0].rows().len(), rows[0].dim()), (rows[0].tokens, 32));
}

#[test]
fn options_out_of_range_are_refused() {
    let embedder = open(&fixture("bert-tiny"), 1);
    let error = |options: EmbedOptions| embedder.embed_with(&["hello world"], &options).unwrap_err().to_string();
    for dim in [0, 97] {
        let message = error(EmbedOptions { dim: Some(dim), ..Default::default() });
        assert!(message.contains(&format!("{dim} components")) && message.contains("1 to 96"), "{message}");
    }
    for length in [0, 2, 129] {
        let message = error(EmbedOptions { max_length: Some(length), ..Default::default() });
        assert!(message.contains(&format!("{length} tokens")) && message.contains("3 to 128"), "{message}");
    }
    let strict = EmbedOptions { max_length: Some(3), truncate: docent::Truncate::Error, ..Default::default() };
    assert!(error(strict).contains("text 0 has 4 tokens, more than the 3 allowed"));
}

#[test]
fn no_text_is_no_vector_and_an_empty_text_is_one() {
    let embedder = open(&fixture("bert-tiny"), 2);
    assert!(embedder.embed::<&str>(&[]).unwrap().is_empty());
    let empty = embedder.embed(&[""]).unwrap();
    assert_eq!(empty[0].tokens, 2);
    let length = empty[0].vector().iter().map(|value| value * value).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() < 1e-6);
}
