//! OpenTelemetry: a span for each request, for the call that it makes, and for the stages of the call.
//!
//! Spans go to the tracer provider that is set globally; without one they cost next to nothing and go nowhere. [`Traces`] sets one that
//! exports by OTLP. A program of its own that has a provider already need not use it.
//!
//! Names and attributes are those of the semantic conventions for HTTP servers and for generative AI; `docent.` begins those for which
//! there is no convention. No text, query or key is ever in a span.

mod calls;
mod client;
mod export;
mod requests;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::{InstrumentationScope, KeyValue, trace::Status};

pub(crate) use calls::Call;
pub use export::{Traces, TracesError};
pub(crate) use requests::request;

/// What kind of error ended what a span is about.
const ERROR_TYPE: &str = "error.type";

/// Bytes of what a client says about itself or asks for.
const LONGEST_VALUE: usize = 256;

fn tracer() -> BoxedTracer {
    let scope = InstrumentationScope::builder("docent-server").with_version(env!("CARGO_PKG_VERSION"));
    global::tracer_with_scope(scope.build())
}

/// The attribute and the status of a span that ended in an error. The message of a failure is not in it: it may quote a text.
fn error(kind: impl Into<opentelemetry::Value>) -> (KeyValue, Status) {
    (KeyValue::new(ERROR_TYPE, kind), Status::error(""))
}

/// The beginning of a value that is a client's.
fn shortened(value: &str) -> String {
    value[..value.floor_char_boundary(LONGEST_VALUE)].to_owned()
}
