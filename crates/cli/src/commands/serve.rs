//! `docent serve`: models that stay loaded, for any number of clients.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use docent::ModelRef;
use docent::hub::Hub;
use docent_search::Index;
use docent_server::{Config, Limits, Listen, ModelsConfig, NamedModel, SearchModels, Searcher, Server, Service};

use crate::access::AccessArgs;
use crate::console::{Console, usage};
use crate::index::{IndexArgs, expander_asked, reranker_here};
use crate::model::{OpenArgs, model_or_default};
use crate::signals;

/// Serve models over HTTP to the clients that people already have.
///
/// One port answers in the dialects of OpenAI, Cohere, Jina, text-embeddings-inference, llama-server and Ollama; /docs lists the routes. The
/// address is written to stdout when the models are loaded. SIGINT and SIGTERM let running requests finish.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// A model to serve, repeatable: path, catalogue name, hf:USER/REPO[/FILE] or URL; NAME=MODEL serves it as NAME [default: DOCENT_MODEL,
    /// or the default embedding model, and --on-demand]
    #[arg(short, long = "model", value_name = "[NAME=]MODEL", value_parser = named_model)]
    models: Vec<NamedModel>,
    /// Load any other model of the catalogue that is on this machine when a request names it
    #[arg(long)]
    on_demand: bool,
    #[command(flatten)]
    open: OpenArgs,
    /// Memory that the models may take together, such as 2GB; the one not used for the longest time is unloaded
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Compute something with each model before saying that the server is ready
    #[arg(long)]
    warm: bool,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), help_heading = "Access")]
    host: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(short, long, default_value_t = 8080, help_heading = "Access")]
    port: u16,
    /// Listen on a socket in the file system instead
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"], help_heading = "Access")]
    unix: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,

    /// Let clients search and read documents too, at /mcp, /query and /search: all of the index, whoever may use the models
    #[arg(long, help_heading = "Documents")]
    search: bool,
    #[command(flatten, next_help_heading = "Documents")]
    index: IndexArgs,

    #[command(flatten)]
    limits: LimitArgs,

    /// How log lines are written to stderr; DOCENT_LOG says which
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// How much at a time.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Tokens of a forward pass, the unit in which requests wait for each other
    #[arg(long, value_name = "N", default_value_t = Limits::default().step_tokens, value_parser = at_least_one())]
    max_step_tokens: usize,
    /// Requests at a time, working or waiting; further ones are told to come back (429)
    #[arg(long, value_name = "N", default_value_t = Limits::default().concurrent_requests, value_parser = at_least_one())]
    max_concurrent_requests: usize,
    /// Tokens that wait at a time
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue_tokens, value_parser = at_least_one())]
    max_queue_tokens: usize,
    /// Size of a request's body (413)
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    max_body_bytes: u64,
    /// Size of all bodies that are read or worked on at a time (429)
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_bodies_bytes: u64,
    /// Size of all answers that are sent at a time (429)
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_answers_bytes: u64,
    /// Texts or documents of a request
    #[arg(long, value_name = "N", default_value_t = Limits::default().items, value_parser = at_least_one())]
    max_items: usize,
    /// Tokens of a request
    #[arg(long, value_name = "N", default_value_t = Limits::default().request_tokens, value_parser = at_least_one())]
    max_request_tokens: usize,
    /// Numbers in the vectors of an answer
    #[arg(long, value_name = "N", default_value_t = Limits::default().answer_values, value_parser = at_least_one())]
    max_answer_values: usize,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = at_least_one())]
    max_connections: usize,
    /// Seconds for a request's head, and between two parts of its body
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().read_timeout.as_secs(), value_parser = seconds())]
    read_timeout: u64,
    /// Seconds that a connection may be idle between two requests
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().idle_timeout.as_secs(), value_parser = seconds())]
    idle_timeout: u64,
    /// Seconds that running requests get to finish when the server is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().drain.as_secs(), value_parser = seconds())]
    drain: u64,
}

