//! How spans reach the collector: with the client that fetches models, which is in every build anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;

/// A client that blocks, for the exporter's own thread. It logs when the collector is not to be had any more, and when it is again.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    failing: AtomicBool,
}

/// Bytes of an answer, of which there are few.
const LONGEST_ANSWER: u64 = 64 << 10;

impl Client {
    pub(super) fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).max_redirects(0);
        Client { agent: config.build().into(), failing: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = self.agent.run(request.map(|body| body.to_vec()))?.into_parts();
        let body = body.into_with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }

    /// One line when it begins to fail, and one when it is over: batches come every few seconds.
    fn note(&self, problem: Option<String>) {
        let failed = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !failed => {
                tracing::warn!(target: "docent_server", "traces cannot be exported, and are dropped until they can: {problem}");
            }
            None if failed => tracing::info!(target: "docent_server", "traces are exported again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let result = self.send(request);
        self.note(match &result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        });
        result
    }
}
