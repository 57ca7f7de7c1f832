//! Files that are sound containers but no sound models: one line that names the file, the place, expected and found.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::copy_folder;
use docent_gguf::{Gguf, OwnedArray, OwnedValue, TensorType, WriteError, Writer};
use docent_kernels::ThreadPool;
use docent_models::Model;
use docent_models::convert::{self, OutputType};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// A GGUF model held in memory, to be damaged and written again.
struct Draft {
    metadata: Vec<(String, OwnedValue)>,
    tensors: BTreeMap<String, (Vec<u64>, TensorType, Vec<u8>)>,
}

impl Draft {
    fn of(model: &str, ty: OutputType) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.gguf");
        convert::convert(&fixture(model), &path, ty, &mut |_| {}).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let owned = |(key, value): (&str, docent_gguf::Value<'_>)| (key.to_owned(), OwnedValue::from(value));
        let tensor = |tensor: docent_gguf::Tensor<'_>| {
            let contents = (tensor.dims().to_vec(), tensor.tensor_type(), tensor.bytes().to_vec());
            (tensor.name().to_owned(), contents)
        };
        Draft { metadata: gguf.metadata().iter().map(owned).collect(), tensors: gguf.tensors().map(tensor).collect() }
    }

    fn set(&mut self, key: &str, value: impl Into<OwnedValue>) {
        self.remove(key);
        self.metadata.push((key.to_owned(), value.into()));
    }

    fn remove(&mut self, key: &str) {
        self.metadata.retain(|(other, _)| other != key);
    }

    fn tensor(&mut self, name: &str) -> &mut (Vec<u64>, TensorType, Vec<u8>) {
        self.tensors.get_mut(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn write(&self, path: &Path) {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.metadata(key.as_str(), value.clone()).unwrap();
        }
        for (name, (dims, ty, _)) in &self.tensors {
            writer.tensor(name.as_str(), dims, *ty).unwrap();
        }
        writer.save::<WriteError>(path, |info, sink| sink.write(&self.tensors[info.name()].2)).unwrap();
    }
}

fn open(path: &Path) -> Result<Model, docent_models::Error> {
    Model::open(path, &ThreadPool::new(1))
}

/// The message for a GGUF model that `damage` has gone over.
fn gguf_error(ty: OutputType, damage: impl FnOnce(&mut Draft)) -> String {
    let mut draft = Draft::of("bert-tiny", ty);
    damage(&mut draft);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged.gguf");
    draft.write(&path);
    message(open(&path), "damaged.gguf")
}

/// The message for a directory in which `damage` has changed config.json.
fn config_error(damage: impl FnOnce(&mut Json)) -> String {
    directory_error(|folder| {
        let path = folder.join("config.json");
        let mut config: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        damage(&mut config);
        fs::write(path, config.to_string()).unwrap();
    })
}

/// The message for a copy of a directory that `damage` has gone over.
fn directory_error(damage: impl FnOnce(&Path)) -> String {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("damaged");
    copy_folder(&fixture("bert-tiny"), &copy);
    damage(&copy);
    message(open(&copy), "damaged")
}

fn message(model: Result<Model, docent_models::Error>, file: &str) -> String {
    let message = model.expect_err("a damaged model").to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains(file), "names no file: {message}");
    message
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn an_undamaged_draft_opens() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    for ty in OutputType::ALL {
        Draft::of("bert-tiny", ty).write(&path);
        open(&path).unwrap();
    }
}

#[test]
fn an_unknown_architecture_is_named() {
    let message = gguf_error(OutputType::F32, |draft| draft.set("general.architecture", "mamba"));
    says(&message, &["`mamba` is not supported", "supported: bert"]);
    says(&config_error(|config| config["model_type"] = json!("t5")), &["`t5` is not supported"]);
    says(&config_error(|config| config["model_type"] = Json::Null), &["model_type", "found nothing"]);
    says(&gguf_error(OutputType::F32, |draft| draft.set("general.type", "adapter")), &["general.type", "adapter"]);
}

