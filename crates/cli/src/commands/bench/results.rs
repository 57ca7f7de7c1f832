//! What was measured, in the forms in which it is told.

use std::fmt::Write;

use docent::{Embedder, Format, Inspection};
use serde::Serialize;

use super::measure::Timing;
use crate::system;
use crate::table::{Column, Table, bytes, count, milliseconds, printable, three_digits};

/// Everything; the file of `--json`.
#[derive(Serialize)]
pub(super) struct Results {
    pub(super) system_info: SystemInfo,
    pub(super) model_info: ModelInfo,
    /// The file of the texts, or `built-in`.
    pub(super) texts: String,
    /// Tokens that a text is cut to.
    pub(super) max_length: usize,
    /// Runs before those that count.
    pub(super) warm_ups: usize,
    /// From the model's files to an embedder, tokenizer included.
    pub(super) load_ms: f64,
    /// The short text, right after.
    pub(super) first_ms: f64,
    pub(super) single_embeddings: Singles,
    pub(super) batch_embeddings: Vec<Batch>,
    pub(super) corpus: Corpus,
    /// Resident, file mappings included; `None` where the system does not tell.
    pub(super) peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct SystemInfo {
    pub(super) cpu: String,
    /// The instruction set of the kernels.
    pub(super) isa: String,
    /// Threads that were computed on.
    pub(super) threads: usize,
    /// Threads that the process may use.
    pub(super) available_threads: usize,
    pub(super) os: String,
    pub(super) arch: &'static str,
    pub(super) memory_bytes: Option<u64>,
    /// The version of this program.
    pub(super) version: &'static str,
    /// Whether it is an optimised build.
    pub(super) release: bool,
}

#[derive(Serialize)]
pub(super) struct ModelInfo {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) format: &'static str,
    pub(super) architecture: String,
    /// The type that most bytes of the file have.
    pub(super) quantization: String,
    pub(super) layers: usize,
    pub(super) dim: usize,
    pub(super) heads: usize,
    pub(super) positions: usize,
    pub(super) vocabulary: usize,
    pub(super) file_bytes: u64,
    /// Weights in the form that the kernels read.
    pub(super) packed_bytes: u64,
}

#[derive(Serialize)]
pub(super) struct Singles {
    pub(super) short: Single,
    pub(super) medium: Single,
    pub(super) long: Single,
}

/// One text in a call.
#[derive(Serialize)]
pub(super) struct Single {
    pub(super) characters: usize,
    /// Special tokens included, after truncation.
    pub(super) tokens: usize,
    /// By the median.
    pub(super) texts_s: f64,
    #[serde(flatten)]
    pub(super) timing: Timing,
}

/// Several copies of the medium text in a call.
#[derive(Serialize)]
pub(super) struct Batch {
    pub(super) batch_size: usize,
    /// By the median, as is the next.
    pub(super) per_text_ms: f64,
    pub(super) texts_s: f64,
    /// Of the whole call.
    #[serde(flatten)]
    pub(super) timing: Timing,
}

#[derive(Serialize)]
pub(super) struct Corpus {
    pub(super) texts: usize,
    pub(super) tokens: usize,
    /// Texts that were too long and were cut.
    pub(super) truncated: usize,
    pub(super) passes: usize,
    /// Seconds of the fastest pass, as are the next two.
    pub(super) best_s: f64,
    pub(super) tok_s: f64,
    pub(super) texts_s: f64,
}

/// The results in one line, for programs that compare engines.
#[derive(Serialize)]
pub(super) struct Line {
    load_ms: f64,
    first_ms: f64,
    short_ms: f64,
    medium_ms: f64,
    long_ms: f64,
    tok_s: f64,
    texts_s: f64,
    rss_mb: Option<u64>,
}

impl SystemInfo {
    pub(super) fn new(embedder: &Embedder) -> Self {
        SystemInfo {
            cpu: system::processor(),
            isa: embedder.isa().to_string(),
            threads: embedder.threads(),
            available_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            os: system::operating_system(),
            arch: std::env::consts::ARCH,
            memory_bytes: system::total_memory(),
            version: env!("CARGO_PKG_VERSION"),
            release: !cfg!(debug_assertions),
        }
    }
}

