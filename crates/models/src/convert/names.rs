//! Tensor names: Hugging Face's to GGUF's, and the shape that each must have.

use super::config::{Config, Family};
use crate::arch::bert;
use crate::source::HfName;

/// What becomes of a tensor of the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It is written under this name.
    Tensor(String),
    /// It has no part in the forward pass of an embedding model, or nothing in GGUF stands for it: a position counter, the
    /// heads used in pre-training, the pooler of BERT (see the module's page).
    Dropped,
    /// The architecture has no such tensor.
    Unknown,
}

/// The name that a tensor gets: that of the architecture, and for classifiers those of their heads.
pub(super) fn target(name: &str, config: &Config) -> Target {
    let renamed = match bert::gguf_name(name) {
        HfName::Unused => return Target::Dropped,
        // The pooler, which GGUF files of this architecture are written without.
        HfName::Gguf(_) if name.contains("pooler.dense.") => return Target::Dropped,
        HfName::Gguf(renamed) if renamed.starts_with("cls.") => head(name, config),
        HfName::Gguf(renamed) | HfName::GgufPlusOne(renamed) => Some(renamed),
        HfName::Unknown => None,
    };
    match renamed {
        Some(renamed) if belongs(&renamed, config) => Target::Tensor(renamed),
        _ => Target::Unknown,
    }
}

/// The name of a tensor of a classification head.
fn head(name: &str, config: &Config) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let stem = match stem {
        "pre_classifier" if config.family == Family::DistilBert => "cls",
        "classifier" if !config.labels.is_empty() => "cls.output",
        _ => return None,
    };
    Some(format!("{stem}.{suffix}"))
}

/// Whether a model of this configuration has the tensor.
fn belongs(target: &str, config: &Config) -> bool {
    let layer =
        target.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map(|(layer, _)| layer.parse::<u32>());
    let in_range = layer.is_none_or(|layer| layer.is_ok_and(|layer| layer < config.layers));
    let segments = config.token_types > 0 || !target.starts_with("token_types.");
    in_range && segments && shape(target, config).is_some()
}

/// The shape that the configuration gives a tensor, rows first; `None` for a name that is not the architecture's. The
/// number of rows of the embedding table is 0 where the configuration leaves it open.
pub(super) fn shape(target: &str, config: &Config) -> Option<Vec<u64>> {
    let (stem, suffix) = target.rsplit_once('.')?;
    let part = stem.strip_prefix("blk.").and_then(|s| s.split_once('.')).map_or(stem, |(_, part)| part);
    let (width, inner) = (u64::from(config.width), u64::from(config.feed_forward));
    let (rows, columns, bias) = match part {
        "token_embd" => (u64::from(config.vocabulary.unwrap_or(0)), width, false),
        "position_embd" => (u64::from(config.context), width, false),
        "token_types" => (u64::from(config.token_types), width, false),
        "token_embd_norm" | "attn_output_norm" | "layer_output_norm" => (width, 0, true),
        "attn_q" | "attn_k" | "attn_v" | "attn_output" | "cls" => (width, width, true),
        "ffn_up" => (inner, width, true),
        "ffn_down" => (width, inner, true),
        "cls.output" => (config.labels.len() as u64, width, true),
        _ => return None,
    };
    match suffix {
        "weight" if columns == 0 => Some(vec![rows]),
        "weight" => Some(vec![rows, columns]),
        "bias" if bias => Some(vec![rows]),
        _ => None,
    }
}

/// The tensors without which there is no forward pass, by their names in the file.
pub(super) fn required(config: &Config) -> impl Iterator<Item = String> {
    let types = (config.token_types > 0).then_some("token_types.weight");
    let tables = ["token_embd.weight", "position_embd.weight", "token_embd_norm.weight", "token_embd_norm.bias"];
    let parts =
        ["attn_q", "attn_k", "attn_v", "attn_output", "attn_output_norm", "ffn_up", "ffn_down", "layer_output_norm"];
    let layers = (0..config.layers).flat_map(move |layer| {
        parts.into_iter().flat_map(move |part| ["weight", "bias"].map(|suffix| format!("blk.{layer}.{part}.{suffix}")))
    });
    tables.into_iter().chain(types).map(str::to_owned).chain(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(family: Family, labels: usize) -> Config {
        let labels = (0..labels).map(|n| n.to_string()).collect();
        let (token_types, vocabulary) = (if family == Family::Bert { 2 } else { 0 }, Some(100));
        let dims = Config {
            family,
            layers: 2,
            context: 16,
            width: 8,
            feed_forward: 32,
            heads: 2,
            epsilon: 1e-12,
            token_types,
            vocabulary,
            labels,
            pooling: None,
        };
        assert_eq!(required(&dims).count(), if family == Family::Bert { 5 } else { 4 } + 2 * 16);
        dims
    }

    #[test]
    fn names_of_both_families_old_and_new() {
        let bert = config(Family::Bert, 0);
        let cross = config(Family::Bert, 1);
        let distil = config(Family::DistilBert, 1);
        for (config, name, expected) in [
            (&bert, "embeddings.word_embeddings.weight", Some("token_embd.weight")),
            (&bert, "bert.embeddings.LayerNorm.gamma", Some("token_embd_norm.weight")),
            (&bert, "bert.encoder.layer.1.output.LayerNorm.beta", Some("blk.1.layer_output_norm.bias")),
            (&bert, "encoder.layer.0.attention.self.key.bias", Some("blk.0.attn_k.bias")),
            (&bert, "encoder.layer.0.intermediate.dense.weight", Some("blk.0.ffn_up.weight")),
            (&cross, "classifier.weight", Some("cls.output.weight")),
            (&distil, "distilbert.transformer.layer.1.ffn.lin2.weight", Some("blk.1.ffn_down.weight")),
            (&distil, "transformer.layer.0.sa_layer_norm.bias", Some("blk.0.attn_output_norm.bias")),
            (&distil, "pre_classifier.weight", Some("cls.weight")),
            (&bert, "bert.pooler.dense.weight", None),
            (&bert, "cls.predictions.transform.LayerNorm.gamma", None),
            (&bert, "embeddings.position_ids", None),
            (&bert, "lm_head.weight", None),
            (&distil, "vocab_projector.bias", None),
        ] {
            assert_eq!(target(name, config), expected.map_or(Target::Dropped, |e| Target::Tensor(e.into())), "{name}");
        }
        for (config, name) in [
            (&bert, "encoder.layer.2.output.dense.weight"),
            (&bert, "encoder.layer.01.output.dense.weight"),
            (&bert, "encoder.layer.-1.output.dense.weight"),
            (&bert, "embeddings.word_embeddings.bias"),
            (&bert, "classifier.weight"),
            (&distil, "embeddings.token_type_embeddings.weight"),
            (&bert, ""),
        ] {
            assert_eq!(target(name, config), Target::Unknown, "{name}");
        }
    }

    #[test]
    fn every_required_tensor_has_a_shape() {
        for config in [config(Family::Bert, 0), config(Family::DistilBert, 1)] {
            for name in required(&config) {
                assert!(shape(&name, &config).is_some_and(|s| !s.contains(&0)), "{name}");
            }
        }
    }
}
