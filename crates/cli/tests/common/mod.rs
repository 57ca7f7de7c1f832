//! The command as a user runs it, in an empty environment: no variable, cache or network of this machine has a say.

#![allow(dead_code, unreachable_pub)] // every test file uses a part of it

pub mod gguf;

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// The binary under test.
pub const DOCENT: &str = env!("CARGO_BIN_EXE_docent");

/// A small model that makes vectors of 96 components and takes 96 tokens.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");

/// The command, with a home of its own.
pub fn docent() -> Command {
    let mut command = Command::new(DOCENT);
    command.env_clear().env("HOME", home());
    command
}

/// The same for tests that talk to the command while it runs.
pub fn docent_process() -> std::process::Command {
    let mut command = std::process::Command::new(DOCENT);
    command.env_clear().env("HOME", home());
    command
}

/// `docent embed` with the small model.
pub fn embed() -> Command {
    let mut command = docent();
    command.args(["embed", "-m", TINY]);
    command
}

fn home() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).expect("the target directory can be written");
    home
}

/// A model in the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// All that a command shows, with the names of this machine's folders taken out.
pub fn show(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    let mut shown = text(&output.stdout);
    if !output.stderr.is_empty() {
        shown.push_str("--- stderr\n");
        shown.push_str(&text(&output.stderr));
    }
    if !output.status.success() {
        shown.push_str(&format!("--- {}\n", output.status));
    }
    without_temporary_names(&shown.replace(&fixture("").display().to_string(), "fixtures/"))
}

/// `/tmp/.tmpAbCdEf/x` as `[tmp]/x`.
fn without_temporary_names(text: &str) -> String {
    const RANDOM: usize = 6;
    let prefix = std::env::temp_dir().join(".tmp").display().to_string();
    let mut parts = text.split(&prefix);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("[tmp]");
        result.push_str(part.get(RANDOM..).unwrap_or_default());
    }
    result
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the command speaks UTF-8")
}

/// What a command that does its work without a word on stderr prints.
pub fn stdout(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    assert!(status.success() && stderr.is_empty(), "{command:?}: {status}\n{}", text(&stderr));
    text(&stdout)
}

/// The results of a command that does its work without a word on stderr, one JSON value a line.
pub fn json_lines(command: &mut Command) -> Vec<Value> {
    stdout(command).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The message of a command that fails as it should: one line, nothing on stdout, this exit status.
pub fn failure(command: &mut Command, status: i32) -> String {
    let output = command.output().expect("the command starts");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{command:?}: {message}");
    assert_eq!(text(&output.stdout), "", "{command:?}");
    assert_eq!(message.lines().count(), 1, "{command:?}: {message}");
    message.strip_prefix("error: ").unwrap_or_else(|| panic!("{command:?}: {message}")).trim_end().to_owned()
}

/// The vector of a result. Numbers are read as float32, for that is what they are.
pub fn vector(result: &Value) -> Vec<f32> {
    floats(&result["embedding"])
}

/// An array of numbers.
pub fn floats(array: &Value) -> Vec<f32> {
    // Through the digits: a float64 in between could round twice.
    let number = |value: &Value| value.to_string().parse().expect("a number");
    array.as_array().expect("an array").iter().map(number).collect()
}

/// The largest difference between the components of two vectors.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
