//! The exporter, set up by the standard variables of OpenTelemetry.

use std::time::Duration;

use opentelemetry::global;
use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::client::Client;

/// Spans of the whole process on their way to a collector, by OTLP over HTTP with protobuf. Dropped, it sends what it still has.
pub struct Traces {
    provider: SdkTracerProvider,
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address or another variable cannot be used.
    #[error("traces are not exported: {source}")]
    Exporter {
        /// What the exporter says, which names the variable.
        source: ExporterBuildError,
    },
    /// There is no such protocol in it.
    #[error(
        "traces are not exported: {variable} is `{found}`, and only http/protobuf is spoken; unset it, and give the collector's HTTP address"
    )]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// What it is set to.
        found: String,
    },
}

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variables that name a protocol.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// The variables that say how long the collector may take, in milliseconds.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// That time where none of them does, which is the specification's.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that the last spans get when the process ends.
const FLUSH: Duration = Duration::from_secs(5);

impl Traces {
    /// Begins to export, if a variable names a collector; else nothing is contacted, and there is nothing to export.
    ///
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` (or `..._TRACES_ENDPOINT`) is its address, `OTEL_SERVICE_NAME` the name of the service, `docent` if it
    /// is not set. Headers, timeout, sampler, resource and batches go by their variables, too, and `OTEL_SDK_DISABLED=true` or
    /// `OTEL_TRACES_EXPORTER=none` ends it all.
    ///
    /// # Errors
    /// If a variable cannot be used. Whether the collector is there only shows later, in the log.
    pub fn from_env() -> Result<Option<Self>, TracesError> {
        let is = |name: &str, value: &str| variable(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some((_, endpoint)) = first(ENDPOINTS) else { return Ok(None) };
        if let Some((variable, found)) = first(PROTOCOLS).filter(|(_, found)| found != "http/protobuf") {
            return Err(TracesError::Protocol { variable, found });
        }
        let timeout =
            first(TIMEOUTS).and_then(|(_, text)| text.parse().ok()).map_or(USUAL_TIMEOUT, Duration::from_millis);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(timeout)
            .with_http_client(Client::new(timeout))
            .build()
            .map_err(|source| TracesError::Exporter { source })?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        global::set_tracer_provider(provider.clone());
        tracing::info!(target: "docent_server", "traces go to {}", without_password(&endpoint));
        Ok(Some(Traces { provider }))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH) {
            tracing::debug!(%error, "the last traces were not exported");
        }
    }
}

fn resource() -> Resource {
    let resource = Resource::builder().build();
    let key = opentelemetry::Key::from_static_str("service.name");
    // What the kit says where nobody has said anything.
    let unnamed = |name: Value| name.as_str().starts_with("unknown_service");
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version);
    match resource.get(&key) {
        Some(name) if !unnamed(name.clone()) => named.build(),
        _ => named.with_service_name("docent").build(),
    }
}

/// The value of a variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first of these that is set, and its value.
fn first(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, variable(name)?)))
}

/// An address as a log may show it.
fn without_password(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    let (authority, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{}", path.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(
            without_password("http://user:secret@collector:4318/v1/traces?key=x"),
            "http://collector:4318/v1/traces"
        );
        assert_eq!(without_password("http://127.0.0.1:4318"), "http://127.0.0.1:4318");
    }
}
