//! `docent mcp`: documents for agents.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use docent::ModelRef;
use docent_search::Index;
use docent_server::{Config, Listen, ModelsConfig, NamedModel, SearchModels, Searcher, Server, Service, mcp};

use super::serve::stop;
use crate::access::AccessArgs;
use crate::console::Console;
use crate::index::{IndexArgs, SearchModelArgs, expander_asked, reranker_here};
use crate::model::model_or_default;

/// Let agents search and read documents, over MCP.
///
/// Speaks on stdin and stdout with the agent that has started it, or with --http on a port with any number of them. The tools are query,
/// get, multi_get and status; none of them changes anything. Models are loaded when a search needs one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    models: SearchModelArgs,
    #[arg(long, value_name = "MODEL", conflicts_with = "no_rerank", help = "The reranker [env: DOCENT_RERANKER]")]
    reranker: Option<String>,
    /// Do without a reranker
    #[arg(long)]
    no_rerank: bool,
    #[arg(long, value_name = "MODEL", help = "Expand plain questions with this model [env: DOCENT_EXPANDER]")]
    expander: Option<String>,
    /// Serve over HTTP, at /mcp, instead of on stdin and stdout
    #[arg(long)]
    http: bool,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), requires = "http", help_heading = "Access")]
    host: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(short, long, default_value_t = 8181, requires = "http", help_heading = "Access")]
    port: u16,
    #[command(flatten)]
    access: AccessArgs,
}

const EXAMPLES: &str = "\
Examples:
  docent mcp
  docent mcp --http --port 8181

In the configuration of an agent:
  { \"mcpServers\": { \"docent\": { \"command\": \"docent\", \"args\": [\"mcp\"] } } }";

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let models = SearchModels {
        embedder: args.models.asked()?,
        reranker: args.reranker()?,
        expander: expander_asked(args.expander.as_deref())?,
    };
    let http = args.http;
    let config = args.config()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads for the server")?;
    let service = Service::new(&config);
    service.models().load_when_asked();
    let result = if http {
        serve(&runtime, &config, &service, index, models, console)
    } else {
        Ok(runtime.block_on(mcp::serve_stdio(Searcher::new(index, service, models)))?)
    };
    // What still loads, or waits for input, is for nobody.
    runtime.shutdown_background();
    result
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    config: &Config,
    service: &Service,
    index: Index,
    models: SearchModels,
    console: &Console,
) -> anyhow::Result<()> {
    let searcher = Searcher::new(index, service.clone(), models);
    let server = {
        let _runtime = runtime.enter();
        Server::bind(config, service.clone(), docent_server::router_with_search(service.clone(), searcher))?
    };
    let mut out = console.out();
    writeln!(out, "{}/mcp", server.address())?;
    out.flush()?;
    drop(out);
    runtime.block_on(async { server.serve(stop()).await });
    Ok(())
}

impl Args {
    fn reranker(&self) -> anyhow::Result<Option<ModelRef>> {
        if self.no_rerank { Ok(None) } else { reranker_here(self.reranker.as_deref()) }
    }

    /// A server of the one model that searches fall back on.
    fn config(self) -> anyhow::Result<Config> {
        let name = model_or_default(None)?;
        let models = vec![NamedModel { model: name.parse()?, name }];
        Ok(Config {
            listen: Listen::Tcp(SocketAddr::new(self.host, self.port)),
            models: ModelsConfig { models, open: self.models.open.options(), ..ModelsConfig::default() },
            access: self.access.access()?,
            ..Config::default()
        })
    }
}
