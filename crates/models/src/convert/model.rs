//! What is converted: the architecture, its settings and the keys that they become.

use std::path::Path;

use docent_gguf::OwnedValue;
use docent_kernels::Pooling;
use serde_json::Value as Json;

use super::json::Document;
use super::plan::Plan;
use super::reranker;
use super::{Error, OutputType};
use crate::RerankTemplate;
use crate::arch::{self, Architecture};
use crate::keys::Keys;
use crate::repository::Repository;
use crate::sentence_transformers::SentenceTransformers;
use crate::settings::{Translated, Translation, Unwritten};
use crate::source::Directory;
use crate::source::peft::PeftAdapter;
use crate::source::tasks::Task;

/// A directory's model.
pub(super) struct Model<'a> {
    pub(super) dir: &'a Path,
    /// The folder of tokenizer and weights: the directory itself, or one in it.
    pub(super) folder: &'a Path,
    pub(super) document: &'a Document,
    pub(super) architecture: &'static Architecture,
    pub(super) translation: Translation<'a>,
    /// The same settings, to be read by key.
    pub(super) translated: Translated,
    pub(super) modules: &'a SentenceTransformers,
    /// The tasks that it has adapters for.
    pub(super) tasks: Vec<Task>,
    /// The adapter of each, or none if the factors of all are among the tensors.
    pub(super) adapters: Vec<PeftAdapter>,
    /// Names of a classifier's outputs.
    pub(super) labels: Vec<String>,
    /// The prompt of a reranker that is a language model, if the directory has one.
    pub(super) template: Option<RerankTemplate>,
}

/// How the names of the classes end whose weights are an embedder's, a reranker's or those of the model they were made from.
const CLASSES: [&str; 6] =
    ["Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForCausalLM", "LMHeadModel"];

/// The keys that models share, in the order in which llama.cpp's converter writes them: up to where it says that attention is not
/// causal, and from there on to the type of the file.
const SIZES: [&str; 6] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
];
const NUMBERS: [&str; 14] = [
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.freq_base",
    "rope.freq_base_swa",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "expert_count",
    "expert_used_count",
    "attention.key_length",
    "attention.value_length",
];

impl<'a> Model<'a> {
    pub(super) fn read(dir: &'a Path, repository: &'a Repository, document: &'a Document) -> Result<Self, Error> {
        let Repository { folder, modules, .. } = repository;
        let config = document.config()?;
        let model_type = config.model_type()?;
        let model_type =
            model_type.ok_or_else(|| config.error("model_type", "the name of an architecture", "nothing"))?;
        let Some(architecture) = arch::of_hugging_face(&config)? else {
            let (path, found) = (document.path.clone(), model_type.to_owned());
            let supported = arch::supported_architectures().collect::<Vec<_>>().join(", ");
            return Err(crate::Error::Architecture { path, found, supported }.into());
        };
        if let Some(found) =
            config.classes()?.first().filter(|class| !CLASSES.iter().any(|known| class.ends_with(known)))
        {
            let expected = format!("a class whose name ends in {}", CLASSES.join(", "));
            return Err(document.unusable("architectures", &expected, &Json::from(*found)));
        }
        let mut translation = Translation::new(config, architecture.name);
        (architecture.translate)(&mut translation)?;
        modules.translate(&mut translation, Directory::new(dir), architecture.name)?;
        refuse_lost(&translation, document)?;
        let translated = Translated::new(translation.clone())?;
        // A head that is kept as modules has the one output of a reranker.
        let labels = if modules.scoring.is_some() { vec!["LABEL_0".to_owned()] } else { labels(document)? };
        let mut tasks = Task::of_directory(folder, &config)?;
        for task in &mut tasks {
            task.prompt = task.prompt.take().or_else(|| modules.prompts.named.get(&task.name).cloned());
        }
        let folders = tasks.iter().filter_map(|task| task.folder.as_ref());
        let adapters = folders.map(|task| PeftAdapter::open(&folder.join(task), architecture.gguf_name));
        let adapters = adapters.collect::<Result<_, _>>()?;
        let template = RerankTemplate::of_directory(Directory::new(folder), modules, &config)?;
        Ok(Model {
            dir,
            folder,
            document,
            architecture,
            translation,
            translated,
            modules,
            tasks,
            adapters,
            labels,
            template,
        })
    }

    pub(super) fn model_type(&self) -> &str {
        self.translation.config.model_type().ok().flatten().unwrap_or_default()
    }

    /// Whether the checkpoint is that of a sequence classifier.
    pub(super) fn is_classifier(&self) -> bool {
        self.translation.config.is_classifier().unwrap_or(false)
    }

    /// Whether it was said that every token attends to all, as the architectures of BERT's family are told in their files.
    fn is_encoder(&self) -> bool {
        self.document.get("is_causal") != Some(&Json::Bool(false))
            && self.settings().bool("attention.causal").ok().flatten() == Some(false)
    }

