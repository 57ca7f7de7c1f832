//! `docent embed`: texts in, vectors out.

mod format;
mod json;
mod npy;
mod table;

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use docent::{EmbedOptions, Pooling, Prompt, Truncate};

use crate::console::{Console, usage};
use crate::destination::Destination;
use crate::embeddings::Embeddings;
use crate::input::{Input, InputArgs, WINDOW_TEXTS};
use crate::model::ModelArgs;
use crate::server::ServerArgs;
use format::Item;

/// Memory that the vectors of a window may take; without pooling a text has as many vectors as tokens.
const WINDOW_VALUES: usize = (64 << 20) / size_of::<f32>();

/// Turn texts into vectors.
///
/// Results are written in the order of the texts. A text that is longer than the model takes is cut, and its result says
/// so: "truncated" is true and "dropped" the number of tokens that were not read.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    input: InputArgs,

    /// Put the model's own prompt for `query` or `document` in front of each text, or another of its prompts
    ///
    /// The names that a model's files have are in what `docent info` prints. Of a model with adapters for tasks (jina-embeddings-v3) the
    /// name is that of the task, whose adapter is used.
    #[arg(long, value_name = "NAME", conflicts_with = "prompt")]
    prompt_name: Option<String>,
    /// Put this in front of each text; "" for nothing at all
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// How token vectors become one vector [default: the model's own way]
    #[arg(long, value_enum, value_name = "KIND")]
    pooling: Option<PoolingName>,
    /// Leave vectors at the length they come out with, instead of 1
    #[arg(long)]
    no_normalize: bool,
    /// Keep the first N components only, for models trained for it (matryoshka)
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    dim: Option<usize>,
    /// Tokens a text may have, special tokens and prompt included [default: the model's own limit]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_length: Option<usize>,
    /// Which end of a longer text is cut off, or that it is an error
    #[arg(long, value_enum, value_name = "SIDE", default_value_t = TruncateName::Right)]
    truncate: TruncateName,

    /// How to write the results [default: by the name of the output file, else jsonl]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// File to write to instead of stdout; it appears, or is replaced, when all is done
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  docent embed \"a brown fox\" \"ein brauner Fuchs\"
  docent embed --input notes.txt --output notes.npy
  docent embed --prompt-name query -m bge-small-en-v1.5 \"how do tides work\"
  tail -f log.jsonl | docent embed | ingest";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PoolingName {
    /// The vector of the first token
    Cls,
    /// The mean over all tokens
    Mean,
    /// The largest value of each component
    Max,
    /// The vector of the last token
    Last,
    /// No pooling: a vector for each token, never normalised
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TruncateName {
    /// The end is cut off
    Right,
    /// The beginning is cut off
    Left,
    /// A text that is too long is an error
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// One JSON object a line: index, id if the input has one, embedding, tokens, truncated
    Jsonl,
    /// One JSON array of the same objects
    Json,
    /// NumPy array of little-endian float32, one row a text
    Npy,
    /// One row a text: index, id if the input is JSONL, tokens, truncated, e0, e1, ...
    Csv,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    // All that can be wrong with the command line or the files comes first: opening a model may mean fetching it.
    let format = args.format();
    let options = args.options();
    check_pooling(options.pooling, format)?;
    let input = args.input.open()?;
    let mut out = Destination::open(args.output.as_deref(), console)?;
    if format == FormatName::Npy && out.is_terminal() {
        return Err(usage("npy is binary and stdout is a terminal: name a file with --output, or redirect"));
    }
    let embeddings = Embeddings::open(&args.model, &args.server, options.clone(), console)?;
    check_pooling(Some(embeddings.pooling), format)?;
    note_missing_prompt(&embeddings, &options.prompt, console);

    let totals = embed(input, &mut out, format, &embeddings, console)?;
    out.finish()?;
    totals.report(embeddings.max_length, format, console);
    Ok(())
}

impl Args {
    fn format(&self) -> FormatName {
        let by_name = || {
            let extension = self.output.as_ref()?.extension().and_then(OsStr::to_str)?;
            FormatName::from_str(extension, true).ok()
        };
        self.format.or_else(by_name).unwrap_or(FormatName::Jsonl)
    }

    fn options(&self) -> EmbedOptions {
        let prompt = match (&self.prompt, self.prompt_name.as_deref()) {
            (Some(text), _) if text.is_empty() => Prompt::None,
            (Some(text), _) => Prompt::Text(text.clone()),
            (None, Some("query")) => Prompt::Query,
            (None, Some("document")) => Prompt::Document,
            (None, Some(name)) => Prompt::Named(name.to_owned()),
            (None, None) => Prompt::Default,
        };
        let pooling = self.pooling.map(|name| match name {
            PoolingName::Cls => Pooling::Cls,
            PoolingName::Mean => Pooling::Mean,
            PoolingName::Max => Pooling::Max,
            PoolingName::Last => Pooling::Last,
            PoolingName::None => Pooling::None,
        });
        let truncate = match self.truncate {
            TruncateName::Right => Truncate::Right,
            TruncateName::Left => Truncate::Left,
            TruncateName::Error => Truncate::Error,
        };
        let (dim, max_length) = (self.dim, self.max_length);
        EmbedOptions { prompt, pooling, normalize: !self.no_normalize, dim, max_length, truncate }
    }
}

