//! The tasks that a model has adapters for, and the files that have them.
//!
//! A Hugging Face directory names its tasks in config.json and keeps the factors of all of them in one tensor each, a task after the other, or has a
//! folder for each task ([`peft`]). A GGUF file has the base model alone; the adapter of each task is a file of its own that llama.cpp's converter puts beside it, named
//! `lora-<task>-<name of the model's file>`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_gguf::{Gguf, Metadata};

use super::peft;
use crate::Error;
use crate::arch::jina_bert_v3;
use crate::quantize::FileType;
use crate::settings::HfConfig;

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// The factor of what the adapters add, times the rank.
    pub(crate) alpha: f32,
    /// What texts begin with, if the files say so.
    pub(crate) prompt: Option<String>,
    /// The folder with its adapter, if it has one of its own beside the model's files.
    pub(crate) folder: Option<String>,
}

/// The adapter of a task in a GGUF file of its own.
pub(crate) struct AdapterFile {
    pub(crate) path: PathBuf,
    pub(crate) gguf: Arc<Gguf>,
    pub(crate) task: Task,
}

impl Task {
    /// Those of a Hugging Face directory with this config.json.
    pub(crate) fn of_directory(directory: &Path, config: &HfConfig<'_>) -> Result<Vec<Self>, Error> {
        // No other architecture is published with such folders.
        let of_folders = match (jina_bert_v3::ARCHITECTURE.recognises)(config)? {
            true => peft::tasks(directory)?,
            false => Vec::new(),
        };
        if of_folders.is_empty() { Self::of_config(config) } else { Ok(of_folders) }
    }

    /// Those of a config.json.
    fn of_config(config: &HfConfig<'_>) -> Result<Vec<Self>, Error> {
        let field = "lora_adaptations";
        let Some(names) = config.strings(field)? else { return Ok(Vec::new()) };
        let alpha = config.float(&["lora_alpha"])?.unwrap_or(1.0) as f32;
        if !alpha.is_finite() {
            return Err(config.error("lora_alpha", "a finite number", alpha));
        }
        let prompts = config.object("task_instructions")?;
        let mut tasks: Vec<Task> = Vec::with_capacity(names.len());
        for name in names {
            if !names_a_file(name) {
                return Err(config.error(field, NO_FOLDER, format!("{name:?}")));
            }
            if tasks.iter().any(|task| task.name == name) {
                return Err(config.error(field, "the name of each task once", format!("{name:?} again")));
            }
            let prompt = match &prompts {
                Some(prompts) => prompts.string(&[name])?.map(str::to_owned),
                None => None,
            };
            tasks.push(Task { name: name.to_owned(), alpha, prompt, folder: None });
        }
        Ok(tasks)
    }
}

const NO_FOLDER: &str = "names of tasks without / and \\";

/// Whether a task's name can be a part of a file's, and not of a path.
fn names_a_file(task: &str) -> bool {
    !task.contains(['/', '\\'])
}

/// The adapter files beside a model's file.
pub(crate) fn beside(model: &Path, metadata: Metadata<'_>) -> Result<Vec<AdapterFile>, Error> {
    // No other architecture is published with such files.
    let architecture = jina_bert_v3::ARCHITECTURE.name;
    if metadata.str("general.architecture")? != Some(architecture) {
        return Ok(Vec::new());
    }
    let mut files: Vec<AdapterFile> = Vec::new();
    for path in paths_beside(model) {
        let file = AdapterFile::open(path, architecture)?;
        if let Some(other) = files.iter().find(|other| other.task.name == file.task.name) {
            let expected = format!("another task than that of {}", other.path.display());
            return Err(Error::config(file.path, "adapter.lora.task_name", expected, file.task.name));
        }
        files.push(file);
    }
    Ok(files)
}

