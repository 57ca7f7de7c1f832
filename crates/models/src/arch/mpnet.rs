//! `MPNet` (Song et al., arXiv:2004.09297): a BERT whose scores gain by the distance of two tokens.
//!
//! all-mpnet-base-v2, multi-qa-mpnet and paraphrase-mpnet are such models. The forward pass is that of [`bert`], with the positions of
//! `RoBERTa` and no segments; in its attention
//!
//! ```text
//! score(i, j) = q_i . k_j / sqrt(d) + bias[b(j - i)]
//! ```
//!
//! with the relative biases of T5 (Raffel et al., arXiv:1910.10683), a number for each head and each bucket of distances, which all layers share.
//!
//! GGUF has no name for this architecture; files with ours are read by Docent alone.

use docent_kernels::{DistanceBiases, Executor, Isa};

use super::{Architecture, Loaded, bert, find, layer_and_part};
use crate::Error;
use crate::settings::{HfConfig, Settings, Translation};
use crate::source::HfName;
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture = Architecture { name: "mpnet", recognises, translate, gguf_name, load };

/// Buckets of distances, half of them for keys before the query: a number that the authors' code does not take from the configuration.
const BUCKETS: usize = 32;

/// Distances from this one on share a bucket, as in the authors' code.
const FARTHEST: usize = 128;

const BIASES: &str = "attn_rel_b.weight";

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some("mpnet"))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    let field = "relative_attention_num_buckets";
    if let Some(found) = to.config.optional_size(&[field])?.filter(|&found| found != BUCKETS) {
        return Err(to.config.error(field, &BUCKETS.to_string(), found));
    }
    bert::translate(to)
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    bert::load_with(settings, weights, |heads, positions| {
        let table = weights.embedding(BIASES, BUCKETS, heads.count)?;
        // Biases that were not read are none.
        if weights.checking() {
            return Ok(heads);
        }
        let mut executor = Executor::inline(Isa::best());
        let mut rows = executor.matrix(BUCKETS, heads.count);
        executor.embed(&[(&table, &std::array::from_fn::<u32, BUCKETS, _>(|row| row as u32))], &mut rows);
        let biases = DistanceBiases::new(heads.count, positions, |head, distance| rows.row(bucket(distance))[head]);
        Ok(heads.biased(biases))
    })
}

/// The bucket of a key's distance from its query, below 0 before it: `relative_position_bucket` of the authors' code, in its precision.
fn bucket(distance: i64) -> usize {
    const ONE_SIDE: usize = BUCKETS / 2;
    const EXACT: usize = ONE_SIDE / 2;
    let first = if distance > 0 { ONE_SIDE } else { 0 };
    let magnitude = distance.unsigned_abs() as usize;
    if magnitude < EXACT {
        return first + magnitude;
    }
    let logarithm = (magnitude as f32 / EXACT as f32).ln() / ((FARTHEST as f64 / EXACT as f64).ln() as f32);
    let shared = EXACT + (logarithm * (ONE_SIDE - EXACT) as f32) as usize;
    first + shared.min(ONE_SIDE - 1)
}

fn gguf_name(name: &str) -> HfName {
    const LAYER: &[(&str, &str)] = &[
        ("attention.attn.q", "attn_q"),
        ("attention.attn.k", "attn_k"),
        ("attention.attn.v", "attn_v"),
        ("attention.attn.o", "attn_output"),
        ("attention.LayerNorm", "attn_output_norm"),
    ];
    let name = name.strip_prefix("mpnet.").unwrap_or(name);
    if name == "encoder.relative_attention_bias.weight" {
        return HfName::Gguf(BIASES.to_owned());
    }
    let own = name.rsplit_once('.').and_then(|(stem, kind)| {
        let (index, part) = layer_and_part(stem, &["encoder.layer."])?;
        find(LAYER, part).map(|gguf| HfName::Gguf(format!("blk.{index}.{gguf}.{kind}")))
    });
    own.unwrap_or_else(|| bert::gguf_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `relative_position_bucket` of transformers 4.57.
    #[test]
    fn far_distances_share_buckets_by_their_logarithm() {
        // Where each bucket begins.
        for (bucket_of_side, distance) in [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91].into_iter().enumerate() {
            assert_eq!(bucket(distance), 17 + bucket_of_side, "{distance}");
            assert_eq!(bucket(-distance), 1 + bucket_of_side, "-{distance}");
            if distance > 1 {
                assert_eq!(bucket(distance - 1), 16 + bucket_of_side, "{distance} - 1");
                assert_eq!(bucket(1 - distance), bucket_of_side, "1 - {distance}");
            }
        }
        assert_eq!([bucket(0), bucket(511), bucket(-511), bucket(i64::MIN + 1)], [0, 31, 15, 15]);
    }
}
