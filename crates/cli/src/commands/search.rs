//! `docent query`, `docent search`, `docent vsearch`: documents that answer a question.

use std::time::Duration;

use clap::ValueEnum;
use docent_search::{Error, Expands, Fusion, Index, Models, Query, SearchOptions, SearchResults};

use docent_server::{Search, SearchModels};

use crate::console::{Console, usage};
use crate::daemon::DaemonArgs;
use crate::index::{IndexArgs, SearchModelArgs, expander_here, reranker_here};
use crate::results::{Format, Show, harmless, write_results};

/// Results of a search that says `--all`.
const ALL_KEYWORDS: usize = 100_000;
const ALL_VECTORS: usize = 500;

/// Results where none are asked for: those that a person reads, and those that a program does.
const FEW: usize = 5;
const MANY: usize = 20;

/// The least score of results by meaning alone, which finds something for every question. For the default model it is that of a cosine of 0.3.
const LEAST_MEANING: f64 = 0.15;

/// What all searches are told.
#[derive(Debug, clap::Args)]
struct Common {
    /// What to look for
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    #[command(flatten)]
    index: IndexArgs,
    /// Results at most [default: 5; 20 with --json and --files]
    #[arg(short = 'n', value_name = "N")]
    count: Option<usize>,
    /// All results
    #[arg(long, conflicts_with = "count")]
    all: bool,
    /// The least score of a result, 0 to 1
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f64>,
    /// Look in this collection only; may be given several times
    #[arg(short, long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    #[command(flatten)]
    show: ShowArgs,
}

/// How results are written.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// How to write the results
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// The same as --format json
    #[arg(long, group = "short_format")]
    json: bool,
    /// The same as --format csv
    #[arg(long, group = "short_format")]
    csv: bool,
    /// The same as --format md
    #[arg(long, group = "short_format")]
    md: bool,
    /// The same as --format xml
    #[arg(long, group = "short_format")]
    xml: bool,
    /// The same as --format files: docid, score and file, a line each
    #[arg(long, group = "short_format")]
    files: bool,
    /// Write paths of the file system instead of addresses
    #[arg(long)]
    pub(crate) full_path: bool,
}

impl ShowArgs {
    pub(crate) fn format(&self) -> Format {
        let short = [
            (self.json, Format::Json),
            (self.csv, Format::Csv),
            (self.md, Format::Md),
            (self.xml, Format::Xml),
            (self.files, Format::Files),
        ];
        let short = short.into_iter().find(|(is_set, _)| *is_set).map(|(_, format)| format);
        short.or(self.format).unwrap_or(Format::Cli)
    }
}

/// Search documents by keyword.
///
/// All words are looked for; if too few documents have them all, those with some of them follow. "two words" finds a phrase, -word
/// leaves documents out (after `--` if it comes first). No model is loaded.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    text: TextArgs,
}

/// How much of each document is written.
#[derive(Debug, clap::Args)]
struct TextArgs {
    /// Write whole documents, not the lines that match
    #[arg(long)]
    full: bool,
    /// Write the number of each line
    #[arg(long)]
    line_numbers: bool,
}

/// Search documents by meaning.
#[derive(Debug, clap::Args)]
pub(crate) struct VsearchArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    models: SearchModelArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Search documents by keyword and meaning together, and rerank.
///
/// The query is a question, or a document of lines that begin with lex: (by keyword), vec: (by meaning), hyde: (the beginning of an
/// answer) and intent: (what the question is about). A reranker orders the results if one is named or the default one is on this machine;
/// a model asks a plain question in other ways as well on the same terms.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    models: SearchModelArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Say how each result came to its place
    #[arg(long)]
    explain: bool,
    /// What the question is about, if it does not say so itself
    #[arg(long, value_name = "TEXT")]
    intent: Option<String>,
    /// Results that the reranker reads
    #[arg(short = 'C', long, value_name = "N", default_value_t = 40)]
    candidate_limit: usize,
    #[arg(long, value_name = "MODEL", conflicts_with = "no_rerank", help = "The reranker [env: DOCENT_RERANKER]")]
    reranker: Option<String>,
    /// Do without a reranker
    #[arg(long)]
    no_rerank: bool,
    #[arg(
        long,
        value_name = "MODEL",
        conflicts_with = "no_expand",
        help = "The model that asks a plain question in other ways as well [env: DOCENT_EXPANDER]"
    )]
    expander: Option<String>,
    /// Do without other ways of asking
    #[arg(long)]
    no_expand: bool,
    /// Milliseconds that the search has, from when the models are loaded; it returns the best that it has by then
    #[arg(long, value_name = "MS")]
    deadline: Option<u64>,
    /// How the lists of the searches become one
    #[arg(long, value_enum, value_name = "WAY", default_value_t = FusionName::Relevance)]
    fusion: FusionName,
}

const EXAMPLES: &str = "\
Examples:
  docent query \"how do nodes agree on a leader\"
  docent query -c notes -n 3 --json \"what went wrong with the launch\"
  docent query $'lex: \"leader election\" -paxos\\nvec: how do nodes agree on a leader'";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FusionName {
    /// By what both searches measured
    Relevance,
    /// By the ranks in the lists, with the constants of qmd
    Ranks,
}

