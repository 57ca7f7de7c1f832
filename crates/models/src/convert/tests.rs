//! Conversions of the small models in `fixtures/`, whole and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use docent_gguf::{Gguf, TensorType};
use docent_tokenizer::Tokenizer;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Error, Options, OutputType, Report, convert, convert_with};

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// A copy of a fixture that a test may damage. The folder keeps its name, which the converter writes into the file.
pub(super) struct Model {
    root: TempDir,
    pub(super) dir: PathBuf,
}

/// Name to type, shape and bytes.
pub(super) type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

impl Model {
    pub(super) fn new(fixture: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let from = fixtures().join(fixture);
        let dir = root.path().join(from.file_name().unwrap());
        copy(&from, &dir);
        Self { root, dir }
    }

    pub(super) fn out(&self) -> PathBuf {
        self.root.path().join("out.gguf")
    }

    pub(super) fn convert(&self, ty: OutputType) -> Result<Report, Error> {
        convert(&self.dir, &self.out(), ty, &mut |_| {})
    }

    /// The message of the error that a conversion must end with. Nothing may be left behind.
    pub(super) fn refusal(&self, ty: OutputType) -> String {
        let message = self.convert(ty).unwrap_err().to_string();
        let left: Vec<_> = fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&self.dir), "{message}");
        assert!(!message.contains('\n'), "{message}");
        message
    }

    pub(super) fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Json)) -> &Self {
        let path = self.dir.join(name);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut value);
        fs::write(path, value.to_string()).unwrap();
        self
    }

    pub(super) fn set(&self, name: &str, key: &str, value: Json) -> &Self {
        self.edit_json(name, |document| document[key] = value)
    }

    pub(super) fn edit_weights(&self, edit: impl FnOnce(&mut Tensors)) -> &Self {
        let path = self.dir.join("model.safetensors");
        let file = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: BTreeMap<String, Json> = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let data = &file[8 + length..];
        let mut tensors = Tensors::new();
        for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            let dtype: String = serde_json::from_value(entry["dtype"].clone()).unwrap();
            let shape = serde_json::from_value(entry["shape"].clone()).unwrap();
            let [start, end]: [usize; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
            tensors.insert(name.clone(), (dtype, shape, data[start..end].to_vec()));
        }
        edit(&mut tensors);
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, (dtype, shape, bytes)) in tensors {
            let start = data.len();
            data.extend(bytes);
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
        }
        let header = Json::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        fs::write(path, file).unwrap();
        self
    }

    /// Puts a number in place of element `index` of an F32 tensor.
    pub(super) fn poke(&self, tensor: &str, index: usize, value: f32) -> &Self {
        self.edit_weights(|t| t.get_mut(tensor).unwrap().2[4 * index..][..4].copy_from_slice(&value.to_le_bytes()))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

pub(super) fn sha256(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn files_are_those_of_llama_cpp_s_converter_to_the_byte() {
    let hashes: BTreeMap<String, BTreeMap<String, Option<String>>> =
        serde_json::from_slice(&fs::read(fixtures().join("converted.json")).unwrap()).unwrap();
    let mut compared = 0;
    for (name, types) in hashes {
        let fixture = if name == "bert-tiny" { name } else { format!("bert-variants/{name}") };
        for (ty, expected) in types {
            let model = Model::new(&fixture);
            let ty: OutputType = ty.parse().unwrap();
            match expected {
                Some(expected) => {
                    let report = model.convert(ty).unwrap();
                    assert_eq!(sha256(&model.out()), expected, "{fixture} {ty}");
                    assert_eq!(fs::metadata(model.out()).unwrap().len(), report.bytes);
                    compared += 1;
                }
                // It has no number for the pooling mode; neither have we.
                None => assert!(model.refusal(ty).contains("found max"), "{fixture} {ty}"),
            }
        }
    }
    assert_eq!(compared, 28);
}

#[test]
fn the_tokenizer_survives() {
    for fixture in ["bert-tiny", "bert-variants/cased"] {
        let model = Model::new(fixture);
        model.convert(OutputType::F16).unwrap();
        let file = Gguf::open(model.out()).unwrap();
        let ours = Tokenizer::from_gguf(file.metadata()).unwrap();
        let reference: Json = serde_json::from_slice(&fs::read(model.dir.join("reference.json")).unwrap()).unwrap();
        let cases = reference["cases"].as_array().unwrap();
        let whole: Vec<&Json> = cases
            .iter()
            .filter(|c| c["prompt"].is_null() && c["tokens_before_cut"] == c["ids"].as_array().unwrap().len())
            .collect();
        assert!(whole.len() >= 4);
        for case in whole {
            assert_eq!(
                json!(ours.encode(case["text"].as_str().unwrap()).unwrap().ids),
                case["ids"],
                "{fixture} {}",
                case["text"]
            );
        }
    }
}

#[test]
fn what_is_left_out_is_reported() {
    let report = Model::new("bert-variants/legacy-names").convert(OutputType::Q8_0).unwrap();
    assert!(report.dropped.contains(&"bert.embeddings.position_ids".to_owned()), "{report:?}");
    assert!(report.dropped.contains(&"cls.seq_relationship.weight".to_owned()));
    assert!(!report.pooler_lost && report.fallbacks.is_empty());
    let report = Model::new("bert-variants/odd-width").convert(OutputType::Q8_0).unwrap();
    assert!(report.fallbacks.contains(&"token_embd.weight".to_owned()), "{report:?}");
}

#[test]
fn progress_goes_through_the_tensors_once() {
    let model = Model::new("bert-variants/distilbert");
    let mut seen = Vec::new();
    let report = convert(&model.dir, &model.out(), OutputType::F32, &mut |p| {
        assert_eq!((p.index, p.count), (seen.len(), 36));
        assert!(p.written_bytes < p.total_bytes);
        seen.push(p.tensor.to_owned());
    });
    assert_eq!(seen.len(), report.unwrap().tensors);
}

#[test]
fn an_existing_file_is_replaced_only_on_demand_and_only_by_a_whole_one() {
    let model = Model::new("bert-variants/distilbert");
    fs::write(model.out(), "precious").unwrap();
    let error = model.convert(OutputType::F32).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(fs::read(model.out()).unwrap(), b"precious");

    let options = Options { overwrite: true, ..Options::new(OutputType::F32) };
    model.poke("distilbert.transformer.layer.1.output_layer_norm.weight", 3, f32::NAN);
    convert_with(&model.dir, &model.out(), &options, &mut |_| {}).unwrap_err();
    assert_eq!(fs::read(model.out()).unwrap(), b"precious");
    assert_eq!(fs::read_dir(model.root.path()).unwrap().count(), 2);

    model.poke("distilbert.transformer.layer.1.output_layer_norm.weight", 3, 1.0);
    convert_with(&model.dir, &model.out(), &options, &mut |_| {}).unwrap();
    Gguf::open(model.out()).unwrap();
}

#[test]
fn a_name_can_be_given() {
    let model = Model::new("bert-variants/cls-f16");
    let options = Options { name: Some("Chosen".to_owned()), ..Options::new(OutputType::F32) };
    convert_with(&model.dir, &model.out(), &options, &mut |_| {}).unwrap();
    assert_eq!(Gguf::open(model.out()).unwrap().metadata().require_str("general.name").unwrap(), "Chosen");
}

#[test]
fn double_precision_is_rounded_to_single() {
    let (plain, double) = (Model::new("bert-tiny"), Model::new("bert-tiny"));
    double.edit_weights(|tensors| {
        for (dtype, _, bytes) in tensors.values_mut() {
            *dtype = "F64".to_owned();
            *bytes = bytes.as_chunks().0.iter().flat_map(|b| f64::from(f32::from_le_bytes(*b)).to_le_bytes()).collect();
        }
    });
    plain.convert(OutputType::F32).unwrap();
    double.convert(OutputType::F32).unwrap();
    assert_eq!(sha256(&plain.out()), sha256(&double.out()));
    double.edit_weights(|t| {
        t.get_mut("embeddings.LayerNorm.bias").unwrap().2[..8].copy_from_slice(&1e300f64.to_le_bytes());
    });
    fs::remove_file(double.out()).unwrap();
    let message = double.refusal(OutputType::F32);
    assert!(message.ends_with("tensor `embeddings.LayerNorm.bias`: expected finite numbers, found 1e300 at element 0; the model is damaged"), "{message}");
}

#[test]
fn a_plain_vocabulary_gives_the_same_file() {
    let (json, plain) = (Model::new("bert-tiny"), Model::new("bert-tiny"));
    fs::remove_file(plain.dir.join("tokenizer.json")).unwrap();
    json.convert(OutputType::F16).unwrap();
    plain.convert(OutputType::F16).unwrap();
    assert_eq!(sha256(&json.out()), sha256(&plain.out()));
}

#[test]
fn a_cross_encoder_keeps_its_head_and_its_pooler() {
    let one = Model::new("bert-tiny");
    one.set("config.json", "architectures", json!(["BertForSequenceClassification"]));
    one.set("config.json", "id2label", json!({"0": "LABEL_0"}));
    one.edit_weights(|t| {
        t.insert("classifier.weight".into(), ("F32".into(), vec![1, 96], vec![0; 4 * 96]));
        t.insert("classifier.bias".into(), ("F32".into(), vec![1], vec![0; 4]));
    });
    let report = one.convert(OutputType::Q8_0).unwrap();
    assert!(!report.pooler_lost && report.dropped.is_empty(), "{report:?}");
    let file = Gguf::open(one.out()).unwrap();
    assert_eq!(file.tensor("cls.output.weight").unwrap().tensor_type(), TensorType::Q8_0);
    assert_eq!(file.tensor("cls.output.bias").unwrap().dims(), [1]);
    assert_eq!(file.tensor("cls.weight").unwrap().dims(), [96, 96]);
    assert_eq!(file.tensor("cls.bias").unwrap().dims(), [96]);
    let labels = file.metadata().strings("bert.classifier.output_labels").unwrap().unwrap();
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["LABEL_0"]);
}

#[test]
fn damaged_weights_are_named() {
    let fresh = || Model::new("bert-tiny");
    let query = "encoder.layer.1.attention.self.query.weight";
    let message = fresh().poke(query, 70, f32::NAN).refusal(OutputType::Q8_0);
    assert!(
        message.ends_with(&format!(
            "tensor `{query}`: expected finite numbers, found NaN at element 70; the model is damaged"
        )),
        "{message}"
    );
    let message = fresh().poke("embeddings.LayerNorm.bias", 0, f32::NEG_INFINITY).refusal(OutputType::F32);
    assert!(
        message.contains("model.safetensors: tensor `embeddings.LayerNorm.bias`") && message.contains("found -inf"),
        "{message}"
    );
    let message = fresh().poke(query, 9, 70000.0).refusal(OutputType::F16);
    assert!(
        message.contains(&format!("tensor `{query}`: expected numbers that F16 can hold, found 70000 at element 9")),
        "{message}"
    );
    fresh().poke(query, 9, 70000.0).convert(OutputType::BF16).unwrap();

    for (edit, expected) in [
        (
            (|t| drop(t.remove("encoder.layer.0.output.dense.bias"))) as fn(&mut Tensors),
            "tensor `blk.0.ffn_down.bias` is missing, expected with shape [96]",
        ),
        (
            |t| drop(t.insert("encoder.layer.7.output.dense.bias".into(), ("F32".into(), vec![96], vec![0; 384]))),
            "tensor `blk.7.ffn_down.bias` is no part of a `bert` model with these settings",
        ),
        (
            |t| t.get_mut("embeddings.LayerNorm.bias").unwrap().1 = vec![2, 48],
            "tensor `embeddings.LayerNorm.bias`: expected shape [96], found [2, 48]",
        ),
        (
            |t| t.get_mut("embeddings.word_embeddings.weight").unwrap().1 = vec![458, 192],
            "tensor `embeddings.word_embeddings.weight`: expected shape [916, 192], found [458, 192]",
        ),
        (
            |t| t.get_mut("embeddings.LayerNorm.bias").unwrap().0 = "I32".into(),
            "expected F64, F32, F16 or BF16 numbers, found I32",
        ),
        (
            |t| drop(t.insert("bert.embeddings.LayerNorm.beta".into(), ("F32".into(), vec![96], vec![0; 384]))),
            "tensor `embeddings.LayerNorm.bias`: expected one tensor for `token_embd_norm.bias`, found another",
        ),
    ] {
        let message = fresh().edit_weights(edit).refusal(OutputType::F32);
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }

    let cut = fresh();
    let path = cut.dir.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    fs::write(&path, &file[..file.len() - 1]).unwrap();
    assert!(cut.refusal(OutputType::F32).contains("model.safetensors"));
    fs::remove_file(&path).unwrap();
    assert!(cut.refusal(OutputType::F32).contains("expected model.safetensors, found none; give the folder"));
    fs::write(cut.dir.join("pytorch_model.bin"), "").unwrap();
    assert!(cut.refusal(OutputType::F32).contains("pytorch_model.bin can hold code"));
}

#[test]
fn an_index_must_fit_its_shards() {
    let index = "model.safetensors.index.json";
    let model = Model::new("bert-variants/last-sharded");
    model.edit_json(index, |i| i["weight_map"]["lost.weight"] = json!("model-00002-of-00003.safetensors"));
    assert!(
        model
            .refusal(OutputType::F32)
            .contains("expected tensor `lost.weight` in model-00002-of-00003.safetensors, found none")
    );
    model.edit_json(index, |i| i["weight_map"]["lost.weight"] = json!("../elsewhere.safetensors"));
    assert!(model.refusal(OutputType::F32).contains("weight_map"));
    fs::remove_file(model.dir.join("model-00003-of-00003.safetensors")).unwrap();
    assert!(model.refusal(OutputType::F32).contains("model"));
}

#[test]
fn configurations_that_the_format_cannot_hold_are_refused() {
    for (file, key, value, expected) in [
        (
            "config.json",
            "architectures",
            json!(["BertForTokenClassification"]),
            "key `architectures`: expected a class whose name ends in Model, ForMaskedLM",
        ),
        ("config.json", "architectures", json!("BertModel"), "architectures: expected a list of strings"),
        ("config.json", "model_type", json!("mamba"), "the architecture `mamba` is not supported"),
        (
            "config.json",
            "position_embedding_type",
            json!("relative_key"),
            "expected \"absolute\", found \"relative_key\"",
        ),
        ("config.json", "hidden_act", json!("relu"), "key `hidden_act`: expected a value that a GGUF file"),
        ("config.json", "num_attention_heads", json!(5), "expected a divisor of the hidden size 96, found 5"),
        ("config.json", "num_hidden_layers", json!(-1), "num_hidden_layers: expected a whole number, found -1"),
        ("config.json", "num_hidden_layers", json!(3), "tensor `blk.2.attn_q.weight` is missing"),
        (
            "config.json",
            "vocab_size",
            json!(915),
            "tensor `embeddings.word_embeddings.weight`: expected shape [915, 96]",
        ),
        ("config.json", "layer_norm_eps", json!(0), "layer_norm_eps: expected a number between 0 and 1"),
        ("config.json", "layer_norm_eps", json!(1e-60), "layer_norm_eps: expected a number between 0 and 1"),
        (
            "config.json",
            "type_vocab_size",
            json!(0),
            "tensor `embeddings.token_type_embeddings.weight`: expected shape [0, 96]",
        ),
        ("config.json", "is_decoder", json!(true), "is_decoder: expected false"),
        ("config.json", "id2label", json!({"0": 1}), "key `id2label`"),
        ("config.json", "num_labels", json!(1u64 << 40), "key `num_labels`"),
        ("1_Pooling/config.json", "pooling_mode_cls_token", json!(true), "pooling mode: expected one of cls, mean"),
        ("1_Pooling/config.json", "pooling_mode_mean_tokens", json!(false), "pooling mode: expected one of cls, mean"),
        ("1_Pooling/config.json", "pooling_mode", json!("weightedmean"), "found [\"weightedmean\"]"),
        (
            "tokenizer.json",
            "model",
            json!({"type": "BPE", "vocab": {}}),
            "expected the normalizers NFC, Lowercase and StripAccents, found BertNormalizer",
        ),
        (
            "tokenizer.json",
            "model",
            json!({"type": "WordPiece", "vocab": {"a": 916}}),
            "expected ids below 916, the rows of the embedding table, found 916 of token `a`",
        ),
        (
            "tokenizer.json",
            "model",
            json!({"type": "WordPiece", "vocab": {"a": 9, "b": 9}}),
            "expected one token for each id, found `a` and `b` for 9",
        ),
        (
            "tokenizer.json",
            "model",
            json!({"type": "WordPiece"}),
            "expected tokens and their ids under `model.vocab`, found none",
        ),
    ] {
        let message = Model::new("bert-tiny").set(file, key, value).refusal(OutputType::F32);
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
}

#[test]
fn modules_that_the_architecture_has_no_place_for_are_refused() {
    let with = |module: Json| {
        let model = Model::new("bert-tiny");
        let folder = model.dir.join("2_Dense");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        let header = json!({"linear.weight": {"dtype": "F32", "shape": [1, 96], "data_offsets": [0, 384]}}).to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(folder.join("model.safetensors"), [&length[..], header.as_bytes(), &[0; 384]].concat()).unwrap();
        model.edit_json("modules.json", |m| m.as_array_mut().unwrap().push(module)).refusal(OutputType::F32)
    };
    let dense = with(json!({"type": "sentence_transformers.models.Dense", "path": "2_Dense"}));
    assert!(dense.contains("type: expected layers between Pooling and Normalize"), "{dense}");
    let other = with(json!({"type": "sentence_transformers.models.CNN", "path": "2_CNN"}));
    assert!(other.contains("expected Transformer or StaticEmbedding first, then Pooling, Dense, LayerNorm"), "{other}");
    let model = Model::new("bert-tiny");
    model.edit_json("modules.json", |m| m[1]["path"] = json!("../1_Pooling"));
    assert!(model.refusal(OutputType::F32).contains("expected a folder of the model"));
    model.edit_json("modules.json", |m| m[1]["path"] = json!("none"));
    assert!(model.refusal(OutputType::F32).contains("none/config.json: cannot read"));
}

#[test]
fn broken_and_missing_files_are_named() {
    for (name, contents, expected) in [
        ("config.json", "{", "config.json: EOF while parsing an object at line 1 column 1"),
        ("config.json", "[]", "config.json: invalid type: sequence, expected a map"),
        ("modules.json", "{}", "modules.json: invalid type: map, expected a sequence"),
        ("tokenizer_config.json", "7", "tokenizer_config.json: expected a JSON object, found a number"),
    ] {
        let model = Model::new("bert-tiny");
        fs::write(model.dir.join(name), contents).unwrap();
        let message = model.refusal(OutputType::F32);
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
    let model = Model::new("bert-tiny");
    for name in ["tokenizer.json", "vocab.txt"] {
        fs::remove_file(model.dir.join(name)).unwrap();
    }
    assert!(model.refusal(OutputType::F32).contains("expected tokenizer.json or vocab.txt, found none"));
    fs::remove_file(model.dir.join("config.json")).unwrap();
    assert!(model.refusal(OutputType::F32).contains("found a directory without config.json"));
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let model = Model::new("bert-variants/distilbert");
    let error =
        convert(&model.dir, &model.root.path().join("no/such/folder.gguf"), OutputType::F32, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("folder.gguf: cannot create the file"), "{error}");
}

#[test]
fn types_by_name() {
    for ty in OutputType::ALL {
        assert_eq!(ty.to_string().to_uppercase().parse(), Ok(ty));
    }
    assert_eq!("q4_0".parse::<OutputType>(), Err("expected f32, f16, bf16 or q8_0, found `q4_0`".to_owned()));
}
