//! The tensor names of transformers, since its version 5, for encoders that were published with code of their own before: jina-embeddings-v3,
//! mGTE and `NomicBERT`.
//!
//! A checkpoint that transformers has loaded under the publisher's names it saves under them again; one that it has made has these.

use super::renamed;
use crate::source::HfName;

/// The GGUF name of a tensor whose name has lost the prefix of the model's class.
pub(super) fn gguf_name(name: &str) -> HfName {
    const TABLES: &[(&str, &str)] = &[
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
    ];
    const LAYER: &[(&str, &str)] = &[
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "attn_output_norm"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.down_proj", "ffn_down"),
        // Without a gate
        ("mlp.fc1", "ffn_up"),
        ("mlp.fc2", "ffn_down"),
        ("post_mlp_layernorm", "layer_output_norm"),
    ];
    renamed(name, TABLES, "layers.", LAYER)
}
