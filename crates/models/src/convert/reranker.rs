//! Rerankers that are language models: their answers become a classifier.
//!
//! A Qwen3-Reranker is published as a language model that answers yes or no. llama.cpp's converter recognises the repository by its
//! name and writes the rows of the two answers in the output matrix as `cls.output.weight`, with the prompt as a template. The same is done
//! for any model whose directory says which tokens answer (`LogitScore` of sentence-transformers).

use serde_json::Value as Json;

use super::Error;
use super::general::folder_name;
use super::json::Document;
use super::model::{Head, Model};
use super::source::RawTensor;
use crate::RerankTemplate;
use crate::keys::Keys;

/// The architecture of these models in GGUF.
pub(super) const ARCHITECTURE: &str = "qwen3";

/// The prompt of the model's card, with its default instruction. It is what llama.cpp's converter writes.
const TEMPLATE: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct \
    provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, \
    retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\
    \n\n</think>\n\n";

/// The rows that answer.
pub(super) struct Answers {
    /// The matrix that they are rows of.
    pub(super) matrix: &'static str,
    yes: u64,
    no: Option<u64>,
}

impl Answers {
    /// The head that they make.
    pub(super) fn head(&self) -> Head {
        if self.no.is_some() { Head::YesNo } else { Head::Yes }
    }

    /// The rows, which the matrix must have.
    pub(super) fn rows(&self, tensor: &RawTensor<'_>) -> Result<Vec<u64>, Error> {
        let found = tensor.view.shape.first().copied().unwrap_or(0);
        let rows: Vec<u64> = std::iter::once(self.yes).chain(self.no).collect();
        if tensor.view.shape.len() != 2 || rows.iter().any(|&row| row >= found) {
            let expected = format!("a matrix with the rows that answer, {rows:?}");
            let found = format!("the shape {:?}", tensor.view.shape);
            return Err(crate::Error::config(tensor.file, tensor.view.name, expected, found).into());
        }
        Ok(rows)
    }
}

/// The answers of a model that is a reranker in the form of a language model.
pub(super) fn answers(model: &Model<'_>) -> Result<Option<Answers>, Error> {
    let tied = model.document.get("tie_word_embeddings") == Some(&Json::Bool(true));
    let matrix = if tied { "token_embd.weight" } else { "output.weight" };
    if let Some(tokens) = model.modules.answers {
        return Ok(Some(Answers { matrix, yes: tokens.yes.into(), no: tokens.no.map(u64::from) }));
    }
    if model.architecture.name != ARCHITECTURE || model.is_classifier() || !is_named_reranker(model) {
        return Ok(None);
    }
    let Some(tokenizer) = Document::read(model.folder, "tokenizer.json")? else {
        let hint = "the rows of yes and no are looked up in it";
        return Err(Error::MissingFile { dir: model.folder.to_owned(), expected: "tokenizer.json", hint });
    };
    let vocabulary = tokenizer.value.get("model").and_then(|m| m.get("vocab"));
    let row = |answer: &str| vocabulary.and_then(|v| v.get(answer)).and_then(Json::as_u64);
    let (Some(yes), Some(no)) = (row("yes"), row("no")) else {
        let (path, found) = (tokenizer.path, "none".to_owned());
        return Err(Error::Vocabulary { path, expected: "the tokens yes and no of a reranker".to_owned(), found });
    };
    Ok(Some(Answers { matrix, yes, no: Some(no) }))
}

/// Whether folder, configuration or card say that the model is a Qwen3-Reranker, as the converter asks.
fn is_named_reranker(model: &Model<'_>) -> bool {
    let folder = folder_name(model.dir);
    let origin = model.document.value.get("_name_or_path").and_then(Json::as_str).map(str::to_owned);
    let named = folder.into_iter().chain(origin).any(|name| name.to_lowercase().contains("qwen3-reranker"));
    let card = || std::fs::read_to_string(model.dir.join("README.md")).unwrap_or_default();
    named || card().to_lowercase().contains("# qwen3-reranker")
}

/// Adds the prompt, that of the model or else Qwen3's.
pub(super) fn write_template(keys: &mut Keys, template: Option<&RerankTemplate>) {
    match template {
        Some(template) => template.keys().for_each(|(key, text)| keys.text(key, text)),
        None => keys.text("tokenizer.chat_template.rerank", TEMPLATE),
    }
    keys.texts("tokenizer.chat_templates", &["rerank".to_owned()]);
}
