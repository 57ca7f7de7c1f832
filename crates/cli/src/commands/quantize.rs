//! `docent quantize`: a GGUF file becomes a smaller one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use docent::quantize::{self, FileType, Options, Report};
use serde_json::json;

use crate::console::{Console, Unit};
use crate::table::{Column, Table, bytes, count};

/// Store the weights of a GGUF file in fewer bits.
///
/// The file is the one that llama.cpp's quantiser makes without an importance matrix, and runs there as well. Norms, biases and tables of
/// positions stay as they are; the mixes (Q4_K_M, Q5_K_M) give more bits to the matrices that need them most. It appears under its name
/// whole or not at all.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file to read; of a split model the first
    #[arg(value_name = "IN.gguf")]
    input: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// Number format of most matrices; Q4_K is Q4_K_M, Q5_K is Q5_K_M
    #[arg(long = "type", value_name = "TYPE", ignore_case = true, value_parser = type_parser())]
    file_type: FileType,
    /// Allow an input that is quantised already: rounding twice loses accuracy
    #[arg(long)]
    requantize: bool,
    /// Threads to use [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let options = Options {
        file_type: args.file_type,
        overwrite: args.force,
        requantize: args.requantize,
        threads: args.threads.map_or_else(docent::default_threads, usize::from),
    };
    let begin = Instant::now();
    let mut bar = None;
    let mut shown = 0;
    let result = quantize::quantize(&args.input, &args.out, &options, &mut |progress| {
        let bar = bar.get_or_insert_with(|| console.progress(Some(progress.total_bytes), Unit::Bytes));
        bar.advance(progress.written_bytes.saturating_sub(shown));
        shown = progress.written_bytes;
    });
    drop(bar);
    let report = match result {
        Err(quantize::Error::Exists { path }) => bail!("{}: the file exists; --force replaces it", path.display()),
        Err(quantize::Error::Quantized { path, name, found }) => bail!(
            "{}: tensor `{name}` is {found} already: rounding twice loses accuracy; start from an F32, F16 or BF16 file, or allow it with \
             --requantize",
            path.display()
        ),
        Err(quantize::Error::Folder { path }) => {
            bail!("{}: expected a GGUF file, found a folder; `docent convert` makes a file of it", path.display())
        }
        result => result?,
    };
    tell(&report, console);
    let mut out = console.out();
    if args.json {
        writeln!(out, "{}", summary(&args, &report, begin))?;
    } else {
        let figures = format!(
            "{}, {}, {} parameters, {} from {}",
            args.file_type,
            count(report.tensors, "tensor"),
            report.parameters,
            bytes(report.bytes),
            bytes(report.input_bytes)
        );
        writeln!(out, "{}: {figures}\n", args.out.display())?;
        write!(out, "{}", types(&report))?;
    }
    Ok(())
}

/// What is otherwise than asked for.
fn tell(report: &Report, console: &Console) {
    if let [first, others @ ..] = &report.fallbacks[..] {
        let others =
            if others.is_empty() { String::new() } else { format!(", and {} more", count(others.len(), "tensor")) };
        console.note(format_args!(
            "{} in place of {}, whose blocks do not divide the rows: {}{others}",
            first.ty, first.wanted, first.tensor
        ));
    }
    if !report.adapters.is_empty() {
        let names: Vec<String> = report.adapters.iter().map(|path| path.display().to_string()).collect();
        console.note(format_args!("adapters for tasks, copied to stay beside the file: {}", names.join(", ")));
    }
    if report.requantized > 0 {
        console.warn(format_args!(
            "{} had been quantised before: accuracy is lost twice",
            count(report.requantized, "tensor")
        ));
    }
}

/// How much is stored in which type.
fn types(report: &Report) -> Table {
    let mut table = Table::new(&[
        Column::Left("type"),
        Column::Right("tensors"),
        Column::Right("parameters"),
        Column::Right("size"),
    ]);
    for share in &report.types {
        let cells = [share.ty.to_string(), share.tensors.to_string(), share.parameters.to_string(), bytes(share.bytes)];
        table.row(cells);
    }
    table
}

fn summary(args: &Args, report: &Report, begin: Instant) -> serde_json::Value {
    let types = report.types.iter().map(|share| {
        json!({
            "type": share.ty.name(), "tensors": share.tensors, "parameters": share.parameters, "bytes": share.bytes,
        })
    });
    let fallbacks = report.fallbacks.iter().map(
        |fallback| json!({ "tensor": fallback.tensor, "wanted": fallback.wanted.name(), "type": fallback.ty.name() }),
    );
    json!({
        "path": args.out,
        "type": args.file_type.name(),
        "tensors": report.tensors,
        "parameters": report.parameters,
        "bytes": report.bytes,
        "input_bytes": report.input_bytes,
        "seconds": begin.elapsed().as_secs_f64(),
        "types": types.collect::<Vec<_>>(),
        "fallbacks": fallbacks.collect::<Vec<_>>(),
        "requantized": report.requantized,
        "adapters": report.adapters,
    })
}

fn type_parser() -> impl TypedValueParser<Value = FileType> {
    let names = FileType::ALL.map(FileType::name).into_iter().chain(["Q4_K", "Q5_K"]);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<FileType>())
}
