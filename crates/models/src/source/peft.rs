//! Low-rank adapters as the PEFT library saves them: a folder for each, with its settings and the factors of every weight it is for.
//!
//! jina-embeddings-v3 is published so for transformers 5, a folder for each task beside the model's files.
//! <https://huggingface.co/docs/peft/developer_guides/checkpoint>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_gguf::{TensorType, codec};
use docent_kernels::SharedBytes;
use serde_json::{Map, Value};

use super::tasks::Task;
use super::{Directory, HfName, LOW_RANK, Safetensors, TensorView};
use crate::Error;
use crate::arch::jina_bert_v3;
use crate::settings::HfConfig;
use crate::weights::SUPPORTED;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The adapter of a task.
pub(crate) struct PeftAdapter {
    /// The file with the factors.
    pub(crate) path: PathBuf,
    files: Safetensors,
    /// By GGUF name.
    factors: BTreeMap<String, Factor>,
    /// Names in the file that the architecture does not know.
    pub(super) unknown: Vec<String>,
}

enum Factor {
    /// The tensor of this name.
    InPlace(String),
    /// What the tensor of this name is when rows become columns, as `f32`: GGUF has it so.
    Turned { name: String, shape: [u64; 2], bytes: Arc<Vec<u8>> },
}

/// The tasks that there is a folder for beside the model's files, in the order of their names.
pub(super) fn tasks(directory: &Path) -> Result<Vec<Task>, Error> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut folders: Vec<String> = names.filter(|name| directory.join(name).join(CONFIG).is_file()).collect();
    folders.sort_unstable();
    let mut tasks: Vec<Task> = Vec::with_capacity(folders.len());
    for folder in folders {
        let file = directory.join(&folder).join(CONFIG);
        let fields: Map<String, Value> = Directory::new(&directory.join(&folder)).require_json(CONFIG)?;
        let alpha = alpha(&HfConfig { path: &file, fields: &fields })?;
        let name = jina_bert_v3::task_of_folder(&folder).to_owned();
        if let Some(other) = tasks.iter().find(|other| other.name == name) {
            let expected = format!("another task than that of {}", other.folder.as_deref().unwrap_or_default());
            return Err(Error::config(file, "the folder", expected, name));
        }
        tasks.push(Task { name, alpha, prompt: None, folder: Some(folder) });
    }
    Ok(tasks)
}

/// The factor of what the adapter adds, times the rank; an error if it adds it otherwise than `LoRA` does (Hu et al., arXiv:2106.09685).
fn alpha(config: &HfConfig<'_>) -> Result<f32, Error> {
    let kind = config.string(&["peft_type"])?.unwrap_or("LORA");
    if kind != "LORA" {
        return Err(config.error("peft_type", "\"LORA\"", format!("{kind:?}")));
    }
    for field in ["use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out"] {
        if config.bool(field)?.unwrap_or(false) {
            return Err(config.error(field, "false", "true"));
        }
    }
    if let Some(found) = config.string(&["bias"])?.filter(|&bias| bias != "none") {
        return Err(config.error("bias", "\"none\"", format!("{found:?}")));
    }
    for field in ["rank_pattern", "alpha_pattern"] {
        if config.object(field)?.is_some_and(|pattern| !pattern.fields.is_empty()) {
            return Err(config.error(field, "the same for all weights", "a pattern"));
        }
    }
    if let Some(found) = config.strings("modules_to_save")?.filter(|modules| !modules.is_empty()) {
        return Err(config.error("modules_to_save", "no weights beside the factors", format!("{found:?}")));
    }
    let rank = config.size(&["r"])?;
    let alpha = config.float(&["lora_alpha"])?.unwrap_or(8.0);
    // Rank-stabilised (Kalajdzievski, arXiv:2312.03732): divided by the root of the rank.
    let alpha = if config.bool("use_rslora")?.unwrap_or(false) { alpha * (rank as f64).sqrt() } else { alpha };
    let single = alpha as f32;
    if rank == 0 || !single.is_finite() || single == 0.0 {
        return Err(config.error(
            "lora_alpha",
            "a finite number, not 0, and a rank from 1 on",
            format!("{alpha}, {rank}"),
        ));
    }
    Ok(single)
}

