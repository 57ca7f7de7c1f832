//! Finds the lines of a text file that come closest to a question.
//!
//! `cargo run --release --example search -- README.md "How do I run the tests?"`

#![allow(clippy::print_stdout)]

use docent::{EmbedOptions, Embedder, Prompt};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("usage: search FILE QUESTION".into());
    };
    let text = std::fs::read_to_string(&file)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();

    let embedder = Embedder::open(docent::catalog::DEFAULT_MODEL)?;
    // Models that were trained with different prompts for questions and documents get them; others get none.
    let options = |prompt| EmbedOptions { prompt, ..EmbedOptions::default() };
    let documents = embedder.embed_with(&lines, &options(Prompt::Document))?;
    let query = &embedder.embed_with(&[question], &options(Prompt::Query))?[0];

    let score = |vector: &[f32]| vector.iter().zip(query.vector()).map(|(a, b)| a * b).sum::<f32>();
    let mut ranked: Vec<(f32, &str)> =
        documents.iter().map(|document| score(document.vector())).zip(lines.iter().copied()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, line) in ranked.iter().take(5) {
        println!("{score:.3}  {line}");
    }
    Ok(())
}
