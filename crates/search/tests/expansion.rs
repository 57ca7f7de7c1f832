//! A plain question asked in other ways: which queries, how it counts, what is kept, and the deadline.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use docent::hub::Silent;
use docent::{Expander, ModelRef, OpenOptions};
use docent_search::{Expands, Fusion, LeftOut, Line, LineKind, Models, Query, SearchOptions, SearchResults};
use rusqlite::Connection;
use support::{EMBEDDER, Place, fixture};

/// A small language model with random weights. What it writes has the form and no meaning.
static EXPANDER: LazyLock<Expander> = LazyLock::new(|| {
    let options = OpenOptions { threads: Some(2), offline: true, ..OpenOptions::default() };
    let model = ModelRef::Path(fixture("language-models/qwen3-tied"));
    Expander::open_with(&model, &options, &Silent).unwrap()
});

const QUESTION: &str = "where do cats sleep";

fn place() -> Place {
    let place = Place::new(&[
        ("cat.md", "# Cats\n\nCats sleep on the mat in the afternoon.\n"),
        ("dog.md", "# Dogs\n\nDogs sleep in the yard; kennels are where they go.\n"),
        ("boat.md", "# Boats\n\nA boat lies in the harbour and waits for the tide.\n"),
        ("bread.md", "# Bread\n\nFlour, water, salt, and a warm place to rise.\n"),
    ]);
    place.embed();
    place
}

fn models() -> Models<'static> {
    Models { embedder: Some(&EMBEDDER), expander: Some(&*EXPANDER), reranker: None }
}

fn search(place: &Place, query: &Query, models: Models<'_>, options: &SearchOptions) -> SearchResults {
    place.index.search(query, models, options).unwrap()
}

fn addresses(found: &SearchResults) -> Vec<(String, f64)> {
    found.hits.iter().map(|hit| (hit.address.to_string(), hit.score)).collect()
}

fn database(place: &Place) -> Connection {
    Connection::open(place.folder.path().join("index/index.sqlite")).unwrap()
}

