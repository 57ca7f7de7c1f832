//! Language models that answer, in the directories that sentence-transformers saves since version 5.4, against its scores.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::path::Path;

use docent::convert::{OutputType, convert};
use docent::{RerankOptions, Reranker};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{converted, copy_folder, fixture};

/// Each with the instruction that it has of its own.
const MODELS: [(&str, Option<&str>); 4] = [
    ("qwen3-yes-no", Some("the school by the river")),
    ("qwen3-one-token", Some("answer yes or no")),
    ("qwen3-classifier", Some("answer yes or no")),
    ("qwen2-turns", None),
];

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    document: String,
    instruction: Option<String>,
    ids: Vec<u32>,
    raw: f32,
}

fn open(path: &Path) -> Result<Reranker, docent::Error> {
    Reranker::open(path.to_str().unwrap())
}

fn check(reranker: &Reranker, name: &str) {
    let reference = std::fs::read(fixture("rerankers").join(name).join("reference.json")).unwrap();
    let reference: Reference = serde_json::from_slice(&reference).unwrap();
    assert_eq!(reference.cases.len(), 8);
    for Case { query, document, instruction, ids, raw } in reference.cases {
        let options = RerankOptions { instruction, ..RerankOptions::default() };
        let prepared = reranker.prepare(&query, &[&document], &options).unwrap();
        assert_eq!(prepared[0].tokens(), ids.len(), "{name}: {query:?} {document:?} {options:?}");
        let found = &reranker.rerank_with(&query, &[&document], &options).unwrap()[0];
        assert!((found.raw - raw).abs() < 1e-4, "{name}: {} for {raw}, {query:?} {document:?} {options:?}", found.raw);
    }
}

#[test]
fn directories_and_converted_files_score_as_sentence_transformers_does() {
    for (name, instruction) in MODELS {
        let out = tempfile::tempdir().unwrap();
        let folder = fixture("rerankers").join(name);
        let file = converted(&folder, OutputType::F32, out.path());
        for path in [&folder, &file] {
            let reranker = open(path).unwrap_or_else(|error| panic!("{error}"));
            assert!(reranker.settings().description.reranker, "{name}");
            assert_eq!(reranker.settings().instruction.as_deref(), instruction, "{path:?}");
            check(&reranker, name);
        }
    }
}

/// Before the document and in it, between other special tokens of the template.
#[test]
fn what_texts_spell_is_no_special_token() {
    for (name, _) in MODELS {
        let reranker = open(&fixture("rerankers").join(name)).unwrap();
        let tokens = |query: &str, document: &str| {
            reranker.prepare(query, &[document], &RerankOptions::default()).unwrap()[0].tokens()
        };
        let (plain, spelt) = (tokens("", ""), "<|im_end|>");
        assert!(tokens(spelt, "") > plain + 4 && tokens("", spelt) > plain + 4, "{name}");
    }
}

/// A copy of a model with a file of it changed.
fn edited(name: &str, file: &str, edit: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("rerankers").join(name), folder.path());
    let path = folder.path().join(file);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
    folder
}

fn says(folder: &Path, message: &str) {
    let error = open(folder).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

/// Where transformers looks for it besides.
#[test]
fn a_template_may_be_in_the_configuration_or_have_a_name() {
    let template = |folder: &Path| {
        let path = folder.join("chat_template.jinja");
        let source = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        source
    };
    let source = template(edited("qwen3-one-token", "config.json", |_| ()).path());
    let set = |value: Value| edited("qwen3-one-token", "tokenizer_config.json", |c| c["chat_template"] = value);
    for value in [json!(source), json!([{"name": "other", "template": "-"}, {"name": "default", "template": source}])] {
        let folder = set(value);
        template(folder.path());
        check(&open(folder.path()).unwrap(), "qwen3-one-token");
    }
    let named = edited("qwen3-one-token", "sentence_bert_config.json", |c| {
        c["processing_kwargs"] = json!({"chat_template": {"chat_template": "rerank"}});
    });
    let folder = named.path().join("additional_chat_templates");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("rerank.jinja"), template(named.path())).unwrap();
    std::fs::write(named.path().join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
    check(&open(named.path()).unwrap(), "qwen3-one-token");
}

#[test]
fn a_qwen3_without_a_template_for_pairs_has_the_prompt_of_its_cards() {
    let folder = edited("qwen3-one-token", "config.json", |_| ());
    for source in ["{% for m in messages %}{{ m.content }}{% endfor %}", "{% macro x() %}{% endmacro %}"] {
        std::fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
        let reranker = open(folder.path());
        // The first shows both texts, one behind the other: that is a prompt.
        let instruction = reranker.unwrap().settings().instruction.clone();
        assert_eq!(instruction.is_some_and(|text| text.starts_with("Given a web")), source.contains("macro"));
    }
}

#[test]
fn what_is_wrong_with_the_files_is_named() {
    let folder = edited("qwen2-turns", "config.json", |_| ());
    let template = folder.path().join("chat_template.jinja");
    for (source, message) in [
        ("{{ messages[0].content }} {# query document", "line 1 of the chat template"),
        ("{# query, document #}\n{% include 'x' %}", "line 2 of the chat template"),
        (
            "{# query, document #}{{ messages[1].content[0].text }}",
            "expected messages of the roles query and document, each once",
        ),
        ("{# query, document #}{{ raise_exception('no ' ~ messages[0].role) }}", "no query"),
    ] {
        std::fs::write(&template, source).unwrap();
        says(folder.path(), message);
    }
    std::fs::write(&template, "{{ messages[0].role }}").unwrap();
    says(folder.path(), "a language model whose files have no prompt for a query and a document");
    for (token, message) in
        [(json!(100_000), "expected ids of"), (json!("yes"), "1_LogitScore"), (json!(null), "1_LogitScore")]
    {
        let folder = edited("qwen2-turns", "1_LogitScore/config.json", |c| c["true_token_id"] = token);
        says(folder.path(), message);
    }
    // A file without the rows of its tokens would be asked for other words.
    let folder = edited("qwen3-yes-no", "config.json", |c| c["tie_word_embeddings"] = json!(false));
    let error = convert(folder.path(), &folder.path().join("m.gguf"), OutputType::F32, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("output.weight"), "{error}");
    let folder = edited("qwen2-turns", "1_LogitScore/config.json", |c| c["module_input_name"] = json!("logits"));
    says(folder.path(), "module_input_name: expected \"causal_logits\", found \"logits\"");
    let normalize = json!({"path": "2_Pooling", "type": "Pooling"});
    let folder = edited("qwen2-turns", "modules.json", |c| c.as_array_mut().unwrap().push(normalize));
    std::fs::create_dir(folder.path().join("2_Pooling")).unwrap();
    std::fs::write(folder.path().join("2_Pooling/config.json"), r#"{"pooling_mode": "mean"}"#).unwrap();
    says(folder.path(), "expected LogitScore alone after the Transformer");
    let folder = edited("qwen2-turns", "config.json", |c| {
        (c["model_type"], c["architectures"]) = (json!("llama"), json!(["LlamaForCausalLM"]));
    });
    says(folder.path(), "no LogitScore for the architecture llama");
}
