//! Conversions of the models in `fixtures/convertible`, one for each kind of tokenizer and architecture with rules of its own.

use std::collections::BTreeMap;
use std::fs;

use docent_gguf::{Gguf, TensorType};
use serde_json::{Value as Json, json};

use super::OutputType;
use super::tests::{Model, fixtures, sha256};

fn model(name: &str) -> Model {
    Model::new(&format!("convertible/{name}"))
}

/// Puts `false` in place of a truth value of a file.
fn clear(file: &mut [u8], key: &str) {
    let entry = [key.as_bytes(), &7u32.to_le_bytes(), &[1]].concat();
    let place = file.windows(entry.len()).position(|window| window == entry).expect(key);
    file[place + entry.len() - 1] = 0;
}

#[test]
fn files_are_those_of_llama_cpp_s_converter_to_the_byte() {
    let hashes: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&fs::read(fixtures().join("convertible.json")).unwrap()).unwrap();
    assert_eq!(hashes.len(), 6);
    for (name, types) in hashes {
        for (ty, expected) in types {
            let model = model(&name);
            let report = model.convert(ty.parse().unwrap()).unwrap();
            let mut file = fs::read(model.out()).unwrap();
            assert_eq!(file.len() as u64, report.bytes);
            if name == "xlmr-rerank" {
                // The converter says these of a tokenizer.json whatever it is; of this one they are true.
                clear(&mut file, "tokenizer.ggml.add_space_prefix");
                clear(&mut file, "tokenizer.ggml.remove_extra_whitespaces");
                fs::write(model.out(), file).unwrap();
            }
            assert_eq!(sha256(&model.out()), expected, "{name} {ty}");
        }
    }
}

#[test]
fn a_reranker_s_answers_become_its_classifier() {
    let model = model("Qwen3-Reranker-tiny");
    let report = model.convert(OutputType::F16).unwrap();
    assert_eq!(report.dropped, ["lm_head.weight"]);
    let tokenizer: Json = serde_json::from_slice(&fs::read(model.dir.join("tokenizer.json")).unwrap()).unwrap();
    let mut rows = Vec::new();
    model.edit_weights(|tensors| {
        for answer in ["yes", "no"] {
            let row = tokenizer["model"]["vocab"][answer].as_u64().unwrap() as usize;
            rows.extend_from_slice(&tensors["lm_head.weight"].2[64 * row..][..64]);
        }
    });
    let file = Gguf::open(model.out()).unwrap();
    assert_eq!(file.tensor("cls.output.weight").unwrap().bytes(), rows);
    let template = file.metadata().require_str("tokenizer.chat_template.rerank").unwrap();
    assert!(template.contains("<Query>: {query}\n<Document>: {document}<|im_end|>"));

    // Under another name it is a language model.
    let plain = model.dir.with_file_name("plain");
    fs::rename(&model.dir, &plain).unwrap();
    let out = plain.with_file_name("plain.gguf");
    super::convert(&plain, &out, OutputType::F16, &mut |_| {}).unwrap();
    let file = Gguf::open(out).unwrap();
    assert!(file.tensor("output.weight").is_some() && file.tensor("cls.output.weight").is_none());
}

#[test]
fn a_sequence_classifier_of_qwen3_is_a_reranker() {
    let model = model("qwen3-embed");
    fs::remove_file(model.dir.join("modules.json")).unwrap();
    model.set("config.json", "architectures", json!(["Qwen3ForSequenceClassification"]));
    model.set("config.json", "id2label", json!({"0": "LABEL_0"}));
    model.edit_weights(|t| drop(t.insert("score.weight".into(), ("F32".into(), vec![1, 32], vec![0; 128]))));
    model.convert(OutputType::Q8_0).unwrap();
    let file = Gguf::open(model.out()).unwrap();
    let head = file.tensor("cls.output.weight").unwrap();
    assert_eq!((head.dims(), head.tensor_type()), (&[32, 1][..], TensorType::Q8_0));
    assert_eq!(file.metadata().u32("qwen3.pooling_type").unwrap(), Some(4));
}

