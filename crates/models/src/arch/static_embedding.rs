//! Tables of token vectors: no layers, no attention; the embedding of a text is the mean of the rows of its tokens.
//!
//! potion and other models of model2vec, which distils them from sentence transformers
//! (<https://github.com/MinishLab/model2vec>), and `StaticEmbedding` of sentence-transformers (static-retrieval-mrl-en):
//!
//! ```text
//! embedding = mean over tokens of  weight[id] * table[row[id]]
//! ```
//!
//! where weights and rows are those of model2vec's "vocabulary quantisation", in which tokens share rows; elsewhere each token has its own. No
//! special tokens are put around a text. model2vec leaves out unknown tokens and cuts texts after 512; sentence-transformers does neither, and a
//! directory is read as that library reads it which its configuration names. (model2vec also cuts off beforehand what it expects to be beyond the limit by the
//! median length of a token, so of texts of longer tokens it reads fewer than 512.)
//!
//! GGUF has no name for these models; files with ours are read by Docent alone.

use docent_kernels::{EmbeddingTable, Executor, Matrix, Pooling};
use serde_json::{Map, Value, json};

use super::{Architecture, Loaded, Network, Sizes};
use crate::Error;
use crate::pass::Pass;
use crate::repository::Config;
use crate::sentence_transformers::SentenceTransformers;
use crate::settings::{HfConfig, Settings, Translation, Unwritten};
use crate::source::safetensors::Safetensors;
use crate::source::{Directory, HfName};
use crate::weights::Weights;

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "static-embedding", recognises, translate, gguf_name, load };

/// Whether unknown tokens are left out of a text.
pub(crate) const SKIPS_UNKNOWN: &str = "skips_unknown";

const MODEL_TYPE: &str = "static-embedding";
const MODEL2VEC: &str = "model2vec";

/// Tokens of a text where its publisher has no limit: what memory has room for.
const MOST_TOKENS: usize = 1 << 17;

/// Where model2vec cuts texts unless the configuration says otherwise.
const MODEL2VEC_LENGTH: usize = 512;

const TABLE: &str = "token_embd.weight";
const ROWS: &str = "token_embd.rows";
const SCALES: &str = "token_embd.scales";

/// The configuration of a directory that holds such a table, in the form of other models': what model2vec's config.json says, and the shape of the
/// table. `None` if it holds another model.
///
/// # Errors
/// If the table cannot be read.
pub(crate) fn configure(
    directory: Directory<'_>,
    folder: Directory<'_>,
    modules: &mut SentenceTransformers,
    found: Option<&Map<String, Value>>,
) -> Result<Option<Config>, Error> {
    let of_model2vec = found.filter(|fields| fields.get("model_type").is_some_and(|ty| ty == MODEL2VEC));
    if of_model2vec.is_none() && !modules.is_table {
        return Ok(None);
    }
    let file = if of_model2vec.is_some() { folder.file("config.json") } else { directory.file("modules.json") };
    let mut fields = Map::new();
    fields.insert("model_type".to_owned(), json!(MODEL_TYPE));
    let weights = folder.file("model.safetensors");
    let tensors = Safetensors::open(&weights)?;
    let shape = |name: &str| tensors.tensor(name).map(|tensor| tensor.shape);
    let Some(table) = HF_TABLES.iter().find_map(|name| shape(name)) else {
        return Err(Error::MissingTensor { path: weights, name: HF_TABLES[0].to_owned(), expected: vec![0, 0] });
    };
    if let Some(dtype) = tensors.unsigned(HF_TABLES.iter().copied()) {
        return Err(Error::config(weights, "type of the table", "I8 or floats", dtype));
    }
    let &[rows, columns] = &table[..] else {
        let (name, expected) = (HF_TABLES[0].to_owned(), vec![0, 0]);
        return Err(Error::Shape { path: weights, name, expected, found: table });
    };
    let tokens = shape("mapping").and_then(|shape| shape.first().copied()).unwrap_or(rows);
    fields.insert("hidden_size".to_owned(), json!(columns));
    fields.insert("vocab_size".to_owned(), json!(tokens));
    if shape("mapping").is_some() || shape("weights").is_some() {
        fields.insert("vocabulary_quantization".to_owned(), json!(rows));
    }
    if let Some(config) = of_model2vec {
        let config = HfConfig { path: &file, fields: config };
        let unlimited = config.fields.get("max_length").is_some_and(Value::is_null);
        let length = config.optional_size(&["max_length"])?.or((!unlimited).then_some(MODEL2VEC_LENGTH));
        let most = most_tokens(usize::try_from(columns).unwrap_or(usize::MAX));
        fields.extend(length.map(|length| ("max_length".to_owned(), json!(length.min(most)))));
        fields.insert(SKIPS_UNKNOWN.to_owned(), json!(true));
        modules.normalize = modules.normalize.or(config.bool("normalize")?);
    }
    (modules.is_table, modules.pooling) = (true, Some(Pooling::Mean));
    // Settings of a transformer, which may have been left beside the table it became.
    (modules.max_seq_length, modules.do_lower_case) = (None, false);
    Ok(Some(Config { path: file, fields }))
}

