//! Which tensor gets which type.
//!
//! The rules are those of llama.cpp's quantiser (version 0.3.36 of its Python package) without an importance matrix, so that a file made
//! here is the file made there. Left out are its rules for architectures of which no embedder or reranker is made.

use docent_gguf::TensorType;

use super::FileType;

/// A tensor as the rules see it.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) name: &'a str,
    /// Fastest-varying first.
    pub(super) dims: &'a [u64],
    pub(super) ty: TensorType,
}

/// What the rules decided about a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) ty: TensorType,
    /// The type that the rules wanted, if its blocks do not divide the rows.
    pub(super) instead_of: Option<TensorType>,
}

/// The rules, and how far they have come: some places go by how many tensors of a kind were before.
pub(super) struct Rules {
    file_type: FileType,
    /// The token embedding is the output layer too.
    tied: bool,
    layers: u64,
    experts: u64,
    /// Value projections, fused or not, in the model, and of these so many before.
    values: (u64, u64),
    downs_before: u64,
}

/// Tensors with these in their names are small or sensitive and stay as they are.
const KEPT: [&str; 13] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    ".position_embd",
    "attn_rel_b.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
];

/// The kinds of tensors that the mixes treat differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Output,
    TokenEmbedding,
    /// The value projection, alone or fused with query and key.
    Value,
    Key,
    AttentionOutput,
    Down,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbedding,
            _ if ["attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"].iter().any(|part| name.contains(part)) => {
                Self::Value
            }
            _ if name.contains("attn_k.weight") => Self::Key,
            _ if name.contains("attn_q.weight") => Self::Other,
            _ if name.contains("attn_output.weight") => Self::AttentionOutput,
            _ if name.contains("ffn_up") || name.contains("ffn_gate") => Self::Other,
            _ if name.contains("ffn_down") => Self::Down,
            _ => Self::Other,
        }
    }
}

impl Rules {
    /// Rules for a model of `layers` layers with `experts` experts (0 or 1 if it is no mixture) and tensors of these names.
    pub(super) fn new<'a>(
        file_type: FileType,
        layers: u64,
        experts: u64,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let tied = !names.clone().any(|name| Kind::of(name) == Kind::Output);
        let values = names.filter(|name| Kind::of(name) == Kind::Value).count() as u64;
        Self { file_type, tied, layers, experts, values: (values, 0), downs_before: 0 }
    }

    /// The type of the next tensor. Tensors must come by layer, and by name inside a layer.
    pub(super) fn next(&mut self, tensor: Shape<'_>) -> Choice {
        if !is_matrix(tensor) {
            return Choice { ty: tensor.ty, instead_of: None };
        }
        let default = self.file_type.tensor_type();
        if !default.is_quantized() {
            return Choice { ty: default, instead_of: None };
        }
        fitting(self.mixed(tensor, default), tensor.dims[0])
    }

    /// The type that the file type's mix wants for a matrix.
    fn mixed(&mut self, tensor: Shape<'_>, default: TensorType) -> TensorType {
        let kind = Kind::of(tensor.name);
        if kind == Kind::Output || (kind == Kind::TokenEmbedding && self.tied) {
            let divides = tensor.dims[0].is_multiple_of(default.block_elements() as u64);
            return if !divides || default == TensorType::Q8_0 { TensorType::Q8_0 } else { TensorType::Q6_K };
        }
        let medium = matches!(self.file_type, FileType::Q4_K_M | FileType::Q5_K_M);
        let small = self.file_type == FileType::Q4_K_S;
        let eight_experts = self.experts == 8;
        match kind {
            Kind::Value => {
                let (count, before) = self.values;
                self.values.1 += 1;
                match () {
                    () if eight_experts => TensorType::Q8_0,
                    () if medium && deserves_more(before, count) => TensorType::Q6_K,
                    () if small && before < 4 => TensorType::Q5_K,
                    () => default,
                }
            }
            Kind::Key if eight_experts => TensorType::Q8_0,
            Kind::Down => {
                let before = self.downs_before;
                self.downs_before += 1;
                // Layers with and without experts alternate in some mixtures: there the name tells.
                let layer = if self.experts > 1 { layer_of(tensor.name).unwrap_or(before) } else { before };
                match () {
                    () if medium && deserves_more(layer, self.layers) => TensorType::Q6_K,
                    () if small && layer < self.layers / 8 => TensorType::Q5_K,
                    () => default,
                }
            }
            Kind::AttentionOutput if eight_experts && default == TensorType::Q4_K => TensorType::Q5_K,
            _ => default,
        }
    }
}

/// The layer of a name `blk.N.…`.
pub(super) fn layer_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("blk.")?;
    rest.split_once('.')?.0.parse().ok()
}