#[test]
fn scores_come_from_merges_where_there_are_no_pieces() {
    let model = model("llama-embed");
    fs::remove_file(model.dir.join("tokenizer.model")).unwrap();
    let tokens: Vec<String> = (0..330).map(|id| format!("t{id}")).collect();
    let mut vocab: serde_json::Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    for (text, id) in [("<unk>", 0), ("<s>", 1), ("</s>", 2), ("<0x0A>", 3), ("▁a", 10), ("▁ab", 11)] {
        vocab.remove(&format!("t{id}"));
        vocab.insert(text.to_owned(), json!(id));
    }
    let special = |text: &str, id: u32| json!({"id": id, "content": text, "special": true});
    let document = json!({
        "added_tokens": [special("<s>", 1), special("</s>", 2), {"id": 329, "content": "t329"}, special("<far>", 330)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab, "merges": ["▁ a", ["▁a", "b"]]},
    });
    fs::write(model.dir.join("tokenizer.json"), document.to_string()).unwrap();
    let report = model.convert(OutputType::F32).unwrap();
    assert_eq!(report.settings_lost, ["the token <far>, which has no embedding"]);
    let file = Gguf::open(model.out()).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.require_str("tokenizer.ggml.model").unwrap(), "llama");
    let scores = metadata.f32s("tokenizer.ggml.scores").unwrap().unwrap();
    assert_eq!((scores[10], scores[11], scores[12]), (0.0, -1.0, -2.0));
    let types = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!([types[0], types[1], types[3], types[12], types[329]], [2, 3, 6, 1, 4]);
    assert_eq!(metadata.bool("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
}

#[test]
fn bad_inputs_are_refused_by_name() {
    let refused =
        |message: String, expected: &str| assert!(message.contains(expected), "{message}\nexpected: {expected}");
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}, {"type": "ByteLevel", "use_regex": false}]})
    };
    let qwen = model("qwen3-embed");
    qwen.set("tokenizer.json", "pre_tokenizer", split("x+"));
    refused(qwen.refusal(OutputType::F32), "expected a pre-tokenizer of Qwen2");
    let qwen = model("qwen3-embed");
    qwen.edit_weights(|t| drop(t.remove("layers.1.mlp.up_proj.weight")));
    refused(qwen.refusal(OutputType::F32), "tensor `blk.1.ffn_up.weight` is missing");
    let qwen = model("qwen3-embed");
    qwen.edit_weights(|t| drop(t.insert("visual.weight".into(), ("F32".into(), vec![1], vec![0; 4]))));
    refused(qwen.refusal(OutputType::F32), "tensor `visual.weight` is no part of a `qwen3` model");
    let qwen = model("qwen3-embed");
    qwen.edit_json("tokenizer.json", |t| t["model"]["merges"][0] = json!(7));
    refused(qwen.refusal(OutputType::F32), "expected pairs under `model.merges`, found 7");

    let reranker = model("Qwen3-Reranker-tiny");
    reranker.edit_json("tokenizer.json", |t| t["model"]["vocab"]["yes"] = json!(100_000));
    refused(reranker.refusal(OutputType::F32), "expected a matrix with the rows that answer, [100000, ");

    let llama = model("llama-embed");
    fs::write(llama.dir.join("tokenizer.model"), b"\x0a\xff\xff").unwrap();
    refused(llama.refusal(OutputType::F32), "tokenizer.model: expected a SentencePiece model");
    let llama = model("llama-embed");
    llama.set("config.json", "num_key_value_heads", json!(3));
    refused(llama.refusal(OutputType::F32), "expected an even number of rows for each of 3 heads, found 16");

    let xlmr = model("xlmr-rerank");
    xlmr.edit_json("tokenizer.json", |t| t["normalizer"]["precompiled_charsmap"] = json!("***"));
    refused(xlmr.refusal(OutputType::F32), "expected a `precompiled_charsmap` in base64");
    let xlmr = model("xlmr-rerank");
    xlmr.edit_json("tokenizer.json", |t| t["model"]["vocab"][5] = json!(["x"]));
    refused(xlmr.refusal(OutputType::F32), "expected a text and a score for each piece");
    let xlmr = model("xlmr-rerank");
    xlmr.set("config.json", "max_position_embeddings", json!(40));
    refused(xlmr.refusal(OutputType::F32), "embeddings.position_embeddings.weight");
    let xlmr = model("xlmr-rerank");
    xlmr.set("config.json", "id2label", json!({"0": "a", "1": "b"}));
    refused(
        xlmr.refusal(OutputType::F32),
        "tensor `classifier.out_proj.weight`: expected shape [2, 32], found [1, 32]",
    );

    let gemma = model("gemma-embed");
    gemma.set("2_Dense/config.json", "activation_function", json!("torch.nn.modules.activation.Tanh"));
    refused(gemma.refusal(OutputType::F32), "activation_function");
}
