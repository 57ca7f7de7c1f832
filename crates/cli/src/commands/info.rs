//! `docent info`: what a model is, and whether it runs here.

use std::collections::BTreeMap;
use std::io::Write;

use docent::{
    AnyModel, Description, Embedder, Expander, Format, Inspection, ModelRef, OpenOptions, Prompt, Reranker, ScoreKind,
    SettingFrom, TensorInfo, default_threads, inspect,
};
use serde::Serialize;

use crate::console::Console;
use crate::json;
use crate::model::{FetchArgs, model_help, model_or_default};
use crate::table::{Column, Table, bytes, count};

/// Show what a model is, and whether it runs here.
///
/// Also for files that this version cannot run: what their headers say is shown, and why they do not run.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "MODEL", help = model_help())]
    model: Option<String>,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is known about a model.
#[derive(Serialize)]
struct Info {
    model: String,
    path: String,
    format: &'static str,
    name: Option<String>,
    architecture: Option<String>,
    layers: Option<u64>,
    dim: Option<u64>,
    heads: Option<u64>,
    feed_forward_size: Option<u64>,
    positions: Option<u64>,
    /// Tokens that a text is cut to; known only for models that run.
    max_length: Option<usize>,
    pooling: Option<String>,
    /// Who says how to pool: `file`, `catalog` or `assumed`.
    pooling_from: Option<&'static str>,
    normalize: Option<bool>,
    prompts: Prompts,
    /// What the model has adapters for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<String>,
    /// What a reranker's scores are.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<&'static str>,
    /// What a reranker is told that relevance means, unless the caller says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    /// What a model that writes is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<&'static str>,
    tokenizer: Tokenizer,
    tensors: usize,
    parameters: u64,
    quantization: Vec<TypeTotal>,
    file_bytes: u64,
    memory: Option<Memory>,
    supported: bool,
    /// Why the model does not run.
    reason: Option<String>,
    /// Tensors that the architecture has no use for.
    unused_tensors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor_list: Option<Vec<TensorRow>>,
}

#[derive(Default, Serialize)]
struct Prompts {
    query: Option<String>,
    document: Option<String>,
    default: Option<String>,
    /// Those that the model's files have, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    named: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Tokenizer {
    kind: Option<String>,
    vocabulary: Option<u64>,
}

/// All tensors of one type.
#[derive(Serialize)]
struct TypeTotal {
    r#type: &'static str,
    tensors: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct TensorRow {
    name: String,
    /// Outermost dimension first.
    shape: Vec<u64>,
    r#type: &'static str,
    bytes: u64,
}

/// Memory that the model needs, in bytes.
#[derive(Serialize)]
struct Memory {
    /// Weights in the form that the kernels read.
    packed_weights: u64,
    /// The file, mapped. Read once, then only its embedding tables are; the system may take back the rest.
    mapped_file: u64,
    /// Hidden states of a batch, at most, estimated.
    workspace: u64,
    total: u64,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let name = model_or_default(args.model.as_deref())?;
    let model: ModelRef = name.parse()?;
    let path = args.fetch.hub().fetch(&model, args.fetch.quant, &console.fetch_progress())?;
    let inspection = inspect(&path)?;
    let options = OpenOptions { threads: None, offline: args.fetch.offline, quant: args.fetch.quant };
    let opened = AnyModel::open_with(&model, &options, &console.fetch_progress());
    let info = Info::new(&model, &inspection, opened, args.tensors);

    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &info)?;
    } else {
        write!(out, "{}", info.table())?;
        if let Some(tensors) = &info.tensor_list {
            write!(out, "\n{}", tensor_table(tensors))?;
        }
    }
    Ok(())
}

