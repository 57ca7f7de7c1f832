//! Which tensors are written, under which names, made of what.

use std::collections::{BTreeMap, HashSet};

use docent_gguf::TensorType;

use super::adapters::Factor;
use super::model::{Head, Model};
use super::reranker;
use super::source::{RawTensor, Source};
use super::values::{Rows, Values};
use super::{Error, OutputType};
use crate::arch::bert::POSITIONS_SKIPPED;
use crate::arch::nomic_bert::SHARED_BIAS;
use crate::blocks::position;
use crate::sentence_transformers::name_in_module;
use crate::source::{HfName, LOW_RANK};

/// The tensors to be written, in order.
pub(super) struct Plan<'a> {
    pub(super) tensors: Vec<Planned<'a>>,
    /// Names of the tensors that are left out.
    pub(super) dropped: Vec<String>,
    pub(super) head: Head,
    /// What tasks add to the weights; it goes into files of their own.
    pub(super) factors: Vec<Factor<'a>>,
    /// Whether the experts of a layer share a bias that the file has no place for.
    pub(super) expert_bias_lost: bool,
}

pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) ty: TensorType,
    pub(super) values: Values<'a>,
}

/// Architectures whose files keep the rows of queries and keys so that positions turn neighbouring ones.
const INTERLEAVED: [&str; 2] = ["llama", "llama-embed"];

impl<'a> Plan<'a> {
    /// Names and types every tensor of the source.
    pub(super) fn new(model: &Model<'_>, source: &'a Source, ty: OutputType) -> Result<Self, Error> {
        let (tensors, dropped, factors) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Self { tensors, dropped, factors, head: Head::None, expert_bias_lost: false };
        let answers = reranker::answers(model)?;
        let has_classifier = source.tensors().any(|t| is_classifier(model, t.view.name));
        let mut seen = HashSet::new();
        if let Some(factors) = rotary_factors(model)? {
            let values = Values::Computed { shape: vec![factors.len() as u64], values: factors };
            plan.push("rope_freqs.weight".to_owned(), values, ty);
        }
        for tensor in source.tensors() {
            let (name, plus_one) = match named(model, tensor.view.name) {
                // Other readers refuse a tensor that GGUF has no name for.
                HfName::Gguf(name) if name.ends_with(SHARED_BIAS) => {
                    plan.expert_bias_lost = true;
                    plan.dropped.push(tensor.view.name.to_owned());
                    continue;
                }
                HfName::Gguf(name) if LOW_RANK.iter().any(|end| name.ends_with(end)) => {
                    if model.tasks.is_empty() {
                        return Err(unknown(model, &tensor));
                    }
                    plan.factors.push(Factor::new(name, tensor, model.tasks.len())?);
                    continue;
                }
                HfName::Gguf(name) => (name, false),
                HfName::GgufPlusOne(name) => (name, true),
                HfName::Unused => {
                    plan.dropped.push(tensor.view.name.to_owned());
                    continue;
                }
                HfName::Unknown => return Err(unknown(model, &tensor)),
            };
            // The pooler of a model that does not classify is of no use; where another layer takes its place, it was not trained.
            if is_pooler(tensor.view.name) && (!has_classifier || seen.contains(&name)) {
                plan.dropped.push(tensor.view.name.to_owned());
                continue;
            }
            if !seen.insert(name.clone()) {
                let (file, source) = (tensor.file.to_owned(), tensor.view.name.to_owned());
                return Err(Error::Ambiguous { file, name: source, target: name });
            }
            tensor.check_type(model.modules.is_table)?;
            if let Some(answers) = &answers
                && name == answers.matrix
            {
                let rows = answers.rows(&tensor)?;
                let again = source.again(&tensor).ok_or_else(|| unknown(model, &tensor))?;
                let values = Values::Tensor { source: again, rows: Rows::Chosen(rows), plus_one: false };
                plan.push("cls.output.weight".to_owned(), values, ty);
                plan.head = answers.head();
                if name == "output.weight" {
                    // All that is ever read of it are these rows.
                    plan.dropped.push(tensor.view.name.to_owned());
                    continue;
                }
            }
            let rows = rows_of(model, &name, &tensor)?;
            plan.push(name, Values::Tensor { source: tensor, rows, plus_one }, ty);
        }
        if plan.head == Head::None && plan.get("cls.output.weight").is_some() {
            plan.head = Head::Classifier;
        }
        if let Some(answers) = answers.filter(|_| plan.head == Head::None && model.modules.answers.is_some()) {
            let (path, name) = (model.dir.to_owned(), answers.matrix.to_owned());
            let expected = vec![0, model.settings().size("embedding_length")? as u64];
            return Err(crate::Error::MissingTensor { path, name, expected }.into());
        }
        plan.check_shapes(model)?;
        plan.check_biases(model)?;
        Ok(plan)
    }