/// A table has one vector a row.
fn check_pooling(pooling: Option<Pooling>, format: FormatName) -> anyhow::Result<()> {
    if pooling == Some(Pooling::None) && format == FormatName::Csv {
        return Err(usage("csv has one vector a text, and there are many without pooling: use --format jsonl or json"));
    }
    Ok(())
}

fn note_missing_prompt(embeddings: &Embeddings, prompt: &Prompt, console: &Console) {
    let name = match prompt {
        Prompt::Query => "queries",
        Prompt::Document => "documents",
        _ => return,
    };
    if !embeddings.has_prompt {
        let model = &embeddings.model;
        console.note(format_args!(
            "no prompt for {name} is known for {model}: texts are embedded as they are; --prompt sets one"
        ));
    }
}

fn embed(
    mut input: Input,
    out: &mut Destination<'_>,
    format: FormatName,
    embeddings: &Embeddings,
    console: &Console,
) -> anyhow::Result<Totals> {
    let mut writer = writer(format, embeddings.dim, out);
    let limit = window_limit(embeddings);
    let is_pooled = embeddings.pooling != Pooling::None;
    let mut progress = input.progress(console);
    let mut totals = Totals::default();
    while let Some(window) = input.window(limit)? {
        let embedded = embeddings.embed(&window, totals.texts, &input)?;
        if totals.texts == 0 {
            writer.begin(out, input.has_ids())?;
        }
        for (text, embedding) in window.texts.iter().zip(&embedded) {
            writer.item(out, &Item { index: totals.texts, id: text.id.as_ref(), embedding, is_pooled })?;
            totals.texts += 1;
            totals.truncated += usize::from(embedding.truncated());
        }
        if !out.is_rewritable() {
            // Whoever reads along has the answer before more texts are waited for.
            out.flush()?;
        }
        progress.advance(window.progress);
    }
    if totals.texts == 0 {
        writer.begin(out, input.has_ids())?;
    }
    writer.end(out)?;
    Ok(totals)
}

fn writer(format: FormatName, dim: usize, out: &Destination<'_>) -> Box<dyn format::Format> {
    match format {
        FormatName::Jsonl => Box::new(json::Lines),
        FormatName::Json => Box::new(json::Array::default()),
        FormatName::Npy => Box::new(npy::Npy::new(dim, out)),
        FormatName::Csv => Box::new(table::Csv::new(dim)),
    }
}

/// How many texts fit into a window so that their vectors do not take too much memory.
fn window_limit(embeddings: &Embeddings) -> usize {
    let rows = if embeddings.pooling == Pooling::None { embeddings.max_length } else { 1 };
    let values = rows.saturating_mul(embeddings.dim).max(1);
    (WINDOW_VALUES / values).clamp(1, WINDOW_TEXTS)
}

/// What was done.
#[derive(Debug, Default)]
struct Totals {
    texts: usize,
    truncated: usize,
}

impl Totals {
    /// Tells the user what the results may not: an array has no place for it, and nobody reads every line.
    fn report(&self, max_length: usize, format: FormatName, console: &Console) {
        if self.truncated == 0 {
            return;
        }
        let see = if format == FormatName::Npy { "" } else { "; see \"truncated\" in the results" };
        console.warn(format_args!("{} of {} texts truncated to {max_length} tokens{see}", self.truncated, self.texts));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Command::try_parse_from(std::iter::once("embed").chain(line.split_whitespace())).map(|command| command.args)
    }

    #[test]
    fn the_options_are_those_of_the_library() {
        assert_eq!(parse("x").unwrap().options(), EmbedOptions::default());
        let args = parse("--prompt-name query --pooling last --no-normalize --dim 8 --max-length 9 --truncate left x");
        let expected = EmbedOptions {
            prompt: Prompt::Query,
            pooling: Some(Pooling::Last),
            normalize: false,
            dim: Some(8),
            max_length: Some(9),
            truncate: Truncate::Left,
        };
        assert_eq!(args.unwrap().options(), expected);
        assert_eq!(parse("--prompt-name separation x").unwrap().options().prompt, Prompt::Named("separation".into()));
        assert_eq!(parse("--prompt= x").unwrap().options().prompt, Prompt::None);
        assert_eq!(parse("--prompt=a: x").unwrap().options().prompt, Prompt::Text("a:".into()));
        for wrong in
            ["--prompt a --prompt-name query x", "--dim 0 x", "--max-length 0 x", "--input f x", "--threads 0 x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_output_file_tells_the_format_unless_an_option_does() {
        let format = |line: &str| parse(line).unwrap().format();
        assert_eq!(format("x"), FormatName::Jsonl);
        assert_eq!(format("-o a.npy x"), FormatName::Npy);
        assert_eq!(format("-o a.CSV x"), FormatName::Csv);
        assert_eq!(format("-o a.txt x"), FormatName::Jsonl);
        assert_eq!(format("-o a.npy --format json x"), FormatName::Json);
    }
}
