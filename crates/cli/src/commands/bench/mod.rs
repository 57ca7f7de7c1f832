//! `docent bench`: how fast a model is on this machine.

mod chart;
mod html;
mod kernels;
mod markdown;
mod measure;
mod results;
mod texts;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use docent::{EmbedOptions, Embedder, Embedding, ModelRef, inspect};

use crate::console::{Console, Progress, Unit, usage};
use crate::destination::Destination;
use crate::model::ModelArgs;
use crate::system;

use measure::{Effort, milliseconds};
use results::{Batch, Corpus, ModelInfo, Results, Single, Singles, SystemInfo};
use texts::Texts;

/// Measure the speed of a model on this machine.
///
/// Times include tokenization. The last line on stdout sums up the results as JSON: milliseconds to load, to the first
/// vector and for a short, a medium and a long text (medians), tokens and texts a second over a corpus (the best of three
/// passes), and the peak of memory in MiB.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON file with the texts to embed: short, medium, long, and a list named corpus [default: built-in texts]
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Write all results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with charts to this file (.html, or .md with an .svg beside it)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Measure less: a first impression within seconds
    #[arg(long)]
    quick: bool,
    /// Measure the arithmetic instead of a model: multiply-accumulates a second of each kernel, and what the processor can do
    #[arg(long, conflicts_with_all = ["model", "texts", "report", "threads", "quant", "offline"])]
    kernels: bool,
}

/// Tokens that a text is cut to, if the model takes that many: what embedding models are commonly measured with.
const MAX_LENGTH: usize = 512;

/// Texts of the corpus that are embedded, and how often.
const CORPUS_TEXTS: usize = 192;
const CORPUS_PASSES: usize = 3;

/// Texts in one call.
const BATCH_SIZES: [usize; 5] = [1, 5, 10, 20, 64];

/// Files for the results besides stdout. What cannot be written is better known before the measurements than after.
struct Files<'c> {
    json: Option<Destination<'c>>,
    report: Option<Report<'c>>,
}

enum Report<'c> {
    Html(Destination<'c>),
    /// Pages that show Markdown drop charts inside it and load those beside it.
    Markdown {
        text: Destination<'c>,
        chart: Destination<'c>,
        chart_name: String,
    },
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let files = Files::open(&args, console)?;
    if args.kernels {
        return kernels::run(args.quick, files.json, console);
    }
    let texts = args.texts.as_deref().map_or_else(|| Ok(Texts::built_in()), Texts::read)?;
    let name = args.model.name()?;
    let model: ModelRef = name.parse()?;
    let fetch = &args.model.open.fetch;
    // What is measured is opening, not fetching.
    let path = fetch.hub().fetch(&model, fetch.quant, &console.fetch_progress())?;

    let begin = Instant::now();
    let embedder = Embedder::open_with(&model, &args.model.open.options(), &console.fetch_progress())?;
    let load_ms = milliseconds(begin.elapsed());

    let bar = console.progress(Some((3 + BATCH_SIZES.len() + CORPUS_PASSES) as u64), Unit::Items("measurements"));
    let mut bench = Bench { embedder: &embedder, options: options(&embedder), effort: effort(args.quick), bar };
    let (first_ms, singles) = bench.singles(&texts)?;
    let batches = bench.batches(&texts.medium)?;
    let corpus = bench.corpus(&texts.corpus)?;
    drop(bench);

    let results = Results {
        system_info: SystemInfo::new(&embedder),
        // The inspection reads the files once more, which must not count as the model's memory.
        peak_memory_bytes: system::peak_memory(),
        model_info: ModelInfo::new(&embedder, &inspect(&path)?),
        texts: args.texts.as_deref().map_or_else(|| "built-in".to_owned(), |file| file.display().to_string()),
        max_length: max_length(&embedder),
        warm_ups: effort(args.quick).warm_ups,
        load_ms,
        first_ms,
        single_embeddings: singles,
        batch_embeddings: batches,
        corpus,
    };
    let mut out = console.out();
    write!(out, "{}", results.summary())?;
    writeln!(out, "\n{}", serde_json::to_string(&results.line())?)?;
    drop(out);
    files.write(&results)
}

/// What is measured with.
struct Bench<'a> {
    embedder: &'a Embedder,
    options: EmbedOptions,
    effort: Effort,
    bar: Progress,
}

