//! `docent embed`: the ways in which texts come in, and what can be wrong with them.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{docent, docent_process, embed, failure, fixture, json_lines, stdout};
use tempfile::TempDir;

/// A folder with a file in it.
fn file(name: &str, contents: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    (folder, path)
}

#[test]
fn texts_are_the_same_from_arguments_lines_and_jsonl() {
    let texts = ["hello world", "", "ein Café", "  the city "];
    let expected = stdout(embed().args(texts));
    let lines = texts.join("\n");
    let crlf = format!("\u{feff}{}\r\n", texts.join("\r\n"));
    let jsonl: String =
        texts.iter().map(|text| format!("{}\n\n", serde_json::json!({"text": text, "more": [1]}))).collect();
    for contents in [&lines, &crlf, &jsonl] {
        let (_folder, path) = file("texts", contents);
        assert_eq!(stdout(embed().arg("--input").arg(&path)), expected, "{contents:?}");
        assert_eq!(stdout(embed().args(["--input", "-"]).write_stdin(contents.as_str())), expected, "{contents:?}");
        assert_eq!(stdout(embed().write_stdin(contents.as_str())), expected, "{contents:?}");
    }
}

#[test]
fn the_format_of_the_input_can_be_said() {
    let line = "{\"text\": \"hello\"}";
    let as_text = stdout(embed().arg(line));
    assert_eq!(stdout(embed().args(["--input-format", "lines"]).write_stdin(line)), as_text);
    assert_ne!(stdout(embed().write_stdin(line)), as_text);
    // A name that says JSONL is believed.
    let (_folder, path) = file("texts.jsonl", "plain\n");
    let message = failure(embed().arg("--input").arg(&path), 1);
    assert!(message.contains("texts.jsonl:1: expected a JSON object"), "{message}");
    let message = failure(embed().args(["--input-format", "jsonl"]).write_stdin("plain"), 1);
    assert!(message.starts_with("standard input:1: expected a JSON object"), "{message}");
    failure(embed().args(["--input-format", "jsonl", "an argument"]), 2);
}

#[test]
fn thousands_of_texts_keep_their_order() {
    let input: String = (0..3000)
        .map(|i| format!("{{\"id\": {i}, \"text\": \"{}\"}}\n", ["a", "the city", "hello world"][i % 3]))
        .collect();
    let results = json_lines(embed().write_stdin(input));
    assert_eq!(results.len(), 3000);
    for (index, result) in results.iter().enumerate() {
        assert_eq!((&result["index"], &result["id"]), (&index.into(), &index.into()));
        assert_eq!(result["embedding"], results[index % 3]["embedding"]);
    }
}

#[test]
fn bad_input_is_named_by_its_place() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("a.txt", b"fine\nb\xffd\n", ":2: invalid UTF-8: byte 2 of the line (offset 6 of the input) is 0xff"),
        (
            "a.txt",
            b"\xff\xfeh\0i\0",
            ":1: invalid UTF-8: byte 1 of the line (offset 0 of the input) is 0xff; the file seems to be UTF-16, convert it to UTF-8",
        ),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n\n{\"text\": \"b\"\n",
            ":3: not the JSON expected: EOF while parsing an object at column 12",
        ),
        (
            "a.jsonl",
            b"{\"title\": \"a\"}\n",
            ":1: the object has no \"text\", expected {\"text\": \"...\"} (--input-format lines takes lines as they are)",
        ),
        (
            "a.jsonl",
            b"{\"text\": 5}\n",
            ":1: not the JSON expected: invalid type: integer `5`, expected a string at column 10",
        ),
        ("a.ndjson", b"[\"a\"]\n", ":1: expected a JSON object such as {\"text\": \"...\"}, found \"[\\\"a\\\"]\""),
        ("a.jsonl", b"{\"text\": \"a\", \"id\": {}}\n", ":1: \"id\": expected a string or a number, found \"{}\""),
        (
            "a.jsonl",
            b"{\"text\": \"a\xc3\"}\n",
            ":1: invalid UTF-8: byte 12 of the line (offset 11 of the input) is 0xc3",
        ),
    ];
    for (name, contents, expected) in cases {
        let (_folder, path) = file(name, contents);
        let message = failure(embed().arg("--input").arg(&path), 1);
        assert_eq!(message, format!("{}{expected}", path.display()));
    }
}

