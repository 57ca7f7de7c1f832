//! `config.json` and the pooling configuration, as the keys of a `bert` file.

use std::path::Path;

use serde_json::Value as Json;

use super::json::{Document, kind};
use super::{Error, OutputType};
use crate::keys::Keys;

/// Which naming and defaults a directory follows. Both become the architecture `bert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Bert,
    DistilBert,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bert => "BERT",
            Self::DistilBert => "DistilBERT",
        }
    }
}

/// How the vectors of the tokens become one, with the number that GGUF gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean = 1,
    Cls = 2,
    Last = 3,
}

/// What the configuration says about the model.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) family: Family,
    pub(super) layers: u32,
    pub(super) context: u32,
    pub(super) width: u32,
    pub(super) feed_forward: u32,
    pub(super) heads: u32,
    pub(super) epsilon: f64,
    /// Rows of the token type table; 0 when there is none.
    pub(super) token_types: u32,
    /// Rows of the embedding table, where the configuration says.
    pub(super) vocabulary: Option<u32>,
    /// Names of a classifier's outputs.
    pub(super) labels: Vec<String>,
    pub(super) pooling: Option<Pooling>,
}

/// Class names that llama.cpp's converter takes for BERT and whose tokenizer is WordPiece.
const BERT: [&str; 3] = ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"];
const DISTILBERT: [&str; 3] = ["DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification"];

impl Config {
    pub(super) fn read(dir: &Path, document: &Document) -> Result<Self, Error> {
        let family = family(document)?;
        refuse_variants(document, family)?;
        let number = |keys: &[&str], default| document.dimension(keys, default);
        // Defaults are those of transformers' BertConfig and DistilBertConfig.
        let config = Self {
            family,
            layers: number(&["n_layers", "num_hidden_layers"], Some(if family == Family::Bert { 12 } else { 6 }))?,
            context: number(&["max_position_embeddings"], Some(512))?,
            width: number(&["hidden_size", "dim"], Some(768))?,
            feed_forward: number(&["intermediate_size", "hidden_dim"], Some(3072))?,
            heads: number(&["num_attention_heads", "n_heads"], Some(12))?,
            epsilon: epsilon(document, family)?,
            token_types: token_types(document, family)?,
            vocabulary: match document.get("vocab_size") {
                Some(_) => Some(number(&["vocab_size"], None)?),
                None => None,
            },
            labels: labels(document)?,
            pooling: pooling(dir)?,
        };
        if !config.width.is_multiple_of(config.heads) {
            let expected = format!("a divisor of the width {}", config.width);
            return Err(document.unusable("num_attention_heads", &expected, &Json::from(config.heads)));
        }
        Ok(config)
    }

    /// Adds the `bert.*` keys, and `general.file_type` where the converter puts it among them.
    pub(super) fn write(&self, keys: &mut Keys, ty: OutputType) {
        if self.family == Family::DistilBert {
            keys.f32("bert.attention.layer_norm_epsilon", self.epsilon as f32);
        }
        keys.u32("bert.block_count", self.layers);
        keys.u32("bert.context_length", self.context);
        keys.u32("bert.embedding_length", self.width);
        keys.u32("bert.feed_forward_length", self.feed_forward);
        keys.u32("bert.attention.head_count", self.heads);
        keys.f32("bert.attention.layer_norm_epsilon", self.epsilon as f32);
        keys.u32("general.file_type", ty.file_type());
        keys.bool("bert.attention.causal", false);
        if let Some(pooling) = self.pooling {
            keys.u32("bert.pooling_type", pooling as u32);
        }
        keys.texts("bert.classifier.output_labels", &self.labels);
        keys.u32("general.quantization_version", 2);
    }
}

fn family(document: &Document) -> Result<Family, Error> {
    let class = match document.get("architectures") {
        Some(Json::Array(list)) if !list.is_empty() => list[0].as_str(),
        None | Some(Json::Array(_)) => match document.text("model_type")? {
            Some("bert") => Some(BERT[0]),
            Some("distilbert") => Some(DISTILBERT[0]),
            _ => None,
        },
        Some(_) => None,
    };
    match class {
        Some(c) if BERT.contains(&c) => Ok(Family::Bert),
        Some(c) if DISTILBERT.contains(&c) => Ok(Family::DistilBert),
        _ => {
            let expected = format!("one of {}", [BERT, DISTILBERT].concat().join(", "));
            Err(document.unusable(
                "architectures",
                &expected,
                document.value.get("architectures").unwrap_or(&Json::Null),
            ))
        }
    }
}

