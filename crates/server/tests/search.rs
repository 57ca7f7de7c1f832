//! An index that is searched with the models of a server.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use docent::ModelRef;
use docent_search::{Models, Query, SearchOptions};
use docent_server::{FailureKind, Found, Search, SearchCall, SearchModels, Searcher};
use support::{block_on, config, fixture, index, service};

const QUESTION: &str = "what do the others say?";

fn call(search: Search) -> SearchCall {
    SearchCall { search, options: SearchOptions::default(), rerank: true }
}

fn addresses(found: &Found) -> Vec<String> {
    found.results.hits.iter().map(|hit| hit.address.to_string()).collect()
}

#[test]
fn a_server_finds_what_the_library_finds() {
    let folder = tempfile::tempdir().unwrap();
    let expected = {
        let index = index(folder.path());
        let embedder = docent::Embedder::open(fixture("bert-tiny").to_str().unwrap()).unwrap();
        let reranker = docent::Reranker::open(fixture("encoders/modern-bert-rerank").to_str().unwrap()).unwrap();
        let expander = docent::Expander::open(fixture("language-models/qwen3-tied").to_str().unwrap()).unwrap();
        let models = Models { embedder: Some(&embedder), reranker: Some(&reranker), expander: Some(&expander) };
        let search = || index.search(&Query::plain(QUESTION), models, &SearchOptions::default()).unwrap();
        search();
        // A model of random weights writes nothing of use: its lines are put in the place where they are kept.
        let database = rusqlite::Connection::open(folder.path().join("index.sqlite")).unwrap();
        let lines = r#"[{"kind": "lex", "text": "others cat"}, {"kind": "vec", "text": "what others say of cats"}]"#;
        assert_eq!(database.execute("UPDATE expansions SET lines = ?", [lines]).unwrap(), 1);
        search()
    };
    block_on(async {
        let index = docent_search::Index::open(folder.path().join("index.sqlite")).unwrap();
        let reranker = Some(ModelRef::Path(fixture("encoders/modern-bert-rerank")));
        let expander = Some(ModelRef::Path(fixture("language-models/qwen3-tied")));
        let models = SearchModels { embedder: None, reranker, expander };
        let searcher = Searcher::new(index, service(&config()).await, models.clone());
        let found = searcher.search(call(Search::Both(Query::plain(QUESTION)))).await.unwrap();
        let json = |results: &docent_search::SearchResults| serde_json::to_value(results).unwrap();
        assert_eq!(json(&found.results), json(&expected));
        assert!(found.notes.is_empty() && !found.results.hits.is_empty(), "{found:?}");
        assert_eq!(found.results.expansion.len(), 2);

        let found = searcher.search(call(Search::Keywords("moon".to_owned()))).await.unwrap();
        assert_eq!(addresses(&found), ["qmd://notes/tides.md"]);
        let found = searcher.search(call(Search::Meaning("moon".to_owned()))).await.unwrap();
        assert_eq!(found.results.hits.len(), 2);

        // Vectors of the reranker's architecture there are none.
        let models = SearchModels { embedder: Some(ModelRef::Path(fixture("encoders/modern-bert"))), ..models };
        let found = searcher.search_with(call(Search::Both(Query::plain("moon"))), &models).await.unwrap();
        assert_eq!(addresses(&found), ["qmd://notes/tides.md"]);
        assert!(found.notes[0].contains("no vectors of the model modern-bert"), "{:?}", found.notes);
    });
}

#[test]
fn what_is_wrong_is_said() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let searcher = Searcher::new(index(folder.path()), service(&config()).await, SearchModels::default());
        let failure = searcher.search(call(Search::Keywords("\"moon".to_owned()))).await.unwrap_err();
        assert_eq!((failure.kind, failure.field.as_deref()), (FailureKind::Invalid, Some("query")));
        let options = SearchOptions { collections: vec!["nothing".to_owned()], ..SearchOptions::default() };
        let failure = searcher.search(SearchCall { options, ..call(Search::Keywords("moon".to_owned())) }).await;
        assert_eq!(failure.unwrap_err().kind, FailureKind::NotFound);
        let models = SearchModels { embedder: Some(ModelRef::Path("nowhere".into())), ..SearchModels::default() };
        let failure = searcher.search_with(call(Search::Meaning("moon".to_owned())), &models).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Backend);
        let failure = searcher.read(|index| index.get("notes/dog.md", None, None)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
    });
}
