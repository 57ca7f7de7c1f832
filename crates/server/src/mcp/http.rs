//! The tools over HTTP: every request of the protocol is a `POST` and has its answer as JSON, without sessions.

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Handler;
use crate::search::Searcher;
use crate::service::Service;

/// Bytes of a request, more than the tools take.
const LONGEST: usize = 1 << 20;

/// Bytes of a refusal of the SDK.
const REFUSAL: usize = 64 << 10;

/// The code of JSON-RPC for a request that is none.
pub(crate) const INVALID_REQUEST: i32 = -32600;

type Http = StreamableHttpService<Handler, NeverSessionManager>;

/// The route of the protocol. Nothing that a client says is kept between two of its requests, so there is nothing to bound or to forget.
pub(crate) fn routes(searcher: Searcher) -> OpenApiRouter<Service> {
    let handler = Handler::new(searcher);
    // The server's layers have looked at origin, name and key.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(LONGEST)
        .disable_allowed_hosts()
        .disable_allowed_origins();
    let http: Http = StreamableHttpService::new(move || Ok(handler.clone()), Default::default(), config);
    OpenApiRouter::new().routes(routes!(post)).layer(Extension(http))
}

/// The tools `query`, `get`, `multi_get` and `status` for agents: MCP over streamable HTTP, without sessions. Clients must accept
/// `application/json` and `text/event-stream`.
#[utoipa::path(post, path = "/mcp", tag = "Document search", request_body = Value,
    responses((status = 200, description = "The answer, as JSON-RPC", body = Value), (status = 202, description = "A notification was taken")))]
async fn post(Extension(http): Extension<Http>, mut request: Request) -> Response {
    accept_all(request.headers_mut());
    // The layers have looked at the name, and the SDK wants one whatever it is.
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
    in_json(http.handle(request).await.map(Body::new)).await
}

/// A client that accepts anything, or does not say what, accepts both forms of an answer.
fn accept_all(headers: &mut HeaderMap) {
    let any = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("*/*"));
    if headers.get(header::ACCEPT).is_none_or(any) {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    }
}

/// The SDK refuses some requests in plain text; clients of JSON-RPC read errors.
async fn in_json(response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(response.status().is_client_error() || response.status().is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, REFUSAL).await.unwrap_or_default();
    let message = crate::body::shortened(&String::from_utf8_lossy(&text));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(error(INVALID_REQUEST, &message).to_string()))
}

/// An error of JSON-RPC that belongs to no request of it.
pub(crate) fn error(code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } })
}