impl ModelInfo {
    pub(super) fn new(embedder: &Embedder, inspection: &Inspection) -> Self {
        let description = &embedder.settings().description;
        let mut by_type = std::collections::BTreeMap::new();
        for tensor in inspection.tensors() {
            *by_type.entry(tensor.tensor_type).or_insert(0) += tensor.bytes.len();
        }
        let most = by_type.iter().max_by_key(|&(_, &bytes)| bytes);
        ModelInfo {
            name: printable(&description.name),
            path: printable(&inspection.path.display().to_string()),
            format: match description.format {
                Format::Gguf => "gguf",
                Format::Safetensors => "safetensors",
            },
            architecture: description.architecture.to_owned(),
            quantization: most.map_or("none", |(ty, _)| ty.name()).to_owned(),
            layers: description.layers,
            dim: description.embedding_size,
            heads: description.heads,
            positions: description.positions,
            vocabulary: description.vocabulary,
            file_bytes: inspection.file_bytes,
            packed_bytes: embedder.packed_bytes() as u64,
        }
    }
}

impl Singles {
    /// By name, the shortest first.
    pub(super) fn all(&self) -> [(&'static str, &Single); 3] {
        [("short", &self.short), ("medium", &self.medium), ("long", &self.long)]
    }
}

impl Results {
    pub(super) fn line(&self) -> Line {
        let Singles { short, medium, long } = &self.single_embeddings;
        let round = |value: f64, digits: i32| (value * 10f64.powi(digits)).round() / 10f64.powi(digits);
        Line {
            load_ms: round(self.load_ms, 1),
            first_ms: round(self.first_ms, 2),
            short_ms: round(short.timing.median_ms, 3),
            medium_ms: round(medium.timing.median_ms, 3),
            long_ms: round(long.timing.median_ms, 3),
            tok_s: round(self.corpus.tok_s, 0),
            texts_s: round(self.corpus.texts_s, 1),
            rss_mb: self.peak_memory_bytes.map(|bytes| bytes >> 20),
        }
    }

    /// The model in a few words.
    pub(super) fn model(&self) -> String {
        let ModelInfo { name, architecture, quantization, layers, dim, file_bytes, .. } = &self.model_info;
        format!("{name} ({architecture}, {layers} layers, {dim} dimensions, {quantization}, {})", bytes(*file_bytes))
    }

    /// The machine in a few words.
    pub(super) fn machine(&self) -> String {
        let SystemInfo { cpu, isa, threads, os, version, release, .. } = &self.system_info;
        let build = if *release { "" } else { " (not an optimised build)" };
        format!("{cpu}, {isa}, {}; {os}; docent {version}{build}", count(*threads, "thread"))
    }

    /// The corpus in a few words.
    pub(super) fn corpus_line(&self) -> String {
        let Corpus { texts, tokens, truncated, passes, tok_s, texts_s, .. } = &self.corpus;
        let cut =
            if *truncated > 0 { format!(", {truncated} of them cut to {}", self.max_length) } else { String::new() };
        format!(
            "{} tokens/s, {} texts/s ({texts} texts, {tokens} tokens{cut}; best of {passes} passes)",
            three_digits(*tok_s),
            three_digits(*texts_s)
        )
    }

