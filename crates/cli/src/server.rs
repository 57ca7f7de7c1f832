//! A running `docent serve` in place of a model of one's own: what is computed there has the same bits.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::time::Duration;

use anyhow::Context;
use docent_server::native::wire::{EmbedAnswer, EmbedRequest, RerankAnswer, RerankRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The variable that has the key which the server asks for.
const VARIABLE_KEY: &str = "DOCENT_API_KEY";

/// Bytes of an answer; vectors are base64, so this is some ten thousand texts' worth.
const MAX_ANSWER: u64 = 1 << 30;

/// Which server.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ServerArgs {
    /// Let a running `docent serve` do it, for example http://127.0.0.1:8080; -m then is a name that it serves [env for its
    /// key: DOCENT_API_KEY]
    #[arg(long, value_name = "URL", env = "DOCENT_SERVER", hide_env = true, conflicts_with_all = ["threads", "quant", "offline"])]
    pub(crate) server: Option<String>,
}

/// A running server.
pub(crate) struct Server {
    url: String,
    agent: ureq::Agent,
    key: Option<String>,
}

/// An answer that says why there is none.
#[derive(serde::Deserialize)]
struct Refusal {
    error: RefusalMessage,
}

#[derive(serde::Deserialize)]
struct RefusalMessage {
    message: String,
}

impl Server {
    /// The server at an address.
    pub(crate) fn at(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        let key = std::env::var(VARIABLE_KEY).ok().filter(|key| !key.is_empty());
        Server { url: url.trim_end_matches('/').to_owned(), agent: config.into(), key }
    }

    /// Embeds texts.
    pub(crate) fn embed(&self, request: &EmbedRequest) -> anyhow::Result<EmbedAnswer> {
        self.ask("docent/embed", request)
    }

    /// Scores documents.
    pub(crate) fn rerank(&self, request: &RerankRequest) -> anyhow::Result<RerankAnswer> {
        self.ask("docent/rerank", request)
    }

    fn ask<T: DeserializeOwned>(&self, route: &str, request: &impl Serialize) -> anyhow::Result<T> {
        let url = format!("{}/{route}", self.url);
        let body = serde_json::to_vec(request)?;
        let mut waits = 0;
        loop {
            let mut asked = self.agent.post(&url).content_type("application/json");
            if let Some(key) = &self.key {
                asked = asked.header("authorization", format!("Bearer {key}"));
            }
            let mut answer = asked.send(&body[..]).with_context(|| {
                format!("the server at {} does not answer; start one with `docent serve`", self.url)
            })?;
            let status = answer.status();
            if let Some(pause) = retry_after(&answer).filter(|_| waits < MOST_WAITS) {
                waits += 1;
                std::thread::sleep(pause);
                continue;
            }
            let read = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
            let bytes = read.with_context(|| format!("the answer of {url} breaks off"))?;
            if status.is_success() {
                return serde_json::from_slice(&bytes)
                    .with_context(|| format!("the answer of {url} is not as expected"));
            }
            let message = match serde_json::from_slice::<Refusal>(&bytes) {
                Ok(refusal) => refusal.error.message,
                Err(_) => format!("{url} answers {status}; is it a docent server of this version?"),
            };
            anyhow::bail!("{message}");
        }
    }
}

/// How often a server that has too much to do is asked again.
const MOST_WAITS: usize = 10;

/// How long a server that has too much to do would have its client wait.
fn retry_after(answer: &ureq::http::Response<ureq::Body>) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_secs(60)))
}
