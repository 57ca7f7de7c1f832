//! Texts and documents that are tokenized first and computed later, in the company of others.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use docent::{
    AnyModel, EmbedOptions, Embedder, Error, LongDocuments, OpenOptions, Pooling, PreparedDocument, PreparedText,
    Prompt, RerankOptions, Reranker, Truncate,
};
use support::{bits, fixture, open};

fn embedder() -> Embedder {
    open(&fixture("bert-tiny"), 2)
}

fn prepare(embedder: &Embedder, texts: &[&str], options: &EmbedOptions) -> Vec<PreparedText> {
    embedder.prepare(texts, options).unwrap().into_iter().collect::<Result<_, _>>().unwrap()
}

#[test]
fn calls_with_different_options_are_put_together_and_keep_their_bits() {
    let embedder = embedder();
    let calls = [
        EmbedOptions::default(),
        EmbedOptions { dim: Some(8), prompt: Prompt::Text("query: ".to_owned()), ..EmbedOptions::default() },
        EmbedOptions { pooling: Some(Pooling::None), ..EmbedOptions::default() },
        EmbedOptions { normalize: false, max_length: Some(4), truncate: Truncate::Left, ..EmbedOptions::default() },
    ];
    let texts = ["hello world", "", "the quick brown fox jumps over the lazy dog"];
    let prepared: Vec<_> = calls.iter().flat_map(|options| prepare(&embedder, &texts, options)).collect();
    let expected = calls.iter().flat_map(|options| embedder.embed_with(&texts, options).unwrap());
    let found = embedder.embed_prepared(&prepared.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(found.len(), 12);
    for ((found, expected), prepared) in found.into_iter().zip(expected).zip(&prepared) {
        let found = found.unwrap();
        assert_eq!(found.vector().len(), prepared.values());
        assert_eq!(bits(&found), bits(&expected));
        assert_eq!((found.tokens, found.dropped, found.dim()), (expected.tokens, expected.dropped, expected.dim()));
    }
}

#[test]
fn many_texts_are_prepared_as_few() {
    let embedder = embedder();
    let texts: Vec<String> = (0..300).map(|i| format!("text number {i} {}", "and more ".repeat(i % 17))).collect();
    let together = embedder.prepare(&texts, &EmbedOptions::default()).unwrap();
    for (text, prepared) in texts.iter().zip(together) {
        assert_eq!(prepared.unwrap().ids(), prepare(&embedder, &[text], &EmbedOptions::default())[0].ids());
    }
}

#[test]
fn ids_are_taken_as_they_are() {
    let embedder = embedder();
    let text = "the quick brown fox";
    let ids = embedder.tokenizer().ids(text).unwrap();
    let prepared = embedder.prepare_ids(&[&ids], &EmbedOptions::default()).unwrap().remove(0).unwrap();
    assert_eq!(prepared.ids(), ids);
    let found = embedder.embed_prepared(&[&prepared]).unwrap().remove(0).unwrap();
    assert_eq!(bits(&found), bits(&embedder.embed(&[text]).unwrap()[0]));
}

#[test]
fn long_id_sequences_are_cut_as_texts_are() {
    let embedder = embedder();
    let text = "the quick brown fox jumps over the lazy dog again and again";
    let ids = embedder.tokenizer().ids(text).unwrap();
    for truncate in [Truncate::Right, Truncate::Left] {
        let options = EmbedOptions { max_length: Some(6), truncate, ..EmbedOptions::default() };
        let cut = embedder.prepare_ids(&[&ids], &options).unwrap().remove(0).unwrap();
        let expected = &prepare(&embedder, &[text], &options)[0];
        assert_eq!((cut.ids(), cut.dropped()), (expected.ids(), expected.dropped()), "{truncate:?}");
    }
}

#[test]
fn each_bad_sequence_has_an_error_of_its_own() {
    let embedder = embedder();
    let vocabulary = u32::try_from(embedder.tokenizer().vocab_size()).unwrap();
    let options = EmbedOptions { max_length: Some(4), truncate: Truncate::Error, ..EmbedOptions::default() };
    let sequences = [vec![], vec![1], vec![1, vocabulary], vec![1; 5]];
    let prepared = embedder.prepare_ids(&sequences, &options).unwrap();
    assert!(matches!(prepared[0], Err(Error::NoTokens { index: 0 })));
    assert!(prepared[1].is_ok());
    assert!(matches!(prepared[2], Err(Error::TokenId { index: 2, id, .. }) if id == vocabulary));
    assert!(matches!(prepared[3], Err(Error::TooLong { index: 3, tokens: 5, max_length: 4 })));
    let error = embedder.prepare_ids(&sequences, &EmbedOptions { dim: Some(0), ..options }).unwrap_err();
    assert!(matches!(error, Error::Dim { dim: 0, .. }));
}

#[test]
fn documents_of_several_queries_are_put_together_and_keep_their_scores() {
    let reranker = Reranker::open(fixture("encoders/modern-bert-rerank").to_str().unwrap()).unwrap();
    let documents = ["a dog", "the cat sat on the mat", &"one word after another ".repeat(20)];
    let calls = [
        ("where is the cat", RerankOptions::default()),
        ("dogs", RerankOptions { raw: true, max_length: Some(24), ..RerankOptions::default() }),
        (
            "words",
            RerankOptions { max_length: Some(32), long_documents: LongDocuments::Windows, ..RerankOptions::default() },
        ),
    ];
    let prepared: Vec<PreparedDocument> =
        calls.iter().flat_map(|(query, options)| reranker.prepare(query, &documents, options).unwrap()).collect();
    let mut found = reranker.score_prepared(&prepared.iter().rev().collect::<Vec<_>>()).unwrap();
    found.reverse();
    for ((query, options), found) in calls.iter().zip(found.chunks(3)) {
        for expected in reranker.rerank_with(query, &documents, options).unwrap() {
            assert_eq!(found[expected.index].as_ref().unwrap(), &expected, "{query}");
        }
    }
}

#[test]
fn a_model_is_opened_as_what_it_is() {
    let open = |name: &str| {
        let model = fixture(name).to_str().unwrap().parse().unwrap();
        AnyModel::open_with(&model, &OpenOptions::default(), &docent::hub::Silent)
    };
    assert!(matches!(open("bert-tiny"), Ok(AnyModel::Embedder(_))));
    assert!(matches!(open("encoders/modern-bert-rerank"), Ok(AnyModel::Reranker(_))));
}
