//! Files that are no sound models: one line that names the file and the place, nothing on stdout, status 1.

mod common;

use std::fs;
use std::path::Path;

use common::{docent, failure, fixture, gguf};
use docent::gguf::TensorType;

/// Runs the commands that load models on a bad one, and gives the message, which is the same for all of them.
fn refusal(model: &Path) -> String {
    let messages = [vec!["embed", "-m"], vec!["tokenize", "-m"], vec!["info"], vec!["check"]].map(|args| {
        let mut command = docent();
        command.args(&args).arg(model);
        if args.len() > 1 {
            command.arg("a text");
        }
        failure(&mut command, 1)
    });
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:#?}");
    let [first, ..] = messages;
    first
}

/// Runs `embed` on a file that is sound as a container but not as a model.
fn embed_refusal(model: &Path) -> String {
    failure(docent().args(["embed", "-m"]).arg(model).arg("a text"), 1)
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let whole = fs::read(gguf::tiny("q8_0").path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    for length in [0, 3, 4, 7, 20, 24, 100, 5_000, whole.len() - 40_000, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let message = refusal(&path);
        assert!(message.contains("cut.gguf"), "{length}: {message}");
        assert!(message.contains("expected") || message.contains("found"), "{length}: {message}");
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"PK\x03\x04 this is an archive, as anybody can see").unwrap();
    let message = refusal(&path);
    assert!(message.contains("model.gguf") && message.contains("GGUF"), "{message}");
}

#[test]
fn a_future_version_is_refused() {
    let mut bytes = fs::read(gguf::tiny("q8_0").path()).unwrap();
    bytes[4] = 9;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, &bytes).unwrap();
    let message = refusal(&path);
    assert!(message.contains('9') && message.contains("version"), "{message}");
}

#[test]
fn a_folder_without_config_json_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("readme.txt"), "nothing here").unwrap();
    let errors = [vec!["embed", "-m"], vec!["info"], vec!["check"]].map(|args| {
        let mut command = docent();
        command.args(&args).arg(folder.path());
        failure(if args.len() > 1 { command.arg("a text") } else { &mut command }, 1)
    });
    for error in errors {
        assert!(error.contains("config.json"), "{error}");
    }
}

#[test]
fn a_path_to_nothing_is_refused() {
    let message = refusal(Path::new("no/such/model.gguf"));
    assert_eq!(message, "no model at no/such/model.gguf: there is no such file or folder");
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let file = gguf::tiny("q8_0");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(file.path()).is_ok() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: this user may read every file\n");
        return;
    }
    let message = refusal(file.path());
    assert!(message.to_lowercase().contains("permission denied"), "{message}");
}

#[test]
fn an_unsupported_architecture_is_named_with_what_is_supported() {
    let file = gguf::edited(|model| model.set("general.architecture", "command-r"));
    let message = embed_refusal(file.path());
    assert!(message.contains("the architecture `command-r` is not supported (supported: bert"), "{message}");
}

#[test]
fn a_vocabulary_larger_than_its_embeddings_is_refused() {
    let file = gguf::edited(|model| {
        let tensor = model.tensor("token_embd.weight");
        tensor.dims[1] -= 10;
        let rows = tensor.dims[1] as usize;
        tensor.data.truncate(rows * 96 * 4);
    });
    let message = embed_refusal(file.path());
    assert!(message.contains("916 tokens") && message.contains("906 rows"), "{message}");
}

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    let file = gguf::edited(|model| model.tensors.retain(|tensor| tensor.name != "blk.1.ffn_down.weight"));
    let message = embed_refusal(file.path());
    assert!(message.contains("tensor `blk.1.ffn_down.weight` is missing, expected with shape [96, 160]"), "{message}");
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let file = gguf::edited(|model| model.tensor("blk.0.attn_output.weight").dims = vec![48, 192]);
    let message = embed_refusal(file.path());
    assert!(message.contains("tensor `blk.0.attn_output.weight`"), "{message}");
    assert!(message.contains("expected shape [96, 96], found [192, 48]"), "{message}");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let file = gguf::edited(|model| model.tensor("blk.1.ffn_up.weight").set_f32(1234, f32::NAN));
    let message = embed_refusal(file.path());
    assert!(message.contains("tensor `blk.1.ffn_up.weight`") && message.contains("not a finite number"), "{message}");
}

#[test]
fn a_wrong_tokenizer_is_named() {
    let file = gguf::edited(|model| model.set("tokenizer.ggml.model", "rwkv"));
    let message = embed_refusal(file.path());
    assert!(message.contains("tokenizer.ggml.model") && message.contains("rwkv"), "{message}");
}

#[test]
fn a_type_without_a_codec_is_named() {
    let file = gguf::edited(|model| {
        let tensor = model.tensor("blk.0.ffn_up.weight");
        tensor.ty = TensorType::I8;
        tensor.data = vec![0; 160 * 96];
    });
    let message = embed_refusal(file.path());
    assert!(message.contains("tensor `blk.0.ffn_up.weight` has the type I8, which is not supported"), "{message}");
}

#[test]
fn damaged_safetensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "vocab.txt"] {
        fs::copy(fixture("bert-tiny").join(file), folder.path().join(file)).unwrap();
    }
    let weights = fs::read(fixture("bert-tiny").join("model.safetensors")).unwrap();
    let path = folder.path().join("model.safetensors");
    for length in [0, 7, 100, weights.len() - 1] {
        fs::write(&path, &weights[..length]).unwrap();
        let message = embed_refusal(folder.path());
        assert!(message.contains("model.safetensors"), "{length}: {message}");
    }
}

#[test]
fn errors_are_json_where_the_results_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"GGUF").unwrap();
    for command in ["info", "check"] {
        let output = docent().args([command, "--json"]).arg(&path).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains("model.gguf"), "{error}");
    }
}
