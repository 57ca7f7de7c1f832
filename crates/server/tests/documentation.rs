//! The description of the routes, for programs and for people, is that of the routes.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use support::app::{get, search_app, send};

/// Method and path of every route that the description has.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys().map(|method| method.to_uppercase());
        methods.map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_route_of_the_description_is_there() {
    let document = send(search_app(), Request::get("/openapi.json").body(Body::empty()).unwrap()).await.json();
    let operations = operations(&document);
    assert!(operations.len() > 30, "{operations:?}");
    for (method, path) in operations {
        let request = Request::builder().method(&*method).uri(path.replace("{id}", "bert-tiny"));
        let answer = send(search_app(), request.body(Body::from("{}")).unwrap()).await;
        let status = answer.status;
        assert!(
            status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}: {status}"
        );
    }
}

#[tokio::test]
async fn everything_that_the_description_refers_to_is_in_it() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = get("/openapi.json").await.json();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_page_shows_every_route_and_needs_nothing_from_elsewhere() {
    let document = get("/openapi.json").await.json();
    let page = get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let page = String::from_utf8(page.body).unwrap();
    for (_, path) in operations(&document) {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}