impl AdapterFile {
    pub(crate) fn open(path: PathBuf, architecture: &str) -> Result<Self, Error> {
        let gguf = Gguf::open(&path)?;
        let metadata = gguf.metadata();
        let expected = [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", architecture)];
        for (key, expected) in expected {
            let found = metadata.require_str(key)?;
            if found != expected {
                return Err(Error::config(path, key, expected, found));
            }
        }
        let name = metadata.require_str("adapter.lora.task_name")?.to_owned();
        if !names_a_file(&name) {
            return Err(Error::config(path, "adapter.lora.task_name", NO_FOLDER, format!("{name:?}")));
        }
        let alpha = metadata.f32("adapter.lora.alpha")?.unwrap_or(0.0);
        if !alpha.is_finite() {
            return Err(Error::config(path, "adapter.lora.alpha", "a finite number", alpha.to_string()));
        }
        let prompt = metadata.str("adapter.lora.prompt_prefix")?.map(str::to_owned);
        Ok(AdapterFile { path, task: Task { name, alpha, prompt, folder: None }, gguf: Arc::new(gguf) })
    }
}

/// The name of the file that a task's adapter has beside a model's.
pub(crate) fn file_name(task: &str, model: &OsStr) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from(format!("lora-{task}-"));
    name.push(model);
    name
}

fn paths_beside(model: &Path) -> Vec<PathBuf> {
    let Some(name) = model.file_name().and_then(OsStr::to_str) else { return Vec::new() };
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    adapter_files(name, names.iter().map(String::as_str)).into_iter().map(|name| folder.join(name)).collect()
}

/// Those of the files `names` that are adapters of the model in the GGUF file `model`, which is in the same folder: named after it, in order; if
/// there are none, after the same model in another number format: adapters are published once, whatever the model's own files are
/// quantised to.
pub fn adapter_files<'n>(model: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let mut names: Vec<&str> = names.into_iter().filter(|name| is_adapter_file(name)).collect();
    names.sort_unstable();
    let end = format!("-{model}");
    let named_after: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(&end)).collect();
    if !named_after.is_empty() {
        return named_after;
    }
    let end = format!("-{}", without_format(model));
    names.into_iter().filter(|name| without_format(name).ends_with(&end)).collect()
}

/// Whether a file is, by its name, no model but what a task adds to one.
pub fn is_adapter_file(name: &str) -> bool {
    name.starts_with("lora-") && name.ends_with(".gguf")
}

/// A file's name without extension, place in a split set and number format: `jina-v3` of `jina-v3-Q8_0.gguf`.
fn without_format(name: &str) -> &str {
    let mut stem = name.strip_suffix(".gguf").unwrap_or(name);
    if let Some((rest, _)) = stem.rsplit_once("-of-")
        && let Some((rest, part)) = rest.rsplit_once('-')
        && part.parse::<u16>().is_ok()
    {
        stem = rest;
    }
    match stem.rsplit_once(['-', '.']) {
        Some((rest, format)) if format.parse::<FileType>().is_ok() => rest,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_formats_are_no_part_of_a_models_name() {
        for name in ["jina-v3-Q8_0.gguf", "jina-v3.f16.gguf", "jina-v3.gguf", "jina-v3-Q4_K_M-00001-of-00003.gguf"] {
            assert_eq!(without_format(name), "jina-v3", "{name}");
        }
        assert_eq!(without_format("a-of-b.gguf"), "a-of-b");
    }

    #[test]
    fn files_are_found_by_the_whole_name_or_else_by_the_models() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let found = |name: &str| -> Vec<String> {
            let paths = paths_beside(&folder.path().join(name)).into_iter();
            paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        for name in [
            "m-f16.gguf",
            "m-q8_0.gguf",
            "other.gguf",
            "lora-b-m-f16.gguf",
            "lora-a.b-m-f16.gguf",
            "lora-a-mm-f16.gguf",
        ] {
            put(name);
        }
        assert_eq!(found("m-f16.gguf"), ["lora-a.b-m-f16.gguf", "lora-b-m-f16.gguf"]);
        assert_eq!(found("m-q8_0.gguf"), ["lora-a.b-m-f16.gguf", "lora-b-m-f16.gguf"]);
        assert_eq!(found("other.gguf"), [""; 0]);
        put("lora-b-m-q8_0.gguf");
        assert_eq!(found("m-q8_0.gguf"), ["lora-b-m-q8_0.gguf"]);
    }
}
