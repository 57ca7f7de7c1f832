//! Requests of every dialect with their answers: `golden/NAME.http` is a request, `golden/NAME.snap` what comes of it.
//!
//! Numbers are rounded and vectors shortened, so that the files hold on every instruction set; what time and place decide is left out.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::fmt::Write;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use serde_json::Value;
use support::app::{Answer, search_app, send};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A request as its file has it: method and path, headers, an empty line, the body.
fn request(file: &str) -> Request<Body> {
    let (head, body) = file.split_once("\n\n").unwrap_or((file.trim_end(), ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(Body::from(body.trim_end().to_owned())).unwrap()
}

fn shown(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.status.as_u16());
    for name in [
        "content-type",
        "retry-after",
        "allow",
        "x-compute-tokens",
        "x-compute-characters",
        "x-truncated-items",
        "x-score-kind",
    ] {
        if let Some(value) = answer.headers.get(name) {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    text.push('\n');
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut body) => {
            settle("", &mut body);
            text.push_str(&serde_json::to_string_pretty(&body).unwrap());
        }
        Err(_) => text.push_str(std::str::from_utf8(&answer.body).unwrap()),
    }
    text
}

/// Leaves out what differs from run to run, rounds numbers, and shortens vectors.
fn settle(name: &str, value: &mut Value) {
    let varies = [
        "created",
        "modified_at",
        "total_duration",
        "load_duration",
        "digest",
        "size",
        "build_info",
        "tokenization_workers",
    ];
    match value {
        Value::String(text) if text == env!("CARGO_PKG_VERSION") => *value = Value::from("[version]"),
        Value::Number(_) | Value::String(_) if varies.contains(&name) => *value = Value::from(format!("[{name}]")),
        Value::Number(number) if number.is_f64() => *value = Value::from(rounded(number.as_f64().unwrap())),
        Value::String(text) if name == "embedding" => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(&*text).unwrap();
            let floats = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            *value = Value::from(format!("base64 of {}", beginning(&floats.map(f64::from).collect::<Vec<_>>())));
        }
        Value::Array(items) if items.len() > 6 && items.iter().all(serde_json::Value::is_f64) => {
            let numbers: Vec<f64> = items.iter().map(|item| item.as_f64().unwrap()).collect();
            *value = Value::from(beginning(&numbers));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle("", item)),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| settle(name, value)),
        _ => {}
    }
}

fn beginning(numbers: &[f64]) -> String {
    let first: Vec<f64> = numbers.iter().take(3).map(|&number| rounded(number)).collect();
    format!("{first:?} and so on, {} numbers", numbers.len())
}

/// To three digits behind the point, of large numbers three in all: instruction sets differ far behind these.
fn rounded(number: f64) -> f64 {
    let unit = 10_f64.powi((number.abs().max(1.0).log10().floor() as i32 - 3).max(0)).max(1.0);
    let rounded = if number.abs() < 10.0 { (number * 1e3).round() / 1e3 } else { (number / unit).round() * unit };
    // Not -0.
    rounded + 0.0
}

#[tokio::test]
async fn every_request_has_the_answer_on_file() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".http").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 60, "{} requests", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for name in names {
        let file = std::fs::read_to_string(folder().join(format!("{name}.http"))).unwrap();
        let answer = send(search_app(), request(&file)).await;
        settings.bind(|| insta::assert_snapshot!(name.as_str(), shown(&answer)));
    }
}
