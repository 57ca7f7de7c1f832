//! `docent convert`: a Hugging Face directory becomes a GGUF file.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use docent::convert::{self, Options, OutputType, Report};
use serde_json::json;

use crate::console::{Console, Unit};
use crate::table::{bytes, count};

/// Turn a Hugging Face directory into a GGUF file.
///
/// Keys and tensor names are those that llama.cpp's converter writes; the file runs there as well. It appears under its
/// name whole or not at all.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder with config.json, the weights as safetensors, and the tokenizer
    #[arg(value_name = "HF_DIR")]
    hf_dir: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// Number format of the matrices
    #[arg(long = "type", value_name = "TYPE", default_value = "q8_0", value_parser = type_parser())]
    output_type: OutputType,
    /// Name of the model in the file [default: what its card or its folder says]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    if !args.hf_dir.is_dir() {
        let found = if args.hf_dir.exists() { "a file" } else { "nothing" };
        bail!("{}: expected a folder with config.json and model.safetensors, found {found}", args.hf_dir.display());
    }
    let mut options = Options::new(args.output_type);
    options.overwrite = args.force;
    options.name.clone_from(&args.name);

    let begin = Instant::now();
    let mut bar = None;
    let mut shown = 0;
    let result = convert::convert_with(&args.hf_dir, &args.out, &options, &mut |progress| {
        let bar = bar.get_or_insert_with(|| console.progress(Some(progress.total_bytes), Unit::Bytes));
        bar.advance(progress.written_bytes.saturating_sub(shown));
        shown = progress.written_bytes;
    });
    drop(bar);
    let report = match result {
        Err(convert::Error::Exists { path }) => bail!("{}: the file exists; --force replaces it", path.display()),
        result => result?,
    };
    tell(&report, console);
    let mut out = console.out();
    if args.json {
        let summary = json!({
            "path": args.out,
            "type": args.output_type.name(),
            "tensors": report.tensors,
            "parameters": report.parameters,
            "bytes": report.bytes,
            "seconds": begin.elapsed().as_secs_f64(),
            "dropped": report.dropped,
            "fallbacks": report.fallbacks,
            "pooler_lost": report.pooler_lost,
            "adapters": report.adapters,
            "settings_lost": report.settings_lost,
        });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(
            out,
            "{}: {}, {}, {} parameters, {}",
            args.out.display(),
            args.output_type,
            count(report.tensors, "tensor"),
            report.parameters,
            bytes(report.bytes)
        )?;
    }
    Ok(())
}

/// What is in the source and not in the file, or otherwise than asked for.
fn tell(report: &Report, console: &Console) {
    if !report.dropped.is_empty() {
        console.note(format_args!("left out, as nothing in the file needs them: {}", report.dropped.join(", ")));
    }
    if !report.fallbacks.is_empty() {
        console.note(format_args!("F16, as their rows are no multiple of 32: {}", report.fallbacks.join(", ")));
    }
    if !report.adapters.is_empty() {
        let names: Vec<String> = report.adapters.iter().map(|path| path.display().to_string()).collect();
        console.note(format_args!("adapters for tasks, to be kept beside the file: {}", names.join(", ")));
    }
    if !report.settings_lost.is_empty() {
        console.note(format_args!(
            "GGUF has no place for {}; ask for them when you embed (--max-length, --prompt)",
            report.settings_lost.join(", ")
        ));
    }
    if report.pooler_lost {
        console
            .warn("the model scores pairs through a layer that GGUF has no key for: other programs will make other scores of this file");
    }
}

fn type_parser() -> impl TypedValueParser<Value = OutputType> {
    PossibleValuesParser::new(OutputType::ALL.map(OutputType::name)).try_map(|name| name.parse::<OutputType>())
}