/// Puts lines in the place of what the model has written for the one question that there is.
fn write_lines(place: &Place, lines: &str) {
    search(place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    assert_eq!(database(place).execute("UPDATE expansions SET lines = ?", [lines]).unwrap(), 1);
}

#[test]
fn lines_of_an_expansion_count_beside_the_question() {
    let place = place();
    let alone =
        search(&place, &Query::plain(QUESTION), Models { expander: None, ..models() }, &SearchOptions::default());
    assert!(alone.expansion.is_empty());
    write_lines(
        &place,
        r#"[{"kind": "lex", "text": "harbour \"tide"}, {"kind": "hyde", "text": "A boat lies in the harbour and waits for the tide."}]"#,
    );
    for fusion in [Fusion::Relevance, Fusion::ReciprocalRanks] {
        let options = SearchOptions { fusion, ..SearchOptions::default() };
        let found = search(&place, &Query::plain(QUESTION), models(), &options);
        let lines =
            [(LineKind::Lex, "harbour \"tide"), (LineKind::Hyde, "A boat lies in the harbour and waits for the tide.")];
        assert_eq!(found.expansion, lines.map(|(kind, text)| Line { kind, text: text.to_owned() }));
        assert!(found.left_out.is_empty());
        let score = |results: &SearchResults, name: &str| {
            results.hits.iter().find(|hit| hit.address.to_string().contains(name)).unwrap().score
        };
        // The boat is lifted, nothing falls, and the cat stays the answer.
        assert!(score(&found, "boat") > score(&alone, "boat") + 0.01);
        for (address, before) in addresses(&alone) {
            assert!(score(&found, &address) >= before, "{address}");
        }
        assert_eq!(found.hits[0].address.to_string(), "qmd://notes/cat.md", "{fusion:?}");
        let explain = found.hits.iter().find(|hit| hit.address.to_string().contains("boat")).unwrap();
        let explain = explain.explain.clone().unwrap();
        let lists: Vec<_> = explain.rrf.contributions.iter().map(|list| (&*list.query_type, list.weight)).collect();
        assert!(lists.contains(&("lex", 1.0)) && lists.contains(&("hyde", 1.0)), "{lists:?}");
        assert!(lists.iter().all(|&(name, weight)| (weight == 2.0) == (name == "original")), "{lists:?}");
        assert!(explain.expanded_evidence.unwrap().coverage > explain.evidence.coverage);
    }
}

#[test]
fn an_expansion_is_written_once() {
    let place = place();
    let first = search(&place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    write_lines(&place, r#"[{"kind": "vec", "text": "kept"}]"#);
    let second = search(&place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    assert_ne!(first.expansion, second.expansion);
    assert_eq!(second.expansion, [Line { kind: LineKind::Vec, text: "kept".to_owned() }]);
    // What cannot be read is written anew.
    write_lines(&place, "nonsense");
    let third = search(&place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    assert_eq!((addresses(&first), first.expansion), (addresses(&third), third.expansion));
}

/// A model that must not be needed.
struct Unneeded;

impl Expands for Unneeded {
    fn path(&self) -> &Path {
        EXPANDER.path()
    }

    fn open(&self) -> Result<&Expander, docent::Error> {
        panic!("the model was opened")
    }
}

#[test]
fn a_model_is_opened_only_to_write() {
    let place = place();
    write_lines(&place, r#"[{"kind": "vec", "text": "kept"}]"#);
    let unopened = Models { expander: Some(&Unneeded), ..models() };
    let found = search(&place, &Query::plain(QUESTION), unopened, &SearchOptions::default());
    assert_eq!(found.expansion, [Line { kind: LineKind::Vec, text: "kept".to_owned() }]);
}

#[test]
fn a_search_does_not_wait_to_keep_an_expansion() {
    let place = place();
    let mut writer = database(&place);
    let _held = writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let begun = Instant::now();
    let found = search(&place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    assert!(!found.hits.is_empty() && begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_the_user_wrote_is_not_expanded_nor_what_is_found_already() {
    let place = place();
    let kept =
        || -> i64 { database(&place).query_row("SELECT count(*) FROM expansions", [], |row| row.get(0)).unwrap() };
    for query in ["vec: where do cats sleep", "lex: cats", "lex: cats\nhyde: Cats sleep."] {
        let found = search(&place, &Query::parse(query).unwrap(), models(), &SearchOptions::default());
        assert!(found.expansion.is_empty(), "{query}");
    }
    assert_eq!(kept(), 0);
    // One document has all of the words, and many times; the others have none.
    place.write("raft.md", "# Raft consensus\n\n".to_owned() + &"raft consensus ".repeat(50));
    place.update();
    place.embed();
    search(&place, &Query::plain("raft consensus"), models(), &SearchOptions::default());
    assert_eq!(kept(), 0);
    // Unless the words do not say all.
    let query = Query { intent: Some("boats".to_owned()), ..Query::plain("raft consensus") };
    search(&place, &query, models(), &SearchOptions::default());
    assert_eq!(kept(), 1);
}

#[test]
fn a_deadline_cuts_an_expansion_off_and_says_so() {
    let place = place();
    let options = SearchOptions { deadline: Some(Duration::ZERO), ..SearchOptions::default() };
    let found = search(&place, &Query::plain(QUESTION), models(), &options);
    assert_eq!(found.left_out, [LeftOut::Expansion, LeftOut::Meaning]);
    assert!(!found.hits.is_empty() && found.expansion.is_empty());
    // What was cut off is not kept; with time the model is asked again.
    let found = search(&place, &Query::plain(QUESTION), models(), &SearchOptions::default());
    assert_eq!(found.left_out, []);
    // And with none what is kept is used.
    write_lines(&place, r#"[{"kind": "lex", "text": "harbour"}]"#);
    let found = search(&place, &Query::plain(QUESTION), models(), &options);
    assert_eq!((found.left_out.as_slice(), found.expansion.len()), (&[LeftOut::Meaning][..], 1));
}

#[test]
fn an_index_of_the_version_before_gets_the_table() {
    let place = place();
    let database = database(&place);
    database.execute_batch("DROP TABLE expansions; PRAGMA user_version = 1").unwrap();
    drop(database);
    let index = docent_search::Index::open(place.folder.path().join("index/index.sqlite")).unwrap();
    let found = index.search(&Query::plain(QUESTION), models(), &SearchOptions::default()).unwrap();
    assert!(!found.hits.is_empty());
}