const EXAMPLES: &str = "\
Examples:
  docent serve
  docent serve -m all-MiniLM-L6-v2 -m ms-marco-MiniLM-L6-v2 --warm
  docent serve -m text-embedding-3-small=bge-small-en-v1.5 --port 11434
  curl -s http://127.0.0.1:8080/v1/embeddings -d '{\"input\": \"how do tides work\"}'
  docent embed --server http://127.0.0.1:8080 --input notes.txt --output notes.npy";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let search = args.search()?;
    let config = args.config()?;
    #[cfg(feature = "otel")]
    let _traces = traces();
    #[cfg(not(feature = "otel"))]
    note_no_traces();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads for the server")?;
    let service = Service::new(&config);
    let server = {
        let _runtime = runtime.enter();
        let router = match search {
            Some((index, models)) => {
                let searcher = Searcher::new(index, service.clone(), models);
                docent_server::router_with_search(service.clone(), searcher)
            }
            None => docent_server::router(service.clone()),
        };
        match Server::take_over(&config, service.clone(), router.clone())? {
            Some(server) => server,
            None => Server::bind(&config, service.clone(), router)?,
        }
    };
    let address = server.address().to_string();
    let serving = runtime.spawn(server.serve(stop()));
    // Health says that the server is not ready, meanwhile.
    for named in &config.models.models {
        let hub = Hub::from_env().offline(config.models.open.offline);
        hub.fetch(&named.model, config.models.open.quant, &console.fetch_progress())?;
        if serving.is_finished() {
            return Ok(());
        }
    }
    let loading = service.clone();
    let cut = runtime.block_on(async move {
        let mut serving = pin!(serving);
        tokio::select! {
            loaded = loading.load() => loaded?,
            cut = &mut serving => return Ok(cut?),
        }
        let names: Vec<String> = loading.models().list().into_iter().map(|model| model.name).collect();
        tracing::info!(target: "docent_server", "ready: {}", names.join(", "));
        let mut out = console.out();
        writeln!(out, "{address}")?;
        out.flush()?;
        drop(out);
        anyhow::Ok(serving.await?)
    })?;
    // What still tokenizes or loads is for nobody.
    runtime.shutdown_background();
    anyhow::ensure!(cut == 0, "{cut} connections were cut before their requests were done; --drain gives them longer");
    Ok(())
}

/// What exports traces until it is dropped, if the variables of OpenTelemetry ask for it. That it cannot is no reason not to serve.
#[cfg(feature = "otel")]
fn traces() -> Option<docent_server::Traces> {
    docent_server::Traces::from_env().unwrap_or_else(|error| {
        tracing::warn!(target: "docent_server", "{error}");
        None
    })
}

/// Whoever asks for traces is told that there are none.
#[cfg(not(feature = "otel"))]
fn note_no_traces() {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|endpoint| !endpoint.is_empty()) {
        let message = "OTEL_EXPORTER_OTLP_ENDPOINT is ignored: this docent was built without the feature `otel`";
        tracing::warn!(target: "docent_server", "{message}");
    }
}

impl Args {
    /// The index that clients may search, and the models that are not the served ones.
    fn search(&self) -> anyhow::Result<Option<(Index, SearchModels)>> {
        if !self.search {
            return match self.index.is_given() {
                true => Err(usage("--index says which documents --search serves; give both".to_owned())),
                false => Ok(None),
            };
        }
        let models = SearchModels { embedder: None, reranker: reranker_here(None)?, expander: expander_asked(None)? };
        Ok(Some((self.index.open()?, models)))
    }

