//! `docent tokenize`: texts as a model reads them.

use std::io::{self, Write};

use docent::tokenizer::Tokenizer;
use serde::{Serialize, Serializer};

use crate::console::Console;
use crate::input::{Id, InputArgs, WINDOW_TEXTS};
use crate::model::{FetchArgs, NameArgs, open_tokenizer};

/// Show the tokens that a model reads.
///
/// One JSON object a line for each text: "ids", "tokens" as the vocabulary has them, and "offsets", the start and end
/// of each token in bytes of the text (both 0 for special tokens around it); before them the "id", if the input has one.
/// Nothing is truncated, and no prompt is added.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: NameArgs,
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    input: InputArgs,
    /// Write errors as JSON, too
    #[arg(long)]
    #[allow(dead_code)] // the console looks for it itself, so that it holds for a wrong command line, too
    json: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let mut input = args.input.open()?;
    let tokenizer = open_tokenizer(&args.model.name()?, &args.fetch, console)?;
    let mut progress = input.progress(console);
    let mut out = console.out();
    while let Some(window) = input.window(WINDOW_TEXTS)? {
        for text in &window.texts {
            let encoding = tokenizer.encode(&text.text).map_err(|error| input.at(text, error.into()))?;
            let line = Line {
                id: text.id.as_ref(),
                ids: &encoding.ids,
                tokens: Tokens { ids: &encoding.ids, tokenizer: &tokenizer },
                offsets: &encoding.offsets,
            };
            serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        progress.advance(window.progress);
    }
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    ids: &'a [u32],
    tokens: Tokens<'a>,
    offsets: &'a [(usize, usize)],
}

/// Ids that are written as the tokens they stand for.
struct Tokens<'a> {
    ids: &'a [u32],
    tokenizer: &'a Tokenizer,
}

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ids.iter().map(|&id| self.tokenizer.token(id)))
    }
}