    fn push(&mut self, name: String, values: Values<'a>, ty: OutputType) {
        let ty = stored_type(&name, &values.shape(), ty);
        self.tensors.push(Planned { name, ty, values });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Planned<'a>> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Number of weights.
    pub(super) fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.values.elements()).sum()
    }

    /// Rows of a matrix, 0 if there is none of the name.
    pub(super) fn rows(&self, name: &str) -> u64 {
        self.get(name).and_then(|t| t.values.shape().first().copied()).unwrap_or(0)
    }

    /// Inputs and outputs of the modules after pooling, by the stems of their names.
    pub(super) fn dense_sizes(&self) -> Vec<(&str, [u32; 2])> {
        let modules = self.tensors.iter().filter(|t| t.name.starts_with("dense_"));
        let sizes = modules.filter_map(|t| {
            let [outputs, inputs] = t.values.shape()[..] else { return None };
            let sizes = [u32::try_from(inputs).ok()?, u32::try_from(outputs).ok()?];
            Some((t.name.strip_suffix(".weight")?, sizes))
        });
        sizes.collect()
    }

    /// Tensors that could not have the type asked for, because their rows are no multiple of its block.
    pub(super) fn fallbacks(&self, ty: OutputType) -> Vec<String> {
        let other = |t: &&Planned<'_>| ty == OutputType::Q8_0 && t.ty == TensorType::F16;
        self.tensors.iter().filter(other).map(|t| t.name.clone()).collect()
    }

    /// Checks the numbers of rows that config.json states and an architecture takes from the tensors.
    fn check_shapes(&self, model: &Model<'_>) -> Result<(), Error> {
        let stated = |key: &str| model.document.get(key).and_then(serde_json::Value::as_u64);
        let labels = (self.head == Head::Classifier).then_some(model.labels.len() as u64);
        for (name, rows) in [
            ("token_embd.weight", stated("vocab_size")),
            ("token_types.weight", stated("type_vocab_size")),
            ("cls.output.weight", labels),
        ] {
            let Some((tensor, rows)) = self.get(name).zip(rows) else { continue };
            let found = tensor.values.shape();
            if found.first() != Some(&rows)
                && let Values::Tensor { source, .. } = &tensor.values
            {
                let expected = std::iter::once(rows).chain(found.iter().skip(1).copied()).collect();
                let (file, name) = (source.file.to_owned(), source.view.name.to_owned());
                return Err(Error::Shape { file, name, expected, found });
            }
        }
        Ok(())
    }

    /// A linear layer may have a bias or none, but one that has it in some layers has it in all.
    fn check_biases(&self, model: &Model<'_>) -> Result<(), Error> {
        let part =
            |name: &str| name.strip_prefix("blk.").and_then(|n| n.split_once('.')).map(|(_, part)| part.to_owned());
        let mut biases: BTreeMap<String, &Planned<'_>> = BTreeMap::new();
        for tensor in &self.tensors {
            if let Some(stem) = part(&tensor.name).as_deref().and_then(|part| part.strip_suffix(".bias")) {
                biases.insert(stem.to_owned(), tensor);
            }
        }
        let names: HashSet<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        let missing = self.tensors.iter().find_map(|tensor| {
            let stem = tensor.name.strip_suffix(".weight")?;
            let bias = biases.get(&part(stem)?)?;
            let name = format!("{stem}.bias");
            (!names.contains(name.as_str())).then(|| (name, bias.values.shape()))
        });
        match missing {
            Some((name, expected)) => {
                Err(crate::Error::MissingTensor { path: model.dir.to_owned(), name, expected }.into())
            }
            None => Ok(()),
        }
    }
}

