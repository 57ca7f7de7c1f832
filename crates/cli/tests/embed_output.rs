//! `docent embed`: the formats, and the places that results are written to.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use common::{TINY, docent_process, embed, failure, json_lines, stdout, vector};
use serde_json::Value;

const TEXTS: [&str; 4] = ["hello world", "the \"old\" city, by the river", "", "1, 2"];

/// A two-dimensional float32 array in NumPy's format.
fn read_npy(bytes: &[u8]) -> Vec<Vec<f32>> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(start % 64, 0);
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.ends_with('\n'));
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': ("), "{header}");
    let shape = header.split(['(', ')']).nth(1).unwrap();
    let shape: Vec<usize> = shape.split(',').map(|number| number.trim().parse().unwrap()).collect();
    let [rows, columns] = shape[..] else { panic!("{header}") };
    assert_eq!(bytes.len(), start + 4 * rows * columns);
    let values: Vec<f32> = bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    values.chunks(columns).map(<[f32]>::to_vec).collect()
}

#[test]
fn every_format_has_the_same_bits() {
    let lines = json_lines(embed().args(TEXTS));
    let vectors: Vec<Vec<f32>> = lines.iter().map(vector).collect();
    assert_eq!(lines.len(), TEXTS.len());
    assert!(lines.iter().enumerate().all(|(index, line)| line["index"] == index));

    let array: Vec<Value> = serde_json::from_str(&stdout(embed().args(["--format", "json"]).args(TEXTS))).unwrap();
    assert_eq!(array, lines);

    let output = embed().args(["--format", "npy"]).args(TEXTS).output().unwrap();
    assert_eq!(read_npy(&output.stdout), vectors);

    let table = stdout(embed().args(["--format", "csv"]).args(TEXTS));
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(names[..4], ["index", "tokens", "truncated", "e0"]);
    assert_eq!(names.last().unwrap(), "e95");
    for (row, line) in reader.records().map(Result::unwrap).zip(&lines) {
        assert_eq!(row[0], line["index"].to_string());
        assert_eq!(row[1], line["tokens"].to_string());
        assert_eq!(row[2], line["truncated"].to_string());
        let values: Vec<f32> = row.iter().skip(3).map(|value| value.parse().unwrap()).collect();
        assert_eq!(values, vector(line));
    }
}

