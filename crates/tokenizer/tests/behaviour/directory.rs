//! Hugging Face model directories.

use std::path::Path;

use docent_tokenizer::Tokenizer;
use serde_json::json;

use crate::vocabularies::small;

fn write(dir: &Path, name: &str, text: impl AsRef<str>) {
    std::fs::write(dir.join(name), text.as_ref()).unwrap();
}

#[test]
fn the_config_overrules_the_normaliser_and_gives_the_length() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tokenizer.json", small().to_string());
    let tokenizer = Tokenizer::from_directory(dir.path()).unwrap();
    assert_eq!((tokenizer.ids("A 我a").unwrap(), tokenizer.model_max_length()), (vec![1, 3, 9, 3, 2], None));

    let config = json!({"do_lower_case": false, "tokenize_chinese_chars": false, "strip_accents": null, "model_max_length": 512});
    write(dir.path(), "tokenizer_config.json", config.to_string());
    let tokenizer = Tokenizer::from_directory(dir.path()).unwrap();
    assert_eq!((tokenizer.ids("A 我a").unwrap(), tokenizer.model_max_length()), (vec![1, 0, 9, 4, 2], Some(512)));

    // What the library writes for "no limit".
    write(dir.path(), "tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#);
    assert_eq!(Tokenizer::from_directory(dir.path()).unwrap().model_max_length(), None);
}

#[test]
fn a_vocabulary_file_will_do() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n!\n");
    let tokenizer = Tokenizer::from_directory(dir.path()).unwrap();
    assert_eq!(tokenizer.ids("Áb! [MASK] x").unwrap(), [2, 5, 6, 7, 4, 1, 3]);

    write(dir.path(), "vocab.txt", "<s>\r\n</s>\r\n<unk>\r\na\r\n");
    write(
        dir.path(),
        "special_tokens_map.json",
        r#"{"unk_token": "<unk>", "cls_token": {"content": "<s>"}, "sep_token": "x"}"#,
    );
    write(dir.path(), "tokenizer_config.json", r#"{"sep_token": "</s>", "do_lower_case": false}"#);
    let tokenizer = Tokenizer::from_directory(dir.path()).unwrap();
    assert_eq!(tokenizer.ids("a A</s>").unwrap(), [0, 3, 2, 1, 1]);
}

fn error(dir: &Path) -> String {
    let error = Tokenizer::from_directory(dir).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    assert!(
        error(path).ends_with("tokenizer.json: cannot read: no such file, and no vocab.txt either"),
        "{}",
        error(path)
    );
    assert!(error(&path.join("missing")).contains("tokenizer.json: cannot read"));
    write(path, "vocab.txt", "[UNK]\n[CLS]\n");
    assert!(error(path).ends_with(r#"vocab.txt: vocabulary: expected a line "[SEP]", found none"#), "{}", error(path));
    write(path, "vocab.txt", "a\nb\na\n");
    assert!(error(path).ends_with(r#"vocab.txt: line 3: expected distinct tokens, found "a" twice, at ids 0 and 2"#));
    std::fs::write(path.join("vocab.txt"), b"a\n\xff\n").unwrap();
    assert!(error(path).ends_with("vocab.txt: vocabulary: expected UTF-8, found something else at byte 2"));
    write(path, "tokenizer.json", "{\"model\": 1}");
    assert!(error(path).contains("tokenizer.json: model.type: expected a value, found none"), "{}", error(path));
    write(path, "tokenizer_config.json", "{\"do_lower_case\": \"no\"}");
    assert!(error(path).contains("tokenizer_config.json: do_lower_case: expected true or false, found \"no\""));
    write(path, "tokenizer_config.json", "{\"model_max_length\": 0}");
    assert!(error(path).contains("tokenizer_config.json: model_max_length: expected a number of tokens, found 0"));
    std::fs::remove_file(path.join("tokenizer_config.json")).unwrap();
    std::fs::create_dir(path.join("tokenizer_config.json")).unwrap();
    assert!(error(path).ends_with("tokenizer_config.json: cannot read: not a file"), "{}", error(path));
}
