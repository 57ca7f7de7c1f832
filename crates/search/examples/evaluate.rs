//! How well the searches find what people judged relevant.
//!
//! ```sh
//! cargo run --release -p docent-search --example evaluate -- COLLECTION [--model MODEL] [--reranker MODEL] [--pairs FILE] \
//!     [--keep FOLDER] [--floats]
//! ```
//!
//! `COLLECTION` is a folder in the layout of BEIR (`corpus.jsonl`, `queries.jsonl`, `qrels.tsv`), or one with a folder `docs` of Markdown
//! files and `queries.jsonl`, of which each line has a query, a part of the expected file's name, and a difficulty.
//! `--pairs` writes what was measured of every pair of a query and a document, for fitting the curves of the scores; `--keep` keeps the index
//! for the next time. `--floats` measures search by meaning with vectors of floats beside that with the index's bytes.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a tool for developers

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use docent::{EmbedOptions, Embedder, Prompt, Reranker};
use docent_search::{
    ChunkOptions, Collection, Fusion, Hit, Index, Models, Query, SearchOptions, SearchResults, Silent, Syntax,
    UpdateOptions, Wait, chunks,
};
use serde_json::Value;

/// Results that are looked at.
const DEPTH: usize = 100;

/// A query with the grades of the documents that were judged.
struct Judged {
    id: String,
    text: String,
    group: String,
    grades: HashMap<String, f64>,
}

/// A way to search for a query.
type Search<'a> = Box<dyn Fn(&Judged) -> SearchResults + 'a>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).map(|at| arguments[at + 1].clone());
    let folder = PathBuf::from(arguments.first().expect("the folder of a collection"));
    let temporary = tempfile::tempdir().unwrap();
    let place = option("--keep").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let documents = place.join("documents");
    let queries =
        if folder.join("qrels.tsv").exists() { beir(&folder, &documents) } else { files(&folder, &documents) };

    let embedder = Embedder::open(option("--model").as_deref().unwrap_or(docent::catalog::DEFAULT_MODEL)).unwrap();
    let reranker = option("--reranker").map(|name| Reranker::open(name).unwrap());
    let index = Index::open(place.join("index.sqlite")).unwrap();
    if index.collections().unwrap().is_empty() {
        index.add_collection(&Collection::new("documents", &documents)).unwrap();
    }
    let report = index.update(&UpdateOptions::default(), &Silent).unwrap();
    let begun = Instant::now();
    let embedded = index.embed(&embedder, Wait::No, &Silent).unwrap();
    println!(
        "{} documents, {} chunks in {:.1} s, {} queries\n",
        report.added,
        embedded.chunks,
        begun.elapsed().as_secs_f64(),
        queries.len()
    );

    let options = SearchOptions { limit: DEPTH, ..SearchOptions::default() };
    let models = Models { embedder: Some(&embedder), ..Models::default() };
    let ranks = SearchOptions { fusion: Fusion::ReciprocalRanks, ..options.clone() };
    let plain = |query: &Judged| Query::plain(query.text.as_str());
    let mut searches: Vec<(&str, Search<'_>)> = vec![
        ("keyword", Box::new(|query| index.search_keywords(&query.text.replace('"', " "), &options).unwrap())),
        ("vector", Box::new(|query| index.search_meaning(&query.text, &embedder, &options).unwrap())),
        ("hybrid", Box::new(|query| index.search(&plain(query), models, &options).unwrap())),
        ("hybrid, ranks", Box::new(|query| index.search(&plain(query), models, &ranks).unwrap())),
    ];
    if let Some(reranker) = &reranker {
        let both = Models { reranker: Some(reranker), ..models };
        let (index, options) = (&index, &options);
        searches.push(("reranked", Box::new(move |query| index.search(&plain(query), both, options).unwrap())));
    }
    println!("| search | nDCG@10 | recall@10 | recall@100 | hit@1 | hit@3 | mean ms |\n|---|---|---|---|---|---|---|");
    for (name, search) in &searches {
        print_row(name, &queries, search.as_ref());
    }
    if arguments.iter().any(|argument| argument == "--floats") {
        let vectors = float_vectors(&embedder, &documents);
        print_grades("vector, floats", &queries, &|query| by_floats(&embedder, &vectors, query));
    }
    if let Some(path) = option("--pairs") {
        let everything = SearchOptions { limit: usize::MAX, ..options.clone() };
        let keywords = |query: &Judged| index.search_keywords(&query.text.replace('"', " "), &everything).unwrap();
        let meaning = |query: &Judged| index.search_meaning(&query.text, &embedder, &everything).unwrap();
        write_pairs(Path::new(&path), &queries, keywords, meaning);
    }
}

/// The means over all queries, and the hits of each group.
fn print_row(name: &str, queries: &[Judged], search: &dyn Fn(&Judged) -> SearchResults) {
    print_grades(name, queries, &|query| search(query).hits.iter().map(|hit| grade(query, name_of(hit))).collect());
}

/// The same for searches that give the grades of what they find, best first.
fn print_grades(name: &str, queries: &[Judged], search: &dyn Fn(&Judged) -> Vec<f64>) {
    let mut sums = [0.0; 6];
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for query in queries {
        let begun = Instant::now();
        let found = search(query);
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        let hit = |k: usize| f64::from(found.iter().take(k).any(|grade| *grade > 0.0));
        let values =
            [ndcg(query, &found), recall(query, &found, 10), recall(query, &found, 100), hit(1), hit(3), milliseconds];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        let group = groups.entry(query.group.as_str()).or_default();
        *group = (group.0 + usize::from(hit(3) > 0.0), group.1 + 1);
    }
    let [ndcg, recall_10, recall_100, hit_1, hit_3, milliseconds] = sums.map(|sum| sum / queries.len() as f64);
    println!("| {name} | {ndcg:.4} | {recall_10:.3} | {recall_100:.3} | {hit_1:.3} | {hit_3:.3} | {milliseconds:.2} |");
    if groups.len() > 1 {
        let groups: Vec<String> = groups.iter().map(|(name, (hits, all))| format!("{name} {hits}/{all}")).collect();
        println!("|   hit@3: {} |", groups.join(", "));
    }
}