#[test]
fn ids_are_kept_in_every_format_that_has_a_place_for_them() {
    let input = "{\"id\": \"a,\\\"b\\\"\", \"text\": \"hello\"}\n{\"text\": \"no id\"}\n{\"text\": \"x\", \"id\": 12345678901234567890123}\n";
    let with = |format: &str| stdout(embed().args(["--format", format]).write_stdin(input));
    for text in [with("jsonl"), with("json")] {
        assert!(text.contains(r#"{"index":0,"id":"a,\"b\"","embedding":["#), "{text}");
        assert!(text.contains(r#"{"index":1,"embedding":["#), "{text}");
        assert!(text.contains(r#"{"index":2,"id":12345678901234567890123,"embedding":["#), "{text}");
    }
    let table = with("csv");
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().take(4).collect::<Vec<_>>(), ["index", "id", "tokens", "truncated"]);
    let ids: Vec<String> = reader.records().map(|row| row.unwrap()[1].to_owned()).collect();
    assert_eq!(ids, ["a,\"b\"", "", "12345678901234567890123"]);
}

#[test]
fn no_texts_make_an_empty_result_of_every_format() {
    let with = |format: &str| embed().args(["--format", format]).write_stdin("").output().unwrap().stdout;
    assert_eq!(with("jsonl"), b"");
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&with("json")).unwrap(), Vec::<Value>::new());
    assert_eq!(String::from_utf8(with("csv")).unwrap().lines().count(), 1);
    let npy = with("npy");
    assert!(read_npy(&npy).is_empty());
    assert!(String::from_utf8_lossy(&npy).contains("(0, 96)"));
}

#[test]
fn tables_without_pooling_are_refused() {
    let none = |format: &str, texts: &[&str]| {
        let mut command = embed();
        command.args(["--pooling", "none", "--format", format]).args(texts);
        command
    };
    assert!(failure(&mut none("csv", &["a"]), 2).contains("without pooling"));
    assert!(failure(&mut none("npy", &["a", "b"]), 2).contains("without pooling"));
    let rows = read_npy(&none("npy", &["hello world"]).output().unwrap().stdout);
    let line = &json_lines(&mut none("jsonl", &["hello world"]))[0];
    let expected: Vec<Vec<f32>> = line["embedding"].as_array().unwrap().iter().map(common::floats).collect();
    assert_eq!((rows.len(), &rows), (4, &expected));
}

#[test]
fn files_get_their_format_by_name_and_appear_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let vectors: Vec<Vec<f32>> = json_lines(embed().args(TEXTS)).iter().map(vector).collect();
    for name in ["a.npy", "a.csv", "a.json", "a.jsonl"] {
        fs::write(path(name), "what was there before").unwrap();
        assert_eq!(stdout(embed().arg("--output").arg(path(name)).args(TEXTS)), "");
    }
    assert_eq!(read_npy(&fs::read(path("a.npy")).unwrap()), vectors);
    assert!(fs::read_to_string(path("a.csv")).unwrap().starts_with("index,tokens,truncated,e0,e1,"));
    assert!(fs::read_to_string(path("a.json")).unwrap().starts_with("[\n{"));
    assert_eq!(fs::read_to_string(path("a.jsonl")).unwrap(), stdout(embed().args(TEXTS)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_failure_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.json"), folder.path().join("new.json"));
    fs::write(&old, "old").unwrap();
    for output in [&old, &new] {
        let input = "fine\n".repeat(2000) + "{\"text\"\n";
        let input = input.replace("fine", "{\"text\": \"fine\"}");
        let message = failure(embed().arg("-o").arg(output).write_stdin(input), 1);
        assert!(message.starts_with("standard input:2001: "), "{message}");
    }
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("out.json");
    let message = failure(embed().arg("-o").arg(&missing).arg("x"), 1);
    assert!(message.starts_with(&format!("cannot write {}: ", missing.display())), "{message}");
    let message = failure(embed().arg("-o").arg(folder.path()).arg("x"), 1);
    assert!(message.starts_with(&format!("cannot write {}: ", folder.path().display())), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for format in ["jsonl", "json", "csv", "npy"] {
        let run = |args: &[&str], stdout: Stdio| {
            let mut command = docent_process();
            command.args(["embed", "-m", TINY, "--format", format]).args(args).args(TEXTS).stdout(stdout);
            let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, message) = run(&[], full().into());
        assert_eq!(code, Some(1), "{format}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        let expected = "cannot write to standard output: No space left on device (os error 28)";
        assert!(message.contains(expected), "{format}: {message}");
        let (code, message) = run(&["-o", "/dev/full"], Stdio::null());
        assert_eq!(code, Some(1), "{format}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.contains("cannot write /dev/full: No space left on device (os error 28)"),
            "{format}: {message}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_enough_ends_the_command_quietly() {
    for format in ["jsonl", "json", "csv", "npy"] {
        let mut command = docent_process();
        command.args(["embed", "-m", TINY, "--format", format]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            // More results than any pipe holds; the command may be gone before it has read all this.
            let _ = input.write_all("the old city\n".repeat(3000).as_bytes());
        });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        if format == "npy" {
            // npy comes at the end, all at once.
            output.read_exact(&mut [0; 10]).unwrap();
        } else {
            output.read_line(&mut String::new()).unwrap();
        }
        drop(output);
        writer.join().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{format}");
        assert_eq!(output.status.code(), Some(0), "{format}");
    }
}
