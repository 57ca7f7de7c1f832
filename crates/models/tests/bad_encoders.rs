//! GGUF files of the encoders after BERT that are sound containers but no sound models: one line with file, place, expected and found.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::copy_folder;
use docent_gguf::{Gguf, OwnedValue, TensorType, WriteError, Writer};
use docent_kernels::ThreadPool;
use docent_models::Model;
use docent_models::convert::{OutputType, convert};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The tensors of a model: dimensions, type, bytes.
type Tensors = BTreeMap<String, (Vec<u64>, TensorType, Vec<u8>)>;

const GEMMA_2: &str = "../transformers-5/embedding-gemma2";
const EUROBERT: &str = "../transformers-5/eurobert-late";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoders").join(name)
}

fn message(path: &Path) -> String {
    let message = Model::open(path, &ThreadPool::new(1)).expect_err("a damaged model").to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// Writes a GGUF file with other metadata, of which `None` takes a key out, and other tensors.
fn rewrite(gguf: &Gguf, metadata: &[(&str, Option<OwnedValue>)], damage: impl FnOnce(&mut Tensors), path: &Path) {
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| metadata.iter().all(|(other, _)| other != key)) {
        writer.metadata(key, OwnedValue::from(value)).unwrap();
    }
    for (key, value) in metadata {
        if let Some(value) = value {
            writer.metadata(*key, value.clone()).unwrap();
        }
    }
    let contents = |tensor: docent_gguf::Tensor<'_>| {
        (tensor.name().to_owned(), (tensor.dims().to_vec(), tensor.tensor_type(), tensor.bytes().to_vec()))
    };
    let mut tensors: Tensors = gguf.tensors().map(contents).collect();
    damage(&mut tensors);
    for (name, (dims, ty, _)) in &tensors {
        writer.tensor(name.as_str(), dims, *ty).unwrap();
    }
    writer.save::<WriteError>(path, |info, sink| sink.write(&tensors[info.name()].2)).unwrap();
}

/// The message for a GGUF model with other metadata or tensors.
fn damaged(name: &str, metadata: &[(&str, Option<OwnedValue>)], damage: impl FnOnce(&mut Tensors)) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged.gguf");
    rewrite(&Gguf::open(fixture(name).join("model.gguf")).unwrap(), metadata, damage, &path);
    let message = message(&path);
    assert!(message.contains("damaged.gguf"), "names no file: {message}");
    message
}

/// The message for a directory with another value in config.json.
fn with_field(name: &str, field: &str, value: Json) -> String {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    fs::remove_file(folder.path().join("modules.json")).ok();
    let path = folder.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
    message(folder.path())
}

