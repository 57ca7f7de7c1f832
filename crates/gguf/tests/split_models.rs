//! Models in several files.

#![allow(clippy::unwrap_used)] // in helpers too, which the lint does not take for tests

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{I32, Raw, STRING, U16, text};
use docent_gguf::{Gguf, TensorType};

/// File `number` of `count`, with one tensor of its own name.
fn part(number: u16, count: u16) -> Raw {
    let name = format!("tensor.{number}");
    let raw = Raw::default().entry("split.no", U16, (number - 1).to_le_bytes()).entry(
        "split.count",
        U16,
        count.to_le_bytes(),
    );
    let raw = if number == 1 {
        raw.entry("split.tensors.count", I32, i32::from(count).to_le_bytes()).entry("name", STRING, text("whole"))
    } else {
        raw
    };
    raw.tensor(name, &[4], TensorType::I8, 0).data(vec![number as u8; 4])
}

fn path(dir: &Path, number: u16, count: u16) -> PathBuf {
    dir.join(format!("big-00001-of-00009-{number:05}-of-{count:05}.gguf"))
}

/// Writes a good set of three files, then lets `spoil` change it; returns what opening the first file says.
fn open(spoil: impl FnOnce(&Path)) -> Result<Gguf, String> {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=3 {
        fs::write(path(dir.path(), number, 3), part(number, 3).bytes()).unwrap();
    }
    spoil(dir.path());
    let model = Gguf::open(path(dir.path(), 1, 3)).map_err(|error| error.to_string())?;
    dir.close().unwrap();
    Ok(model)
}

fn refusal(spoil: impl FnOnce(&Path)) -> String {
    let message = open(spoil).unwrap_err();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn a_whole_set_reads_as_one_model() {
    let model = open(|_| ()).unwrap();
    assert_eq!(model.n_files(), 3);
    let names: Vec<_> = model.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["tensor.1", "tensor.2", "tensor.3"]);
    assert_eq!(model.tensor("tensor.3").unwrap().bytes(), [3; 4]);
    assert_eq!(model.metadata().require_str("name").unwrap(), "whole");
    assert!(model.file().ends_with("-00001-of-00003.gguf"));
}

#[test]
fn a_missing_file_is_named() {
    let message = refusal(|dir| fs::remove_file(path(dir, 2, 3)).unwrap());
    assert!(
        message.contains("-00002-of-00003.gguf: expected file 2 of 3 of the split model next to the first"),
        "{message}"
    );
}

#[test]
fn a_damaged_file_is_named() {
    let message = refusal(|dir| fs::write(path(dir, 3, 3), &part(3, 3).bytes()[..50]).unwrap());
    assert!(message.contains("-00003-of-00003.gguf: ") && message.contains("cut short"), "{message}");
}

#[test]
fn files_in_the_wrong_place_are_refused() {
    let message = refusal(|dir| fs::write(path(dir, 2, 3), part(3, 3).bytes()).unwrap());
    assert!(message.contains("-00002-of-00003.gguf: key `split.no`"), "{message}");
    assert!(message.contains("expected 1 in a file of a split model, found 2"), "{message}");
    let message = refusal(|dir| fs::write(path(dir, 2, 3), part(2, 4).bytes()).unwrap());
    assert!(message.contains("key `split.count`") && message.contains("expected 3"), "{message}");
    let message = refusal(|dir| fs::write(path(dir, 2, 3), Raw::valid().bytes()).unwrap());
    assert!(message.contains("found a file that is not split"), "{message}");
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let message = refusal(|dir| {
        let mut second = part(2, 3);
        second.tensors = part(1, 3).tensors;
        fs::write(path(dir, 2, 3), second.bytes()).unwrap();
    });
    assert!(message.contains("-00002-of-00003.gguf: tensor `tensor.1`"), "{message}");
    assert!(message.contains("-00001-of-00003.gguf"), "{message}");
}

#[test]
fn the_number_of_tensors_must_be_the_announced_one() {
    let message = refusal(|dir| {
        let third = Raw { tensors: vec![], ..part(3, 3) };
        fs::write(path(dir, 3, 3), third.bytes()).unwrap();
    });
    assert!(message.contains("expected 3 tensors in the 3 files of the split model, found 2"), "{message}");
}

#[test]
fn keys_of_the_first_file_are_checked() {
    let with = |entries: Vec<Vec<u8>>| {
        refusal(move |dir| {
            let first = Raw { entries, ..part(1, 3) };
            fs::write(path(dir, 1, 3), first.bytes()).unwrap();
        })
    };
    let no = common::entry("split.no", U16, [0, 0]);
    let count = common::entry("split.count", U16, [3, 0]);
    assert!(with(vec![count.clone()]).contains("key `split.no`"));
    assert!(with(vec![no.clone(), common::entry("split.count", STRING, text("3"))]).contains("found string"));
    assert!(with(vec![no.clone(), common::entry("split.count", I32, [255; 4])]).contains("found -1"));
    assert!(with(vec![no.clone(), common::entry("split.count", I32, [0, 0, 1, 0])]).contains("found 65536"));
    assert!(
        with(vec![common::entry("split.no", U16, [3, 0]), count.clone()]).contains("expected a number from 0 to 2")
    );
    assert!(with(vec![no, count]).contains("key `split.tensors.count`"));
}

#[test]
fn names_must_fit_the_contents() {
    let dir = tempfile::tempdir().unwrap();
    let renamed = dir.path().join("model.gguf");
    fs::write(&renamed, part(1, 3).bytes()).unwrap();
    let message = Gguf::open(&renamed).unwrap_err().to_string();
    assert!(message.contains("expected a name that ends in -00001-of-00003.gguf"), "{message}");

    let second = path(dir.path(), 2, 3);
    fs::write(&second, part(2, 3).bytes()).unwrap();
    let message = Gguf::open(&second).unwrap_err().to_string();
    assert!(message.contains("expected the first file of a split model, found number 2; open "), "{message}");
    assert!(message.ends_with("-00001-of-00003.gguf instead"), "{message}");

    let message = common::error(part(1, 3).bytes());
    assert!(message.contains("found the first of 3 files of a split model; open it by its path"), "{message}");
}

#[test]
fn a_set_of_one_file_is_a_plain_model() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("any.gguf");
    fs::write(&file, part(1, 1).bytes()).unwrap();
    assert_eq!(Gguf::open(&file).unwrap().n_files(), 1);
}