    pub(super) fn peak_memory(&self) -> String {
        self.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), bytes)
    }

    /// The results for a person at a terminal.
    pub(super) fn summary(&self) -> String {
        let mut facts = Table::facts();
        facts.fact("model", self.model());
        facts.fact("machine", self.machine());
        facts.fact("load", milliseconds(self.load_ms));
        facts.fact("first vector", milliseconds(self.first_ms));
        facts.fact("corpus", self.corpus_line());
        facts.fact("peak memory", self.peak_memory());

        let right = Column::Right;
        let mut singles = Table::new(&[
            Column::Left("text"),
            right("characters"),
            right("tokens"),
            right("median"),
            right("p95"),
            right("p99"),
            right("texts/s"),
            right("runs"),
        ]);
        for (name, cells) in self.single_rows() {
            singles.row([name.to_owned()].into_iter().chain(cells));
        }
        let mut batches = Table::new(&[right("batch"), right("per text"), right("texts/s"), right("runs")]);
        for cells in self.batch_rows() {
            batches.row(cells);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{facts}\n{singles}\n{batches}");
        text
    }

    /// Name; characters, tokens, median, p95, p99, texts a second, runs.
    pub(super) fn single_rows(&self) -> impl Iterator<Item = (&'static str, [String; 7])> {
        self.single_embeddings.all().into_iter().map(|(name, single)| {
            let Timing { median_ms, p95_ms, p99_ms, runs, .. } = single.timing;
            let times = [median_ms, p95_ms, p99_ms].map(milliseconds);
            let [median, p95, p99] = times;
            let (characters, tokens) = (single.characters.to_string(), single.tokens.to_string());
            (name, [characters, tokens, median, p95, p99, three_digits(single.texts_s), runs.to_string()])
        })
    }

    /// Size, time a text, texts a second, runs.
    pub(super) fn batch_rows(&self) -> impl Iterator<Item = [String; 4]> {
        self.batch_embeddings.iter().map(|batch| {
            let (size, runs) = (batch.batch_size.to_string(), batch.timing.runs.to_string());
            [size, milliseconds(batch.per_text_ms), three_digits(batch.texts_s), runs]
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn timing(median_ms: f64) -> Timing {
        Timing {
            runs: 15,
            mean_ms: median_ms,
            median_ms,
            p95_ms: median_ms * 1.2,
            p99_ms: median_ms * 1.5,
            min_ms: median_ms * 0.9,
            max_ms: median_ms * 1.5,
        }
    }

    /// Results of no machine.
    pub(in super::super) fn example(name: &str) -> Results {
        let single = |characters, tokens, ms| Single { characters, tokens, texts_s: 1e3 / ms, timing: timing(ms) };
        let batch = |batch_size, per_text_ms: f64| Batch {
            batch_size,
            per_text_ms,
            texts_s: 1e3 / per_text_ms,
            timing: timing(per_text_ms * batch_size as f64),
        };
        Results {
            system_info: SystemInfo {
                cpu: "A processor".into(),
                isa: "avx2".into(),
                threads: 2,
                available_threads: 4,
                os: "an OS".into(),
                arch: "x86_64",
                memory_bytes: Some(8 << 30),
                version: "1.2.3",
                release: true,
            },
            model_info: ModelInfo {
                name: name.into(),
                path: "models/m.gguf".into(),
                format: "gguf",
                architecture: "bert".into(),
                quantization: "Q8_0".into(),
                layers: 6,
                dim: 384,
                heads: 12,
                positions: 512,
                vocabulary: 30_522,
                file_bytes: 25_000_000,
                packed_bytes: 12_000_000,
            },
            texts: "built-in".into(),
            max_length: 512,
            warm_ups: 3,
            load_ms: 35.12,
            first_ms: 2.345,
            single_embeddings: Singles {
                short: single(48, 12, 1.2345),
                medium: single(237, 52, 3.2),
                long: single(1233, 251, 14.0),
            },
            batch_embeddings: vec![batch(1, 3.2), batch(5, 2.9), batch(10, 2.8), batch(20, 2.75), batch(64, 2.7)],
            corpus: Corpus {
                texts: 192,
                tokens: 13_000,
                truncated: 1,
                passes: 3,
                best_s: 1.3,
                tok_s: 10_000.4,
                texts_s: 147.69,
            },
            peak_memory_bytes: Some(60 << 20),
        }
    }

    #[test]
    fn the_line_has_what_comparisons_read() {
        let line = serde_json::to_string(&example("m").line()).unwrap();
        let expected = r#"{"load_ms":35.1,"first_ms":2.35,"short_ms":1.235,"medium_ms":3.2,"long_ms":14.0,"tok_s":10000.0,"texts_s":147.7,"rss_mb":60}"#;
        // 1.2345 and 2.345 lie a hair beside the middle in binary.
        let near = |text: &str| text.replace("1.234,", "1.235,").replace("2.34,", "2.35,").replace("2.345", "2.35");
        assert_eq!(near(&line), expected);
    }

    #[test]
    fn a_person_sees_every_figure() {
        let summary = example("a model").summary();
        for text in
            ["a model (bert, 6 layers", "avx2, 2 threads", "35.1 ms", "14.0 ms", "2.70 ms", "10000 tokens/s", "62.9 MB"]
        {
            assert!(summary.contains(text), "no {text:?} in\n{summary}");
        }
    }
}
