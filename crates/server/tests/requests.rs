//! Whatever a request has in it, the server answers, and never as if the fault were its own.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use axum::body::Body;
use axum::http::Request;
use docent_server::read_as_every_request;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::app::post;

/// Every route that takes a body.
const ROUTES: [&str; 22] = [
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/reranking",
    "/rerank",
    "/reranking",
    "/embed",
    "/embed_all",
    "/similarity",
    "/tokenize",
    "/decode",
    "/",
    "/embedding",
    "/embeddings",
    "/detokenize",
    "/api/embed",
    "/api/embeddings",
    "/api/rerank",
    "/api/show",
    "/nothing",
    "/v1/nothing",
    "/api/nothing",
];

/// Names of fields that mean something somewhere.
const FIELDS: [&str; 32] = [
    "input",
    "inputs",
    "content",
    "prompt",
    "query",
    "documents",
    "texts",
    "text",
    "ids",
    "tokens",
    "model",
    "name",
    "encoding_format",
    "embedding_type",
    "dimensions",
    "normalize",
    "normalized",
    "truncate",
    "truncation_direction",
    "prompt_name",
    "task",
    "top_n",
    "rank_fields",
    "return_documents",
    "max_tokens_per_doc",
    "max_chunks_per_doc",
    "embd_normalize",
    "parameters",
    "options",
    "source_sentence",
    "sentences",
    "partial",
];

/// Values that mean something somewhere, and values that mean nothing anywhere.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..900).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "bert-tiny",
            "base64",
            "binary",
            "query",
            "left",
            "retrieval.query",
            "modern-bert-rerank"
        ])
        .prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(FIELDS.to_vec()), inner), 0..5).prop_map(object),
        ]
    })
}

fn object(fields: Vec<(&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn request() -> impl Strategy<Value = Value> {
    prop::collection::vec((prop::sample::select(FIELDS.to_vec()), value()), 0..10).prop_map(object)
}

fn check_parsers(bytes: &[u8]) -> Result<(), TestCaseError> {
    for failure in read_as_every_request(bytes).into_iter().filter_map(Result::err) {
        prop_assert!(!failure.message.contains(char::is_control), "{:?}", failure.message);
        prop_assert!(failure.message.len() < 1000, "{:?}", failure.message);
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_parsers(&bytes)?;
    }

    #[test]
    fn no_json_makes_a_parser_panic(request in request(), cut in any::<prop::sample::Index>()) {
        let bytes = serde_json::to_vec(&request).unwrap();
        check_parsers(&bytes)?;
        check_parsers(&bytes[..cut.index(bytes.len() + 1)])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_request_is_answered_and_no_refusal_is_a_fault_of_the_server(request in request()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = serde_json::to_vec(&request).unwrap();
        for route in ROUTES {
            let answer = runtime.block_on(post(route, bytes.clone()));
            prop_assert!(
                answer.status.is_success() || answer.status.is_client_error() || answer.status == 501,
                "{route}: {} {request}",
                answer.status
            );
            prop_assert!(answer.json().is_object() || answer.status.is_success(), "{route}: {request}");
        }
    }
}

#[tokio::test]
async fn a_long_text_in_the_wrong_place_is_not_sent_back() {
    let long = "x".repeat(1 << 20);
    for (route, request) in [
        ("/v1/embeddings", json!({ "input": "a", "dimensions": long })),
        ("/v1/embeddings", json!({ "input": "a", "encoding_format": long })),
        ("/v1/embeddings", json!({ "input": "a", "model": long })),
        ("/embed", json!({ "inputs": "a", "prompt_name": long })),
        ("/v2/rerank", json!({ "query": "a", "documents": [{}], "rank_fields": [long] })),
        ("/api/embed", json!({ "model": long, "input": "a" })),
    ] {
        let answer = post(route, request.to_string()).await;
        assert!(answer.status.is_client_error(), "{route}: {}", answer.status);
        assert!(answer.body.len() < 2000, "{route}: {} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn what_fails_is_worded_by_the_dialect_of_the_path() {
    for (path, pointer) in [
        ("/v1/nothing", "/error/message"),
        ("/v2/nothing", "/error/message"),
        ("/v2/rerank", "/message"),
        ("/api/nothing", "/error"),
        ("/rerank", "/error/code"),
        ("/embedding", "/error/code"),
        ("/embed", "/error_type"),
        ("/nothing", "/error_type"),
    ] {
        let answer = post(path, "[").await;
        assert!(answer.json().pointer(pointer).is_some(), "{path}: {}", answer.json());
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
    }
}

#[tokio::test]
async fn every_refusal_is_counted_once() {
    let config = support::config();
    let service = support::service(&config).await;
    let app = docent_server::router(service.clone());
    let count = |label: &str| {
        let line = format!("te_request_failure{{err=\"{label}\"}} ");
        service.metrics().text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    };
    let total = || {
        let text = service.metrics().text();
        let values = text.lines().filter(|line| line.starts_with("te_request_failure{"));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let mut expected = 0;
    for (route, request, label) in [
        // Before it is parsed,
        ("/embed", json!([]), "validation"),
        // by the dialect,
        ("/embed", json!({ "inputs": "a", "prompt_name": "none" }), "validation"),
        ("/embed", json!({ "inputs": "a", "model": "nobody" }), "validation"),
        ("/rerank", json!({ "query": "a", "texts": ["b"], "model": "tiny" }), "model_type"),
        ("/rerank", json!({ "query": "a", "texts": [] }), "missing_values"),
        ("/similarity", json!({ "inputs": { "source_sentence": "a", "sentences": [] } }), "missing_values"),
        ("/tokenize", json!({ "inputs": vec!["a"; 3000] }), "batch_size"),
        ("/decode", json!({ "ids": [4_000_000_000_u32] }), "validation"),
        ("/v1/embeddings", json!({ "input": "a", "late_chunking": true }), "validation"),
        // in the call,
        ("/embed", json!({ "inputs": [] }), "missing_values"),
        ("/embed", json!({ "inputs": "a", "model": "judge" }), "model_type"),
        ("/embed", json!({ "inputs": "word ".repeat(300), "truncate": false }), "tokenization"),
        // and in a text of it, which the answer says or does not.
        (
            "/v1/embeddings",
            json!({ "input": ["a", "word ".repeat(300)], "truncate": false, "partial": true }),
            "tokenization",
        ),
    ] {
        let before: u64 = count(label);
        let request = Request::post(route).body(Body::from(request.to_string())).unwrap();
        let answer = support::app::send(app.clone(), request).await;
        expected += 1;
        assert_eq!(count(label), before + 1, "{route}: {} {}", answer.status, answer.json());
        assert_eq!(total(), expected, "{route}: {}", answer.json());
    }
    // What asks for nothing that there is, or whether the server is ready, is no failure of a call.
    let unready = docent_server::router(docent_server::Service::new(&config));
    for (app, path) in [(&app, "/nothing"), (&app, "/embed"), (&unready, "/health")] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert!(!support::app::send(app.clone(), request).await.status.is_success());
    }
    assert_eq!(total(), expected);
}
