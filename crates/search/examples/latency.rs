//! How long searches of an index take in a process that has its model loaded.
//!
//! ```sh
//! cargo run --release -p docent-search --example latency -- INDEX.sqlite [MODEL]
//! ```
//!
//! The queries are titles of the index's own documents, each with some words of a question around it.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a tool for developers

use std::time::Instant;

use docent::Embedder;
use docent_search::{Address, Index, Models, Query, SearchOptions};

/// Queries of each kind.
const QUERIES: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let index = Index::open(arguments.first().expect("the path of an index")).unwrap();
    let begun = Instant::now();
    let embedder = Embedder::open(arguments.get(1).map_or(docent::catalog::DEFAULT_MODEL, String::as_str)).unwrap();
    println!("model opened in {:.1} ms, {} threads", milliseconds(begun), embedder.threads());
    let queries = queries(&index);
    let status = index.status().unwrap();
    let chunks: u64 = status.models.iter().map(|model| model.chunks).sum();
    println!(
        "{} documents, {chunks} chunks, {} MB, {} queries\n",
        status.documents,
        status.bytes / 1_000_000,
        queries.len()
    );

    let options = SearchOptions::default();
    let models = Models { embedder: Some(&embedder), ..Models::default() };
    println!("| search | first, ms | median, ms | p95, ms | processor time, ms |\n|---|---|---|---|---|");
    measure("keyword", &queries, |query| index.search_keywords(query, &options).unwrap().hits.len());
    measure("vector", &queries, |query| index.search_meaning(query, &embedder, &options).unwrap().hits.len());
    measure("hybrid", &queries, |query| index.search(&Query::plain(query), models, &options).unwrap().hits.len());
    if let Some(peak) = peak_memory() {
        println!("\npeak memory {peak}");
    }
}

fn queries(index: &Index) -> Vec<String> {
    let mut titles = Vec::new();
    for status in index.collections().unwrap() {
        let place = Address::new(status.collection.name, "");
        titles.extend(index.list(&place).unwrap().into_iter().map(|entry| entry.title.replace('"', " ")));
    }
    titles.sort_unstable();
    titles.dedup();
    let step = (titles.len() / QUERIES).max(1);
    let shapes = ["how does {} work", "{}", "what is the use of {} with several threads", "errors of {}"];
    let chosen = titles.into_iter().step_by(step).take(QUERIES).enumerate();
    chosen.map(|(at, title)| shapes[at % shapes.len()].replace("{}", &title)).collect()
}

fn measure(name: &str, queries: &[String], search: impl Fn(&str) -> usize) {
    let begun = Instant::now();
    search(&queries[0]);
    let first = milliseconds(begun);
    let before = processor_time();
    let mut times: Vec<f64> = queries
        .iter()
        .map(|query| {
            let begun = Instant::now();
            search(query);
            milliseconds(begun)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let processor = (processor_time() - before) / queries.len() as f64;
    println!("| {name} | {first:.1} | {:.1} | {:.1} | {processor:.1} |", at(0.5), at(0.95));
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds that all threads of the process have computed; Linux alone tells, in hundredths of a second.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// The largest memory that this process has had; Linux alone tells.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|value| value.trim().to_owned())
}