/// The GGUF name of a tensor of the model or of a module that follows it.
fn named(model: &Model<'_>, name: &str) -> HfName {
    name_in_module(&model.modules.weights, name).unwrap_or_else(|| (model.architecture.gguf_name)(name))
}

fn is_pooler(name: &str) -> bool {
    name.contains("pooler.dense.")
}

fn is_classifier(model: &Model<'_>, name: &str) -> bool {
    matches!(named(model, name), HfName::Gguf(name) if name == "cls.output.weight")
}

fn unknown(model: &Model<'_>, tensor: &RawTensor<'_>) -> Error {
    let (file, name) = (tensor.file.to_owned(), tensor.view.name.to_owned());
    Error::UnknownTensor { file, name, architecture: model.architecture.name }
}

/// Which rows of the source's tensor the file has, in which order.
fn rows_of(model: &Model<'_>, name: &str, tensor: &RawTensor<'_>) -> Result<Rows, Error> {
    let settings = model.settings();
    let skipped = settings.optional_size(POSITIONS_SKIPPED)?.unwrap_or(0) as u64;
    if name == "position_embd.weight" && skipped > 0 {
        let found = tensor.view.shape.first().copied().unwrap_or(0);
        if found <= skipped {
            let expected = format!("more than {skipped} positions");
            return Err(crate::Error::config(tensor.file, tensor.view.name, expected, found.to_string()).into());
        }
        return Ok(Rows::From(skipped));
    }
    let part = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or("", |(_, part)| part);
    if let (Some(turned), [rows, _]) = (experts_turned(part), &tensor.view.shape[..]) {
        let count = settings.size("expert_count")? as u64;
        if count == 0 || !rows.is_multiple_of(count) {
            let expected = format!("as many rows for each of {count} experts");
            return Err(crate::Error::config(tensor.file, tensor.view.name, expected, rows.to_string()).into());
        }
        return Ok(if turned { Rows::OfExpertsTurned { count } } else { Rows::OfExperts { count } });
    }
    let heads = match part.split_once('.') {
        Some(("attn_q", _)) => settings.uniform_size("attention.head_count")?,
        Some(("attn_k", _)) => match settings.uniform_size("attention.head_count_kv")? {
            Some(heads) => Some(heads),
            None => settings.uniform_size("attention.head_count")?,
        },
        _ => None,
    };
    let Some(heads) = heads.filter(|_| INTERLEAVED.contains(&model.architecture.name)) else {
        return Ok(Rows::From(0));
    };
    let (rows, heads) = (tensor.view.shape.first().copied().unwrap_or(0), heads as u64);
    if heads == 0 || rows == 0 || !rows.is_multiple_of(2 * heads) {
        let expected = format!("an even number of rows for each of {heads} heads");
        return Err(crate::Error::config(tensor.file, tensor.view.name, expected, rows.to_string()).into());
    }
    Ok(Rows::Interleaved { heads })
}

/// Whether this part of a layer has the matrices of all experts, and whether checkpoints keep them turned.
fn experts_turned(part: &str) -> Option<bool> {
    match part {
        "ffn_up_exps.weight" => Some(false),
        "ffn_down_exps.weight" => Some(true),
        _ => None,
    }
}

/// The stretching of positions that only tensors can say.
fn rotary_factors(model: &Model<'_>) -> Result<Option<Vec<f32>>, Error> {
    let settings = model.settings();
    let (Some(dims), Some(base)) = (settings.optional_size("attention.key_length")?, settings.float("rope.freq_base")?)
    else {
        return Ok(None);
    };
    Ok(position::factors(&settings, dims.min(1 << 16), base)?)
}

/// Vectors, norms, positions and token types stay in single precision: they are small, and every reader expects it. What
/// remains gets the type asked for, or F16 where a row is no whole number of blocks.
fn stored_type(name: &str, shape: &[u64], ty: OutputType) -> TensorType {
    let single = shape.len() <= 1
        || name.ends_with("_norm.weight")
        || !name.ends_with(".weight")
        || name.ends_with(".ffn_gate_inp.weight")
        || matches!(name, "position_embd.weight" | "token_types.weight" | "relative_embd.weight");
    if single {
        return TensorType::F32;
    }
    let wanted = ty.tensor_type();
    let whole = shape.last().is_some_and(|row| row.is_multiple_of(wanted.block_elements() as u64));
    if whole { wanted } else { TensorType::F16 }
}
