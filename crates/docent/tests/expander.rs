//! Query expansion with a small model of random weights: whatever it writes has the form, and is the same again.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::cell::Cell;
use std::path::Path;

use docent::convert::{self, OutputType};
use docent::hub::Silent;
use docent::{
    AnyModel, Embedder, Error, ExpandOptions, ExpandedLine, Expander, Expansion, LineKind, ModelRef, OpenOptions,
    Reranker,
};
use proptest::prelude::*;
use support::fixture;

const MODEL: &str = "language-models/qwen3-tied";

fn open_path(path: &Path, threads: usize) -> Result<Expander, Error> {
    let options = OpenOptions { threads: Some(threads), offline: true, ..OpenOptions::default() };
    Expander::open_with(&ModelRef::Path(path.to_owned()), &options, &Silent)
}

fn open(threads: usize) -> Expander {
    open_path(&fixture(MODEL), threads).unwrap()
}

fn expand(expander: &Expander, query: &str, options: &ExpandOptions) -> Expansion {
    expander.expand_with(query, options, &|| false).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_asked_lines_have_the_form_and_are_the_same_on_any_number_of_threads(
        query in "\\PC{0,40}",
        seed in any::<u64>(),
        temperature in prop::sample::select(vec![0.0f32, 0.7, 3.0]),
        threads in 1..4usize,
    ) {
        thread_local!(static ONE: Expander = open(1));
        let options = ExpandOptions { seed, temperature, top_k: 0, top_p: 1.0, max_tokens: 160, ..ExpandOptions::default() };
        let expansion = ONE.with(|expander| expand(expander, &query, &options));
        prop_assert_eq!(&expansion, &expand(&open(threads), &query, &options));
        let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(expansion.lines.is_empty(), query.is_empty());
        prop_assert!(expansion.tokens <= 160);
        for line in &expansion.lines {
            prop_assert!(!line.text.is_empty() && !line.text.contains('\n'), "{:?}", line);
            prop_assert!(expansion.fallback || line.text != query);
        }
    }
}

#[test]
fn random_weights_write_lines_too() {
    let expander = open(2);
    // All of the tokens, so that ends of lines are drawn now and then; every line has a vowel.
    let options = ExpandOptions { temperature: 5.0, top_k: 0, top_p: 1.0, max_tokens: 200, ..ExpandOptions::default() };
    let (mut kinds, mut complete) = (Vec::new(), 0);
    for seed in 0..20 {
        let expansion = expand(&expander, "a e i o u", &ExpandOptions { seed, ..options.clone() });
        kinds.extend(expansion.lines.iter().filter(|_| !expansion.fallback).map(|line| line.kind));
        complete += usize::from(expansion.complete);
        // What ended by itself is not cut off by the number of tokens.
        assert!(!expansion.complete || expansion.tokens < 200);
    }
    for kind in [LineKind::Lex, LineKind::Vec, LineKind::Hyde] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(complete > 0);
}

#[test]
fn a_seed_matters_unless_there_is_nothing_to_draw() {
    let expander = open(1);
    let drawn = |seed| {
        expand(
            &expander,
            "e",
            &ExpandOptions { seed, temperature: 5.0, top_k: 0, top_p: 1.0, ..ExpandOptions::default() },
        )
    };
    assert_ne!(drawn(1), drawn(2));
    assert_eq!(drawn(1), drawn(1));
    let greedy = |seed| expand(&expander, "e", &ExpandOptions { seed, temperature: 0.0, ..ExpandOptions::default() });
    assert_eq!(greedy(1), greedy(2));
    assert_eq!(expander.expand("e").unwrap(), expand(&expander, "e", &ExpandOptions::default()).lines);
}

#[test]
fn an_expansion_that_is_stopped_keeps_its_complete_lines() {
    let expander = open(1);
    let options = ExpandOptions { temperature: 5.0, top_k: 0, top_p: 1.0, max_tokens: 300, ..ExpandOptions::default() };
    let (seed, whole) = (0..100)
        .map(|seed| (seed, expand(&expander, "a e i o u", &ExpandOptions { seed, ..options.clone() })))
        .find(|(_, expansion)| expansion.lines.len() > 2 && !expansion.fallback)
        .unwrap();
    let mut kept = Vec::new();
    for steps in 0..=whole.tokens {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == steps;
        let expansion = expander.expand_with("a e i o u", &ExpandOptions { seed, ..options.clone() }, &stop).unwrap();
        assert!(!expansion.complete && expansion.tokens == steps, "{steps}: {expansion:?}");
        let lines: Vec<ExpandedLine> = if expansion.fallback { Vec::new() } else { expansion.lines };
        assert!(whole.lines.starts_with(&lines), "{steps}: {lines:?}");
        kept.push(lines.len());
    }
    assert!(kept.is_sorted() && kept[0] == 0 && *kept.last().unwrap() > 1, "{kept:?}");
}

