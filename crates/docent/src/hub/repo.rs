//! What a repository offers, and which of its files make a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Quant;
use super::names::check_relative;

/// Files of a safetensors folder that change what the model computes, or how its text is cut. A repository need not have
/// them all.
pub(super) const FOLDER_FILES: [&str; 15] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "generation_config.json",
    "chat_template.jinja",
    "README.md", // the model card: name, licence and languages in the metadata of a converted file
];

/// Vocabularies that are read as they are, and those that are read where a repository has none of these.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.txt"];
pub(super) const PIECES: [&str; 2] = ["tokenizer.model", "sentencepiece.bpe.model"];

/// Where earlier sentence-transformers kept a table of token vectors.
const TABLE_TOKENIZER: &str = "0_StaticEmbedding/tokenizer.json";
const TABLE: &str = "0_StaticEmbedding/model.safetensors";

const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// The hub's description of a repository at a revision; the rest of its fields do not matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    /// The commit that the revision stands for.
    pub(super) sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    /// The files with sound names. Others can be on no disk and are left out.
    pub(super) fn files(&self) -> BTreeSet<&str> {
        self.siblings.iter().map(|s| s.rfilename.as_str()).filter(|name| check_relative(name).is_ok()).collect()
    }
}

/// The files of a repository that make up its safetensors model: the small ones first and the weights last, so that weights
/// in the cache mean that all is there. `None` if something indispensable is missing.
pub(super) fn folder_files(files: &BTreeSet<&str>) -> Option<Vec<String>> {
    let weights: Vec<&str> = if files.contains(WEIGHTS) {
        vec![WEIGHTS]
    } else if files.contains(WEIGHTS_INDEX) {
        let shards = files.iter().copied().filter(|f| f.starts_with("model-") && f.ends_with(".safetensors"));
        std::iter::once(WEIGHTS_INDEX).chain(shards).collect()
    } else if files.contains(TABLE) {
        Vec::new()
    } else {
        return None;
    };
    if !has_indispensable(|file| files.contains(file), |file| !files.contains(file)) {
        return None;
    }
    let pieces = if TOKENIZERS.iter().any(|f| files.contains(f)) { &[][..] } else { &PIECES[..] };
    let known = FOLDER_FILES.iter().chain(pieces).chain(&[TABLE_TOKENIZER]).copied().filter(|f| files.contains(f));
    // Further modules of a sentence-transformers model: 2_Dense/config.json, 2_Dense/model.safetensors. Adapters, a folder each. Named templates.
    let modules = files.iter().copied().filter(|f| {
        let numbered = f.starts_with(|c: char| c.is_ascii_digit());
        match f.split_once('/') {
            Some((_, "config.json" | WEIGHTS)) => numbered && *f != "1_Pooling/config.json",
            Some((_, "adapter_config.json" | "adapter_model.safetensors")) => true,
            Some(("additional_chat_templates", _)) => true,
            _ => false,
        }
    });
    Some(known.chain(modules).chain(weights).map(str::to_owned).collect())
}

/// `lacks` knows of a file that there is none in the repository.
fn has_indispensable(has: impl Fn(&str) -> bool, lacks: impl Fn(&str) -> bool) -> bool {
    // Tables of token vectors, which modules.json tells of, have none.
    let configured = has("config.json") || (lacks("config.json") && has("modules.json"));
    configured && TOKENIZERS.iter().chain(&PIECES).chain(&[TABLE_TOKENIZER]).any(|file| has(file))
}

/// How much of a safetensors folder a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// Configuration, tokenizer or weights are missing.
    Unusable,
    /// It can be loaded, but whether the repository has more that matters (pooling, say) is not known.
    Usable,
    /// Everything is there or known to be nowhere.
    Complete,
}

