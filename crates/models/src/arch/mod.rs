//! The architectures, one file each, and the register that finds them.

pub(crate) mod bert;
pub(crate) mod deberta_v2;
pub(crate) mod embedding_gemma2;
pub(crate) mod eurobert;
pub(crate) mod gemma3;
pub(crate) mod gte;
pub(crate) mod jina_bert_v2;
pub(crate) mod jina_bert_v3;
pub(crate) mod llama;
pub(crate) mod modern_bert;
pub(crate) mod mpnet;
pub(crate) mod nomic_bert;
pub(crate) mod qwen2;
pub(crate) mod qwen3;
pub(crate) mod static_embedding;
mod transformers_names;

use std::path::Path;

use docent_kernels::{Executor, Matrix, ThreadPool};

use crate::Error;
use crate::blocks::projection;
use crate::head::{Head, Scorer};
use crate::output::Output;
use crate::pass::Pass;
use crate::settings::{HfConfig, Settings, Translation};
use crate::source::HfName;
use crate::weights::Weights;

/// A loaded architecture: its weights and the way from token ids to hidden states.
pub(crate) trait Network: Send + Sync {
    /// The last hidden states of the tokens `pass.rows` of each sequence, one row each. They have the same bits whichever are asked
    /// for; what the last layer would compute of the others may be left out.
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix;

    /// Bytes of memory that the packed weights take.
    fn bytes(&self) -> usize;

    /// Expands weights that were left in the file's blocks, for a model that is to write token by token; others have no use for it.
    fn expand(&mut self, _threads: &ThreadPool) {}
}

/// The sizes that any architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    /// Rows of the token embedding table.
    pub(crate) vocabulary: usize,
    /// Tokens that a sequence can have.
    pub(crate) positions: usize,
}

/// A loaded architecture and what else is known of it.
pub(crate) struct Loaded {
    pub(crate) network: Box<dyn Network>,
    pub(crate) sizes: Sizes,
    /// From a pooled hidden state to an embedding, if that is more than the state itself.
    pub(crate) projection: Head,
    pub(crate) scorer: Option<Scorer>,
    /// Whether a token sees only those before it, so that sequences can go on from a common start.
    pub(crate) causal: bool,
    /// What tells the next token of a sequence; or why it cannot be used.
    pub(crate) output: Option<Result<Output, Error>>,
}

impl Loaded {
    /// An architecture whose pooled hidden states are the embeddings.
    pub(crate) fn encoder(network: impl Network + 'static, sizes: Sizes, scorer: Option<Scorer>) -> Self {
        Loaded { network: Box::new(network), sizes, projection: Head::default(), scorer, causal: false, output: None }
    }
}

