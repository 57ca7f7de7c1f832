//! A page that shows the description of the routes to people; it needs nothing from anywhere else.

use std::fmt::Write;

use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
code { font: 14px ui-monospace, monospace; }
.method { display: inline-block; min-width: 3.5rem; font-weight: 600; }
.soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
td { border-top: 1px solid var(--line); padding: .25rem .6rem .25rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
";

/// The page of a description.
pub(super) fn of(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut page = String::new();
    // Writing to memory does not fail.
    let _ = write(&mut page, &document);
    page
}

fn write(page: &mut String, document: &Value) -> std::fmt::Result {
    let (title, about) = (text(&document["info"]["title"]), text(&document["info"]["description"]));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title} {}</h1>\n<p>{about} The same for programs: <a href=\"/openapi.json\">openapi.json</a>.</p>\n",
        text(&document["info"]["version"]),
    )?;
    for tag in document["tags"].as_array().into_iter().flatten() {
        write!(page, "<h2>{}</h2>\n<p>{}</p>\n", text(&tag["name"]), text(&tag["description"]))?;
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    write_operation(page, document, path, method, operation)?;
                }
            }
        }
    }
    Ok(())
}

fn write_operation(
    page: &mut String,
    document: &Value,
    path: &str,
    method: &str,
    operation: &Value,
) -> std::fmt::Result {
    let description = [&operation["summary"], &operation["description"]].map(text).join(" ");
    writeln!(
        page,
        "<details><summary><span class=\"method\">{}</span> <code>{}</code> <span class=\"soft\">{description}</span></summary>",
        escaped(&method.to_uppercase()),
        escaped(path),
    )?;
    let request = &operation["requestBody"]["content"]["application/json"]["schema"];
    if request.is_object() {
        writeln!(page, "<p>Request</p>")?;
        write_fields(page, document, request)?;
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        writeln!(page, "<p>{} <span class=\"soft\">{}</span></p>", escaped(status), text(&response["description"]))?;
        for content in response["content"].as_object().into_iter().flat_map(Map::values) {
            write_fields(page, document, &content["schema"])?;
        }
    }
    writeln!(page, "</details>")
}

/// The fields of an object, or of the objects of a list; otherwise the name of what it is.
fn write_fields(page: &mut String, document: &Value, schema: &Value) -> std::fmt::Result {
    let object = resolved(document, schema);
    let object = if object["type"] == "array" { resolved(document, &object["items"]) } else { object };
    let Some(fields) = object["properties"].as_object() else {
        return writeln!(page, "<p><code>{}</code></p>", escaped(&kind(document, schema)));
    };
    if resolved(document, schema)["type"] == "array" {
        writeln!(page, "<p class=\"soft\">A list of:</p>")?;
    }
    writeln!(page, "<table>")?;
    for (name, field) in fields {
        let required = object["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name));
        let optional = if required { "" } else { " <span class=\"soft\">optional</span>" };
        writeln!(
            page,
            "<tr><td><code>{}</code>{optional}<td><code>{}</code><td>{}",
            escaped(name),
            escaped(&kind(document, field)),
            text(&field["description"]),
        )?;
    }
    writeln!(page, "</table>")
}

/// What a schema is, in a word or two.
fn kind(document: &Value, schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = resolved(document, schema);
        return if target["properties"].is_object() {
            reference.rsplit('/').next().unwrap_or_default().to_owned()
        } else {
            kind(document, target)
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(options) = schema[key].as_array() {
            let mut kinds: Vec<String> = options.iter().map(|option| kind(document, option)).collect();
            kinds.retain(|kind| kind != "null");
            kinds.dedup();
            return kinds.join(" | ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("[{}]", self::kind(document, &schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<String> =
                kinds
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|kind| *kind != "null")
                    .map(|name| {
                        if name == "array" {
                            format!("[{}]", kind(document, &schema["items"]))
                        } else {
                            name.to_owned()
                        }
                    })
                    .collect();
            kinds.join(" | ")
        }
        _ => "any".to_owned(),
    }
}

/// What a reference stands for; anything else stands for itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().and_then(|reference| document.pointer(reference.trim_start_matches('#')));
    target.unwrap_or(schema)
}

/// The text of a value, for HTML.
fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