impl PeftAdapter {
    /// Opens what is in a task's folder; `rename` gives the GGUF name of a tensor of the model.
    pub(crate) fn open(folder: &Path, rename: fn(&str) -> HfName) -> Result<Self, Error> {
        let path = folder.join(WEIGHTS);
        let files = Safetensors::open(&path)?;
        let mut adapter = PeftAdapter { path, files, factors: BTreeMap::new(), unknown: Vec::new() };
        let names: Vec<String> = adapter.files.names().map(str::to_owned).collect();
        for name in names {
            adapter.add(name, rename)?;
        }
        Ok(adapter)
    }

    fn add(&mut self, name: String, rename: fn(&str) -> HfName) -> Result<(), Error> {
        let inner = name.strip_prefix("base_model.model.").unwrap_or(&name);
        let ends = [
            (".lora_A.weight", 0, false),
            (".lora_B.weight", 1, false),
            (".lora_embedding_A", 0, true),
            (".lora_embedding_B", 1, true),
        ];
        let found =
            ends.into_iter().find_map(|(end, side, embedding)| Some((inner.strip_suffix(end)?, side, embedding)));
        let named = found.map(|(stem, side, embedding)| (rename(&format!("{stem}.weight")), side, embedding));
        let Some((HfName::Gguf(weight), side, embedding)) = named else {
            self.unknown.push(name);
            return Ok(());
        };
        // A pooler that embeddings do without.
        if weight.starts_with("cls.") {
            return Ok(());
        }
        // Of an embedding, GGUF has a row for each token, and for segments it exchanges the factors.
        let (side, turned) = match (embedding, weight == "token_types.weight") {
            (false, _) => (side, false),
            (true, true) => (1 - side, true),
            (true, false) => (side, side == 0),
        };
        let factor = if turned { self.turned(&name)? } else { Factor::InPlace(name.clone()) };
        if let Some(other) = self.factors.insert(format!("{weight}{}", LOW_RANK[side]), factor) {
            return Err(Error::SameTensor { path: self.path.clone(), one: other.name().to_owned(), other: name });
        }
        Ok(())
    }

    /// A tensor with its rows as columns.
    fn turned(&self, name: &str) -> Result<Factor, Error> {
        let misshapen = |found: &[u64]| Error::Shape {
            path: self.path.clone(),
            name: name.to_owned(),
            expected: vec![0, 0],
            found: found.to_vec(),
        };
        let tensor = self.files.tensor(name).ok_or_else(|| misshapen(&[]))?;
        let [rows, columns] = tensor.shape[..] else { return Err(misshapen(&tensor.shape)) };
        // Of a tensor in memory.
        let (r, c) = (rows as usize, columns as usize);
        let mut values = vec![0.0; r * c];
        codec::dequantize(tensor.ty, tensor.bytes, &mut values).map_err(|_| Error::TensorType {
            path: self.path.clone(),
            name: name.to_owned(),
            found: tensor.ty,
            supported: SUPPORTED,
        })?;
        let bytes =
            (0..c).flat_map(|column| (0..r).map(move |row| row * c + column)).flat_map(|i| values[i].to_le_bytes());
        Ok(Factor::Turned { name: name.to_owned(), shape: [columns, rows], bytes: Arc::new(bytes.collect()) })
    }

    /// GGUF names of all factors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.factors.keys().map(String::as_str)
    }

    /// The factor of a GGUF name.
    pub(crate) fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self.factors.get(name)? {
            Factor::InPlace(name) => self.files.tensor(name),
            Factor::Turned { name, shape, bytes } => {
                Some(TensorView { name, shape: shape.to_vec(), ty: TensorType::F32, bytes, plus_one: false })
            }
        }
    }

    /// Its bytes, kept alive on their own.
    pub(super) fn shared_bytes(&self, name: &str) -> Option<SharedBytes> {
        match self.factors.get(name)? {
            Factor::InPlace(name) => self.files.shared_bytes(name),
            Factor::Turned { bytes, .. } => Some(SharedBytes::new(Arc::clone(bytes) as _, 0..bytes.len())),
        }
    }
}

impl Factor {
    fn name(&self) -> &str {
        match self {
            Factor::InPlace(name) | Factor::Turned { name, .. } => name,
        }
    }
}