/// How an architecture is recognised and loaded.
pub(crate) struct Architecture {
    /// Its name in GGUF.
    pub(crate) name: &'static str,
    /// Whether a config.json means it.
    pub(crate) recognises: fn(&HfConfig<'_>) -> Result<bool, Error>,
    /// The settings of a config.json by GGUF's keys.
    pub(crate) translate: fn(&mut Translation<'_>) -> Result<(), Error>,
    /// The GGUF name of a tensor of a Hugging Face file.
    pub(crate) gguf_name: fn(&str) -> HfName,
    /// Loads all but the projection of embeddings.
    load: fn(&Settings<'_>, &Weights<'_>) -> Result<Loaded, Error>,
}

impl Architecture {
    /// Loads a model of this architecture.
    pub(crate) fn load(&self, settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
        let loaded = (self.load)(settings, weights)?;
        let projection = projection::load(settings, weights, loaded.sizes.hidden)?;
        Ok(Loaded { projection, ..loaded })
    }
}

/// Every architecture that this version runs.
pub(crate) static ARCHITECTURES: &[Architecture] = &[
    bert::ARCHITECTURE,
    deberta_v2::ARCHITECTURE,
    embedding_gemma2::ARCHITECTURE,
    eurobert::ARCHITECTURE,
    gemma3::EMBEDDING,
    gemma3::DECODER,
    gte::ARCHITECTURE,
    jina_bert_v2::ARCHITECTURE,
    jina_bert_v3::ARCHITECTURE,
    llama::ARCHITECTURE,
    llama::BIDIRECTIONAL,
    modern_bert::ARCHITECTURE,
    mpnet::ARCHITECTURE,
    nomic_bert::ARCHITECTURE,
    nomic_bert::MIXTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    static_embedding::ARCHITECTURE,
];

/// The names of all architectures that this version runs, as GGUF files spell them.
pub fn supported_architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

pub(crate) fn by_gguf_name(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

pub(crate) fn of_hugging_face(config: &HfConfig<'_>) -> Result<Option<&'static Architecture>, Error> {
    // Of late interaction: it has the configuration of another model, and compares texts token by token.
    if let Some(class) = config.classes()?.into_iter().find(|class| class.to_lowercase().contains("colbert")) {
        return Err(config.error("architectures", "a model that gives each text one vector or a score", class));
    }
    for architecture in ARCHITECTURES {
        if (architecture.recognises)(config)? {
            return Ok(Some(architecture));
        }
    }
    Ok(None)
}

/// The layer and the rest of a tensor name such as `encoder.layer.11.output.dense`, whose layers follow one of `prefixes`.
pub(crate) fn layer_and_part<'n>(stem: &'n str, prefixes: &[&str]) -> Option<(&'n str, &'n str)> {
    let rest = prefixes.iter().find_map(|prefix| stem.strip_prefix(prefix))?;
    let (index, part) = rest.split_once('.')?;
    // Exactly as a number is written: no sign, no zeros in front.
    index.parse::<u16>().is_ok_and(|layer| layer.to_string() == index).then_some((index, part))
}

/// The GGUF name of a weight or a bias: by `tables` outside the layers, by `parts` in those, whose numbers follow `layers`.
pub(crate) fn renamed(
    name: &str,
    tables: &[(&str, &'static str)],
    layers: &str,
    parts: &[(&str, &'static str)],
) -> HfName {
    let Some((stem, kind @ ("weight" | "bias"))) = name.rsplit_once('.') else { return HfName::Unknown };
    if let Some(gguf) = find(tables, stem) {
        return HfName::Gguf(format!("{gguf}.{kind}"));
    }
    match layer_and_part(stem, &[layers]).and_then(|(index, part)| Some((index, find(parts, part)?))) {
        Some((index, gguf)) => HfName::Gguf(format!("blk.{index}.{gguf}.{kind}")),
        None => HfName::Unknown,
    }
}

/// The GGUF name that a table gives: of tensors outside the layers, or of parts of a layer.
pub(crate) fn find(names: &[(&str, &'static str)], stem: &str) -> Option<&'static str> {
    names.iter().find(|(hf, _)| *hf == stem).map(|&(_, gguf)| gguf)
}

impl Sizes {
    /// Checks what holds for every architecture: sizes within reason.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Error> {
        let limits = [
            ("number of layers", self.layers, 512),
            ("hidden size", self.hidden, 1 << 16),
            ("number of attention heads", self.heads, 1 << 10),
            ("feed-forward size", self.feed_forward, 1 << 20),
            ("number of token embeddings", self.vocabulary, 1 << 21),
            ("number of positions", self.positions, 1 << 20),
        ];
        for (key, found, limit) in limits {
            if found == 0 || found > limit {
                return Err(Error::config(path, key, format!("1 to {limit}"), found.to_string()));
            }
        }
        // Each may be large, but not all together: a text of the full length must fit in memory in its widest form.
        const MAX_VALUES: usize = 1 << 29;
        let widest = self.feed_forward.max(3 * self.hidden);
        if self.positions.saturating_mul(widest) > MAX_VALUES || self.feed_forward > 64 * self.hidden {
            let expected = format!("at most 64 times the hidden size {}, and {MAX_VALUES} values a text", self.hidden);
            let found = format!("{} for each of {} positions", self.feed_forward, self.positions);
            return Err(Error::config(path, "feed-forward size", expected, found));
        }
        Ok(())
    }

    /// The columns of a head where heads share out the hidden size.
    pub(crate) fn head_dim(&self, path: &Path) -> Result<usize, Error> {
        if self.hidden.is_multiple_of(self.heads) {
            return Ok(self.hidden / self.heads);
        }
        let expected = format!("a divisor of the hidden size {}", self.hidden);
        Err(Error::config(path, "number of attention heads", expected, self.heads.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_hugging_face_files_are_known_with_every_prefix() {
        for (architecture, hf, gguf) in [
            ("modern-bert", "model.layers.11.mlp.Wi.weight", "blk.11.ffn_up.weight"),
            ("modern-bert", "layers.0.attn.Wqkv.weight", "blk.0.attn_qkv.weight"),
            ("modern-bert", "head.norm.weight", "cls.norm.weight"),
            ("nomic-bert", "encoder.layers.3.mlp.fc12.weight", "blk.3.ffn_gate.weight"),
            ("nomic-bert", "bert.emb_ln.bias", "token_embd_norm.bias"),
            ("nomic-bert-moe", "encoder.layers.1.mlp.experts.mlp.w2", "blk.1.ffn_down_exps.weight"),
            ("nomic-bert-moe", "encoder.layers.1.mlp.experts.bias", "blk.1.ffn_exps.bias"),
            ("jina-bert-v2", "bert.encoder.layer.0.mlp.gated_layers.weight", "blk.0.ffn_up.weight"),
            ("jina-bert-v2", "encoder.layer.0.layer_norm_1.bias", "blk.0.attn_norm_2.bias"),
            ("jina-bert-v2", "encoder.layer.7.attention.self.value.bias", "blk.7.attn_v.bias"),
            (
                "jina-bert-v3",
                "roberta.encoder.layers.2.mixer.Wqkv.parametrizations.weight.original",
                "blk.2.attn_qkv.weight",
            ),
            ("jina-bert-v3", "roberta.encoder.layers.2.mixer.Wqkv.weight", "blk.2.attn_qkv.weight"),
            (
                "jina-bert-v3",
                "roberta.encoder.layers.2.mlp.fc1.parametrizations.weight.0.lora_B",
                "blk.2.ffn_up.weight.lora_b",
            ),
            (
                "jina-bert-v3",
                "roberta.embeddings.word_embeddings.parametrizations.weight.0.lora_A",
                "token_embd.weight.lora_a",
            ),
            (
                "jina-bert-v3",
                "roberta.embeddings.token_type_embeddings.parametrizations.weight.0.lora_A",
                "token_types.weight.lora_b",
            ),
            ("gte-new", "new.encoder.layer.4.mlp.up_gate_proj.weight", "blk.4.ffn_up.weight"),
            ("gte-new", "encoder.layer.4.attention.q_proj.bias", "blk.4.attn_q.bias"),
        ] {
            let name = (by_gguf_name(architecture).unwrap().gguf_name)(hf);
            assert_eq!(name, HfName::Gguf(gguf.to_owned()), "{architecture}: {hf}");
        }
        for (architecture, hf) in [
            ("modern-bert", "decoder.bias"),
            ("nomic-bert", "cls.predictions.decoder.weight"),
            ("jina-bert-v2", "cls.predictions.bias"),
            ("jina-bert-v3", "roberta.pooler.dense.parametrizations.weight.0.lora_A"),
            ("gte-new", "lm_head.dense.weight"),
        ] {
            assert_eq!((by_gguf_name(architecture).unwrap().gguf_name)(hf), HfName::Unused, "{architecture}: {hf}");
        }
        for (architecture, hf) in
            [("modern-bert", "layers.x.attn.Wo.weight"), ("gte-new", "encoder.layer.0.rms.weight")]
        {
            assert_eq!((by_gguf_name(architecture).unwrap().gguf_name)(hf), HfName::Unknown, "{architecture}: {hf}");
        }
    }
}
