//! `docent watch` as a user runs it, until a signal ends it.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{TINY, docent, docent_process, stdout};
use serde_json::Value;
use tempfile::TempDir;

/// Ends the process with the test, whatever becomes of that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn changes_are_indexed_until_a_signal_comes() {
    let folder = TempDir::new().unwrap();
    let (notes, index) = (folder.path().join("notes"), folder.path().join("index.sqlite"));
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("a.md"), "# A\n\nthe cat sat\n").unwrap();
    stdout(docent().args(["collection", "add", "-m", TINY, "--index"]).arg(&index).arg(&notes));

    let mut command = docent_process();
    command.args(["watch", "--json", "-m", TINY, "--index"]).arg(&index);
    let mut process = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };

    // What came before the first look is told with it, or as the first change.
    fs::write(notes.join("b.md"), "# B\n\na dog barks\n").unwrap();
    let pass = next();
    assert_eq!(
        (pass["collection"].as_str(), &pass["files"]["added"], &pass["vectors"]["embedded"]),
        (Some("notes"), &1.into(), &1.into())
    );
    fs::remove_file(notes.join("a.md")).unwrap();
    assert_eq!(next()["files"]["removed"], 1);

    let signalled = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert!(process.0.wait().unwrap().success(), "being told to stop is no failure");
}