fn name_of(hit: &Hit) -> &str {
    hit.address.path.strip_suffix(".md").unwrap_or(&hit.address.path)
}

fn grade(query: &Judged, name: &str) -> f64 {
    query.grades.get(name).copied().unwrap_or(0.0)
}

/// The vectors of all chunks, cut as an index cuts them, with the names of their documents.
fn float_vectors(embedder: &Embedder, documents: &Path) -> Vec<(String, Vec<f32>)> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(documents).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) = (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        let options = ChunkOptions::of(embedder);
        for chunk in chunks(&text, Syntax::Markdown, embedder.tokenizer(), options).unwrap() {
            inputs.push((name.clone(), chunk.input(&text)));
        }
    }
    let (names, inputs): (Vec<String>, Vec<String>) = inputs.into_iter().unzip();
    let options = EmbedOptions { prompt: Prompt::Document, ..EmbedOptions::default() };
    let vectors = embedder.embed_with(&inputs, &options).unwrap().into_iter().map(docent::Embedding::into_vector);
    names.into_iter().zip(vectors).collect()
}

/// The grades of the documents nearest to a query, by the nearest of their vectors.
fn by_floats(embedder: &Embedder, vectors: &[(String, Vec<f32>)], query: &Judged) -> Vec<f64> {
    let options = EmbedOptions { prompt: Prompt::Query, ..EmbedOptions::default() };
    let question = embedder.embed_with(&[query.text.as_str()], &options).unwrap().remove(0).into_vector();
    let mut best: HashMap<&str, f32> = HashMap::new();
    for (name, vector) in vectors {
        let cosine: f32 = vector.iter().zip(&question).map(|(a, b)| a * b).sum();
        let held = best.entry(name).or_insert(cosine);
        *held = held.max(cosine);
    }
    let mut ranked: Vec<(&str, f32)> = best.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    ranked.iter().take(DEPTH).map(|(name, _)| grade(query, name)).collect()
}

/// Discounted gain of the first ten over that of the best order.
fn ndcg(query: &Judged, found: &[f64]) -> f64 {
    let gain = |grades: &[f64]| -> f64 {
        grades.iter().take(10).enumerate().map(|(rank, grade)| grade / (rank as f64 + 2.0).log2()).sum()
    };
    let mut ideal: Vec<f64> = query.grades.values().copied().collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    gain(found) / gain(&ideal)
}

fn recall(query: &Judged, found: &[f64], k: usize) -> f64 {
    found.iter().take(k).filter(|grade| **grade > 0.0).count() as f64 / query.grades.len() as f64
}

/// Query, document, grade, and the odds that the two searches give, as logarithms, tab-separated; `-inf` if one did not find the document.
fn write_pairs(
    path: &Path,
    queries: &[Judged],
    keywords: impl Fn(&Judged) -> SearchResults,
    meaning: impl Fn(&Judged) -> SearchResults,
) {
    let mut out = fs::File::create(path).unwrap();
    for query in queries {
        let odds = |found: SearchResults| -> HashMap<String, f64> {
            found.hits.iter().map(|hit| (name_of(hit).to_owned(), (hit.score / (1.0 - hit.score)).ln())).collect()
        };
        let words = odds(keywords(query));
        for (name, meaning) in odds(meaning(query)) {
            let grade = query.grades.get(&name).copied().unwrap_or(0.0);
            let words = words.get(&name).copied().unwrap_or(f64::NEG_INFINITY);
            writeln!(out, "{}\t{name}\t{grade}\t{words}\t{meaning}", query.id).unwrap();
        }
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn string(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// Writes the documents of a collection in BEIR's layout as files, and returns the queries that have judgements.
fn beir(folder: &Path, documents: &Path) -> Vec<Judged> {
    fs::create_dir_all(documents).unwrap();
    for line in lines(&folder.join("corpus.jsonl")) {
        let text = format!("# {}\n\n{}\n", string(&line, "title"), string(&line, "text"));
        fs::write(documents.join(format!("{}.md", string(&line, "_id"))), text).unwrap();
    }
    let mut grades: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for line in fs::read_to_string(folder.join("qrels.tsv")).unwrap().lines() {
        let [query, document, grade] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        if let Ok(grade) = grade.parse::<f64>() {
            grades.entry(query.to_owned()).or_default().insert(document.to_owned(), grade);
        }
    }
    let queries = lines(&folder.join("queries.jsonl")).into_iter();
    let judged = queries.filter_map(|line| {
        let id = string(&line, "_id");
        let grades = grades.remove(&id)?;
        Some(Judged { id, text: string(&line, "text"), group: String::new(), grades })
    });
    judged.collect()
}

/// The same for a folder of files.
fn files(folder: &Path, documents: &Path) -> Vec<Judged> {
    fs::create_dir_all(documents).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, documents.join(path.file_name().unwrap())).unwrap();
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    let judged = lines(&folder.join("queries.jsonl")).into_iter().enumerate().map(|(index, line)| {
        let expected = string(&line, "expected");
        let name = names.iter().find(|name| name.contains(&expected)).unwrap().clone();
        let (text, group) = (string(&line, "query"), string(&line, "difficulty"));
        Judged { id: index.to_string(), text, group, grades: HashMap::from([(name, 1.0)]) }
    });
    judged.collect()
}
