//! `docent check`: whether a model does here what its publisher says it does.

mod expansion;
mod scores;

use std::io::Write;
use std::time::Instant;

use anyhow::bail;
use docent::catalog::Reference;
use docent::{AnyModel, EmbedOptions, Embedder, Inspection, Isa, ModelRef, Prompt, inspect};
use serde::Serialize;

use crate::console::{Console, Unit};
use crate::json;
use crate::model::{OpenArgs, model_help, model_or_default};
use crate::system;
use crate::table::{Column, Table, bytes, coloured, count, milliseconds};

/// Open a model, run it, and compare with published values.
///
/// Looks at every weight, embeds a few texts (or scores them, with a reranker; an expander writes) alone and together, and compares with the vectors,
/// similarities or scores that the catalogue knows to be published for the model. The exit status is 1 if anything is not as it should be.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "MODEL", help = model_help())]
    model: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Texts of several lengths and scripts, the empty one among them.
const PROBES: [&str; 5] = [
    "The lighthouse keeper writes down the weather every evening.",
    "",
    "Zażółć gęślą jaźń, 東京, नमस्ते, 🦊",
    "1.5e-3 != 0.0015f; // or is it?",
    "A longer text follows the rivers from their springs to the sea, past mills and locks and cranes, and counts what each \
     town takes from the water and what it gives back, season after season, until the numbers tell a story of their own.",
];

/// How far the length of a vector may be from 1: far above rounding, far below any mistake.
const LENGTH_TOLERANCE: f64 = 1e-5;

/// What rounding the weights to 8 bits or less may change in a component of a vector of some hundred, and in a cosine.
const QUANTIZED_COMPONENT: f32 = 0.01;
const QUANTIZED_COSINE: f32 = 0.02;

#[derive(Serialize)]
struct Report {
    model: String,
    path: String,
    ok: bool,
    checks: Vec<Check>,
    load_ms: Option<f64>,
    /// To the first vector or score.
    first_vector_ms: Option<f64>,
    /// Of the whole process, before the weights are looked at one by one.
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Check {
    check: &'static str,
    result: Outcome,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
    Skipped,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let name = model_or_default(args.model.as_deref())?;
    let model: ModelRef = name.parse()?;
    let path = args.open.fetch.hub().fetch(&model, args.open.fetch.quant, &console.fetch_progress())?;
    let inspection = inspect(&path)?;
    let mut report = Report {
        model: model.to_string(),
        path: path.display().to_string(),
        ok: false,
        checks: Vec::new(),
        load_ms: None,
        first_vector_ms: None,
        peak_memory_bytes: None,
    };

    let begin = Instant::now();
    let opened = AnyModel::open_with(&model, &args.open.options(), &console.fetch_progress());
    report.load_ms = opened.is_ok().then(|| begin.elapsed().as_secs_f64() * 1e3);
    let opens = |isa: Isa, threads: usize| Ok(format!("{isa}, {}", count(threads, "thread")));
    match opened {
        Ok(AnyModel::Embedder(embedder)) => {
            report.add("opens", opens(embedder.isa(), embedder.threads()));
            report.probe(&embedder);
            report.peak_memory_bytes = system::peak_memory();
            report.compare(&embedder, &inspection);
        }
        Ok(AnyModel::Reranker(reranker)) => {
            report.add("opens", opens(reranker.isa(), reranker.threads()));
            report.probe_scores(&reranker);
            report.peak_memory_bytes = system::peak_memory();
            report.compare_scores(&reranker, &inspection);
        }
        Ok(AnyModel::Expander(expander)) => {
            report.add("opens", opens(expander.isa(), expander.threads()));
            report.probe_expansion(&expander);
            report.peak_memory_bytes = system::peak_memory();
        }
        Err(error) => report.add("opens", Err(error.to_string())),
    }
    report.scan(&inspection, console);
    report.ok = report.checks.iter().all(|check| check.result != Outcome::Failed);

    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &report)?;
    } else {
        report.print(&mut out, console)?;
    }
    drop(out);
    let failed: Vec<&str> =
        report.checks.iter().filter(|check| check.result == Outcome::Failed).map(|check| check.check).collect();
    if !failed.is_empty() {
        bail!("{}: {} of {} checks failed: {}", report.path, failed.len(), report.checks.len(), failed.join(", "));
    }
    Ok(())
}

impl Report {
    fn add(&mut self, check: &'static str, result: Result<String, String>) {
        let (result, detail) = match result {
            Ok(detail) => (Outcome::Ok, detail),
            Err(detail) => (Outcome::Failed, detail),
        };
        self.checks.push(Check { check, result, detail });
    }

