//! `docent rerank`: a query and documents in, an order out.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use docent::{Error, LongDocuments, ModelRef, RankedDocument, RerankOptions, Reranker};
use docent_server::native::wire::RerankRequest;
use serde::Serialize;

use crate::console::{Console, usage};
use crate::destination::Destination;
use crate::embeddings::request_length;
use crate::input::{Id, Input, InputArgs, Text};
use crate::model::{OpenArgs, VARIABLE_RERANKER, reranker_or_default};
use crate::server::{Server, ServerArgs};

/// Bytes of all documents together; they are held in memory until the last is scored.
const MAX_BYTES: usize = 256 << 20;

/// Order documents by how well they answer a query.
///
/// A reranker reads the query together with each document: slower than comparing vectors, and better. Give it what a search
/// has found. Results are written best first. A document that is longer than the model takes is cut, and its result says so, or read
/// in windows with --windows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(short, long, value_name = "MODEL", help = model_help())]
    model: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    input: InputArgs,

    /// What the documents are to answer
    #[arg(short, long, value_name = "TEXT")]
    query: String,
    /// What counts as an answer, for models that read an instruction [default: the model's own]
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Write the best N only
    #[arg(short = 'n', long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top_n: Option<usize>,
    /// Write the model's own number as the score, instead of one from 0 to 1
    #[arg(long)]
    raw: bool,
    /// Tokens that query and document may have together, special tokens and prompt included [default: the model's own limit]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_length: Option<usize>,
    /// Read documents that are too long in windows, and count the best
    #[arg(long)]
    windows: bool,

    /// How to write the results
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = FormatName::Jsonl)]
    format: FormatName,
    /// File to write to instead of stdout; it appears, or is replaced, when all is done
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  docent rerank --query \"what do pandas eat?\" \"Pandas eat bamboo.\" \"Paris is in France.\"
  docent rerank --query \"reset a password\" --input found.jsonl --top-n 10
  docent rerank -m Qwen3-Reranker-0.6B --instruction \"Find the code that does it\" --query \"parse a date\" < snippets.txt";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One JSON object a line: rank, index, id if the input has one, score, raw, kind, tokens, truncated
    Jsonl,
    /// One JSON array of the same objects
    Json,
    /// One row a document, with the same columns
    Csv,
}

/// A result as it is written.
#[derive(Serialize)]
struct Row<'a> {
    rank: usize,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    score: f32,
    raw: f32,
    kind: &'static str,
    tokens: usize,
    truncated: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let options = args.options();
    let mut input = args.input.open()?;
    let mut out = Destination::open(args.output.as_deref(), console)?;
    let mut judge = Judge::open(args.model.as_deref(), &args.open, &args.server, console)?;
    let max_length = judge.check(&args.query, &options)?;

    let mut documents: Vec<Text> = Vec::new();
    let mut bytes = 0;
    while let Some(window) = input.window(crate::input::WINDOW_TEXTS)? {
        bytes += window.texts.iter().map(|text| text.text.len()).sum::<usize>();
        if bytes > MAX_BYTES {
            anyhow::bail!("the documents are more than {} MiB together: give what a search has found", MAX_BYTES >> 20);
        }
        documents.extend(window.texts);
    }
    let ranked = judge.rank(&args.query, &documents, &options, &input)?;
    write(&mut out, args.format, &ranked, &documents)?;
    out.finish()?;
    report(&ranked, options.max_length.unwrap_or(max_length), console);
    Ok(())
}

impl Args {
    fn options(&self) -> RerankOptions {
        RerankOptions {
            instruction: self.instruction.clone(),
            max_length: self.max_length,
            long_documents: if self.windows { LongDocuments::Windows } else { LongDocuments::Truncate },
            raw: self.raw,
            top_n: self.top_n,
        }
    }
}

/// Who scores: a model that this process has opened, or a server.
enum Judge {
    Model(Box<Reranker>),
    Server {
        server: Server,
        model: Option<String>,
        /// Tokens that the model reads of a document with the query.
        max_length: usize,
    },
}

impl Judge {
    fn open(model: Option<&str>, open: &OpenArgs, server: &ServerArgs, console: &Console) -> anyhow::Result<Self> {
        if let Some(url) = &server.server {
            let (server, model) = (Server::at(url), model.map(str::to_owned));
            return Ok(Judge::Server { server, model, max_length: usize::MAX });
        }
        let model: ModelRef = reranker_or_default(model)?.parse()?;
        let reranker = Reranker::open_with(&model, &open.options(), &console.fetch_progress())?;
        Ok(Judge::Model(Box::new(reranker)))
    }

