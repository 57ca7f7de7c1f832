//! A Hugging Face directory as a GGUF file.
//!
//! The result is the file that llama.cpp's converter writes from the same directory: the same metadata keys in the same
//! order with values of the same types, the same tensor names, and the same bytes in every tensor. Anything that reads its
//! files reads these.
//!
//! # What is read
//!
//! | file | for |
//! |---|---|
//! | `config.json` | architecture and settings |
//! | `model.safetensors`, or shards with `model.safetensors.index.json` | weights in F64, F32, F16 or BF16 |
//! | `tokenizer.json`, `vocab.txt`, `tokenizer.model` or `sentencepiece.bpe.model` | vocabulary |
//! | `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja` | special tokens, chat templates |
//! | `modules.json` and the folders it names | pooling and the matrices after it; without it the file names no pooling |
//! | `README.md` | licence, languages, origins, from its front matter |
//!
//! Every architecture that can be run can be converted: its own file states the settings by GGUF's keys and the names of its tensors. A
//! repository by the name of Qwen3-Reranker becomes a classifier of the rows of yes and no, and one that says which tokens answer (`LogitScore` of
//! sentence-transformers) a classifier of theirs, with the prompt of its chat template: under llama.cpp's key, and under one of our own
//! with a place for an instruction.
//!
//! # What is written
//!
//! [`OutputType`] is the type of the matrices. Biases, norms, position and token type embeddings stay F32 in every file. In
//! a `Q8_0` file, a matrix whose rows are no multiple of 32 becomes F16; [`Report::fallbacks`] names it.
//!
//! Of a table of token vectors the whole `tokenizer.json` stands in the file, but for what would put tokens around texts, under
//! `tokenizer.huggingface.json`. One whose tokens share rows is refused: the format has no place for it.
//!
//! In these the file differs from that of llama.cpp's converter, each time so that readers compute what the model does:
//!
//! - BERT's pooler is written as `cls.weight` and `cls.bias` beside a classifier. The converter leaves it out, and scores come out as
//!   others than the model's. A file of an embedding model, which does not need it, is written without.
//! - `add_space_prefix` and `remove_extra_whitespaces` are what a Unigram `tokenizer.json` does; the converter writes false.
//! - A tokenizer of SentencePiece's kind that comes without `tokenizer.model` has scores by the order of its merges, not all the same.
//! - `Qwen3ForSequenceClassification` is converted, Llama's pooling and Mistral's window are named, Gemma's matrices after pooling are in
//!   the file without being asked for, and so are the dense layers of other models, which Docent alone reads.
//!
//! Nothing is lost in silence. The length limit and the prompts of sentence-transformers, for which GGUF has no keys, are in
//! [`Report::settings_lost`]. What else the format has no place for is refused (a pooling mode without a number, relative positions, a
//! module that the architecture does not read), and what is left out on purpose is in [`Report::dropped`]: heads used in pre-training,
//! buffers. [`Report::pooler_lost`] tells of the rerankers whose scores only Docent takes from the file: DistilBERT's and ELECTRA's, whose
//! classifier has another activation, which stands under a key of our own. Before the file has its name, it is opened as a model would be: what Docent cannot load is not left behind.
//!
//! The tasks of jina-embeddings-v3 are files of their own beside the model's, named `lora-TASK-OUT`, as llama.cpp's converter names them
//! and as [`Model::open`](crate::Model::open) finds them; [`Report::adapters`] lists them.
//!
//! Every weight is checked to be finite on the way. Memory stays below a few MiB plus the vocabulary, whatever the size of
//! the model. The output appears under its name whole, or not at all, and an existing file is replaced only on demand.
//!
//! ```no_run
//! use docent_models::convert::{self, OutputType};
//! use std::path::Path;
//!
//! let report = convert::convert(Path::new("all-MiniLM-L6-v2"), Path::new("minilm-q8_0.gguf"), OutputType::Q8_0, &mut |p| {
//!     eprintln!("{} of {}: {}", p.index + 1, p.count, p.tensor);
//! })?;
//! println!("{} parameters in {} bytes", report.parameters, report.bytes);
//! # Ok::<(), convert::Error>(())
//! ```

mod adapters;
mod card;
mod error;
#[cfg(test)]
mod families;
mod general;
mod json;
mod model;
mod naming;
mod plan;
mod reranker;
mod source;
#[cfg(test)]
mod tests;
mod values;
pub(crate) mod vocabulary;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use docent_gguf::{TensorType, Writer};

use crate::directory_tokenizer;
use crate::keys::Keys;
use crate::repository::Repository;
use crate::source::Directory;
use card::Card;
use general::General;
use json::Document;
use model::{Head, Model};
use plan::Plan;
use source::Source;
use vocabulary::Vocabulary;

pub use error::Error;

/// The type of the matrices in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputType {
    /// Single precision, 4 bytes a weight.
    F32,
    /// Half precision, 2 bytes a weight.
    F16,
    /// The upper half of single precision, 2 bytes a weight.
    BF16,
    /// 8-bit integers with a scale for each 32, 1.06 bytes a weight.
    Q8_0,
}

impl OutputType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0];

    /// The name on the command line: `f32`, `f16`, `bf16`, `q8_0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 => TensorType::Q8_0,
        }
    }

    /// The value of `general.file_type`.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::BF16 => 32,
        }
    }
}

impl fmt::Display for OutputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OutputType {
    type Err = String;

    /// Reads a name in upper or lower case.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("expected f32, f16, bf16 or q8_0, found `{name}`"))
    }
}

