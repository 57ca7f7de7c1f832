//! What a failure is called in each dialect.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::Dialect;
use crate::body::shortened;
use crate::failure::{Failure, FailureKind};
use crate::mcp;

/// The response with the failure's status and body in place of its own; other headers stay.
pub(super) fn refuse(dialect: Dialect, failure: &Failure, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = status(dialect, failure.kind);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match failure.kind {
        FailureKind::Overloaded { retry_after } => drop(parts.headers.insert(header::RETRY_AFTER, retry_after.into())),
        FailureKind::Unready => drop(parts.headers.insert(header::RETRY_AFTER, 1.into())),
        FailureKind::Unauthorized => {
            let scheme = HeaderValue::from_static("Bearer realm=\"docent\"");
            parts.headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        _ => {}
    }
    Response::from_parts(parts, Body::from(body(dialect, failure).to_string()))
}

fn status(dialect: Dialect, kind: FailureKind) -> StatusCode {
    match (dialect, kind) {
        (Dialect::Tei, FailureKind::TooManyItems | FailureKind::TooManyTokens) => StatusCode::PAYLOAD_TOO_LARGE,
        (
            Dialect::Tei,
            FailureKind::Malformed | FailureKind::Invalid | FailureKind::Tokenizer | FailureKind::WrongModel,
        ) => StatusCode::UNPROCESSABLE_ENTITY,
        (Dialect::Tei, FailureKind::Backend) => StatusCode::FAILED_DEPENDENCY,
        (Dialect::Llama, FailureKind::WrongModel) => StatusCode::NOT_IMPLEMENTED,
        _ => kind.status(),
    }
}

fn body(dialect: Dialect, failure: &Failure) -> Value {
    // It may quote a name or a text of the request.
    let message = shortened(&failure.message);
    match dialect {
        Dialect::OpenAi => json!({ "error": open_ai(failure) }),
        // `message` for Cohere, `detail` for Jina, `error` for llama-server.
        Dialect::Rerank => json!({ "message": message, "detail": message, "error": llama(dialect, failure) }),
        Dialect::Tei => json!({ "error": message, "error_type": tei(failure.kind) }),
        Dialect::Llama => json!({ "error": llama(dialect, failure) }),
        Dialect::Ollama | Dialect::Search => json!({ "error": message }),
        Dialect::Mcp => mcp::error(json_rpc(failure.kind), &message),
    }
}

/// The inner object, which also stands for one item of a request.
pub(super) fn open_ai(failure: &Failure) -> Value {
    let (kind, code) = match failure.kind {
        FailureKind::Tokenizer | FailureKind::TooManyTokens => {
            ("invalid_request_error", Some("context_length_exceeded"))
        }
        FailureKind::UnknownModel => ("invalid_request_error", Some("model_not_found")),
        FailureKind::NotFound => ("invalid_request_error", Some("not_found")),
        FailureKind::UnknownRoute => ("invalid_request_error", Some("unknown_url")),
        FailureKind::Method => ("invalid_request_error", Some("method_not_supported")),
        FailureKind::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
        FailureKind::Forbidden => ("invalid_request_error", Some("forbidden")),
        FailureKind::Overloaded { .. } => ("requests", Some("rate_limit_exceeded")),
        FailureKind::Backend => ("server_error", None),
        FailureKind::Unready => ("server_error", Some("not_ready")),
        FailureKind::Malformed
        | FailureKind::Invalid
        | FailureKind::Empty
        | FailureKind::TooManyItems
        | FailureKind::TooLarge
        | FailureKind::WrongModel
        | FailureKind::Slow => ("invalid_request_error", None),
    };
    json!({ "message": shortened(&failure.message), "type": kind, "param": failure.field, "code": code })
}

fn llama(dialect: Dialect, failure: &Failure) -> Value {
    let status = status(dialect, failure.kind);
    let kind = match failure.kind {
        FailureKind::Tokenizer | FailureKind::TooManyTokens => "exceed_context_size_error",
        FailureKind::WrongModel => "not_supported_error",
        FailureKind::UnknownModel | FailureKind::NotFound | FailureKind::UnknownRoute => "not_found_error",
        FailureKind::Unauthorized => "authentication_error",
        FailureKind::Forbidden => "permission_error",
        FailureKind::Overloaded { .. } | FailureKind::Unready => "unavailable_error",
        FailureKind::Backend => "server_error",
        _ => "invalid_request_error",
    };
    json!({ "code": status.as_u16(), "message": shortened(&failure.message), "type": kind })
}

/// The code of an error of JSON-RPC: its own ones, -32003 for what is forbidden as qmd has it, and -32000 for what is none of the request.
fn json_rpc(kind: FailureKind) -> i32 {
    match kind {
        FailureKind::Backend => -32603,
        FailureKind::UnknownRoute | FailureKind::Method => -32601,
        FailureKind::Unauthorized => -32001,
        FailureKind::Forbidden => -32003,
        FailureKind::Overloaded { .. } | FailureKind::Unready | FailureKind::Slow => -32000,
        _ => mcp::INVALID_REQUEST,
    }
}

fn tei(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Empty => "empty",
        FailureKind::Tokenizer => "tokenizer",
        FailureKind::Overloaded { .. } => "overloaded",
        FailureKind::Backend => "backend",
        FailureKind::Unready => "unhealthy",
        _ => "validation",
    }
}

impl Failure {
    /// The same about a field by the name that the dialect has for it.
    pub(super) fn in_terms(mut self, ours: &str, theirs: &str) -> Self {
        if ours != theirs && self.field.as_deref() == Some(ours) {
            self.message = self.message.replace(&format!("`{ours}`"), &format!("`{theirs}`"));
            self.field = Some(theirs.to_owned());
        }
        self
    }
}