impl Bench<'_> {
    fn embed<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Embedding>, docent::Error> {
        self.embedder.embed_with(texts, &self.options)
    }

    /// Milliseconds to the very first vector, then each text on its own.
    fn singles(&mut self, texts: &Texts) -> Result<(f64, Singles), docent::Error> {
        let begin = Instant::now();
        self.embed(&[&texts.short])?;
        let first_ms = milliseconds(begin.elapsed());
        let [short, medium, long] = [&texts.short, &texts.medium, &texts.long].map(|text| self.single(text));
        Ok((first_ms, Singles { short: short?, medium: medium?, long: long? }))
    }

    fn single(&mut self, text: &str) -> Result<Single, docent::Error> {
        let mut tokens = 0;
        let timing = self.effort.measure(|| {
            tokens = self.embed(&[text])?.first().map_or(0, |embedding| embedding.tokens);
            Ok::<_, docent::Error>(())
        })?;
        self.bar.advance(1);
        let texts_s = 1e3 / timing.median_ms;
        Ok(Single { characters: text.chars().count(), tokens, texts_s, timing })
    }

    /// Several copies of a text in one call: whatever differs between batches is then the batch.
    fn batches(&mut self, text: &str) -> Result<Vec<Batch>, docent::Error> {
        let mut batches = Vec::new();
        for batch_size in BATCH_SIZES {
            let texts = vec![text; batch_size];
            let timing = self.effort.measure(|| self.embed(&texts).map(drop))?;
            self.bar.advance(1);
            let per_text_ms = timing.median_ms / batch_size as f64;
            batches.push(Batch { batch_size, per_text_ms, texts_s: 1e3 / per_text_ms, timing });
        }
        Ok(batches)
    }

    /// The whole corpus in one call; the library finds its own batches.
    fn corpus(&mut self, corpus: &[String]) -> Result<Corpus, docent::Error> {
        let texts = &corpus[..corpus.len().min(CORPUS_TEXTS)];
        self.embed(&texts[..texts.len().min(32)])?;
        let mut best = Duration::MAX;
        let (mut tokens, mut truncated) = (0, 0);
        for _ in 0..CORPUS_PASSES {
            let begin = Instant::now();
            let embeddings = self.embed(texts)?;
            best = best.min(begin.elapsed());
            tokens = embeddings.iter().map(|embedding| embedding.tokens).sum();
            truncated = embeddings.iter().filter(|embedding| embedding.truncated()).count();
            self.bar.advance(1);
        }
        let seconds = best.as_secs_f64();
        Ok(Corpus {
            texts: texts.len(),
            tokens,
            truncated,
            passes: CORPUS_PASSES,
            best_s: seconds,
            tok_s: tokens as f64 / seconds,
            texts_s: texts.len() as f64 / seconds,
        })
    }
}

fn effort(quick: bool) -> Effort {
    let time = if quick { Duration::ZERO } else { Duration::from_millis(800) };
    Effort { warm_ups: 3, runs: 15, time }
}

fn options(embedder: &Embedder) -> EmbedOptions {
    EmbedOptions { max_length: Some(max_length(embedder)), ..EmbedOptions::default() }
}

fn max_length(embedder: &Embedder) -> usize {
    MAX_LENGTH.min(embedder.settings().description.positions)
}

impl<'c> Files<'c> {
    fn open(args: &Args, console: &'c Console) -> anyhow::Result<Self> {
        let open = |option: &str, path: &Path| match path.as_os_str() == "-" {
            true => Err(usage(format!("{option} -: stdout has the summary, expected the name of a file"))),
            false => Destination::open(Some(path), console),
        };
        let json = args.json.as_deref().map(|path| open("--json", path)).transpose()?;
        let report = |path: &Path| match extension(path).as_deref() {
            Some("html" | "htm") => Ok(Report::Html(open("--report", path)?)),
            Some("md" | "markdown") => {
                let chart = path.with_extension("svg");
                let chart_name = chart.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (text, chart) = (open("--report", path)?, open("--report", &chart)?);
                Ok(Report::Markdown { text, chart, chart_name })
            }
            _ => Err(usage(format!("--report {}: expected a name that ends in .html or .md", path.display()))),
        };
        Ok(Files { json, report: args.report.as_deref().map(report).transpose()? })
    }

    fn write(self, results: &Results) -> anyhow::Result<()> {
        if let Some(file) = self.json {
            write_whole(file, &format!("{}\n", serde_json::to_string_pretty(results)?))?;
        }
        match self.report {
            None => {}
            Some(Report::Html(file)) => write_whole(file, &html::report(results))?,
            Some(Report::Markdown { text, chart, chart_name }) => {
                write_whole(chart, &chart::file(results))?;
                write_whole(text, &markdown::report(results, &chart_name))?;
            }
        }
        Ok(())
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase)
}

fn write_whole(mut file: Destination<'_>, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.finish()
}