    /// Checks the query and the options, which are no fault of a document, and gives the tokens that the model reads.
    fn check(&mut self, query: &str, options: &RerankOptions) -> anyhow::Result<usize> {
        match self {
            Judge::Model(reranker) => {
                reranker.prepare::<&str>(query, &[], options).map_err(option_error)?;
                Ok(reranker.settings().max_length)
            }
            Judge::Server { server, model, max_length } => {
                let usual = server.rerank(&request(model, query, &[], options))?.model.max_length;
                *max_length = match options.long_documents {
                    LongDocuments::Truncate => options.max_length.unwrap_or(usual),
                    LongDocuments::Windows => usize::MAX,
                };
                Ok(usual)
            }
        }
    }

    fn rank(
        &self,
        query: &str,
        documents: &[Text],
        options: &RerankOptions,
        input: &Input,
    ) -> anyhow::Result<Vec<RankedDocument>> {
        match self {
            _ if documents.is_empty() => Ok(Vec::new()),
            Judge::Model(reranker) => {
                reranker.rerank_with(query, documents, options).map_err(|error| match error.index() {
                    Some(index) => input.at(&documents[index], error.into()),
                    None => error.into(),
                })
            }
            Judge::Server { server, model, max_length } => {
                let mut ranked = Vec::with_capacity(documents.len());
                let all = RerankOptions { top_n: None, ..options.clone() };
                let mut first = 0;
                while first < documents.len() {
                    let rest = &documents[first..];
                    let documents = &rest[..request_length(rest, *max_length).min(REQUEST_DOCUMENTS)];
                    for document in server.rerank(&request(model, query, documents, &all))?.documents {
                        let document = document.ranked()?;
                        anyhow::ensure!(
                            document.index < documents.len(),
                            "the server answers for a document that it was not given"
                        );
                        ranked.push(RankedDocument { index: first + document.index, ..document });
                    }
                    first += documents.len();
                }
                ranked.sort_by(RankedDocument::best_first);
                ranked.truncate(options.top_n.unwrap_or(usize::MAX));
                Ok(ranked)
            }
        }
    }
}

/// Documents of a request to a server, within its limits.
const REQUEST_DOCUMENTS: usize = 256;

fn request(model: &Option<String>, query: &str, documents: &[Text], options: &RerankOptions) -> RerankRequest {
    let documents = documents.iter().map(|document| document.text.clone()).collect();
    RerankRequest { model: model.clone(), query: query.to_owned(), documents, options: options.into() }
}

/// What is wrong with the options, as the fault of the command line that it is.
fn option_error(error: Error) -> anyhow::Error {
    match error {
        Error::MaxLength { .. } | Error::NoInstruction { .. } | Error::QueryTooLong { .. } => usage(error.to_string()),
        error => error.into(),
    }
}

fn write(
    out: &mut Destination<'_>,
    format: FormatName,
    ranked: &[RankedDocument],
    documents: &[Text],
) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = ranked
        .iter()
        .enumerate()
        .map(|(place, document)| Row {
            rank: place + 1,
            index: document.index,
            id: documents[document.index].id.as_ref(),
            score: document.score,
            raw: document.raw,
            kind: document.kind.name(),
            tokens: document.tokens,
            truncated: document.truncated(),
        })
        .collect();
    match format {
        FormatName::Jsonl => rows.iter().try_for_each(|row| crate::json::write_line(out, row))?,
        FormatName::Json => crate::json::write_pretty(out, &rows)?,
        FormatName::Csv => {
            let has_ids = documents.iter().any(|document| document.id.is_some());
            let mut table = csv::Writer::from_writer(out);
            let id = has_ids.then_some("id");
            table.write_record(["rank", "index"].into_iter().chain(id).chain([
                "score",
                "raw",
                "kind",
                "tokens",
                "truncated",
            ]))?;
            for row in &rows {
                let id = has_ids.then(|| row.id.map(ToString::to_string).unwrap_or_default());
                let numbers = [row.score.to_string(), row.raw.to_string(), row.kind.to_owned()];
                let before = [row.rank.to_string(), row.index.to_string()].into_iter().chain(id);
                table.write_record(before.chain(numbers).chain([row.tokens.to_string(), row.truncated.to_string()]))?;
            }
            table.flush()?;
        }
    }
    Ok(())
}

/// Tells the user what nobody reads every line for.
fn report(ranked: &[RankedDocument], max_length: usize, console: &Console) {
    let truncated = ranked.iter().filter(|document| document.truncated()).count();
    if truncated > 0 {
        console.warn(format_args!(
            "{truncated} of {} documents truncated to {max_length} tokens with the query; --windows reads them whole",
            ranked.len()
        ));
    }
}

fn model_help() -> String {
    let default = docent::catalog::DEFAULT_RERANKER;
    format!("Path, catalogue name, hf:USER/REPO[/FILE] or URL [env: {VARIABLE_RERANKER}] [default: {default}]")
}
