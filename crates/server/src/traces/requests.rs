//! The span of a request, which continues the trace that its client has begun.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, Version, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{FutureExt, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{error, shortened, tracer};
use crate::guard::is_probe;
use crate::transport::Client;

/// The span of a request that is under way. If it is dropped before there is an answer, the client went.
struct UnderWay {
    context: Context,
    answered: bool,
}

/// Opens the span of a request, in the trace of its `traceparent` if it has one. Probes have none, as in the log.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let method = method(request.method());
    // Not the path: names are to be few.
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let tracer = tracer();
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes(&request, route));
    let context = parent.with_span(span.start_with_context(&tracer, &parent));
    let mut under_way = UnderWay { context: context.clone(), answered: false };
    let response = next.run(request).with_context(context).await;
    under_way.answered(&response);
    response
}

impl UnderWay {
    fn answered(&mut self, response: &Response) {
        self.answered = true;
        let span = self.context.span();
        let status = response.status();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        // A request that is refused is no error of the server.
        if status.is_server_error() {
            let (kind, status) = error(status.as_str().to_owned());
            span.set_attribute(kind);
            span.set_status(status);
        }
        span.end();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.answered {
            let span = self.context.span();
            let (kind, status) = error("dropped");
            span.set_attribute(kind);
            span.set_status(status);
            span.end();
        }
    }
}

fn attributes(request: &Request, route: Option<&str>) -> Vec<KeyValue> {
    let headers = request.headers();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method(request.method())),
        KeyValue::new("url.path", shortened(request.uri().path())),
        KeyValue::new("url.scheme", "http"),
    ];
    let mut add = |name: &'static str, value: Option<Value>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add("http.route", route.map(|route| route.to_owned().into()));
    add("network.protocol.version", version(request.version()).map(Into::into));
    add("user_agent.original", text(headers, &header::USER_AGENT).map(|agent| shortened(agent).into()));
    match request.extensions().get() {
        Some(Client::Tcp(address)) => {
            add("client.address", Some(address.ip().to_string().into()));
            add("client.port", Some(i64::from(address.port()).into()));
        }
        #[cfg(unix)]
        Some(Client::Unix) => add("network.transport", Some("unix".into())),
        None => {}
    }
    // HTTP/2 has the name in the address of the request.
    let named = || text(headers, &header::HOST)?.parse::<Authority>().ok();
    if let Some(server) = request.uri().authority().cloned().or_else(named) {
        add("server.address", Some(shortened(server.host()).into()));
        add("server.port", server.port_u16().map(|port| i64::from(port).into()));
    }
    // The log has put it there, whether the client gave one or not, and the answer bears it.
    let id = text(headers, &crate::log::REQUEST_ID).map(|id| StringValue::from(id.to_owned()));
    add("http.response.header.x-request-id", id.map(|id| Value::Array(Array::String(vec![id]))));
    attributes
}

/// The method, and for what is none of the known ones the word that the conventions have.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