pub(crate) fn search(args: SearchArgs, console: &Console) -> anyhow::Result<()> {
    let index = args.common.index.open()?;
    let options = args.common.options(ALL_KEYWORDS, 0.0)?;
    let found = index.search_keywords(&args.common.text(), &options)?;
    args.common.write(&found, &args.text, false, console)
}

pub(crate) fn vsearch(args: VsearchArgs, console: &Console) -> anyhow::Result<()> {
    let index = args.common.index.open()?;
    let options = args.common.options(ALL_VECTORS, LEAST_MEANING)?;
    let embedder = args.models.name(&index, &args.common.collections)?;
    let search = Search::Meaning(args.common.text());
    let models = SearchModels { embedder: Some(embedder.parse()?), ..SearchModels::default() };
    let found = match args.daemon.search(index.path(), &search, &options, &models, &args.models.open, console) {
        Some(found) => found.results,
        None => {
            let embedder = args.models.embedder(&index, &args.common.collections, console)?;
            index.search_meaning(&args.common.text(), &embedder, &options)?
        }
    };
    args.common.write(&found, &args.text, false, console)
}

pub(crate) fn query(args: QueryArgs, console: &Console) -> anyhow::Result<()> {
    let mut query = Query::parse(&args.common.text()).map_err(|error| usage(error.to_string()))?;
    if let Some(intent) = &args.intent {
        query.intent = Some(intent.clone());
    }
    let index = args.common.index.open()?;
    let options = SearchOptions {
        candidates: args.candidate_limit,
        fusion: match args.fusion {
            FusionName::Relevance => Fusion::Relevance,
            FusionName::Ranks => Fusion::ReciprocalRanks,
        },
        deadline: args.deadline.map(Duration::from_millis),
        ..args.common.options(ALL_VECTORS, 0.0)?
    };
    let found = args.find(&index, &query, &options, console)?;
    if args.explain {
        for line in &found.expansion {
            console.note(format_args!("also looked for: {}: {}", line.kind.name(), harmless(&line.text)));
        }
    }
    for part in &found.left_out {
        console.warn(format_args!("left out because the time was over: {part}"));
    }
    args.common.write(&found, &args.text, args.explain, console)
}

impl QueryArgs {
    fn find(
        &self,
        index: &Index,
        query: &Query,
        options: &SearchOptions,
        console: &Console,
    ) -> anyhow::Result<SearchResults> {
        let embedder = self.models.name(index, &self.common.collections)?;
        let reranker = match self.no_rerank {
            true => None,
            false => reranker_here(self.reranker.as_deref())?,
        };
        // A query of lines is not expanded: no need to open the largest of the models.
        let expander = match self.no_expand || !query.is_plain() {
            true => None,
            false => expander_here(self.expander.as_deref())?,
        };
        let models = SearchModels { embedder: Some(embedder.parse()?), reranker, expander };
        let search = Search::Both(query.clone());
        if let Some(found) = self.daemon.search(index.path(), &search, options, &models, &self.models.open, console) {
            found.notes.iter().for_each(|note| console.warn(note));
            return Ok(found.results);
        }
        let embedder = self.models.embedder(index, &self.common.collections, console)?;
        let reranker = models.reranker.map(|model| self.models.reranker(&model, console)).transpose()?;
        let expander = models.expander.map(|model| self.models.expander(model, console)).transpose()?;
        if options.deadline.is_some()
            && let Some(expander) = &expander
        {
            // The time begins when the models are loaded.
            expander.open()?;
        }
        let expander = expander.as_ref().map(|expander| expander as &dyn Expands);
        let models = Models { embedder: Some(&embedder), reranker: reranker.as_ref(), expander };
        match index.search(query, models, options) {
            Err(error @ Error::NoVectors { .. }) => {
                let found = index.search(query, Models { embedder: None, ..models }, options)?;
                console.warn(format_args!("{error}; the words alone were looked for"));
                Ok(found)
            }
            result => Ok(result?),
        }
    }
}

impl Common {
    fn text(&self) -> String {
        self.query.join(" ")
    }

    fn options(&self, all: usize, min_score: f64) -> anyhow::Result<SearchOptions> {
        let default = if matches!(self.show.format(), Format::Json | Format::Files) { MANY } else { FEW };
        let min_score = self.min_score.unwrap_or(min_score);
        if !(0.0..=1.0).contains(&min_score) {
            return Err(usage(format!("--min-score is {min_score}: scores are from 0 to 1")));
        }
        Ok(SearchOptions {
            limit: if self.all { all } else { self.count.unwrap_or(default) },
            min_score,
            collections: self.collections.clone(),
            ..SearchOptions::default()
        })
    }

    fn write(&self, found: &SearchResults, text: &TextArgs, explain: bool, console: &Console) -> anyhow::Result<()> {
        let show = Show {
            full: text.full,
            line_numbers: text.line_numbers,
            full_path: self.show.full_path,
            explain,
            suffix: self.index.suffix(),
            colours: console.out_has_colours(),
        };
        write_results(&mut console.out(), self.show.format(), &found.hits, &show)?;
        Ok(())
    }
}
