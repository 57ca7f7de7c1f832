//! Small decoders and XLM-R with random weights, as directories and as the GGUF files converted from them, against `transformers` in
//! `float32`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::copy_folder;
use docent_kernels::{Executor, Isa, Matrix, Pooling, ThreadPool};
use docent_models::convert::{OutputType, convert};
use docent_models::{Batch, Model, ScoreKind};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// Each with the architecture of its files and whether its rows are whole blocks of 32, as `Q8_0` has them.
const MODELS: [(&str, &str, bool); 17] = [
    ("convertible/Qwen3-Reranker-tiny", "qwen3", true),
    ("convertible/gemma-embed", "gemma-embedding", true),
    ("convertible/llama-embed", "llama", true),
    ("convertible/qwen2-embed", "qwen2", true),
    ("convertible/qwen3-embed", "qwen3", true),
    ("convertible/xlmr-rerank", "bert", true),
    ("decoders/gemma-causal", "gemma3", false),
    ("decoders/gemma-window", "gemma-embedding", false),
    ("decoders/llama-both-sides", "llama", false),
    ("decoders/llama-linear", "llama", true),
    ("decoders/llama-llama3", "llama", false),
    ("decoders/mistral-window", "llama", false),
    ("decoders/qwen2-causal", "qwen2", false),
    ("decoders/qwen3-both-sides", "qwen3", false),
    ("decoders/qwen3-classifier", "qwen3", true),
    ("decoders/qwen3-yarn", "qwen3", false),
    ("decoders/xlmr-embed", "bert", false),
];

#[derive(Deserialize)]
struct Reference {
    /// `None` of a reranker.
    pooling: Option<String>,
    positions: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    /// Of an embedder, projected if it does that.
    pooled: Option<Vec<f32>>,
    /// Of a reranker.
    score: Option<f32>,
}

impl Reference {
    fn of(name: &str) -> Self {
        serde_json::from_slice(&std::fs::read(folder(name).join("reference.json")).unwrap()).unwrap()
    }

