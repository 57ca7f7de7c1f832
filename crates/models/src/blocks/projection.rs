//! The dense layers between a pooled hidden state and its embedding: `Dense` modules of sentence-transformers.
//!
//! `EmbeddingGemma` has two matrices; `LaBSE` and distiluse have a layer with a bias and `tanh`, stella one with a bias. The models of Perplexity
//! have none, and round embeddings to signed bytes.

use crate::Error;
use crate::head::{Head, Step};
use crate::settings::{Settings, Translation, Unwritten};
use crate::weights::Weights;

/// The one architecture whose projections other readers of GGUF run, and these are matrices alone.
const SHARED: &str = "gemma-embedding";

/// The GGUF names of the layers, in order: modules are numbered, and transformer and pooling come before.
pub(crate) fn stems() -> impl Iterator<Item = String> {
    (2..).map(|number: usize| format!("dense_{number}"))
}

/// Whether embeddings are made into signed bytes at the end: `round(127 tanh(x))`.
const TO_BYTES: &str = "embedding_to_bytes";

fn activation_key(stem: &str) -> String {
    format!("{stem}_activation")
}

/// Notes the activations of a directory's layers.
pub(crate) fn translate(to: &mut Translation<'_>, architecture: &str, activations: &[Option<&str>], to_bytes: bool) {
    if to_bytes {
        to.set_bool(TO_BYTES, "type", true);
    }
    for (stem, activation) in stems().zip(activations) {
        let Some(activation) = activation else { continue };
        let key = activation_key(&stem);
        to.set_text(&key, "activation_function", activation);
        if architecture == SHARED {
            to.leave_unwritten(&key, Unwritten::Refused);
        }
    }
}

/// Loads as many layers as there are.
pub(crate) fn load(settings: &Settings<'_>, weights: &Weights<'_>, hidden: usize) -> Result<Head, Error> {
    let (mut head, mut columns) = (Head::default(), hidden);
    for stem in stems() {
        let name = format!("{stem}.weight");
        if !weights.has(&name) {
            break;
        }
        let outputs = weights.rows(&name, columns)?;
        let activation = settings.optional_activation(&activation_key(&stem))?;
        head.steps.push(Step::Linear(weights.linear(&stem, columns, outputs)?, activation));
        columns = outputs;
    }
    if settings.bool(TO_BYTES)?.unwrap_or(false) {
        head.steps.push(Step::ToBytes);
    }
    Ok(head)
}