/// Looks at a folder; `is_absent` knows which files the repository does not have.
pub(super) fn completeness(folder: &Path, is_absent: impl Fn(&str) -> bool) -> Completeness {
    let has = |file: &str| folder.join(file).is_file();
    let lacks = |file: &str| is_absent(file) || is_table(folder);
    if !has_indispensable(has, lacks) || weight_files(folder).is_none() {
        return Completeness::Unusable;
    }
    let known =
        FOLDER_FILES.iter().map(|&f| f.to_owned()).chain(module_files(folder)).all(|f| has(&f) || is_absent(&f));
    if known { Completeness::Complete } else { Completeness::Usable }
}

/// The weight files of a folder, all of which exist; `None` if any is missing.
pub(super) fn weight_files(folder: &Path) -> Option<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let file = |name: &str| Some(vec![folder.join(name)]).filter(|path| path[0].is_file());
    let table = file(TABLE);
    if let Some(single) = file(WEIGHTS) {
        return Some(single.into_iter().chain(table.into_iter().flatten()).collect());
    }
    if !folder.join(WEIGHTS_INDEX).is_file() {
        return table;
    }
    let index: Index = serde_json::from_slice(&read_small(&folder.join(WEIGHTS_INDEX))?).ok()?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let sound = !names.is_empty() && names.iter().all(|name| check_relative(name).is_ok());
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    (sound && paths.iter().all(|path| path.is_file())).then_some(paths)
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type", default)]
    ty: String,
}

fn modules(folder: &Path) -> Vec<Module> {
    let read = || serde_json::from_slice(&read_small(&folder.join("modules.json"))?).ok();
    read().unwrap_or_default()
}

/// Whether a folder is that of a table of token vectors.
fn is_table(folder: &Path) -> bool {
    modules(folder).first().is_some_and(|module| module.ty.ends_with("StaticEmbedding"))
}

/// The files beyond those of [`FOLDER_FILES`] that `modules.json` of a folder leads to: a configuration for each module, of a table of token
/// vectors its tokenizer and weights.
pub(super) fn module_files(folder: &Path) -> Vec<String> {
    let files = |path: String| {
        let of_table = TABLE.strip_suffix(WEIGHTS).and_then(|folder| folder.strip_suffix('/')) == Some(path.as_str());
        if of_table { vec![TABLE_TOKENIZER.to_owned(), TABLE.to_owned()] } else { vec![format!("{path}/config.json")] }
    };
    let paths = modules(folder).into_iter().map(|module| module.path);
    paths.filter(|path| check_relative(path).is_ok()).flat_map(files).collect()
}

/// Reads a JSON file of at most 64 MiB (the index of a large model has some megabytes).
fn read_small(path: &Path) -> Option<Vec<u8>> {
    let small = std::fs::metadata(path).ok().is_some_and(|m| m.is_file() && m.len() <= 64 << 20);
    small.then(|| std::fs::read(path).ok()).flatten()
}

/// Chooses a GGUF model among the files of a repository: that of the wanted format, else the one that comes first in the
/// order of preference. Gives all parts of a split model, the first one first. `Err` has what is there instead.
pub(super) fn choose_gguf<'a>(
    files: impl IntoIterator<Item = &'a str>,
    wanted: Option<Quant>,
) -> Result<Vec<String>, Vec<String>> {
    let mut models: Vec<&str> = files.into_iter().filter(|f| is_gguf_model(f)).collect();
    // The shortest name is the model itself; longer ones are variants of it.
    models.sort_by_key(|file| (file.len(), *file));
    let of = |quant: Quant| models.iter().copied().find(|file| Quant::of_file_name(file) == Some(quant));
    let chosen = match wanted {
        Some(quant) => of(quant),
        None => Quant::all().find_map(of).or_else(|| models.first().copied()),
    };
    let Some(chosen) = chosen else {
        let mut labels: Vec<String> =
            models.iter().map(|f| Quant::of_file_name(f).map_or((*f).to_owned(), |q| q.name().to_owned())).collect();
        labels.sort();
        labels.dedup();
        return Err(labels);
    };
    Ok(parts_of(chosen))
}