    fn config(self) -> anyhow::Result<Config> {
        let listen = match self.unix {
            Some(path) => Listen::Unix(path),
            None => Listen::Tcp(SocketAddr::new(self.host, self.port)),
        };
        let on_demand = self.on_demand || self.models.is_empty();
        let mut models = self.models;
        if models.is_empty() {
            models.push(named_model(&model_or_default(None)?)?);
        }
        for (place, named) in models.iter().enumerate() {
            if models[..place].iter().any(|other| other.name.eq_ignore_ascii_case(&named.name)) {
                let name = &named.name;
                return Err(usage(format!(
                    "two models are to be served as `{name}`: give one another name, NAME=MODEL"
                )));
            }
        }
        let LimitArgs { max_step_tokens, max_concurrent_requests, max_queue_tokens, .. } = self.limits;
        let limits = Limits {
            step_tokens: max_step_tokens,
            concurrent_requests: max_concurrent_requests,
            queue_tokens: max_queue_tokens,
            body_bytes: usize::try_from(self.limits.max_body_bytes)?,
            bodies_bytes: usize::try_from(self.limits.max_bodies_bytes)?,
            answers_bytes: usize::try_from(self.limits.max_answers_bytes)?,
            items: self.limits.max_items,
            request_tokens: self.limits.max_request_tokens,
            answer_values: self.limits.max_answer_values,
            connections: self.limits.max_connections,
            read_timeout: Duration::from_secs(self.limits.read_timeout),
            idle_timeout: Duration::from_secs(self.limits.idle_timeout),
            drain: Duration::from_secs(self.limits.drain),
        };
        let access = self.access.access()?;
        let open = self.open.options();
        let models = ModelsConfig { models, on_demand, open, memory: self.memory, warm: self.warm };
        Ok(Config { listen, models, access, limits })
    }
}

/// Ends when the process is told to stop. A second signal ends the process at once, as it would have without us.
pub(super) async fn stop() {
    signals::stop().await;
    tracing::info!(target: "docent_server", "stopping when the running requests are done; a second signal stops at once");
    tokio::spawn(async {
        signals::stop().await;
        #[allow(clippy::exit)] // as the signal would have
        std::process::exit(1);
    });
}

/// `[NAME=]MODEL`.
fn named_model(text: &str) -> Result<NamedModel, docent::model_ref::ParseError> {
    // A path or address may have an equals sign of its own, a name that is asked for has none of their marks.
    let split = text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(['/', '\\', ':', '.']));
    if let Some((name, model)) = split {
        return Ok(NamedModel { name: name.to_owned(), model: model.parse()? });
    }
    let model: ModelRef = text.parse()?;
    Ok(NamedModel { name: usual_name(text, &model), model })
}

/// The name of a model that was given none: that of its file or directory without what only says how it is stored, or of the catalogue.
fn usual_name(text: &str, model: &ModelRef) -> String {
    match model {
        ModelRef::Path(path) => {
            let name = path.file_name().map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned());
            name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
        }
        // An address may have a password in it, which is for nobody else.
        ModelRef::Url(_) => {
            let path = text.split(['?', '#']).next().unwrap_or(text);
            let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("model");
            name.strip_suffix(".gguf").unwrap_or(name).to_owned()
        }
        _ => text.strip_prefix("hf:").unwrap_or(text).to_owned(),
    }
}

/// A number of bytes: `1500000`, `16MiB`, `2GB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err("expected a number of bytes, such as 16MiB or 2GB".to_owned()),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| "expected a number of bytes, such as 16MiB or 2GB".to_owned())?;
    number.checked_mul(factor).filter(|&bytes| bytes > 0).ok_or_else(|| "out of range".to_owned())
}

fn seconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::<u64>::new().range(1..=86_400)
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::<usize>::new().range(1..)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed unwrap is a failed test
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("1500"), Ok(1500));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("2gb"), Ok(2_000_000_000));
        for wrong in ["", "MiB", "1.5GB", "-1", "0", "10 parsecs", "99999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn models_are_named_by_the_user_by_the_catalogue_or_by_their_files() {
        let name = |text| named_model(text).unwrap().name;
        assert_eq!(name("text-embedding-3-small=all-MiniLM-L6-v2"), "text-embedding-3-small");
        assert_eq!(name("all-MiniLM-L6-v2"), "all-MiniLM-L6-v2");
        assert_eq!(name("../../fixtures/bert-tiny"), "bert-tiny");
        assert_eq!(name("judge=../../fixtures/bert-tiny"), "judge");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a=b.gguf");
        std::fs::write(&file, "").unwrap();
        assert_eq!(name(file.to_str().unwrap()), "a=b");
        assert_eq!(name("hf:user/repo"), "user/repo");
        assert_eq!(name("https://user:token@models.example/files/small.gguf?signature=abc"), "small");
    }
}