#[test]
fn settings_out_of_range_are_named() {
    for (key, value, expected) in [
        ("bert.block_count", 0u32, "number of layers: expected 1 to 512, found 0"),
        ("bert.block_count", u32::MAX, "found 4294967295"),
        ("bert.attention.head_count", 0, "number of attention heads: expected 1 to 1024, found 0"),
        ("bert.attention.head_count", 5, "expected a divisor of the hidden size 96, found 5"),
        ("bert.feed_forward_length", u32::MAX, "feed-forward size"),
        ("bert.context_length", 0, "number of positions: expected 1 to 1048576, found 0"),
        ("bert.feed_forward_length", 7000, "at most 64 times the hidden size 96, and 536870912 values a text"),
        ("bert.pooling_type", 4, "expected a head that scores, `cls.output.weight`, found none"),
        ("bert.pooling_type", 9, "expected 0 to 4, found 9"),
    ] {
        says(&gguf_error(OutputType::F32, |draft| draft.set(key, value)), &[expected]);
    }
    for key in ["bert.embedding_length", "bert.block_count", "bert.attention.layer_norm_epsilon"] {
        says(&gguf_error(OutputType::F32, |draft| draft.remove(key)), &[key, "found no such key"]);
    }
    for epsilon in [0.0, 1e-40, -1.0, 2.0, f32::NAN, f32::INFINITY] {
        let message = gguf_error(OutputType::F32, |draft| draft.set("bert.attention.layer_norm_epsilon", epsilon));
        says(&message, &["layer_norm_epsilon", "a number between 0 and 1"]);
    }
    says(&gguf_error(OutputType::F32, |draft| draft.set("bert.attention.causal", true)), &["causal", "expected false"]);
    says(&gguf_error(OutputType::F32, |draft| draft.set("bert.block_count", "six")), &["block_count", "string"]);
}

#[test]
fn settings_of_a_directory_are_checked_too() {
    for (field, value, parts) in [
        ("hidden_act", json!("mish"), ["hidden_act", "found \"mish\""]),
        ("position_embedding_type", json!("relative_key"), ["position_embedding_type", "\"relative_key\""]),
        ("num_attention_heads", json!(5), ["a divisor of the hidden size 96", "found 5"]),
        ("num_hidden_layers", json!(-1), ["num_hidden_layers", "a whole number"]),
        ("num_hidden_layers", json!("two"), ["num_hidden_layers", "found \"two\""]),
        ("intermediate_size", Json::Null, ["intermediate_size", "found nothing"]),
        ("layer_norm_eps", json!(0), ["layer_norm_eps", "found 0"]),
        ("hidden_size", json!(64), ["embeddings.word_embeddings.weight", "expected shape"]),
    ] {
        says(&config_error(|config| config[field] = value.clone()), &parts);
    }
}