#[test]
fn a_line_without_end_is_refused() {
    let (_folder, path) = file("a.txt", vec![b'x'; (16 << 20) + 10]);
    let message = failure(embed().arg("--input").arg(&path), 1);
    assert_eq!(message, format!("{}:1: the line is longer than the 16 MiB allowed", path.display()));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.txt");
    let message = failure(embed().arg("--input").arg(&missing), 1);
    assert!(message.starts_with(&format!("cannot open {}: ", missing.display())), "{message}");
    let message = failure(embed().arg("--input").arg(folder.path()), 1);
    assert_eq!(message, format!("cannot read {}: expected a file with texts, found a folder", folder.path().display()));
}

#[test]
fn a_text_that_is_too_long_is_named_by_line_and_index() {
    // Far enough down not to be in the first window.
    let input = "short\n".repeat(1500) + &"the ".repeat(200);
    let (_folder, path) = file("a.txt", input);
    let output = embed().args(["--truncate", "error", "--input"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!("error: {}:1501: text 1500 has 202 tokens, more than the 96 allowed", path.display());
    assert!(message.starts_with(&expected), "{message}");
}

/// Copies the files of a folder into another.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn damaged_weights_are_found_out() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture("bert-tiny"), folder.path());
    let weights = folder.path().join("model.safetensors");
    let sound = fs::read(&weights).unwrap();
    let start = 8 + usize::try_from(u64::from_le_bytes(sound[..8].try_into().unwrap())).unwrap();
    let refusal = |value: f32| {
        let mut bytes = sound.clone();
        bytes[start..].chunks_exact_mut(4).for_each(|weight| weight.copy_from_slice(&value.to_le_bytes()));
        fs::write(&weights, bytes).unwrap();
        failure(docent().arg("embed").arg("-m").arg(folder.path()).write_stdin("the city\n"), 1)
    };
    let message = refusal(f32::NAN);
    assert!(message.contains("tensor `") && message.contains("not a finite number"), "{message}");
    // Finite as they are, but not what is computed with them.
    let message = refusal(f32::MAX);
    assert!(
        message.starts_with("standard input:1: the vector of text 0 has components that are not finite"),
        "{message}"
    );
}

#[test]
fn models_that_are_none_are_refused() {
    let refusal = |model: &str| failure(docent().args(["embed", "--offline", "-m", model, "x"]), 1);
    assert!(refusal("").contains("name of a model is empty"));
    assert!(refusal("/nowhere/model.gguf").contains("/nowhere/model.gguf"));
    assert!(refusal("all-MiniLM-L7").contains("did you mean"));
    assert!(refusal("all-MiniLM-L6-v2").contains("offline"));
    let (_folder, path) = file("model.gguf", "GGUF");
    assert!(refusal(path.to_str().unwrap()).contains("model.gguf"));
}

#[test]
fn the_environment_may_name_the_model() {
    let result = stdout(docent().env("DOCENT_MODEL", fixture("bert-tiny")).args(["embed", "hello"]));
    assert_eq!(result, stdout(embed().arg("hello")));
    // An option goes first, and an empty variable is none.
    assert_eq!(stdout(embed().env("DOCENT_MODEL", "/nowhere/x.gguf").arg("hello")), result);
    let message = failure(docent().env("DOCENT_MODEL", "").args(["embed", "--offline", "hello"]), 1);
    assert!(message.contains("all-MiniLM-L6-v2"), "{message}");
}

/// The most memory that a running process has had, in KiB.
#[cfg(target_os = "linux")]
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_input_takes_no_more_memory_than_a_short_one() {
    let mut command = docent_process();
    command.arg("embed").arg("-m").arg(fixture("bert-variants/cls-f16")).args(["--max-length", "8", "--dim", "2"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut results = BufReader::new(output).lines();
    let block = format!("{}\n", "the old city by the river ".repeat(80)).repeat(100);
    // The command answers what it has read while its input is still open, so both ends can be used in turn.
    let mut answered = 0;
    let mut send = |blocks: usize| {
        for _ in 0..blocks {
            std::thread::scope(|scope| {
                scope.spawn(|| input.write_all(block.as_bytes()).unwrap());
                for _ in 0..100 {
                    let line = results.next().unwrap().unwrap();
                    assert!(line.starts_with(&format!("{{\"index\":{answered},")), "{line}");
                    answered += 1;
                }
            });
        }
    };
    send(10);
    let short = peak_memory(child.id());
    send(190); // 40 MB of text
    let long = peak_memory(child.id());
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(long < short + 8 * 1024, "{short} KiB for a short input, {long} KiB for a long one");
}