/// How a conversion is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The type of the matrices.
    pub output_type: OutputType,
    /// Whether a file at the output path may be replaced.
    pub overwrite: bool,
    /// The value of `general.name`; `None` takes it from the model card, the configuration or the folder.
    pub name: Option<String>,
}

impl Options {
    /// Options for a type: do not overwrite, find the name.
    #[must_use]
    pub fn new(output_type: OutputType) -> Self {
        Self { output_type, overwrite: false, name: None }
    }
}

/// How far a conversion is, before each tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The tensor about to be written.
    pub tensor: &'a str,
    /// Its place, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Bytes of tensor data written so far.
    pub written_bytes: u64,
    /// Bytes of tensor data in the whole file.
    pub total_bytes: u64,
}

/// What was written and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tensors in the file.
    pub tensors: usize,
    /// Weights in the file.
    pub parameters: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Names of the tensors of the source that have no part in the file.
    pub dropped: Vec<String>,
    /// Tensors that are F16 in a `Q8_0` file.
    pub fallbacks: Vec<String>,
    /// The model scores pairs through a layer that other readers of the file do not know: the scores that they make of it are not the model's.
    pub pooler_lost: bool,
    /// Files that were written beside it: the adapter of each task that the model has some for.
    pub adapters: Vec<PathBuf>,
    /// Settings of the source that GGUF has no key for, in words: a length limit below the position limit, prompts.
    pub settings_lost: Vec<String>,
}

/// Converts the model in `hf_dir` to a GGUF file at `out`, which must not exist. `on_tensor` is called before each tensor.
///
/// # Errors
///
/// [`Error`] names the file, the place and what was expected there. Nothing is at `out` then.
pub fn convert(
    hf_dir: &Path,
    out: &Path,
    output_type: OutputType,
    on_tensor: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, Error> {
    convert_with(hf_dir, out, &Options::new(output_type), on_tensor)
}

/// [`convert`] with all [`Options`].
///
/// # Errors
///
/// As [`convert`]; with [`Options::overwrite`], a file that was at `out` before is still there.
pub fn convert_with(
    hf_dir: &Path,
    out: &Path,
    options: &Options,
    on_tensor: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, Error> {
    if !options.overwrite && out.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: out.to_owned() });
    }
    let repository = Repository::read(hf_dir)?;
    let document = Document::of_config(&repository.config());
    let ty = options.output_type;
    let model = Model::read(hf_dir, &repository, &document)?;
    if !options.overwrite
        && let Some(path) = adapters::paths(&model, out).into_iter().find(|path| path.symlink_metadata().is_ok())
    {
        return Err(Error::Exists { path });
    }
    let mut source = Source::open(model.folder)?;
    for module in &model.modules.weights {
        source.add_module(hf_dir, &module.folder)?;
    }
    if model.modules.do_lower_case {
        model.modules.check_case(Directory::new(hf_dir), &directory_tokenizer(model.folder)?)?;
    }
    let plan = Plan::new(&model, &source, ty)?;
    if write::runs_as_it_is(&plan) {
        write::check_directory(&model)?;
    }
    let vocabulary = Vocabulary::read(&model, &plan)?;
    let card = Card::load(hf_dir);
    let general = General::gather(hf_dir, &document.value, &card, options.name.as_deref(), plan.parameters());

    let mut keys = Keys::default();
    keys.text("general.architecture", model.architecture.name);
    general.write(&mut keys);
    model.write(&mut keys, ty, &plan)?;
    keys.u32("general.quantization_version", 2);
    let mut settings_lost = vocabulary.lost.clone();
    vocabulary.write(&mut keys);

    let mut writer = Writer::new();
    keys.add_to(&mut writer)?;
    plan.describe(&mut writer)?;
    let file = plan.save(&model, &writer, out, on_tensor)?;
    let beside = adapters::save(&model, &plan, &file, out)?;
    let mut adapters = Vec::with_capacity(beside.len());
    for (file, path) in beside {
        file.commit(&path)?;
        adapters.push(path);
    }
    // Last, so that a model under its name is whole.
    file.commit(out)?;

    settings_lost.extend(modules_lost(&model, &plan)?);
    if plan.expert_bias_lost {
        settings_lost.push("the bias that the experts of a layer share".to_owned());
    }
    Ok(Report {
        tensors: plan.tensors.len(),
        parameters: plan.parameters(),
        bytes: writer.n_bytes(),
        fallbacks: plan.fallbacks(ty),
        pooler_lost: plan.head == Head::Classifier && plan.rows("cls.output.weight") == 1 && model.scores_differ(),
        dropped: plan.dropped,
        adapters,
        settings_lost,
    })
}

/// The settings of a sentence-transformers repository that the file cannot carry.
fn modules_lost(model: &Model<'_>, plan: &Plan<'_>) -> Result<Vec<String>, Error> {
    let positions = model.settings().size("context_length")?;
    let limit = model.modules.max_seq_length.filter(|&limit| limit < positions);
    let limit = limit.map(|limit| format!("a limit of {limit} tokens"));
    // Prompts of tasks stand in the files of their adapters.
    let adapted = adapters::adapts(model, plan);
    let of_task = |name: &String| adapted && model.tasks.iter().any(|task| task.name == *name);
    let prompts = model.modules.prompts.named.iter().filter(|(name, prompt)| !prompt.is_empty() && !of_task(name));
    Ok(limit.into_iter().chain(prompts.map(|(name, prompt)| format!("the prompt {name} = {prompt:?}"))).collect())
}