    pub(super) fn settings(&self) -> crate::settings::Settings<'_> {
        self.translated.settings(&self.document.path, self.architecture.name)
    }

    /// Whether the file's scores will be others than the model's, if it has a head that scores.
    pub(super) fn scores_differ(&self) -> bool {
        self.translation
            .clone()
            .into_keys()
            .into_entries()
            .iter()
            .any(|(key, _)| self.translation.unwritten(key) == Some(Unwritten::ScoresDiffer))
    }

    /// Adds the keys of the architecture, and those of `general` that the converter puts among them.
    pub(super) fn write(&self, keys: &mut Keys, ty: OutputType, plan: &Plan<'_>) -> Result<(), Error> {
        let (head, dense) = (plan.head, plan.dense_sizes());
        let key = |name: &str| format!("{}.{name}", self.architecture.name);
        let mut rest = self.translation.clone().into_keys().into_entries();
        rest.retain(|(key, _)| match self.translation.unwritten(key) {
            // Others do not know the key, and do as if it were not there.
            Some(Unwritten::ScoresDiffer) => head == Head::Classifier,
            unwritten => unwritten.is_none(),
        });
        let mut take = |name: &str| {
            let name = key(name);
            rest.iter().position(|(key, _)| *key == name).map(|place| rest.remove(place))
        };
        let causal = take("attention.causal");
        let classifier_pooling = take("classifier.pooling_type");
        let encoder = self.is_encoder();
        // The class of DistilBERT sets it before its parent does the rest.
        let distilbert = self.model_type() == "distilbert";
        let first = distilbert.then(|| take("attention.layer_norm_epsilon")).flatten();
        let sizes: Vec<_> = SIZES.iter().filter_map(|name| take(name)).collect();
        let numbers: Vec<_> = NUMBERS.iter().filter_map(|name| take(name)).collect();
        let among_sizes = causal.clone().filter(|_| !encoder);
        let pooling = match (head, self.modules.pooling) {
            (Head::Yes | Head::YesNo, _) => Some(RANK),
            (Head::Classifier, _) if !encoder || self.modules.scoring.is_some() => Some(RANK),
            (_, Some(pooling)) => Some(self.pooling_number(pooling)?),
            (_, None) => None,
        };
        let labels = match head {
            Head::YesNo => ["yes", "no"].map(str::to_owned).to_vec(),
            Head::Classifier => self.labels.clone(),
            Head::None if encoder && !unnamed(&self.labels) => self.labels.clone(),
            Head::Yes | Head::None => Vec::new(),
        };
        let mut add = |entries: Vec<(String, OwnedValue)>| {
            entries.into_iter().for_each(|(key, value)| keys.set(&key, value));
        };
        add(first.into_iter().chain(sizes).chain(among_sizes).chain(numbers).collect());
        add(vec![("general.file_type".to_owned(), ty.file_type().into())]);
        let own = std::mem::take(&mut rest);
        let (before, after) = if encoder { (Vec::new(), own) } else { (own, Vec::new()) };
        add(before);
        for (stem, [inputs, outputs]) in dense {
            add(vec![
                (key(&format!("{stem}_feat_in")), inputs.into()),
                (key(&format!("{stem}_feat_out")), outputs.into()),
            ]);
        }
        add(causal.filter(|_| encoder).into_iter().collect());
        add(pooling.map(|number| (key("pooling_type"), number.into())).into_iter().collect());
        add(classifier_pooling.into_iter().collect());
        keys.texts(&key("classifier.output_labels"), &labels);
        let asks = self.architecture.name == reranker::ARCHITECTURE && matches!(head, Head::Classifier | Head::YesNo);
        if asks || self.template.is_some() {
            reranker::write_template(keys, self.template.as_ref());
        }
        after.into_iter().for_each(|(key, value)| keys.set(&key, value));
        Ok(())
    }

    fn pooling_number(&self, pooling: Pooling) -> Result<u32, Error> {
        match pooling {
            Pooling::Mean => Ok(1),
            Pooling::Cls => Ok(2),
            Pooling::Last => Ok(3),
            _ => {
                let expected = "mean, cls or lasttoken, the modes that GGUF has a number for";
                let (file, found) = (self.dir.join("modules.json"), format!("{pooling:?}").to_lowercase());
                Err(crate::Error::config(file, "pooling mode", expected, found).into())
            }
        }
    }
}

/// A setting without which the file would be another model's must not be there.
fn refuse_lost(translation: &Translation<'_>, document: &Document) -> Result<(), Error> {
    for (key, value) in translation.clone().into_keys().into_entries() {
        if translation.unwritten(&key) == Some(Unwritten::Refused) {
            let field = translation.field(&key).unwrap_or_default();
            let found = document.get(field).cloned().unwrap_or_else(|| Json::from(format!("{value:?}")));
            return Err(document.unusable(
                field,
                "a value that a GGUF file of this architecture can be written for",
                &found,
            ));
        }
    }
    Ok(())
}

/// The names of a classifier's outputs, in order.
fn labels(document: &Document) -> Result<Vec<String>, Error> {
    let mut labels: Vec<(u64, String)> = Vec::new();
    match document.get("id2label") {
        Some(Json::Object(map)) => {
            for (id, label) in map {
                match (id.parse(), label.as_str()) {
                    (Ok(id), Some(label)) => labels.push((id, label.to_owned())),
                    _ => return Err(document.unusable("id2label", "numbers and names", &Json::Object(map.clone()))),
                }
            }
        }
        Some(other) => return Err(document.unusable("id2label", "numbers and names", other)),
        None => {
            let count = match document.get("num_labels") {
                Some(value) => value
                    .as_u64()
                    .filter(|n| *n <= 1 << 16)
                    .ok_or_else(|| document.unusable("num_labels", "a count up to 65536", value))?,
                None => 2,
            };
            labels.extend((0..count).map(|id| (id, format!("LABEL_{id}"))));
        }
    }
    labels.sort();
    Ok(labels.into_iter().map(|(_, label)| label).collect())
}

/// Two nameless outputs are what transformers puts into every configuration.
fn unnamed(labels: &[String]) -> bool {
    matches!(labels, [first, _] if first == "LABEL_0")
}

/// What `pooling_type` is in the files of rerankers.
const RANK: u32 = 4;

/// The head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none.
    None,
    /// A classifier, with one output if it is a reranker's.
    Classifier,
    /// The odds of yes and no as the next token.
    YesNo,
    /// The logit of one token as the next.
    Yes,
}