impl Info {
    fn new(
        model: &ModelRef,
        inspection: &Inspection,
        opened: Result<AnyModel, docent::Error>,
        with_tensors: bool,
    ) -> Info {
        let tensors = inspection.tensors();
        let mut info = Info {
            model: model.to_string(),
            path: inspection.path.display().to_string(),
            format: match inspection.format {
                Format::Gguf => "gguf",
                Format::Safetensors => "safetensors",
            },
            name: inspection.name.clone(),
            architecture: inspection.architecture.clone(),
            layers: inspection.layers,
            dim: inspection.hidden_size,
            heads: inspection.heads,
            feed_forward_size: inspection.feed_forward_size,
            positions: inspection.positions,
            max_length: None,
            pooling: inspection.pooling.clone(),
            pooling_from: inspection.pooling.as_ref().map(|_| from_name(SettingFrom::File)),
            normalize: None,
            prompts: Prompts::default(),
            tasks: Vec::new(),
            scores: None,
            instruction: None,
            writes: None,
            tokenizer: Tokenizer { kind: inspection.tokenizer.clone(), vocabulary: inspection.vocabulary },
            tensors: tensors.len(),
            parameters: tensors.iter().map(TensorInfo::elements).sum(),
            quantization: totals(&tensors),
            file_bytes: inspection.file_bytes,
            memory: None,
            supported: opened.is_ok(),
            reason: None,
            unused_tensors: Vec::new(),
            tensor_list: with_tensors.then(|| tensors.iter().map(TensorRow::new).collect()),
        };
        match opened {
            Ok(AnyModel::Embedder(embedder)) => info.complete_embedder(&embedder),
            Ok(AnyModel::Reranker(reranker)) => info.complete_reranker(&reranker),
            Ok(AnyModel::Expander(expander)) => info.complete_expander(&expander),
            Err(error) => info.reason = Some(error.to_string()),
        }
        info
    }

    fn complete_embedder(&mut self, embedder: &Embedder) {
        let settings = embedder.settings();
        self.dim = Some(settings.description.embedding_size as u64);
        self.pooling = Some(settings.pooling.name().to_owned());
        self.pooling_from = Some(from_name(settings.pooling_from));
        self.normalize = settings.description.normalize;
        let prompt = |prompt: &Prompt| settings.prompt(prompt).map(str::to_owned);
        self.prompts = Prompts {
            query: prompt(&Prompt::Query),
            document: prompt(&Prompt::Document),
            default: prompt(&Prompt::Default),
            named: settings.description.prompts.named.clone(),
        };
        self.tasks.clone_from(&settings.description.tasks);
        let packed = embedder.packed_bytes();
        self.complete(&settings.description, settings.max_length, embedder.tokenizer(), packed);
    }

    fn complete_reranker(&mut self, reranker: &Reranker) {
        let settings = reranker.settings();
        (self.pooling, self.pooling_from) = (None, None);
        self.scores = Some(match settings.description.scores {
            Some(ScoreKind::YesNo { .. }) => "probability of yes",
            _ => "logit, or its sigmoid",
        });
        self.instruction.clone_from(&settings.instruction);
        let packed = reranker.packed_bytes();
        self.complete(&settings.description, settings.max_length, reranker.tokenizer(), packed);
    }

    fn complete_expander(&mut self, expander: &Expander) {
        let settings = expander.settings();
        (self.pooling, self.pooling_from) = (None, None);
        self.writes = Some("lines that expand a query");
        let positions = settings.description.positions;
        self.complete(&settings.description, positions, expander.tokenizer(), expander.packed_bytes());
    }

    /// What an open model knows better than its headers.
    fn complete(
        &mut self,
        description: &Description,
        max_length: usize,
        tokenizer: &docent::tokenizer::Tokenizer,
        packed_bytes: usize,
    ) {
        self.name = Some(description.name.clone());
        self.architecture = Some(description.architecture.to_owned());
        self.max_length = Some(max_length);
        self.tokenizer =
            Tokenizer { kind: Some(tokenizer.kind().to_string()), vocabulary: Some(tokenizer.vocab_size() as u64) };
        self.unused_tensors.clone_from(&description.unused_tensors);
        let packed_weights = packed_bytes as u64;
        let workspace = workspace(description, max_length, default_threads());
        self.memory = Some(Memory {
            packed_weights,
            mapped_file: self.file_bytes,
            workspace,
            total: packed_weights + self.file_bytes + workspace,
        });
    }