/// Whether a tensor is one of those that are quantised: a matrix of weights, but no norm, no table of positions or types and none of
/// [`KEPT`].
fn is_matrix(tensor: Shape<'_>) -> bool {
    let name = tensor.name;
    tensor.dims.iter().skip(1).any(|&dim| dim > 1)
        && name.ends_with("weight")
        && !["position_embd.weight", "token_types.weight", "relative_embd.weight"].contains(&name)
        && !KEPT.iter().any(|part| name.contains(part))
}

/// The first and the last eighth of the layers, and every third between.
fn deserves_more(layer: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// The type, or one with smaller blocks if these do not divide the rows.
fn fitting(wanted: TensorType, row: u64) -> Choice {
    let fits = |ty: TensorType| row.is_multiple_of(ty.block_elements() as u64);
    if fits(wanted) {
        return Choice { ty: wanted, instead_of: None };
    }
    let smaller = match wanted {
        TensorType::Q4_K => TensorType::Q5_0,
        TensorType::Q5_K => TensorType::Q5_1,
        TensorType::Q6_K => TensorType::Q8_0,
        other => other,
    };
    Choice { ty: if fits(smaller) { smaller } else { TensorType::F16 }, instead_of: Some(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(file_type: FileType, experts: u64, tensors: &[(&str, &[u64])]) -> Vec<&'static str> {
        let mut rules = Rules::new(file_type, 4, experts, tensors.iter().map(|tensor| tensor.0));
        let shape = |&(name, dims)| Shape { name, dims, ty: TensorType::F32 };
        tensors.iter().map(|tensor| rules.next(shape(tensor)).ty.name()).collect()
    }

    #[test]
    fn vectors_norms_and_tables_stay_and_matrices_are_quantised() {
        let tensors: [(&str, &[u64]); 9] = [
            ("cls.output.weight", &[256, 1]),
            ("cls.weight", &[256, 256]),
            ("position_embd.weight", &[256, 512]),
            ("token_embd.weight", &[256, 100]),
            ("token_embd_norm.weight", &[256]),
            ("token_types.weight", &[256, 2]),
            ("blk.0.attn_q.bias", &[256, 2]),
            ("blk.0.attn_q.weight", &[256, 256]),
            ("blk.0.ffn_gate_inp.weight", &[256, 8]),
        ];
        let expected = ["F32", "Q4_0", "F32", "Q6_K", "F32", "F32", "F32", "Q4_0", "F32"];
        assert_eq!(types(FileType::Q4_0, 0, &tensors), expected);
        assert_eq!(types(FileType::F16, 0, &tensors), expected.map(|ty| if ty == "F32" { ty } else { "F16" }));
    }

    #[test]
    fn the_medium_mix_gives_values_and_downs_of_outer_layers_more() {
        let mut tensors: Vec<(String, &[u64])> =
            vec![("output.weight".into(), &[256, 9]), ("token_embd.weight".into(), &[256, 9])];
        for layer in 0..4 {
            for name in ["attn_v", "ffn_down"] {
                tensors.push((format!("blk.{layer}.{name}.weight"), &[256, 256]));
            }
        }
        let tensors: Vec<_> = tensors.iter().map(|(name, dims)| (name.as_str(), *dims)).collect();
        let medium = types(FileType::Q4_K_M, 0, &tensors);
        assert_eq!(medium, ["Q6_K", "Q4_K", "Q4_K", "Q4_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K", "Q6_K", "Q6_K"]);
        let small = types(FileType::Q4_K_S, 0, &tensors);
        assert_eq!(small, ["Q6_K", "Q4_K", "Q5_K", "Q4_K", "Q5_K", "Q4_K", "Q5_K", "Q4_K", "Q5_K", "Q4_K"]);
        assert_eq!(types(FileType::Q5_K_M, 8, &tensors)[2], "Q8_0");
    }

    #[test]
    fn rows_that_blocks_do_not_divide_get_smaller_blocks() {
        let of = |wanted, row| fitting(wanted, row).ty.name();
        assert_eq!(
            [of(TensorType::Q4_K, 384), of(TensorType::Q5_K, 96), of(TensorType::Q6_K, 32), of(TensorType::Q4_K, 512)],
            ["Q5_0", "Q5_1", "Q8_0", "Q4_K"]
        );
        assert_eq!([of(TensorType::Q4_K, 40), of(TensorType::Q8_0, 1), of(TensorType::Q4_1, 48)], ["F16"; 3]);
        assert_eq!(types(FileType::Q4_K_M, 0, &[("token_embd.weight", &[384, 9])]), ["Q8_0"]);
    }
}