    /// The texts alone, together, and together in another order.
    fn probe(&mut self, embedder: &Embedder) {
        let begin = Instant::now();
        let first = embedder.embed(&PROBES[..1]);
        self.first_vector_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        let alone: Result<Vec<Vec<f32>>, docent::Error> = first.and_then(|first| {
            let rest = PROBES[1..].iter().map(|text| embedder.embed(&[text]));
            let all: Result<Vec<_>, _> = std::iter::once(Ok(first)).chain(rest).collect();
            Ok(all?.into_iter().flatten().map(docent::Embedding::into_vector).collect())
        });
        let alone = match alone {
            Ok(vectors) => vectors,
            Err(error) => return self.add("vectors are finite", Err(error.to_string())),
        };
        let dim = alone.first().map_or(0, Vec::len);
        self.add("vectors are finite", Ok(format!("{} of {dim} components", count(alone.len(), "vector"))));
        // A table of token vectors has nothing to say of a text without tokens.
        let of_tokens = |vector: &&Vec<f32>| {
            !embedder.settings().description.is_table() || vector.iter().any(|&value| value != 0.0)
        };
        self.add("unit length", unit_length(alone.iter().filter(of_tokens)));
        self.add("same bits in a batch", same_bits(embedder, &alone));
        if !embedder.settings().description.tasks.is_empty() {
            self.add("adapters for tasks", tasks(embedder));
        }
    }

    /// Values that somebody has published for the model.
    fn compare(&mut self, embedder: &Embedder, inspection: &Inspection) {
        let references = embedder.settings().entry.map_or(&[][..], |entry| entry.reference.as_slice());
        let quantized = inspection.tensors().iter().any(|tensor| tensor.tensor_type.is_quantized());
        self.published(references, |reference| compare(embedder, reference, quantized));
    }

    /// What comes of comparing with each published value that is one of this kind of model.
    fn published(
        &mut self,
        references: &[Reference],
        compare: impl Fn(&Reference) -> Result<Option<Result<String, String>>, docent::Error>,
    ) {
        for reference in references {
            match compare(reference) {
                Ok(Some(result)) => self.add("published values", result),
                Ok(None) => {}
                Err(error) => self.add("published values", Err(error.to_string())),
            }
        }
        if references.is_empty() {
            let detail = "the catalogue knows of none for this model".to_owned();
            self.checks.push(Check { check: "published values", result: Outcome::Skipped, detail });
        }
    }

    /// Every weight, wherever it is used.
    fn scan(&mut self, inspection: &Inspection, console: &Console) {
        let check = "weights are finite";
        if let Some(error) = &inspection.weights_error {
            return self.add(check, Err(error.to_string()));
        }
        let tensors = inspection.tensors();
        let total = tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum();
        let mut bar = console.progress(Some(total), Unit::Bytes);
        let (mut damaged, mut unread) = (Vec::new(), Vec::new());
        for tensor in &tensors {
            match tensor.first_not_finite() {
                Ok(None) => {}
                Ok(Some((index, value))) => damaged.push(format!("{} has {value} at element {index}", tensor.name)),
                Err(_) => unread.push(format!("{} ({})", tensor.name, tensor.tensor_type)),
            }
            bar.advance(tensor.bytes.len() as u64);
        }
        drop(bar);
        if !damaged.is_empty() {
            self.add(check, Err(damaged.join("; ")));
        } else if !unread.is_empty() {
            let detail = format!("no codec to look into {}", unread.join(", "));
            self.checks.push(Check { check, result: Outcome::Skipped, detail });
        } else {
            self.add(check, Ok(format!("{}, {}", count(tensors.len(), "tensor"), bytes(total))));
        }
    }

    fn print(&self, out: &mut impl Write, console: &Console) -> anyhow::Result<()> {
        let mut table = Table::new(&[Column::Left("check"), Column::Left("result"), Column::Left("detail")]);
        for check in &self.checks {
            table.row([check.check, check.result.mark(), &check.detail]);
        }
        let shown = table.to_string();
        write!(out, "{}", if console.out_has_colours() { coloured(&shown) } else { shown })?;
        let mut facts = Vec::new();
        facts.extend(self.load_ms.map(|time| format!("load {}", milliseconds(time))));
        facts.extend(self.first_vector_ms.map(|time| format!("first result {}", milliseconds(time))));
        facts.extend(self.peak_memory_bytes.map(|peak| format!("peak memory {}", bytes(peak))));
        if !facts.is_empty() {
            writeln!(out, "\n{}", facts.join(", "))?;
        }
        Ok(())
    }
}

impl Outcome {
    fn mark(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "-",
        }
    }
}

fn unit_length<'a>(vectors: impl Iterator<Item = &'a Vec<f32>>) -> Result<String, String> {
    let length = |vector: &Vec<f32>| vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let off = vectors.map(|vector| (length(vector) - 1.0).abs()).fold(0.0, f64::max);
    let detail = format!("off by {off:.1e} at most, {LENGTH_TOLERANCE:.0e} allowed");
    if off <= LENGTH_TOLERANCE { Ok(detail) } else { Err(detail) }
}