#[track_caller]
fn says(message: &str, part: &str) {
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

#[test]
fn settings_out_of_range_or_at_odds_are_named() {
    let table: [(&str, &str, OwnedValue, &str); 29] = [
        ("modern-bert", "attention.sliding_window", 0u32.into(), "sliding_window: expected at least 1, found 0"),
        (
            "modern-bert",
            "attention.sliding_window_pattern",
            vec![false, true].into(),
            "a value for each of 4 layers, found 2",
        ),
        ("modern-bert", "attention.head_count", 5u32.into(), "a divisor of the hidden size 24, found 5"),
        ("modern-bert", "attention.head_count", 0u32.into(), "number of attention heads"),
        (
            "modern-bert",
            "attention.head_count",
            24u32.into(),
            "rope.dimension_count: expected an even number up to 1, found 1",
        ),
        (
            "modern-bert",
            "attention.head_count_kv",
            1u32.into(),
            "head_count_kv: expected as many as there are heads, 3",
        ),
        (
            "modern-bert",
            "rope.dimension_count",
            7u32.into(),
            "rope.dimension_count: expected an even number up to 8, found 7",
        ),
        ("modern-bert", "rope.freq_base", 0f32.into(), "rope.freq_base: expected a number above 1"),
        ("modern-bert", "rope.freq_base_swa", f32::NAN.into(), "rope.freq_base_swa: expected a number above 1"),
        ("modern-bert", "hidden_activation", "mish".into(), "hidden_activation: expected gelu"),
        ("modern-bert", "attention.causal", true.into(), "causal: expected false"),
        (
            "modern-bert",
            "block_count",
            5u32.into(),
            "sliding_window_pattern: expected a value for each of 5 layers, found 4",
        ),
        ("modern-bert", "feed_forward_length", 10u32.into(), "blk.0.ffn_up.weight"),
        (
            "modern-bert-rerank",
            "classifier.pooling_type",
            3u32.into(),
            "classifier.pooling_type: expected 1 (mean) or 2",
        ),
        ("nomic-bert", "rope.dimension_count", 10u32.into(), "an even number up to 8, found 10"),
        ("nomic-bert", "context_length", 0u32.into(), "number of positions"),
        ("nomic-bert-moe", "expert_count", 0u32.into(), "expert_count: expected 1 to 1024, found 0"),
        ("nomic-bert-moe", "expert_count", u32::MAX.into(), "expert_count: expected 1 to 1024, found 4294967295"),
        ("nomic-bert-moe", "expert_count", 3u32.into(), "ffn_up_exps.weight"),
        ("nomic-bert-moe", "expert_used_count", 0u32.into(), "expert_used_count: expected 1 to the 4 experts, found 0"),
        ("nomic-bert-moe", "expert_used_count", 5u32.into(), "expert_used_count: expected 1 to the 4 experts, found 5"),
        ("nomic-bert-moe", "moe_every_n_layers", 1u32.into(), "moe_every_n_layers: expected at least 2, found 1"),
        ("jina-bert-v2", "feed_forward_length", 7u32.into(), "blk.0.ffn_up.weight"),
        (
            "deberta-v2",
            "attention.relative_buckets_count",
            3u32.into(),
            "relative_buckets_count: expected 0, or 4 to less than 254, found 3",
        ),
        (
            "deberta-v2",
            "attention.relative_buckets_count",
            254u32.into(),
            "relative_buckets_count: expected 0, or 4 to less than 254, found 254",
        ),
        ("deberta-v2", "attention.relative_distance_max", 1u32.into(), "relative_distance_max: expected 2 to 4096"),
        ("deberta-v2", "context_length", 5000u32.into(), "context_length: expected at most 4096, found 5000"),
        ("deberta-v2", "classifier.activation", "mish".into(), "classifier.activation: expected gelu"),
        ("gte-new", "rope.scaling.factor", f32::INFINITY.into(), "rope.scaling.factor: expected a number above 0"),
    ];
    for (name, key, value, expected) in table {
        let architecture = name.trim_end_matches("-rerank");
        let message = damaged(name, &[(&format!("{architecture}.{key}"), Some(value))], |_| {});
        says(&message, expected);
    }
}

#[test]
fn settings_that_are_missing_are_named() {
    for (name, key) in [
        ("modern-bert", "attention.layer_norm_epsilon"),
        ("nomic-bert", "attention.head_count"),
        ("nomic-bert-moe", "expert_count"),
        ("nomic-bert-moe", "expert_used_count"),
        ("nomic-bert-moe", "moe_every_n_layers"),
        ("jina-bert-v2", "block_count"),
        ("jina-bert-v3", "feed_forward_length"),
        ("deberta-v2", "attention.relative_distance_max"),
        ("mpnet", "context_length"),
        ("gte-new", "context_length"),
    ] {
        says(&damaged(name, &[(&format!("{name}.{key}"), None)], |_| {}), key);
    }
}

#[test]
fn tensors_that_are_missing_are_named() {
    for (name, tensor) in [
        ("modern-bert", "blk.1.attn_norm.weight"),
        ("modern-bert", "blk.0.ffn_norm.weight"),
        ("modern-bert", "output_norm.weight"),
        ("modern-bert", "token_embd_norm.weight"),
        ("nomic-bert", "blk.1.ffn_gate.weight"),
        ("nomic-bert", "token_embd.weight"),
        ("nomic-bert-moe", "blk.1.ffn_gate_inp.weight"),
        ("nomic-bert-moe", "blk.1.ffn_up_exps.weight"),
        ("nomic-bert-moe", "blk.1.ffn_down_exps.weight"),
        ("nomic-bert-moe", "blk.0.ffn_up.weight"),
        ("jina-bert-v2", "blk.0.ffn_up.weight"),
        ("jina-bert-v2", "blk.1.layer_output_norm.weight"),
        ("jina-bert-v2-code", "blk.0.attn_k_norm.weight"),
        ("jina-bert-v2-code", "blk.1.attn_q_norm.weight"),
        ("jina-bert-v3", "blk.0.attn_output_norm.weight"),
        ("deberta-v2", "relative_embd.weight"),
        ("mpnet", "attn_rel_b.weight"),
        ("deberta-v2", "blk.1.attn_k.weight"),
        ("gte-new", "blk.0.ffn_down.weight"),
    ] {
        let message = damaged(name, &[], |tensors| drop(tensors.remove(tensor).unwrap()));
        says(&message, &format!("tensor `{tensor}` is missing"));
    }
    says(&damaged("nomic-bert", &[], |tensors| drop(tensors.remove("blk.0.attn_qkv.weight"))), "blk.0.attn_q.weight");
}

#[test]
fn tensors_of_another_shape_are_named() {
    for (name, tensor, dims) in [
        // Half of the gate.
        ("modern-bert", "blk.2.ffn_up.weight", vec![24, 20]),
        ("modern-bert", "blk.0.attn_qkv.weight", vec![24, 48]),
        ("modern-bert-rerank", "cls.weight", vec![24, 12]),
        ("nomic-bert", "blk.0.ffn_gate.weight", vec![24, 21]),
        // One expert fewer, one dimension fewer, turned.
        ("nomic-bert-moe", "blk.1.ffn_up_exps.weight", vec![24, 20, 3]),
        ("nomic-bert-moe", "blk.1.ffn_up_exps.weight", vec![24, 80]),
        ("nomic-bert-moe", "blk.1.ffn_down_exps.weight", vec![24, 20, 4]),
        ("nomic-bert-moe", "blk.1.ffn_gate_inp.weight", vec![24, 5]),
        ("jina-bert-v2", "blk.0.ffn_up.weight", vec![24, 41]),
        ("jina-bert-v2", "token_types.weight", vec![23, 2]),
        ("jina-bert-v2-code", "blk.0.attn_q_norm.weight", vec![8]),
        ("jina-bert-v3", "blk.1.attn_qkv.bias", vec![24]),
        ("deberta-v2", "relative_embd.weight", vec![24, 24]),
        ("deberta-v2", "relative_embd_norm.weight", vec![23]),
        ("mpnet", "attn_rel_b.weight", vec![3, 31]),
        ("gte-new", "cls.weight", vec![24, 24]),
        ("gte-new", "blk.0.ffn_up.weight", vec![30, 20]),
    ] {
        let message = damaged(name, &[], |tensors| {
            let bytes = vec![0; dims.iter().product::<u64>() as usize * 4];
            *tensors.get_mut(tensor).unwrap() = (dims.clone(), TensorType::F32, bytes);
        });
        says(&message, tensor);
        says(&message, "expected shape");
    }
}

#[test]
fn an_expert_that_is_not_finite_is_named() {
    let message = damaged("nomic-bert-moe", &[], |tensors| {
        let bytes = &mut tensors.get_mut("blk.1.ffn_up_exps.weight").unwrap().2;
        bytes[(24 * 20 * 2 + 24 * 3 + 5) * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    says(&message, "blk.1.ffn_up_exps.weight");
    says(&message, "row 3, column 5 is not a finite number");
}

#[test]
fn fields_of_directories_are_named() {
    for (name, field, value, expected) in [
        ("modern-bert", "local_attention", json!(0), "local_attention: expected at least 1, found 0"),
        (
            "modern-bert",
            "layer_types",
            json!(["full_attention"]),
            "layer_types: expected a type for each of 4 layers, found 1",
        ),
        ("modern-bert", "classifier_pooling", json!("max"), "classifier_pooling: expected \"mean\" or \"cls\""),
        ("modern-bert", "hidden_activation", json!("mish"), "hidden_activation: expected gelu"),
        ("modern-bert", "global_rope_theta", json!(1), "global_rope_theta: expected a number above 1"),
        ("nomic-bert", "prenorm", json!(true), "prenorm: expected false"),
        ("nomic-bert", "rotary_emb_interleaved", json!(true), "rotary_emb_interleaved: expected false"),
        ("nomic-bert", "rotary_emb_fraction", json!(0.5), "rotary_emb_fraction: expected 1, found 0.5"),
        (
            "nomic-bert",
            "activation_function",
            json!("relu"),
            "activation_function: expected \"swiglu\", found \"relu\"",
        ),
        ("nomic-bert-moe", "moe_top_k", json!(9), "moe_top_k: expected 1 to the 4 experts, found 9"),
        ("nomic-bert-moe", "num_experts", json!(0), "num_experts: expected 1 to 1024, found 0"),
        ("nomic-bert-moe", "num_experts", json!(5), "experts.mlp.w1"),
        ("nomic-bert-moe", "moe_every_n_layers", json!(1), "moe_every_n_layers: expected at least 2, found 1"),
        ("jina-bert-v2", "feed_forward_type", json!("swish"), "feed_forward_type: expected \"original\""),
        ("jina-bert-v2", "position_embedding_type", json!("absolute"), "missing"),
        ("jina-bert-v3", "max_position_embeddings", json!(1), "max_position_embeddings: expected more than 2"),
        (
            "gte-new",
            "rope_scaling",
            json!({"type": "dynamic", "factor": 2.0}),
            "rope_scaling: expected the type \"ntk\"",
        ),
        (
            "gte-new",
            "rope_scaling",
            json!({"type": "ntk", "factor": 0.5}),
            "rope_scaling.factor: expected a number from 1 on",
        ),
        ("deberta-v2", "pos_att_type", json!(["c2p"]), "pos_att_type: expected \"c2p\" and \"p2c\", found [\"c2p\"]"),
        ("mpnet", "relative_attention_num_buckets", json!(64), "relative_attention_num_buckets: expected 32, found 64"),
        ("deberta-v2", "pos_att_type", json!(2), "pos_att_type: expected a list of strings"),
        ("deberta-v2", "share_att_key", json!(false), "share_att_key: expected true, found false"),
        ("deberta-v2", "position_biased_input", json!(null), "position_biased_input: expected false, found true"),
        ("deberta-v2", "conv_kernel_size", json!(3), "conv_kernel_size: expected 0, found 3"),
        ("deberta-v2", "embedding_size", json!(12), "embedding_size: expected 24, found 12"),
        ("deberta-v2", "pooler_hidden_act", json!("mish"), "pooler_hidden_act: expected gelu"),
        (GEMMA_2, "layer_types", json!(null), "layer_types: expected a type for each layer, found nothing"),
        (
            GEMMA_2,
            "per_layer_config",
            json!({"1": {"head_dim": 7}}),
            "per_layer_config: expected an even number up to 1024, found 7",
        ),
        (GEMMA_2, "per_layer_config", json!({"1": {"num_key_value_heads": 4}}), "expected a divisor of the 6 heads"),
        (GEMMA_2, "per_layer_config", json!({"01": {"head_dim": 7}}), "expected an even number up to 1024, found 7"),
        (
            GEMMA_2,
            "per_layer_config",
            json!({"2": {}}),
            "per_layer_config: expected numbers of layers below 2, found \"2\"",
        ),
        (GEMMA_2, "per_layer_config", json!({"1": {"sliding_window": 2}}), "found \"sliding_window\" of layer 1"),
        (GEMMA_2, "per_layer_config", json!({"0": 7}), "0: expected an object, found 7"),
        (GEMMA_2, "embedding_dim", json!(17), "embedding_dim: expected 18, the outputs of dense_2.weight, found 17"),
        (GEMMA_2, "layer_types", json!(["chunked_attention", "full_attention"]), "found \"chunked_attention\""),
        (
            GEMMA_2,
            "rope_parameters",
            json!({"rope_theta": 7.0}),
            "expected those of full_attention and of sliding_attention",
        ),
        (GEMMA_2, "architectures", json!(["OtherGemma"]), "expected EmbeddingGemma2TextModel, found OtherGemma"),
        (GEMMA_2, "attention_bias", json!(true), "attention_bias: expected false, found true"),
        (GEMMA_2, "hidden_activation", json!("silu"), "hidden_activation: expected \"gelu_pytorch_tanh\""),
        (GEMMA_2, "hidden_size_per_layer_input", json!(0), "hidden_size_per_layer_input: expected 1 to 65536, found 0"),
        (
            GEMMA_2,
            "hidden_size_per_layer_input",
            json!(15),
            "per_layer_model_projection.weight`: expected shape [30, 24]",
        ),
        (EUROBERT, "classifier_pooling", json!("max"), "classifier_pooling: expected \"bos\", \"mean\" or \"late\""),
        (EUROBERT, "attention_bias", json!(true), "attention_bias: expected false, found true"),
        (EUROBERT, "hidden_act", json!("gelu"), "hidden_act: expected \"silu\""),
        (
            EUROBERT,
            "architectures",
            json!(["EuroBertForTokenClassification"]),
            "expected EuroBertModel or EuroBertForMaskedLM",
        ),
        ("gte-new", "layer_norm_type", json!("rms_norm"), "layer_norm_type: expected \"layer_norm\""),
        ("gte-new", "logn_attention_scale", json!(true), "logn_attention_scale: expected false"),
    ] {
        says(&with_field(name, field, value), expected);
    }
}

/// The message for a copy of a directory that `damage` has gone over.
fn directory(name: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(name), folder.path());
    damage(folder.path());
    message(folder.path())
}

#[test]
fn modules_of_a_head_that_cannot_be_are_named() {
    const NAME: &str = "modern-bert-modules";
    let write = |file: &str, text: &str| directory(NAME, |folder| fs::write(folder.join(file), text).unwrap());
    let elu = r#"{"activation_function": "torch.nn.modules.activation.ELU"}"#;
    says(&write("2_Dense/config.json", elu), "activation_function: expected torch.nn.modules.linear.Identity");
    // Two matrices with a norm between them.
    says(&write("2_Dense/config.json", "{}"), "modules.json: type: expected dense layers after pooling");
    says(&write("1_Pooling/config.json", r#"{"pooling_mode": "max"}"#), "pooling: expected cls or mean before a head");
    says(&directory(NAME, |folder| fs::remove_dir_all(folder.join("3_LayerNorm")).unwrap()), "3_LayerNorm");
    says(&directory(NAME, |folder| fs::remove_file(folder.join("4_Dense/model.safetensors")).unwrap()), "4_Dense");
    let swapped = |folder: &Path| {
        fs::copy(folder.join("4_Dense/model.safetensors"), folder.join("2_Dense/model.safetensors")).unwrap();
    };
    says(&directory(NAME, swapped), "2_Dense/linear.weight");
    let other = directory("nomic-bert", |folder| {
        let head = fixture(NAME);
        for name in ["1_Pooling/config.json", "modules.json"] {
            fs::copy(head.join(name), folder.join(name)).unwrap();
        }
        for module in ["2_Dense", "3_LayerNorm", "4_Dense"] {
            fs::create_dir(folder.join(module)).unwrap();
            for name in ["config.json", "model.safetensors"] {
                fs::copy(head.join(module).join(name), folder.join(module).join(name)).unwrap();
            }
        }
    });
    says(&other, "no scoring head for the architecture nomic-bert");
}

/// A change to the adapter of a task: metadata to set, and what becomes of the tensors.
type AdapterDamage = (&'static [(&'static str, &'static str)], fn(&mut Tensors), &'static str);

#[test]
fn damaged_adapters_are_named() {
    const TASK: &str = "retrieval.query";
    let folder = TempDir::new().unwrap();
    let base = folder.path().join("m.gguf");
    convert(&fixture("jina-bert-v3"), &base, OutputType::F32, &mut |_| {}).unwrap();
    let path = folder.path().join(format!("lora-{TASK}-m.gguf"));
    let sound = fs::read(&path).unwrap();
    let table: [AdapterDamage; 10] = [
        (&[("general.type", "model")], |_| {}, "general.type: expected adapter, found model"),
        (&[("adapter.type", "ia3")], |_| {}, "adapter.type: expected lora, found ia3"),
        (&[("general.architecture", "bert")], |_| {}, "general.architecture: expected jina-bert-v3, found bert"),
        (
            &[("adapter.lora.task_name", "../a")],
            |_| {},
            "adapter.lora.task_name: expected names of tasks without / and",
        ),
        (&[("adapter.lora.task_name", "text-matching")], |_| {}, "adapter.lora.task_name: expected another task than"),
        (
            &[],
            |tensors| drop(tensors.remove("blk.1.ffn_up.weight.lora_b")),
            "tensor `blk.1.ffn_up.weight.lora_b` is missing",
        ),
        (
            &[],
            |tensors| tensors.get_mut("blk.0.attn_qkv.weight.lora_a").unwrap().0 = vec![12, 6],
            "`blk.0.attn_qkv.weight.lora_a`: expected shape [6, 24], found [6, 12]",
        ),
        (
            &[],
            |tensors| tensors.get_mut("token_embd.weight.lora_b").unwrap().0 = vec![24, 3],
            "`token_embd.weight.lora_b`: expected shape [24, 3], found [3, 24]",
        ),
        (
            &[],
            |tensors| tensors.get_mut("token_types.weight.lora_a").unwrap().0 = vec![72],
            "token_types.weight.lora_a: expected a matrix of a rank from 1 to 4096, for each of 3 tasks, found the shape [72]",
        ),
        (
            &[],
            |tensors| {
                let bytes = &mut tensors.get_mut("blk.0.ffn_down.weight.lora_a").unwrap().2;
                bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
            },
            "`blk.0.ffn_down.weight.lora_a`",
        ),
    ];
    for (metadata, damage, expected) in table {
        let metadata = metadata.iter().map(|&(key, text)| (key, Some(OwnedValue::from(text)))).collect::<Vec<_>>();
        rewrite(&Gguf::from_bytes(sound.clone()).unwrap(), &metadata, damage, &path);
        let message = self::message(&base);
        says(&message, expected);
        // Of two files for one task the second is named with the first.
        let named = if expected.contains("another task") { "lora-text-matching" } else { "lora-retrieval.query" };
        says(&message, named);
    }
    fs::write(&path, &sound[..100]).unwrap();
    says(&message(&base), "lora-retrieval.query-m.gguf");
}

/// In a directory the factors of all tasks are in one tensor.
#[test]
fn tasks_at_odds_with_the_weights_are_named() {
    for (field, value, expected) in [
        ("lora_adaptations", json!(["a", "b"]), "for each of 2 tasks, found the shape [3, 215, 3]"),
        ("lora_adaptations", json!(["a", "b", "a"]), "expected the name of each task once, found \"a\" again"),
        (
            "lora_adaptations",
            json!(["a/b"]),
            "lora_adaptations: expected names of tasks without / and \\, found \"a/b\"",
        ),
        ("lora_adaptations", json!("a"), "lora_adaptations: expected a list of strings"),
        ("lora_alpha", json!("much"), "lora_alpha: expected a number"),
        ("lora_alpha", json!(1e300), "lora_alpha: expected a finite number"),
        ("task_instructions", json!([1]), "task_instructions: expected an object"),
    ] {
        says(&with_field("jina-bert-v3", field, value), expected);
    }
}

/// Settings of the adapter in a folder, and what is said of them.
#[test]
fn adapters_that_are_no_plain_low_rank_sums_are_named() {
    for (field, value, expected) in [
        ("peft_type", json!("IA3"), "peft_type: expected \"LORA\", found \"IA3\""),
        ("use_dora", json!(true), "use_dora: expected false, found true"),
        ("bias", json!("all"), "bias: expected \"none\", found \"all\""),
        ("rank_pattern", json!({"fc1": 4}), "rank_pattern: expected the same for all weights"),
        ("modules_to_save", json!(["dense"]), "modules_to_save: expected no weights beside the factors"),
        ("r", json!(0), "a rank from 1 on"),
        ("r", json!("two"), "r: expected a whole number"),
        ("lora_alpha", json!(0), "lora_alpha: expected a finite number, not 0"),
    ] {
        let folder = of_transformers_5();
        let path = folder.path().join("text_matching/adapter_config.json");
        let mut config: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        fs::write(&path, config.to_string()).unwrap();
        let message = message(folder.path());
        says(&message, expected);
        says(&message, "text_matching");
    }
}

/// Names and shapes in the header of an adapter's file, changed without changing its length.
#[test]
fn factors_at_odds_with_the_weights_are_named() {
    let fc1 = "base_model.model.layers.0.mlp.fc1";
    for (from, to, expected) in [
        (format!("{fc1}.lora_A"), format!("{fc1}.lora_X"), "tensor `blk.0.ffn_up.weight.lora_a` is missing"),
        (
            format!("{fc1}.lora_A.weight\":{{\"dtype\":\"F32\",\"shape\":[2,24]"),
            format!("{fc1}.lora_A.weight\":{{\"dtype\":\"F32\",\"shape\":[24,2]"),
            "fc1.lora_A.weight`: expected shape [24, 24], found [24, 2]",
        ),
        ("\"shape\":[2,215]".to_owned(), "\"shape\":[10,43]".to_owned(), "expected shape [215, 10], found [43, 10]"),
        ("\"shape\":[2,215]".to_owned(), "\"shape\":[ 430 ]".to_owned(), "expected shape [0, 0], found [430]"),
    ] {
        let folder = of_transformers_5();
        let path = folder.path().join("text_matching/adapter_model.safetensors");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(from.len(), to.len());
        let place = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let changed = [&bytes[..place], to.as_bytes(), &bytes[place + to.len()..]].concat();
        fs::write(&path, changed).unwrap();
        says(&message(folder.path()), expected);
    }
    let folder = of_transformers_5();
    fs::remove_file(folder.path().join("retrieval_query/adapter_model.safetensors")).unwrap();
    says(&message(folder.path()), "adapter_model.safetensors: ");
    let folder = of_transformers_5();
    fs::create_dir(folder.path().join("text-matching")).unwrap();
    let config = folder.path().join("text_matching/adapter_config.json");
    fs::copy(&config, folder.path().join("text-matching/adapter_config.json")).unwrap();
    says(&message(folder.path()), "expected another task than that of text-matching, found text-matching");
}

/// A copy of jina-embeddings-v3 as transformers 5 has it, with its adapters in folders.
fn of_transformers_5() -> TempDir {
    let to = TempDir::new().unwrap();
    copy_folder(&fixture("../transformers-5/jina-bert-v3"), to.path());
    to
}

#[test]
fn files_of_eurobert_with_half_a_classifier_are_named() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good.gguf");
    convert(&fixture(EUROBERT), &good, OutputType::F32, &mut |_| {}).unwrap();
    let gguf = Gguf::open(&good).unwrap();
    let damaged = |metadata: &[(&str, Option<OwnedValue>)], damage: &dyn Fn(&mut Tensors)| {
        let path = folder.path().join("damaged.gguf");
        rewrite(&gguf, metadata, damage, &path);
        message(&path)
    };
    let key = "eurobert.classifier.pooling_type";
    says(
        &damaged(&[(key, Some(3u32.into()))], &|_| {}),
        "classifier.pooling_type: expected 1 (mean) or 2 (first token)",
    );
    says(&damaged(&[], &|tensors| drop(tensors.remove("cls.weight"))), "tensor `cls.weight` is missing");
    says(
        &damaged(&[], &|tensors| drop(tensors.remove("output_norm.weight"))),
        "tensor `output_norm.weight` is missing",
    );
    says(&damaged(&[("eurobert.context_length", None)], &|_| {}), "eurobert.context_length");
}

#[test]
fn states_that_a_matrix_projects_are_not_pooled_to_their_largest_values() {
    let message = directory(GEMMA_2, |folder| {
        fs::write(folder.join("1_Pooling/config.json"), r#"{"pooling_mode": "max"}"#).unwrap();
    });
    says(&message, "pooling: expected another than max before a matrix of the model's own, found max");
}