    fn pooling(&self) -> Option<Pooling> {
        self.pooling.as_deref().map(|mode| match mode {
            "mean" => Pooling::Mean,
            "cls" => Pooling::Cls,
            "last" => Pooling::Last,
            other => panic!("{other}"),
        })
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn open(path: &Path) -> Model {
    Model::open(path, &ThreadPool::new(1)).unwrap_or_else(|error| panic!("{error}"))
}

fn directory(name: &str) -> Model {
    open(&folder(name))
}

fn converted(name: &str, ty: OutputType) -> Model {
    converted_from(&folder(name), ty)
}

fn converted_from(folder: &Path, ty: OutputType) -> Model {
    let out = TempDir::new().unwrap();
    let path = out.path().join("model.gguf");
    convert(folder, &path, ty, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    open(&path)
}

/// What the model makes of sequences: embeddings, or the outputs of its scoring head.
fn outputs(model: &Model, executor: &mut Executor, reference: &Reference, batch: &Batch) -> Vec<Vec<f32>> {
    let found = match reference.pooling() {
        Some(pooling) => model.pooled(executor, batch, pooling).unwrap(),
        None => model.scores(executor, batch, None).unwrap(),
    };
    let rows = rows(&found);
    executor.recycle(found);
    rows
}

fn rows(matrix: &Matrix) -> Vec<Vec<f32>> {
    (0..matrix.rows()).map(|row| matrix.row(row).to_vec()).collect()
}

fn unit(vector: &[f32]) -> Vec<f64> {
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    vector.iter().map(|&value| f64::from(value) / length).collect()
}

/// The cosine of two vectors and, once they are of unit length, their largest difference.
fn compare(found: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let (found, expected) = (unit(found), unit(expected));
    let cosine = found.iter().zip(&expected).map(|(a, b)| a * b).sum();
    (cosine, found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

/// That a model gives the reference's vectors or scores.
fn check(model: &Model, reference: &Reference, executor: &mut Executor, what: &str) {
    for case in &reference.cases {
        let what = format!("{what}, {} tokens", case.ids.len());
        let found = &outputs(model, executor, reference, &Batch::new([&case.ids[..]]))[0];
        match (&case.pooled, case.score) {
            (Some(expected), None) => {
                let (cosine, difference) = compare(found, expected);
                assert!(cosine >= 0.999_99 && difference <= 2e-5, "{what}: cosine {cosine}, difference {difference}");
            }
            (None, Some(expected)) => {
                let score = model.description().scores.as_ref().unwrap().raw(found);
                assert!((score - expected).abs() <= 1e-4, "{what}: {score}, expected {expected}");
            }
            _ => panic!("{what}: a vector or a score"),
        }
    }
}

/// As `Gemma3TextModel` of transformers 5.24 writes it: an object for each kind of layer instead of two fields.
#[test]
fn gemma_with_the_rotary_parameters_of_transformers_5_gives_the_vectors() {
    let (name, edited) = ("decoders/gemma-window", TempDir::new().unwrap());
    copy_folder(&folder(name), edited.path());
    let path = edited.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let fields = config.as_object_mut().unwrap();
    let (whole, window) = (fields.remove("rope_theta").unwrap(), fields.remove("rope_local_base_freq").unwrap());
    let of = |base: Json| json!({"rope_type": "default", "rope_theta": base});
    fields.insert("rope_parameters".into(), json!({"full_attention": of(whole), "sliding_attention": of(window)}));
    std::fs::write(&path, config.to_string()).unwrap();
    for model in [open(edited.path()), converted_from(edited.path(), OutputType::F32)] {
        check(&model, &Reference::of(name), &mut Executor::inline(Isa::best()), name);
    }
}

#[test]
fn directories_and_converted_files_give_the_outputs_of_transformers() {
    for (name, architecture, _) in MODELS {
        let reference = Reference::of(name);
        assert!(reference.cases.len() >= 6 && reference.cases[0].ids.len() == 1);
        for (model, form) in [(directory(name), "directory"), (converted(name, OutputType::F32), "GGUF")] {
            let description = model.description();
            assert_eq!(description.architecture, architecture, "{name}");
            assert_eq!(description.positions, reference.positions, "{name}");
            assert_eq!(description.unused_tensors, Vec::<String>::new(), "{name}");
            check(&model, &reference, &mut Executor::inline(Isa::best()), &format!("{name}, {form}"));
        }
    }
}

#[test]
fn every_instruction_set_gives_the_outputs() {
    for (name, ..) in MODELS {
        let (reference, model) = (Reference::of(name), directory(name));
        for isa in Isa::available() {
            check(&model, &reference, &mut Executor::inline(isa), &format!("{name} on {isa}"));
        }
    }
}

#[test]
fn eight_bits_change_the_direction_little() {
    for (name, ..) in MODELS.into_iter().filter(|&(.., blocks)| blocks) {
        let reference = Reference::of(name);
        let model = converted(name, OutputType::Q8_0);
        let mut executor = Executor::inline(Isa::best());
        for case in reference.cases.iter().filter(|case| case.pooled.is_some()) {
            let found = &outputs(&model, &mut executor, &reference, &Batch::new([&case.ids[..]]))[0];
            let (cosine, _) = compare(found, case.pooled.as_ref().unwrap());
            assert!(cosine >= 0.999, "{name}, {} tokens: cosine {cosine}", case.ids.len());
        }
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_in_any_batch_and_on_any_number_of_threads() {
    for (name, ..) in MODELS {
        let reference = Reference::of(name);
        let model = converted(name, OutputType::F32);
        let texts: Vec<&[u32]> = reference.cases.iter().map(|case| &case.ids[..]).collect();
        let mut executor = Executor::inline(Isa::best());
        let mut run = |batch: &Batch| outputs(&model, &mut executor, &reference, batch);
        let alone: Vec<_> = texts.iter().flat_map(|text| run(&Batch::new([*text]))).collect();
        assert_eq!(run(&Batch::new(texts.iter().copied())), alone, "{name}");
        let mut pool = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(3)));
        let mut backwards = outputs(&model, &mut pool, &reference, &Batch::new(texts.iter().rev().copied()));
        backwards.reverse();
        assert_eq!(backwards, alone, "{name} on threads");
    }
}

#[test]
fn scores_after_a_prefix_have_the_bits_of_those_without() {
    for (name, kind) in [
        ("convertible/Qwen3-Reranker-tiny", ScoreKind::YesNo { yes: 0, no: 1 }),
        ("decoders/qwen3-classifier", ScoreKind::Logit),
    ] {
        let reference = Reference::of(name);
        for model in [directory(name), converted(name, OutputType::F32), converted(name, OutputType::Q8_0)] {
            assert_eq!(model.description().scores, Some(kind.clone()), "{name}");
            let mut executor = Executor::inline(Isa::best());
            for case in reference.cases.iter().filter(|case| case.ids.len() > 1) {
                let whole = outputs(&model, &mut executor, &reference, &Batch::new([&case.ids[..]]));
                for first in [1, case.ids.len() / 2, case.ids.len() - 1] {
                    let (before, after) = case.ids.split_at(first);
                    let prefix = model.prefix(&mut executor, before).unwrap().unwrap();
                    // The end of another sequence behind the same prefix must not show.
                    let batch = Batch::after(first, [after, &after[after.len() - 1..]]);
                    let found = model.scores(&mut executor, &batch, Some(&prefix)).unwrap();
                    assert_eq!(rows(&found)[..1], whole, "{name}: {first} of {} tokens", case.ids.len());
                    executor.recycle(found);
                }
            }
        }
    }
}

#[test]
fn classes_of_a_publisher_s_own_code_are_refused() {
    for (name, class, expected) in [
        ("qwen3-yarn", "JinaForRanking", "expected Qwen3Model or Qwen3ForCausalLM or Qwen3ForSequenceClassification"),
        ("qwen2-causal", "Qwen3Model", "expected Qwen2Model"),
        ("mistral-window", "MistralBiModel", "expected MistralModel"),
        ("llama-linear", "LlamaBidirectionalModel", "expected LlamaModel"),
    ] {
        let edited = TempDir::new().unwrap();
        copy_folder(&folder("decoders").join(name), edited.path());
        let path = edited.path().join("config.json");
        let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["architectures"] = json!([class]);
        std::fs::write(&path, config.to_string()).unwrap();
        let error = Model::open(edited.path(), &ThreadPool::new(1)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.ends_with(&format!("found {class}")), "{error}");
    }
}

#[test]
fn only_causal_models_take_a_prefix() {
    for (name, ..) in MODELS {
        let model = directory(name);
        let causal = !["gemma-embed", "gemma-window", "xlmr", "qwen2-embed", "both-sides"]
            .iter()
            .any(|part| name.contains(part));
        assert_eq!(model.description().causal, causal, "{name}");
        let prefix = model.prefix(&mut Executor::inline(Isa::best()), &[5, 6, 7]).unwrap();
        assert_eq!(prefix.map(|prefix| prefix.tokens()), causal.then_some(3), "{name}");
    }
}

/// A copy of the XLM-R reranker as Jina publishes its own: other names, one projection for queries, keys and values, and a configuration that
/// says by its class alone what it is.
fn in_jinas_names() -> TempDir {
    const TABLE: [(&str, &str); 7] = [
        ("embeddings.LayerNorm", "emb_ln"),
        ("encoder.layer.", "encoder.layers."),
        ("attention.output.dense", "mixer.out_proj"),
        ("attention.output.LayerNorm", "norm1"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
        ("output.LayerNorm", "norm2"),
    ];
    let to = TempDir::new().unwrap();
    copy_folder(&folder("convertible/xlmr-rerank"), to.path());

    let path = to.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let fields = config.as_object_mut().unwrap();
    fields.remove("model_type").unwrap();
    fields.insert("auto_map".to_owned(), json!({"AutoConfig": "file.XLMRobertaFlashConfig"}));
    fields.insert("position_embedding_type".to_owned(), json!("absolute"));
    std::fs::write(&path, config.to_string()).unwrap();

    let path = to.path().join("model.safetensors");
    let file = std::fs::read(&path).unwrap();
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let mut header: BTreeMap<String, Json> = serde_json::from_slice(header).unwrap();
    header.remove("__metadata__");
    let mut tensors: BTreeMap<String, (Json, Vec<u64>, Vec<u8>)> = BTreeMap::new();
    // Of a layer, the projections of queries come first, then those of keys, then those of values.
    let order = |name: &str| ["query", "key", "value"].iter().position(|part| name.contains(&format!("self.{part}")));
    let mut names: Vec<&String> = header.keys().collect();
    names.sort_by_key(|name| order(name));
    for name in names {
        let tensor = &header[name];
        let shape: Vec<u64> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let [start, end]: [usize; 2] = serde_json::from_value(tensor["data_offsets"].clone()).unwrap();
        let mut name = ["query", "key", "value"]
            .iter()
            .fold(name.clone(), |name, part| name.replace(&format!("attention.self.{part}"), "mixer.Wqkv"));
        for (from, to) in TABLE {
            name = name.replace(from, to);
        }
        let (_, rows, bytes) = tensors.entry(name).or_insert((tensor["dtype"].clone(), shape.clone(), Vec::new()));
        if !bytes.is_empty() {
            rows[0] += shape[0];
        }
        bytes.extend_from_slice(&data[start..end]);
    }
    assert!(tensors["roberta.encoder.layers.0.mixer.Wqkv.weight"].1 == [96, 32], "{:?}", tensors.keys());

    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = Json::from(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(&path, file).unwrap();
    to
}

#[test]
fn a_reranker_in_jinas_names_is_an_xlm_r() {
    let reference = Reference::of("convertible/xlmr-rerank");
    let folder = in_jinas_names();
    let executor = &mut Executor::inline(Isa::best());
    check(&open(folder.path()), &reference, executor, "directory");
    check(&converted_from(folder.path(), OutputType::F32), &reference, executor, "F32");
}

/// Texts with the ids of SentencePiece's own library (0.2.3) for the pieces of `llama-embed`, and around them the tokens that its
/// `tokenizer_config.json` asks for.
const PIECES: [(&str, &[u32]); 4] = [
    ("Hello world", &[1, 299, 75, 300, 274, 306, 265, 306, 304, 305, 310, 2]),
    ("naïve café 42", &[1, 299, 307, 301, 198, 178, 319, 300, 299, 314, 301, 327, 198, 172, 299, 323, 321, 2]),
    ("日本語 ab\n\tx", &[1, 299, 233, 154, 168, 233, 159, 175, 235, 173, 161, 263, 326, 13, 12, 123, 2]),
    ("", &[1, 2]),
];

/// Directories whose vocabulary is SentencePiece's own file alone.
#[test]
fn a_directory_with_pieces_alone_is_what_it_converts_to() {
    for name in ["llama-embed", "gemma-embed"] {
        let name = format!("convertible/{name}");
        assert!(!folder(&name).join("tokenizer.json").exists());
        let (directory, file) = (directory(&name), converted(&name, OutputType::F32));
        let mut executor = Executor::inline(Isa::best());
        let pooling = directory.description().pooling.unwrap_or(Pooling::Last);
        for (text, expected) in PIECES {
            let ids = directory.tokenizer().ids(text).unwrap();
            assert_eq!(ids, file.tokenizer().ids(text).unwrap(), "{name}: {text:?}");
            if name.ends_with("llama-embed") {
                assert_eq!(ids, expected, "{text:?}");
            }
            let mut pooled =
                |model: &Model| model.pooled(&mut executor, &Batch::new([&ids[..]]), pooling).unwrap().row(0).to_vec();
            // Llama turns neighbouring columns in a file, and halves in a directory: other sums of the same terms.
            let (cosine, difference) = compare(&pooled(&directory), &pooled(&file));
            assert!(cosine >= 0.999_999 && difference <= 1e-6, "{name}: {text:?}: {cosine}, {difference}");
        }
    }
}

#[test]
fn pieces_that_cannot_be_used_are_named() {
    let message = |change: &dyn Fn(&Path)| {
        let folder = TempDir::new().unwrap();
        copy_folder(&self::folder("convertible/llama-embed"), folder.path());
        change(folder.path());
        let message = Model::open(folder.path(), &ThreadPool::new(1)).unwrap_err().to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    };
    let config = |folder: &Path, field: &str, value: Json| {
        let path = folder.join("config.json");
        let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[field] = value;
        std::fs::write(path, config.to_string()).unwrap();
    };
    let cut = message(&|folder| std::fs::write(folder.join("tokenizer.model"), b"\x0a\xff\xff").unwrap());
    assert!(cut.contains("tokenizer.model: expected a SentencePiece model"), "{cut}");
    let few = message(&|folder| config(folder, "vocab_size", json!(300)));
    assert!(few.contains("tokenizer.model: expected at most 300 pieces"), "{few}");
    let none = message(&|folder| config(folder, "vocab_size", Json::Null));
    assert!(none.contains("config.json: vocab_size: expected a whole number, found nothing"), "{none}");
    let many = message(&|folder| config(folder, "vocab_size", json!(1_u64 << 30)));
    assert!(many.contains("vocab_size: expected at most 2097152"), "{many}");
    let gone = message(&|folder| std::fs::remove_file(folder.join("tokenizer.model")).unwrap());
    assert!(gone.contains("tokenizer.json: cannot"), "{gone}");
}

/// A copy of a model with one of its files changed.
fn edited(name: &str, file: &str, edit: impl FnOnce(&mut Json)) -> TempDir {
    let out = TempDir::new().unwrap();
    copy_folder(&folder(name), out.path());
    let path = out.path().join(file);
    let mut document: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut document);
    std::fs::write(path, document.to_string()).unwrap();
    out
}

/// Adds a tensor, in a second shard.
fn add_tensor(folder: &Path, name: &str, shape: [usize; 2], values: &[f32]) {
    let header = json!({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * values.len()]}}).to_string();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(folder.join("second.safetensors"), [&length[..], header.as_bytes(), &values].concat()).unwrap();
    std::fs::rename(folder.join("model.safetensors"), folder.join("first.safetensors")).unwrap();
    let index = json!({"weight_map": {"norm.weight": "first.safetensors", name: "second.safetensors"}});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// A model of a publisher's own class whose configuration says how it attends.
fn of_own_class(changes: &[(&str, Json)]) -> TempDir {
    edited("decoders/qwen3-both-sides", "config.json", |config| {
        config.as_object_mut().unwrap().remove("is_causal");
        config["architectures"] = json!(["PublishersModel"]);
        config["auto_map"] = json!({"AutoModel": "modeling.PublishersModel"});
        config["use_bidirectional_attention"] = json!(true);
        changes.iter().for_each(|(key, value)| config[*key] = value.clone());
    })
}

#[test]
fn classes_of_publishers_that_see_both_sides_are_read_where_the_configuration_says_all() {
    let reference = Reference::of("decoders/qwen3-both-sides");
    let mut executor = Executor::inline(Isa::best());
    let pplx = json!("bidirectional_pplx_qwen3");
    let perplexity = of_own_class(&[("model_type", pplx.clone()), ("architectures", json!(["PPLXQwen3Model"]))]);
    for model in [open(perplexity.path()), converted_from(perplexity.path(), OutputType::F32)] {
        check(&model, &reference, &mut executor, "pplx-embed");
        assert_eq!(model.description().architecture, "qwen3");
    }
    // One that says nothing of its class and of sides is the same.
    let folder = edited("decoders/qwen3-both-sides", "config.json", |config| {
        ["is_causal", "architectures"].iter().for_each(|key| drop(config.as_object_mut().unwrap().remove(*key)));
        config["model_type"] = json!("bidirectional_pplx_qwen3");
    });
    check(&open(folder.path()), &reference, &mut executor, "pplx-embed without a class");
    // A class of transformers does not heed the setting, and one of another publisher may do anything.
    let refusal = |changes: &[(&str, Json)]| {
        let folder = of_own_class(changes);
        Model::open(folder.path(), &ThreadPool::new(1)).unwrap_err().to_string()
    };
    assert!(refusal(&[]).contains("architectures: expected Qwen3Model"));
    let contextual = json!(["PPLXQwen3ContextualModel"]);
    assert!(
        refusal(&[("model_type", pplx.clone()), ("architectures", contextual)])
            .contains("expected PPLXQwen3Model, found")
    );
    let one_side = [("model_type", pplx), ("architectures", Json::Null), ("use_bidirectional_attention", json!(false))];
    assert!(refusal(&one_side).contains("use_bidirectional_attention: expected true, found false"));
    let qwen2 = [("model_type", json!("qwen2")), ("num_labels", json!(5))];
    assert!(refusal(&qwen2).contains("architectures: expected Qwen2Model"));
    assert!(refusal(&[("num_labels", json!(5))]).contains("dense_2.weight"));
    assert!(
        refusal(&[("num_labels", json!(5)), ("use_bidirectional_attention", json!(false))]).contains("architectures")
    );
    let plain = of_own_class(&[("architectures", json!(["Qwen3Model"])), ("auto_map", Json::Null)]);
    assert!(open(plain.path()).description().causal);
}

#[test]
fn llama_of_nvidia_sees_both_sides_and_pools_as_its_configuration_says() {
    let name = "decoders/llama-both-sides";
    let reference = Reference::of(name);
    let with = |changes: &[(&str, Json)]| {
        let folder = edited(name, "config.json", |config| {
            config.as_object_mut().unwrap().remove("is_causal");
            config["model_type"] = json!("llama_bidirec");
            config["architectures"] = json!(["LlamaBidirectionalModel"]);
            changes.iter().for_each(|(key, value)| config[*key] = value.clone());
        });
        std::fs::remove_file(folder.path().join("modules.json")).unwrap();
        folder
    };
    let folder = with(&[("pooling", json!("avg"))]);
    let mut executor = Executor::inline(Isa::best());
    for model in [open(folder.path()), converted_from(folder.path(), OutputType::F32)] {
        let description = model.description();
        let found = (description.architecture, description.pooling, description.causal);
        assert_eq!(found, ("llama-embed", Some(Pooling::Mean), false));
        check(&model, &reference, &mut executor, "llama_bidirec");
    }
    let refusal =
        |changes: &[(&str, Json)]| Model::open(with(changes).path(), &ThreadPool::new(1)).unwrap_err().to_string();
    assert!(refusal(&[("pooling", json!("sum"))]).contains("pooling: expected \"avg\", \"cls\" or \"last\""));
    let reranker = json!(["LlamaBidirectionalForSequenceClassification"]);
    assert!(refusal(&[("architectures", reranker)]).contains("architectures: expected LlamaBidirectionalModel, found"));
}

#[test]
fn a_matrix_after_the_last_norm_projects_embeddings() {
    let reference = Reference::of("decoders/qwen3-both-sides");
    let folder = of_own_class(&[("num_labels", json!(3))]);
    let matrix: Vec<f32> = (0..3 * 32).map(|place| ((place * 7 % 11) as f32 - 5.0) / 8.0).collect();
    add_tensor(folder.path(), "linear.weight", [3, 32], &matrix);
    let other = of_own_class(&[("num_labels", json!(4))]);
    add_tensor(other.path(), "linear.weight", [3, 32], &matrix);
    let error = Model::open(other.path(), &ThreadPool::new(1)).unwrap_err().to_string();
    assert!(error.contains("num_labels: expected 3, the outputs of dense_2.weight, found 4"), "{error}");
    for model in [open(folder.path()), converted_from(folder.path(), OutputType::F32)] {
        assert_eq!((model.description().embedding_size, model.description().unused_tensors.len()), (3, 0));
        let mut executor = Executor::inline(Isa::best());
        for case in &reference.cases {
            let found = model.pooled(&mut executor, &Batch::new([&case.ids[..]]), Pooling::Mean).unwrap();
            let pooled = case.pooled.as_ref().unwrap();
            for (row, found) in matrix.chunks(32).zip(found.row(0)) {
                let expected: f32 = row.iter().zip(pooled).map(|(a, b)| a * b).sum();
                assert!((found - expected).abs() < 1e-4, "{found}, expected {expected}");
            }
        }
    }
}

#[test]
fn embeddings_are_rounded_to_bytes_where_the_modules_say() {
    let reference = Reference::of("decoders/qwen3-both-sides");
    let with = |kinds: &[&str]| {
        edited("decoders/qwen3-both-sides", "modules.json", |modules| {
            let module = |kind: &&str| json!({"path": "", "type": format!("st_quantize.{kind}")});
            modules.as_array_mut().unwrap().extend(kinds.iter().map(module));
        })
    };
    let folder = with(&["FlexibleQuantizer"]);
    for kinds in [["Normalize", "FlexibleQuantizer"], ["FlexibleQuantizer", "FlexibleQuantizer"]] {
        let error = Model::open(with(&kinds).path(), &ThreadPool::new(1)).unwrap_err().to_string();
        assert!(error.ends_with("found \"FlexibleQuantizer\""), "{error}");
    }
    for model in [open(folder.path()), converted_from(folder.path(), OutputType::F32)] {
        let mut executor = Executor::inline(Isa::best());
        for case in &reference.cases {
            let found = model.pooled(&mut executor, &Batch::new([&case.ids[..]]), Pooling::Mean).unwrap();
            for (found, value) in found.row(0).iter().zip(case.pooled.as_ref().unwrap()) {
                let exact = 127.0 * f64::from(*value).tanh();
                assert!(found.fract() == 0.0 && (f64::from(*found) - exact).abs() < 0.501, "{found} for {value}");
            }
        }
    }
}

#[test]
fn gemma_that_is_told_otherwise_is_refused() {
    let refusal = |changes: &[(&str, Json)]| {
        let folder = edited("decoders/gemma-causal", "config.json", |config| {
            changes.iter().for_each(|(key, value)| config[*key] = value.clone());
        });
        Model::open(folder.path(), &ThreadPool::new(1)).unwrap_err().to_string()
    };
    assert!(
        refusal(&[("is_causal", json!(false))]).contains("is_causal: expected true, or use_bidirectional_attention")
    );
    let own = json!(["BidirectionalGemma"]);
    assert!(refusal(&[("architectures", own)]).contains("expected Gemma3TextModel or Gemma3ForCausalLM, found"));
    assert!(
        refusal(&[("rope_scaling", json!({"rope_type": "linear", "factor": -1.0}))]).contains("rope_scaling.factor")
    );
}
