//! Embeds the texts of the command line and prints how alike they are.
//!
//! `cargo run --release --example embed -- all-MiniLM-L6-v2 "a brown fox" "ein brauner Fuchs" "stock prices"`

#![allow(clippy::print_stdout)]

use docent::Embedder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: embed MODEL TEXT...")?;
    let texts: Vec<String> = arguments.collect();

    let embedder = Embedder::open(&model)?;
    let embeddings = embedder.embed(&texts)?;

    for (text, embedding) in texts.iter().zip(&embeddings) {
        // Vectors have unit length, so that the inner product is the cosine.
        let cosines: Vec<String> = embeddings
            .iter()
            .map(|other| embedding.vector().iter().zip(other.vector()).map(|(a, b)| a * b).sum::<f32>())
            .map(|cosine| format!("{cosine:6.3}"))
            .collect();
        println!("{}  {:3} tokens  {text}", cosines.join(" "), embedding.tokens);
    }
    Ok(())
}
