//! The command line as a whole: help, usage errors, colours, completions.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::{TINY, docent, embed, failure, show};
use serde_json::Value;

#[test]
fn help() {
    insta::assert_snapshot!("help", show(docent().arg("--help")));
    insta::assert_snapshot!("embed_help", show(docent().args(["embed", "--help"])));
    insta::assert_snapshot!("embed_short_help", show(docent().args(["embed", "-h"])));
    insta::assert_snapshot!("tokenize_help", show(docent().args(["tokenize", "--help"])));
    insta::assert_snapshot!("completions_help", show(docent().args(["completions", "--help"])));
}

#[test]
fn help_names_the_default_model() {
    let help = show(docent().args(["embed", "--help"])).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("[env: DOCENT_MODEL] [default: all-MiniLM-L6-v2]"), "{help}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let expected = format!("docent {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(show(docent().arg("--version")), expected);
}

#[test]
fn a_wrong_command_line_has_status_2_and_nothing_on_stdout() {
    let wrong: [&[&str]; 14] = [
        &[],
        &["embedd"],
        &["embed", "--nonsense"],
        &["embed", "--dim", "0", "x"],
        &["embed", "--dim", "-1", "x"],
        &["embed", "--threads", "0", "x"],
        &["embed", "--max-length", "many", "x"],
        &["embed", "--pooling", "average", "x"],
        &["embed", "--truncate", "middle", "x"],
        &["embed", "--format", "xml", "x"],
        &["embed", "--quant", "Q9", "x"],
        &["embed", "--prompt", "a", "--prompt-name", "query", "x"],
        &["embed", "--input", "file", "text"],
        &["tokenize", "--format", "json", "x"],
    ];
    for args in wrong {
        let output = docent().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn errors_are_json_if_the_results_are_to_be() {
    let error = |args: &[&str]| {
        let output = docent().args(args).output().unwrap();
        assert!(output.stdout.is_empty(), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["exit"], output.status.code().unwrap());
        error["error"]["message"].as_str().unwrap().to_owned()
    };
    let message = error(&["embed", "--format", "json", "-m", "/nowhere/x.gguf", "x"]);
    assert!(message.starts_with("no model at /nowhere/x.gguf"), "{message}");
    let message = error(&["embed", "--format=jsonl", "--dim", "0", "x"]);
    assert!(message.contains("invalid value '0' for '--dim <N>'"), "{message}");
    // Without being asked for, they are for people.
    assert!(failure(docent().args(["embed", "-m", "/nowhere/x.gguf", "x"]), 1).starts_with("no model at"));
}

#[test]
fn colours_are_for_terminals_and_those_who_want_them() {
    let stderr = |variables: &[(&str, &str)]| {
        let mut command = docent();
        command.args(["embed", "-m", "/nowhere/x.gguf", "x"]).envs(variables.iter().copied());
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(!stderr(&[]).contains('\u{1b}'));
    assert!(stderr(&[("CLICOLOR_FORCE", "1")]).contains("\u{1b}["));
    assert!(!stderr(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!stderr(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]).contains('\u{1b}'));
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let message = failure(docent().args(["embed", "-m", "/nowhere/\u{1b}[2J\n.gguf", "x"]), 1);
    assert!(message.contains("/nowhere/\\u{1b}[2J .gguf"), "{message}");
}

#[test]
fn logs_go_to_stderr_when_they_are_asked_for() {
    let output = embed().env("DOCENT_LOG", "nonsense=loud").arg("x").output().unwrap();
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with("warning: DOCENT_LOG is ignored: "), "{warning}");
    let output = embed().env("DOCENT_LOG", "trace").arg("x").output().unwrap();
    assert_eq!(output.stdout, embed().arg("x").output().unwrap().stdout);
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = common::stdout(docent().args(["completions", shell]));
        for word in ["embed", "tokenize", "prompt-name", "max-length"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
}

/// Runs the command on a terminal, which `script` makes. `None` where there is no such tool.
#[cfg(target_os = "linux")]
fn on_terminal(args: &str) -> Option<(i32, String)> {
    let mut command = assert_cmd::Command::new("script");
    command.args(["-qec", &format!("{} {args}", common::DOCENT), "/dev/null"]);
    command.env("HOME", env!("CARGO_TARGET_TMPDIR")).timeout(std::time::Duration::from_secs(120));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{error}"),
    };
    Some((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_no_binary_and_gives_no_texts() {
    let Some((status, shown)) = on_terminal(&format!("embed -m {TINY} --format npy hello")) else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"skipped: the tool `script` (util-linux), which makes a terminal, is not installed\n",
        );
        return;
    };
    assert_eq!(status, 2, "{shown}");
    assert!(shown.contains("npy is binary and stdout is a terminal"), "{shown}");
    let (status, shown) = on_terminal(&format!("embed -m {TINY}")).unwrap();
    assert_eq!(status, 2, "{shown}");
    assert!(shown.contains("no texts: give some as arguments"), "{shown}");
    let (status, shown) = on_terminal(&format!("embed -m {TINY} hello")).unwrap();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("{\"index\":0,\"embedding\":["), "{shown}");
}
