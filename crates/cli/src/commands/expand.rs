//! `docent expand`: a query in, other ways of asking it out.

use std::io::Write;

use docent::{ExpandOptions, Expander, Expansion, ModelRef};
use serde::Serialize;

use crate::console::{Console, usage};
use crate::json;
use crate::model::{OpenArgs, VARIABLE_EXPANDER, expander_or_default};
use crate::results::harmless;

/// Ask a question in other ways.
///
/// A language model writes lines for `docent query`: lex: words to look for, vec: questions to look for by meaning, hyde: beginnings of
/// answers. The same query gives the same lines unless another --seed is given.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// What is looked for
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    #[arg(short, long, value_name = "MODEL", help = model_help())]
    model: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
    /// Begin the random choices of words elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How freely words are chosen; at 0 the most likely are
    #[arg(long, value_name = "NUMBER", default_value_t = ExpandOptions::default().temperature)]
    temperature: f32,
    /// Tokens to write at most
    #[arg(long, value_name = "N", default_value_t = ExpandOptions::default().max_tokens)]
    max_tokens: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  docent expand \"auth flow\"
  docent expand --json --seed 2 \"how do nodes agree on a leader\"
  docent query \"$(docent expand 'auth flow')\"";

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    query: &'a str,
    #[serde(flatten)]
    expansion: &'a Expansion,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let query = args.query.join(" ");
    if query.trim().is_empty() {
        return Err(usage("the query is empty"));
    }
    if !(0.0..=100.0).contains(&args.temperature) {
        return Err(usage(format!("--temperature is {}: it is from 0 to 100", args.temperature)));
    }
    let model: ModelRef = expander_or_default(args.model.as_deref())?.parse()?;
    let expander = Expander::open_with(&model, &args.open.options(), &console.fetch_progress())?;
    let options = ExpandOptions {
        seed: args.seed,
        temperature: args.temperature,
        max_tokens: args.max_tokens,
        ..ExpandOptions::default()
    };
    let expansion = expander.expand_with(&query, &options, &|| false)?;
    if expansion.dropped > 0 {
        console.warn(format_args!("the query is too long: its last {} tokens were not read", expansion.dropped));
    }
    if expansion.fallback {
        console.warn("the model wrote nothing of use; these lines are the query itself");
    }
    let mut out = console.out();
    if args.json {
        let report = Report { model: &expander.settings().description.name, query: &query, expansion: &expansion };
        json::write_pretty(&mut out, &report)?;
        return Ok(());
    }
    for line in &expansion.lines {
        writeln!(out, "{}: {}", line.kind.name(), harmless(&line.text))?;
    }
    Ok(())
}

fn model_help() -> String {
    let default = docent::catalog::DEFAULT_EXPANDER;
    format!("Path, catalogue name, hf:USER/REPO[/FILE] or URL [env: {VARIABLE_EXPANDER}] [default: {default}]")
}