#[test]
fn what_is_cut_off_is_said() {
    let expander = open(1);
    let none = expand(&expander, "cat", &ExpandOptions { max_tokens: 0, ..ExpandOptions::default() });
    assert_eq!((none.tokens, none.complete, none.fallback, none.dropped), (0, false, true, 0));
    let few = expand(&expander, "cat", &ExpandOptions { max_tokens: 3, ..ExpandOptions::default() });
    assert_eq!((few.tokens, few.complete, few.fallback), (3, false, true));
    assert_eq!(few.lines.len(), 3);
    let long = expand(&expander, &"cat ".repeat(2000), &ExpandOptions { max_tokens: 3, ..ExpandOptions::default() });
    assert!(long.dropped > 1000, "{}", long.dropped);
    assert_eq!(expander.expand(" \n ").unwrap(), []);
}

#[test]
fn a_converted_file_writes_what_its_directory_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    convert::convert(&fixture(MODEL), &path, OutputType::F16, &mut |_| {}).unwrap();
    let (file, directory) = (open_path(&path, 1).unwrap(), open(1));
    assert_eq!(file.expand("where is the cat").unwrap(), directory.expand("where is the cat").unwrap());
}

#[test]
fn models_of_other_kinds_are_refused() {
    for (model, what) in [
        ("bert-tiny", "bert-tiny is an embedding model, not a query expander"),
        ("convertible/qwen3-embed", "qwen3-embed is an embedding model, not a query expander"),
        ("decoders/qwen3-classifier", "qwen3-classifier is a reranker, not a query expander"),
        ("encoders/nomic-bert/model.gguf", "is a"),
    ] {
        let error = open_path(&fixture(model), 1).unwrap_err();
        assert!(matches!(error, Error::NotAnExpander { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
    let name = "qmd-query-expansion-1.7B";
    let error = |result: Error| result.to_string();
    assert_eq!(
        error(Expander::open("all-MiniLM-L6-v2").unwrap_err()),
        "all-MiniLM-L6-v2 is an embedding model, not a query expander"
    );
    assert_eq!(error(Embedder::open(name).unwrap_err()), format!("{name} is a query expander, not an embedding model"));
    assert_eq!(error(Reranker::open(name).unwrap_err()), format!("{name} is a query expander, not a reranker"));
}

#[test]
fn a_file_that_bears_the_name_of_the_catalogues_expander_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        |name: &str| convert::Options { name: Some(name.to_owned()), ..convert::Options::new(OutputType::F16) };
    let written = |name: &str| {
        let path = folder.path().join(format!("{}.gguf", name.len()));
        convert::convert_with(&fixture(MODEL), &path, &options(name), &mut |_| {}).unwrap();
        ModelRef::Path(path)
    };
    let open = |model: &ModelRef| AnyModel::open_with(model, &OpenOptions::default(), &Silent);
    let (known, unknown) = (written("qmd-query-expansion-1.7B"), written("another"));
    assert!(matches!(open(&known), Ok(AnyModel::Expander(_))));
    assert!(matches!(open(&unknown), Ok(AnyModel::Embedder(_))));
    let refused = Embedder::open_with(&known, &OpenOptions::default(), &Silent);
    assert!(matches!(refused, Err(Error::NotAnEmbedder { .. })));
    // Files do not say what a language model is for, so one that is named as an expander is taken for one.
    assert!(Expander::open_with(&unknown, &OpenOptions::default(), &Silent).is_ok());
    let embedder = Expander::open_with(&written("bge-small-en-v1.5"), &OpenOptions::default(), &Silent);
    assert_eq!(embedder.unwrap_err().to_string(), "bge-small-en-v1.5 is an embedding model, not a query expander");
}