fn recognises(config: &HfConfig<'_>) -> Result<bool, Error> {
    Ok(config.model_type()? == Some(MODEL_TYPE))
}

fn translate(to: &mut Translation<'_>) -> Result<(), Error> {
    to.size_or("block_count", &["num_hidden_layers"], 0)?;
    let hidden = to.size("embedding_length", &["hidden_size"])?;
    to.size_or("context_length", &["max_length"], most_tokens(hidden))?;
    let field = "vocabulary_quantization";
    if let Some(rows) = to.config.optional_size(&[field])? {
        to.set_size(field, field, rows)?;
        to.leave_unwritten(field, Unwritten::Refused);
    }
    if to.config.bool(SKIPS_UNKNOWN)? == Some(true) {
        to.set_bool(SKIPS_UNKNOWN, "model_type", true);
    }
    Ok(())
}

/// As many tokens as fit in memory, one hidden state each.
fn most_tokens(hidden: usize) -> usize {
    const MAX_VALUES: usize = 1 << 28;
    MOST_TOKENS.min(MAX_VALUES / hidden.max(1)).max(1)
}

struct Table {
    vectors: EmbeddingTable,
    /// The row of each token, if tokens share them.
    rows: Option<Vec<u32>>,
    /// What the row of each token is multiplied by.
    scales: Option<Vec<f32>>,
    /// What all this takes beside the file, where most tables stay.
    bytes: usize,
}

impl Network for Table {
    fn forward(&self, executor: &mut Executor, pass: &mut Pass<'_>) -> Matrix {
        let ids = pass.batch.ids();
        let mut x = executor.matrix(ids.len(), self.vectors.columns());
        match &self.rows {
            None => executor.embed(&[(&self.vectors, ids)], &mut x),
            Some(rows) => {
                let rows: Vec<u32> = ids.iter().map(|&id| rows[id as usize]).collect();
                executor.embed(&[(&self.vectors, &rows)], &mut x);
            }
        }
        if let Some(scales) = &self.scales {
            let factors: Vec<f32> = ids.iter().map(|&id| scales[id as usize]).collect();
            executor.scale_rows(&mut x, &factors);
        }
        pass.keep(executor, x, pass.rows)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

fn load(settings: &Settings<'_>, weights: &Weights<'_>) -> Result<Loaded, Error> {
    let hidden = settings.size("embedding_length")?;
    let positions = settings.size("context_length")?;
    let stored = weights.rows(TABLE, hidden)?;
    let rows = weights.row_numbers(ROWS, stored)?;
    let vocabulary = rows.as_ref().map_or(stored, Vec::len);
    let limits = [
        ("embedding_length", hidden, 1 << 16),
        ("context_length", positions, most_tokens(hidden)),
        ("the rows of its table", stored, 1 << 21),
        ("the tokens of its table", vocabulary, 1 << 21),
    ];
    if let Some((key, found, limit)) = limits.into_iter().find(|&(_, found, limit)| found == 0 || found > limit) {
        return Err(settings.error(key, format!("1 to {limit}"), found));
    }
    let (vectors, bytes) = weights.embedding_of_any_number(TABLE, stored, hidden)?;
    let scales = weights.doubles_if_present(SCALES, vocabulary)?;
    let scales: Option<Vec<f32>> = scales.map(|scales| scales.into_iter().map(|scale| scale as f32).collect());
    let numbers = rows.as_ref().map_or(0, Vec::len) + scales.as_ref().map_or(0, Vec::len);
    let bytes = bytes + numbers * size_of::<u32>();
    let sizes = Sizes { layers: 0, hidden, heads: 0, feed_forward: 0, vocabulary, positions };
    Ok(Loaded::encoder(Table { vectors, rows, scales, bytes }, sizes, None))
}

/// What sentence-transformers and model2vec call the table.
const HF_TABLES: [&str; 2] = ["embedding.weight", "embeddings"];

fn gguf_name(name: &str) -> HfName {
    match name {
        _ if HF_TABLES.contains(&name) => HfName::Gguf(TABLE.to_owned()),
        "mapping" => HfName::Gguf(ROWS.to_owned()),
        "weights" => HfName::Gguf(SCALES.to_owned()),
        _ => HfName::Unknown,
    }
}