/// A GGUF file of this architecture has no key for these: converting would make another model without a word.
fn refuse_variants(document: &Document, family: Family) -> Result<(), Error> {
    let refuse = |key: &str, usable: &[&str]| match document.text(key)? {
        Some(value) if !usable.contains(&value) => {
            Err(document.unusable(key, &usable.join(" or "), &Json::from(value)))
        }
        _ => Ok(()),
    };
    refuse("position_embedding_type", &["absolute"])?;
    let activation = if family == Family::Bert { "hidden_act" } else { "activation" };
    refuse(activation, &["gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh"])?;
    match document.get("is_decoder") {
        Some(value) if value != &Json::Bool(false) => Err(document.unusable("is_decoder", "false", value)),
        _ => Ok(()),
    }
}

fn epsilon(document: &Document, family: Family) -> Result<f64, Error> {
    let value = match document.get("layer_norm_eps") {
        // DistilBERT's is fixed in the code of the model.
        Some(value) if family == Family::Bert => value,
        _ => return Ok(1e-12),
    };
    let usable = value.as_f64().filter(|e| *e as f32 > 0.0 && *e < 1.0);
    usable.ok_or_else(|| document.unusable("layer_norm_eps", "a number between 0 and 1", value))
}

fn token_types(document: &Document, family: Family) -> Result<u32, Error> {
    match (family, document.get("type_vocab_size")) {
        (Family::DistilBert, _) => Ok(0),
        (Family::Bert, Some(value)) if value.as_u64() == Some(0) => Ok(0),
        (Family::Bert, _) => document.dimension(&["type_vocab_size"], Some(2)),
    }
}

/// The names of a classifier's outputs, in order. Two nameless ones are what transformers puts into every configuration.
fn labels(document: &Document) -> Result<Vec<String>, Error> {
    let mut labels: Vec<(u64, String)> = Vec::new();
    match document.get("id2label") {
        Some(Json::Object(map)) => {
            for (id, label) in map {
                match (id.parse(), label.as_str()) {
                    (Ok(id), Some(label)) => labels.push((id, label.to_owned())),
                    _ => return Err(document.unusable("id2label", "numbers and names", &Json::Object(map.clone()))),
                }
            }
        }
        Some(other) => return Err(document.unusable("id2label", "numbers and names", other)),
        None => {
            let count = match document.get("num_labels") {
                Some(value) => value
                    .as_u64()
                    .filter(|n| *n <= 1 << 16)
                    .ok_or_else(|| document.unusable("num_labels", "a count up to 65536", value))?,
                None => 2,
            };
            labels.extend((0..count).map(|id| (id, format!("LABEL_{id}"))));
        }
    }
    labels.sort();
    if let [(0, first), _] = &labels[..]
        && first == "LABEL_0"
    {
        return Ok(vec![]);
    }
    Ok(labels.into_iter().map(|(_, label)| label).collect())
}

/// The pooling that `modules.json` of sentence-transformers leads to, if there is one.
fn pooling(dir: &Path) -> Result<Option<Pooling>, Error> {
    let Some(modules) = Document::read_any(dir, "modules.json")? else { return Ok(None) };
    let Json::Array(list) = &modules.value else {
        return Err(modules.error("a list of modules", kind(&modules.value).to_owned()));
    };
    let mut pooling = None;
    for module in list {
        let class = module.get("type").and_then(Json::as_str).unwrap_or_default();
        match class.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" if pooling.is_none() => {
                let folder = module.get("path").and_then(Json::as_str).unwrap_or_default();
                if Path::new(folder).components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
                    return Err(modules.unusable("path", "a folder inside the model's", &Json::from(folder)));
                }
                let Some(config) = Document::read(&dir.join(folder), "config.json")? else {
                    let (dir, hint) = (dir.join(folder), "modules.json refers to it");
                    return Err(Error::MissingFile { dir, expected: "config.json", hint });
                };
                pooling = Some(pooling_mode(&config)?);
            }
            _ => return Err(Error::Module { path: modules.path.clone(), module: class.to_owned() }),
        }
    }
    Ok(pooling)
}

fn pooling_mode(config: &Document) -> Result<Pooling, Error> {
    let expected = "one of mean, cls and lasttoken, the modes that GGUF has a number for";
    let mode = |key: &str| match key {
        "mean" | "mean_tokens" => Some(Pooling::Mean),
        "cls" | "cls_token" => Some(Pooling::Cls),
        "lasttoken" => Some(Pooling::Last),
        _ => None,
    };
    if let Some(name) = config.get("pooling_mode") {
        return name.as_str().and_then(mode).ok_or_else(|| config.unusable("pooling_mode", expected, name));
    }
    let Json::Object(keys) = &config.value else { return Err(config.unusable("pooling_mode", expected, &Json::Null)) };
    let on: Vec<&str> = keys
        .iter()
        .filter(|(_, v)| **v == Json::Bool(true))
        .filter_map(|(k, _)| k.strip_prefix("pooling_mode_"))
        .collect();
    match on[..] {
        // Several modes mean a vector of several parts.
        [key] => mode(key).ok_or_else(|| config.unusable("pooling_mode", expected, &Json::from(key))),
        _ => Err(config.unusable("pooling_mode", expected, &Json::from(on.join(" + ")))),
    }
}