    fn table(&self) -> Table {
        let mut table = Table::facts();
        let mut optional = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                table.fact(name, value);
            }
        };
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        optional("name", self.name.clone());
        optional("architecture", self.architecture.clone());
        optional("layers", number(self.layers));
        optional("dimensions", number(self.dim));
        optional("heads", number(self.heads));
        optional("feed-forward", number(self.feed_forward_size));
        optional("positions", number(self.positions));
        optional("max length", self.max_length.map(|length| count(length, "token")));
        optional("pooling", self.pooling_line());
        optional("scores", self.scores.map(str::to_owned));
        optional("writes", self.writes.map(str::to_owned));
        optional("instruction", self.instruction.as_ref().map(|text| format!("{text:?}")));
        optional("normalized", self.normalize.map(|yes| if yes { "yes" } else { "no" }.to_owned()));
        let quoted = |prompt: &Option<String>| prompt.as_ref().map(|prompt| format!("{prompt:?}"));
        optional("query prompt", quoted(&self.prompts.query));
        optional("document prompt", quoted(&self.prompts.document));
        optional("default prompt", quoted(&self.prompts.default));
        let names: Vec<&str> = self.prompts.named.keys().map(String::as_str).collect();
        optional("prompts", (!names.is_empty()).then(|| names.join(", ")));
        optional("adapters for", (!self.tasks.is_empty()).then(|| self.tasks.join(", ")));
        optional("tokenizer", self.tokenizer_line());
        let parts =
            self.quantization.iter().map(|part| format!("{} {} ({})", part.tensors, part.r#type, bytes(part.bytes)));
        let tensors = if self.tensors == 0 { "none".to_owned() } else { parts.collect::<Vec<_>>().join(", ") };
        optional("tensors", Some(tensors));
        optional("parameters", (self.parameters > 0).then(|| self.parameters.to_string()));
        optional("file", Some(format!("{}, {}", self.format, bytes(self.file_bytes))));
        optional("path", Some(self.path.clone()));
        optional("memory", self.memory.as_ref().map(Memory::line));
        if !self.unused_tensors.is_empty() {
            optional("unused tensors", Some(self.unused_tensors.join(", ")));
        }
        optional(
            "runs here",
            Some(match &self.reason {
                None => "yes".to_owned(),
                Some(reason) => format!("no: {reason}"),
            }),
        );
        table
    }

    fn pooling_line(&self) -> Option<String> {
        let source = match self.pooling_from? {
            "file" => "as the model's files say",
            "catalog" => "as the catalogue says",
            _ => "assumed: neither the files nor the catalogue say",
        };
        Some(format!("{} ({source})", self.pooling.as_deref()?))
    }

    fn tokenizer_line(&self) -> Option<String> {
        let Tokenizer { kind, vocabulary } = &self.tokenizer;
        match (kind, vocabulary) {
            (None, None) => None,
            (kind, None) => kind.clone(),
            (kind, Some(size)) => Some(format!("{}, {size} tokens", kind.as_deref().unwrap_or("unknown kind"))),
        }
    }
}

impl Memory {
    fn line(&self) -> String {
        format!(
            "about {}: {} of packed weights, {} of mapped file, up to {} of workspace",
            bytes(self.total),
            bytes(self.packed_weights),
            bytes(self.mapped_file),
            bytes(self.workspace)
        )
    }
}

impl TensorRow {
    fn new(tensor: &TensorInfo<'_>) -> Self {
        TensorRow {
            name: tensor.name.to_owned(),
            shape: tensor.shape.clone(),
            r#type: tensor.tensor_type.name(),
            bytes: tensor.bytes.len() as u64,
        }
    }
}

fn tensor_table(tensors: &[TensorRow]) -> Table {
    let mut table =
        Table::new(&[Column::Left("tensor"), Column::Left("shape"), Column::Left("type"), Column::Right("bytes")]);
    for TensorRow { name, shape, r#type, bytes } in tensors {
        let shape = shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
        table.row([name.clone(), shape, (*r#type).to_owned(), bytes.to_string()]);
    }
    table
}

/// The tensors by type, the most bytes first.
fn totals(tensors: &[TensorInfo<'_>]) -> Vec<TypeTotal> {
    let mut totals = BTreeMap::new();
    for tensor in tensors {
        let (tensors, bytes) = totals.entry(tensor.tensor_type).or_insert((0, 0));
        *tensors += 1;
        *bytes += tensor.bytes.len() as u64;
    }
    let mut totals: Vec<TypeTotal> =
        totals.into_iter().map(|(ty, (tensors, bytes))| TypeTotal { r#type: ty.name(), tensors, bytes }).collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.bytes));
    totals
}

/// The hidden states of a full batch in single precision: a layer's input, its three projections, the attention's output and
/// the inner row of the feed-forward block, for each token that is worked on at a time.
fn workspace(description: &Description, max_length: usize, threads: usize) -> u64 {
    /// Tokens that a thread takes at a time, and that all take together for a long text.
    const PER_THREAD: usize = 256;
    const TOGETHER: usize = 1024;
    let longest = max_length.max(1);
    let tokens = (threads * PER_THREAD.max(longest)).max(TOGETHER);
    let row = description.hidden_size.saturating_mul(5).saturating_add(description.feed_forward_size);
    (tokens.saturating_mul(row) as u64).saturating_mul(size_of::<f32>() as u64)
}

fn from_name(from: SettingFrom) -> &'static str {
    match from {
        SettingFrom::File => "file",
        SettingFrom::Catalog => "catalog",
        SettingFrom::Assumed => "assumed",
    }
}