#[test]
fn tensors_that_are_missing_or_misshapen_are_named() {
    let name = "blk.1.ffn_down.weight";
    let message = gguf_error(OutputType::F32, |draft| drop(draft.tensors.remove(name)));
    says(&message, &["tensor `blk.1.ffn_down.weight` is missing", "[96, 160]"]);
    let message = gguf_error(OutputType::F32, |draft| draft.tensor(name).0.swap(0, 1));
    says(&message, &[name, "expected shape [96, 160], found [160, 96]"]);
    let message = gguf_error(OutputType::F32, |draft| {
        let bias = draft.tensor("blk.0.attn_q.bias");
        bias.0[0] -= 1;
        bias.2.truncate(95 * 4);
    });
    says(&message, &["blk.0.attn_q.bias", "expected shape [96], found [95]"]);
    let message = gguf_error(OutputType::F32, |draft| {
        let tensor = draft.tensor(name);
        tensor.1 = TensorType::I8;
        tensor.2 = vec![0; 160 * 96];
    });
    says(&message, &[name, "I8", "supported: F32, F16, BF16, Q4_0"]);
    let message = gguf_error(OutputType::F32, |draft| draft.set("bert.block_count", 40u32));
    says(&message, &["blk.", "is missing"]);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let message = gguf_error(OutputType::F32, |draft| {
        draft.tensor("blk.0.ffn_up.weight").2[(96 * 3 + 7) * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    says(&message, &["blk.0.ffn_up.weight", "row 3, column 7", "not a finite number"]);
    let message = gguf_error(OutputType::Q8_0, |draft| {
        // The scale of the second block of row 4, three blocks to a row.
        draft.tensor("blk.0.ffn_up.weight").2[34 * (3 * 4 + 1)..][..2].copy_from_slice(&[0x00, 0x7c]);
    });
    says(&message, &["blk.0.ffn_up.weight", "row 4, column 32", "not a finite number"]);
    let message = gguf_error(OutputType::F32, |draft| {
        draft.tensor("blk.1.attn_output_norm.weight").2[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    says(&message, &["blk.1.attn_output_norm.weight", "not a finite number"]);
}

#[test]
fn a_vocabulary_larger_than_its_embeddings_is_refused() {
    let message = gguf_error(OutputType::F32, |draft| {
        let key = "tokenizer.ggml.tokens";
        let (_, value) = draft.metadata.iter_mut().find(|(name, _)| name == key).unwrap();
        let OwnedValue::Array(OwnedArray::String(tokens)) = value else { panic!("{key}") };
        tokens.push("▁onemore".to_owned());
        let (_, value) = draft.metadata.iter_mut().find(|(name, _)| name == "tokenizer.ggml.token_type").unwrap();
        let OwnedValue::Array(OwnedArray::I32(types)) = value else { panic!("token types") };
        types.push(1);
    });
    says(&message, &["tokens but the embedding table only"]);
}

#[test]
fn another_tokenizer_is_named() {
    let message = gguf_error(OutputType::F32, |draft| draft.set("tokenizer.ggml.model", "rwkv"));
    says(&message, &["tokenizer.ggml.model", "rwkv"]);
    let message = gguf_error(OutputType::F32, |draft| draft.set("tokenizer.ggml.model", "gpt2"));
    says(&message, &["tokenizer.ggml.merges", "found no such key"]);
    says(&directory_error(|folder| fs::write(folder.join("tokenizer.json"), "{}").unwrap()), &["tokenizer.json"]);
}

#[test]
fn texts_that_are_not_tokenized_in_the_usual_way_are_refused() {
    let with = |settings: Json| {
        let folder = TempDir::new().unwrap();
        copy_folder(&fixture("bert-tiny"), folder.path());
        fs::write(folder.path().join("sentence_bert_config.json"), settings.to_string()).unwrap();
        folder
    };
    let refusal = |settings: Json| message(open(with(settings).path()), "sentence_bert_config.json");
    let kwargs = |text: Json| json!({"processing_kwargs": {"text": text}});
    let message = refusal(kwargs(json!({"add_special_tokens": false})));
    says(&message, &["processing_kwargs.text.add_special_tokens: expected the tokenizer's usual way, found false"]);
    says(&refusal(kwargs(json!({"truncation_side": "left"}))), &["processing_kwargs.text.truncation_side"]);
    // A text would be put into a chat, or another output be pooled.
    let chat =
        json!({"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}});
    says(&refusal(chat), &["modality_config.text: expected texts that are read as they are, found nothing"]);
    let pooler = json!({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}});
    says(&refusal(pooler), &["modality_config.text: expected the output last_hidden_state, found pooler_output"]);
    let usual = json!({
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "processing_kwargs": {"text": {"padding": true, "truncation": true, "max_length": 24}},
    });
    assert_eq!(open(with(usual).path()).unwrap().description().max_length, 24);
}

#[test]
fn models_of_late_interaction_are_refused() {
    let message = config_error(|config| config["architectures"] = json!(["HF_ColBERT"]));
    says(
        &message,
        &["config.json: architectures: expected a model that gives each text one vector or a score, found HF_ColBERT"],
    );
}

#[test]
fn small_letters_are_asked_for_in_vain_where_the_tokenizer_knows_others() {
    let asking = |name: &str| {
        let folder = TempDir::new().unwrap();
        copy_folder(&fixture(name), folder.path());
        fs::write(folder.path().join("sentence_bert_config.json"), r#"{"do_lower_case": true}"#).unwrap();
        folder
    };
    let cased = asking("bert-variants/cased");
    let expected = "do_lower_case: expected false, or a tokenizer of small letters, found true";
    says(&message(open(cased.path()), "sentence_bert_config.json"), &[expected]);
    let out = cased.path().join("model.gguf");
    let error = convert::convert(cased.path(), &out, OutputType::F32, &mut |_| {}).unwrap_err().to_string();
    says(&error, &[expected]);
    assert!(open(asking("bert-tiny").path()).is_ok());
}

#[test]
fn unknown_tensors_are_ignored_and_listed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    let mut draft = Draft::of("bert-tiny", OutputType::F32);
    draft.tensors.insert("mystery.weight".to_owned(), (vec![96], TensorType::F32, vec![0; 96 * 4]));
    draft.write(&path);
    assert_eq!(open(&path).unwrap().description().unused_tensors, ["mystery.weight"]);
}

#[test]
fn directories_that_lack_a_part_are_refused() {
    let without = |name: &str| directory_error(|folder| fs::remove_file(folder.join(name)).unwrap());
    says(&without("config.json"), &["a directory without config.json"]);
    says(&without("model.safetensors"), &["model.safetensors"]);
    says(&without("1_Pooling/config.json"), &["1_Pooling/config.json", "cannot read"]);
    let write = |name: &str, text: &str| directory_error(|folder| fs::write(folder.join(name), text).unwrap());
    says(&write("config.json", "{"), &["config.json", "EOF"]);
    says(
        &write("modules.json", r#"[{"type":"models.WeightedLayerPooling","path":"2"}]"#),
        &["modules.json", "WeightedLayerPooling"],
    );
    says(
        &write(
            "modules.json",
            r#"[{"type":"models.Pooling","path":"1_Pooling"},{"type":"models.Dense","path":"2_Dense"}]"#,
        ),
        &["2_Dense/config.json", "cannot read"],
    );
    says(&write("modules.json", r#"[{"type":"models.Pooling","path":"../.."}]"#), &["a folder of the model"]);
    says(&write("1_Pooling/config.json", r#"{"pooling_mode_weightedmean_tokens":true}"#), &["weightedmean_tokens"]);
    let without_prompt = r#"{"pooling_mode_mean_tokens":true,"include_prompt":false}"#;
    says(&write("1_Pooling/config.json", without_prompt), &["include_prompt", "found false"]);
    let both = r#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true}"#;
    says(&write("1_Pooling/config.json", both), &["cls_token", "mean_tokens"]);
    let default = r#"{"prompts":{"query":"q"},"default_prompt_name":"passage"}"#;
    says(&write("config_sentence_transformers.json", default), &["default_prompt_name", "\"passage\""]);
    let index = r#"{"weight_map":{"a":"../../secret.safetensors"}}"#;
    let message = directory_error(|folder| {
        fs::remove_file(folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    });
    says(&message, &["files beside the index", "secret"]);
}

#[test]
fn safetensors_cut_anywhere_in_the_header_are_refused() {
    let whole = fs::read(fixture("bert-tiny/model.safetensors")).unwrap();
    for length in (0..300).chain([whole.len() / 2, whole.len() - 1]) {
        let message = directory_error(|folder| fs::write(folder.join("model.safetensors"), &whole[..length]).unwrap());
        says(&message, &["model.safetensors"]);
    }
}

#[test]
fn a_table_without_rows_is_refused() {
    let message = directory_error(|folder| {
        let path = folder.join("model.safetensors");
        let file = fs::read(&path).unwrap();
        let (length, rest) = file.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: Json = serde_json::from_slice(header).unwrap();
        let table = &mut header["embeddings.token_type_embeddings.weight"];
        let start = table["data_offsets"][0].clone();
        *table = json!({"dtype": "F32", "shape": [0, 96], "data_offsets": [start, start]});
        let header = header.to_string();
        fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
    });
    says(&message, &["token_type_embeddings", "found [0, 96]"]);
}

#[test]
fn a_table_of_one_row_may_come_as_a_vector() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    let mut draft = Draft::of("bert-variants/odd-width", OutputType::F32);
    assert_eq!(draft.tensor("token_types.weight").0, [40, 1]);
    draft.tensor("token_types.weight").0.truncate(1);
    draft.write(&path);
    open(&path).unwrap();
}

#[test]
fn a_path_that_is_no_model_is_refused() {
    let folder = TempDir::new().unwrap();
    says(&message(open(&folder.path().join("nowhere.gguf")), "nowhere.gguf"), &["cannot open"]);
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a model").unwrap();
    says(&message(open(&text), "notes.txt"), &["GGUF"]);
}