/// Whether a file of a repository is a GGUF model (its first part), and not a projector, a matrix of statistics or an adapter.
pub(super) fn is_gguf_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let later_part = split_name(&name).is_some_and(|(_, part, _)| part != 1);
    let other = name.contains("mmproj") || name.contains("imatrix") || docent_models::is_adapter_file(&name);
    name.ends_with(".gguf") && !later_part && !other
}

/// All parts of a model of which one part is named; a whole model is its own only part.
pub(super) fn parts_of(file: &str) -> Vec<String> {
    match split_name(file) {
        Some((prefix, _, parts)) => (1..=parts).map(|part| format!("{prefix}-{part:05}-of-{parts:05}.gguf")).collect(),
        None => vec![file.to_owned()],
    }
}

/// Takes `PREFIX-00001-of-00003.gguf` apart.
fn split_name(file: &str) -> Option<(&str, u32, u32)> {
    let stem = file.strip_suffix(".gguf")?;
    let (rest, parts) = stem.rsplit_once("-of-")?;
    let (prefix, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() == 5).then(|| digits.parse::<u32>().ok()).flatten();
    let (part, parts) = (number(part)?, number(parts)?);
    (part >= 1 && part <= parts && parts <= 1000).then_some((prefix, part, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(files: &[&str], wanted: Option<Quant>) -> Result<String, Vec<String>> {
        choose_gguf(files.iter().copied(), wanted).map(|parts| parts.join(" "))
    }

    #[test]
    fn the_wanted_format_or_the_best() {
        let files = ["README.md", "m.Q4_K_M.gguf", "m.f16.gguf", "m.Q8_0.gguf", "mmproj-m-Q8_0.gguf", "m.imatrix.gguf"];
        assert_eq!(choose(&files, None).unwrap(), "m.Q8_0.gguf");
        assert_eq!(choose(&files, Some(Quant::F16)).unwrap(), "m.f16.gguf");
        assert_eq!(choose(&files, Some(Quant::Q6_K)).unwrap_err(), ["F16", "Q4_K_M", "Q8_0"]);
        assert_eq!(choose(&["b.gguf"], None).unwrap(), "b.gguf");
        assert_eq!(choose(&["m.Q2_K.gguf", "m.Q4_0.gguf"], None).unwrap(), "m.Q4_0.gguf");
        assert_eq!(choose(&["README.md"], None).unwrap_err(), Vec::<String>::new());
        assert_eq!(choose(&["m-qat-Q8_0.gguf", "m-Q8_0.gguf"], None).unwrap(), "m-Q8_0.gguf");
        assert_eq!(choose(&["lora-a-m-F16.gguf", "m-Q8_0.gguf"], Some(Quant::F16)).unwrap_err(), ["Q8_0"]);
    }

    #[test]
    fn a_split_model_comes_with_all_parts() {
        let files = ["q/m-Q8_0-00002-of-00002.gguf", "q/m-Q8_0-00001-of-00002.gguf"];
        assert_eq!(choose(&files, None).unwrap(), "q/m-Q8_0-00001-of-00002.gguf q/m-Q8_0-00002-of-00002.gguf");
        assert_eq!(parts_of("m-00001-of-99999.gguf"), ["m-00001-of-99999.gguf"], "a mad number of parts is none");
    }

    #[test]
    fn the_files_of_a_folder() {
        let all = BTreeSet::from([
            "config.json",
            "vocab.txt",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "3_LogitScore/config.json",
            "additional_chat_templates/rerank.jinja",
            "chat_template.jinja",
            "onnx/model.onnx",
            "retrieval_query/adapter_config.json",
            "retrieval_query/adapter_model.safetensors",
            "checkpoints/1/adapter_config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "README.md",
        ]);
        let wanted = folder_files(&all).unwrap();
        let expected = [
            "config.json",
            "vocab.txt",
            "modules.json",
            "1_Pooling/config.json",
            "chat_template.jinja",
            "README.md",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "3_LogitScore/config.json",
            "additional_chat_templates/rerank.jinja",
            "retrieval_query/adapter_config.json",
            "retrieval_query/adapter_model.safetensors",
            "model.safetensors",
        ];
        assert_eq!(wanted, expected);
        // SentencePiece's own file is fetched where it is the only vocabulary.
        let mut pieces: BTreeSet<&str> = all.clone();
        pieces.insert("sentencepiece.bpe.model");
        assert_eq!(folder_files(&pieces).unwrap(), expected);
        pieces.remove("vocab.txt");
        assert!(folder_files(&pieces).unwrap().contains(&"sentencepiece.bpe.model".to_owned()));
        let plain = |missing: &str| all.iter().copied().filter(|f| ![missing, "modules.json"].contains(f)).collect();
        assert!(folder_files(&plain("README.md")).is_some());
        for missing in ["config.json", "vocab.txt", "model.safetensors"] {
            assert_eq!(folder_files(&plain(missing)), None, "{missing}");
        }
    }

    #[test]
    fn a_table_of_token_vectors_needs_no_configuration() {
        // Weights that another library reads may lie beside those that modules.json names.
        let both =
            BTreeSet::from(["config.json", "modules.json", "vocab.txt", "model.safetensors", TABLE_TOKENIZER, TABLE]);
        let wanted = folder_files(&both).unwrap();
        assert_eq!(wanted.len(), both.len(), "{wanted:?}");
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::create_dir(dir.path().join("0_StaticEmbedding")).unwrap();
        both.iter().filter(|name| **name != TABLE).for_each(|name| put(name, "x"));
        put("modules.json", r#"[{"path": "0_StaticEmbedding"}]"#);
        let state = || completeness(dir.path(), |file| !both.contains(file));
        assert_eq!(state(), Completeness::Usable);
        put(TABLE, "x");
        assert_eq!(state(), Completeness::Complete);
        // A table that another tool has fetched, of which it did not note what there is not.
        std::fs::remove_file(dir.path().join("config.json")).unwrap();
        let fetched_by_others = || completeness(dir.path(), |_| false);
        assert_eq!(fetched_by_others(), Completeness::Unusable);
        put(
            "modules.json",
            r#"[{"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}]"#,
        );
        assert_eq!(fetched_by_others(), Completeness::Usable);
        for expected in
            [["modules.json", TABLE_TOKENIZER, TABLE], ["tokenizer.json", "modules.json", "model.safetensors"]]
        {
            let all: BTreeSet<&str> = expected.into_iter().chain(["onnx/model.onnx"]).collect();
            assert_eq!(folder_files(&all).unwrap(), expected);
            for missing in expected {
                let files: BTreeSet<&str> = all.iter().copied().filter(|f| *f != missing).collect();
                assert_eq!(folder_files(&files), None, "{missing}");
            }
        }
    }

    #[test]
    fn a_sharded_folder_needs_every_shard() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let state = |absent: bool| completeness(dir.path(), |_| absent);
        put("config.json", "{}");
        put("tokenizer.json", "{}");
        put(
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#,
        );
        put("model-1.safetensors", "x");
        assert_eq!(state(true), Completeness::Unusable);
        put("model-2.safetensors", "x");
        assert_eq!(state(true), Completeness::Complete);
        assert_eq!(state(false), Completeness::Usable);
        put("model.safetensors.index.json", r#"{"weight_map": {"a": "../x"}}"#);
        assert_eq!(state(true), Completeness::Unusable);
    }

    #[test]
    fn unsound_names_are_left_out_of_a_listing() {
        let text = r#"{"sha": "x", "siblings": [{"rfilename": "../a"}, {"rfilename": "/b"}, {"rfilename": "c/d.gguf"}], "other": 1}"#;
        let listing: Listing = serde_json::from_str(text).unwrap();
        assert_eq!(listing.files(), BTreeSet::from(["c/d.gguf"]));
    }
}