/// That every task makes another vector of the same tokens than any other, and than none.
fn tasks(embedder: &Embedder) -> Result<String, String> {
    let tasks = &embedder.settings().description.tasks;
    let ids = embedder.tokenizer().ids(PROBES[0]).map_err(|error| error.to_string())?;
    let embed = |name: Option<&String>| -> Result<Vec<f32>, docent::Error> {
        let prompt = name.map_or(Prompt::None, |name| Prompt::Named(name.clone()));
        let prepared = embedder.prepare_ids(&[&ids], &EmbedOptions { prompt, ..EmbedOptions::default() })?;
        let prepared = prepared.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(embedder.embed_prepared(&prepared.iter().collect::<Vec<_>>())?.swap_remove(0)?.into_vector())
    };
    let mut vectors: Vec<(&str, Vec<f32>)> = Vec::with_capacity(tasks.len() + 1);
    for name in std::iter::once(None).chain(tasks.iter().map(Some)) {
        let vector = embed(name).map_err(|error| error.to_string())?;
        let name = name.map_or("no task", String::as_str);
        if let Some((other, _)) = vectors.iter().find(|(_, known)| *known == vector) {
            return Err(format!("{name} makes the vector that {other} makes"));
        }
        vectors.push((name, vector));
    }
    Ok(format!("{}: {}", count(tasks.len(), "task"), tasks.join(", ")))
}

fn same_bits(embedder: &Embedder, alone: &[Vec<f32>]) -> Result<String, String> {
    let together = embedder.embed(&PROBES).map_err(|error| error.to_string())?;
    let reversed: Vec<&str> = PROBES.iter().rev().copied().collect();
    let reversed = embedder.embed(&reversed).map_err(|error| error.to_string())?;
    let bits = |vector: &[f32]| vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (index, vector) in alone.iter().enumerate() {
        let others = [together[index].vector(), reversed[PROBES.len() - 1 - index].vector()];
        if others.iter().any(|other| bits(other) != bits(vector)) {
            return Err(format!("text {index} has another vector in a batch than alone"));
        }
    }
    Ok(format!("{} alone, together and in another order", count(alone.len(), "text")))
}

/// Compares with one published value; `None` if it is none of an embedding model.
fn compare(
    embedder: &Embedder,
    reference: &Reference,
    quantized: bool,
) -> Result<Option<Result<String, String>>, docent::Error> {
    let embed = |texts: &[&str], prompt: Prompt| -> Result<Vec<Vec<f32>>, docent::Error> {
        let options = EmbedOptions { prompt, ..EmbedOptions::default() };
        Ok(embedder.embed_with(texts, &options)?.into_iter().map(docent::Embedding::into_vector).collect())
    };
    let (off, tolerance, loosened, what, origin) = match reference {
        Reference::Vector { text, prompt, first, tolerance, origin } => {
            let vector = embed(&[text], prompt_of(prompt))?.swap_remove(0);
            let what = format!("{} of the vector of {text:?}", count(first.len(), "component"));
            (largest_difference(&vector, first), *tolerance, QUANTIZED_COMPONENT, what, origin)
        }
        Reference::Cosine { query, documents, cosines, tolerance, origin } => {
            let query_vector = embed(&[query], Prompt::Query)?.swap_remove(0);
            let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
            let found: Vec<f32> =
                embed(&documents, Prompt::Document)?.iter().map(|vector| dot(&query_vector, vector)).collect();
            let what = format!("{} with {query:?}", count(cosines.len(), "cosine"));
            (largest_difference(&found, cosines), *tolerance, QUANTIZED_COSINE, what, origin)
        }
        _ => return Ok(None),
    };
    let (tolerance, because) =
        if quantized { (tolerance.max(loosened), " for quantized weights") } else { (tolerance, "") };
    let detail = format!("{what}: off by {off:.1e} at most, {tolerance:.0e} allowed{because} (from {origin})");
    Ok(Some(if off <= tolerance { Ok(detail) } else { Err(detail) }))
}

fn prompt_of(name: &str) -> Prompt {
    match name {
        "query" => Prompt::Query,
        "document" => Prompt::Document,
        _ => Prompt::None,
    }
}

/// The largest difference between what was found and what was published, which may be only the beginning.
fn largest_difference(found: &[f32], published: &[f32]) -> f32 {
    if found.len() < published.len() {
        return f32::INFINITY;
    }
    found.iter().zip(published).map(|(found, published)| (found - published).abs()).fold(0.0, f32::max)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_differences() {
        assert!(unit_length([vec![0.6, 0.8]].iter()).is_ok());
        assert!(unit_length([vec![1.0, 0.0], vec![0.6, 0.7]].iter()).is_err());
        assert_eq!(largest_difference(&[1.0, 2.0, 9.0], &[1.5, 2.0]), 0.5);
        assert_eq!(largest_difference(&[1.0], &[1.0, 2.0]), f32::INFINITY);
    }
}
