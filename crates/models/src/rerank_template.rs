//! The prompt of a reranker that is a language model, out of its files.

use std::path::PathBuf;

use docent_gguf::Metadata;
use serde_json::{Map, Value as Json};

use crate::Error;
use crate::chat_template::{Template, TemplateError, Value};
use crate::sentence_transformers::{Messages, SentenceTransformers};
use crate::settings::HfConfig;
use crate::source::Directory;

/// The prompt of a reranker that is a language model: a text with `{query}` and, after it, `{document}` where these go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerankTemplate {
    /// The prompt if the caller has no instruction: with that of the model, if it has one.
    pub text: String,
    /// The prompt with an instruction of the caller's, which goes where it says `{instruction}`, in front of the query; `None` if it has
    /// no place for one.
    pub instructed: Option<String>,
}

/// Where llama.cpp keeps the prompt of a reranker.
const KEY: &str = "tokenizer.chat_template.rerank";

/// The same with a place for an instruction. It is ours alone.
const INSTRUCTED_KEY: &str = "tokenizer.chat_template.rerank_instructed";

/// What stands for the texts while the template is rendered: characters that are in no text.
const QUERY: char = '\u{f0000}';
const DOCUMENT: char = '\u{f0001}';
const INSTRUCTION: char = '\u{f0002}';

impl RerankTemplate {
    /// That of a GGUF file, if it has a sound one.
    pub(crate) fn of_gguf(metadata: Metadata<'_>) -> Result<Option<Self>, Error> {
        let in_order = |slots: &[&str], text: &&str| {
            let places: Option<Vec<usize>> = slots.iter().map(|slot| text.find(slot)).collect();
            places.is_some_and(|places| places.is_sorted())
        };
        let text = metadata.str(KEY)?.filter(|text| in_order(&["{query}", "{document}"], text));
        let slots = ["{instruction}", "{query}", "{document}"];
        let instructed = metadata.str(INSTRUCTED_KEY)?.filter(|text| in_order(&slots, text)).map(str::to_owned);
        Ok(text.map(|text| RerankTemplate { text: text.to_owned(), instructed }))
    }

    /// The keys that say it in a GGUF file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(KEY, Some(self.text.as_str())), (INSTRUCTED_KEY, self.instructed.as_deref())]
            .into_iter()
            .filter_map(|(key, text)| Some((key, text?)))
    }

    /// That of a directory: its chat template, rendered as sentence-transformers renders it, with a message of the role `query`, one of the
    /// role `document`, and before them one of the role `system` with the instruction if there is one. `None` if the model does not score
    /// pairs, or has no template, or one for other chats.
    ///
    /// # Errors
    /// If the template is for such messages and cannot be read.
    pub(crate) fn of_directory(
        directory: Directory<'_>,
        modules: &SentenceTransformers,
        config: &HfConfig<'_>,
    ) -> Result<Option<Self>, Error> {
        if modules.answers.is_none() && !config.is_classifier()? {
            return Ok(None);
        }
        let settings: Map<String, Json> = directory.json("tokenizer_config.json")?.unwrap_or_default();
        let messages = &modules.messages;
        let name = messages.variables.get("chat_template").and_then(Json::as_str);
        let Some((file, source)) = chat_template(directory, &settings, name)? else { return Ok(None) };
        let for_pairs = source.contains("query") && source.contains("document");
        let own = modules.prompts.default_name.as_ref().and_then(|name| modules.prompts.named.get(name));
        let render = |instruction: Option<&str>| -> Result<String, TemplateError> {
            Template::parse(&source)?.render(&variables(messages, &settings, instruction))
        };
        let unusable = |error: TemplateError| {
            let TemplateError { line, expected, found } = error;
            Error::config(&file, format!("line {line} of the chat template"), expected, found)
        };
        let (text, instructed) =
            match (render(own.map(String::as_str)), render(Some(INSTRUCTION.encode_utf8(&mut [0; 4])))) {
                (Ok(text), Ok(instructed)) => (text, instructed),
                (Err(error), _) | (_, Err(error)) if for_pairs => return Err(unusable(error)),
                _ => return Ok(None),
            };
        let Some(text) = with_slots(&text, &[QUERY, DOCUMENT]) else {
            if !for_pairs {
                return Ok(None);
            }
            let expected = "messages of the roles query and document, each once and in this order";
            return Err(Error::config(&file, "chat template", expected, "another prompt"));
        };
        Ok(Some(RerankTemplate { text, instructed: with_slots(&instructed, &[INSTRUCTION, QUERY, DOCUMENT]) }))
    }
}

/// The source of the template of a name, or of the one without, where transformers looks for it, and the file that has it.
fn chat_template(
    directory: Directory<'_>,
    settings: &Map<String, Json>,
    name: Option<&str>,
) -> Result<Option<(PathBuf, String)>, Error> {
    let file = match name {
        None => "chat_template.jinja".to_owned(),
        // A name that is none of a file is a template itself.
        Some(source) if source.contains(['{', '/', '\\']) => {
            return Ok(Some((directory.file("sentence_bert_config.json"), source.to_owned())));
        }
        Some(name) => format!("additional_chat_templates/{name}.jinja"),
    };
    if let Some(source) = directory.text(&file)? {
        return Ok(Some((directory.file(&file), source)));
    }
    let named = |template: &Json| {
        let is_it = template.get("name").and_then(Json::as_str) == Some(name.unwrap_or("default"));
        is_it.then(|| template.get("template").and_then(Json::as_str)).flatten().map(str::to_owned)
    };
    let source = match settings.get("chat_template") {
        Some(Json::String(source)) if name.is_none() => Some(source.clone()),
        Some(Json::Array(templates)) => templates.iter().find_map(named),
        _ => None,
    };
    Ok(source.map(|source| (directory.file("tokenizer_config.json"), source)))
}

/// What the template is rendered with.
fn variables<'m>(
    messages: &'m Messages,
    settings: &Map<String, Json>,
    instruction: Option<&str>,
) -> Vec<(&'m str, Value)> {
    const SPECIAL_TOKENS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];
    let message = |role: &str, content: &str| {
        let content = match messages.structured {
            true => Value::list(vec![Value::map(vec![("type", Value::text("text")), ("text", Value::text(content))])]),
            false => Value::text(content),
        };
        Value::map(vec![("role", Value::text(role)), ("content", content)])
    };
    let system = instruction.map(|instruction| message("system", instruction));
    let (query, document) = (QUERY.to_string(), DOCUMENT.to_string());
    let pair = [message("query", &query), message("document", &document)];
    let mut variables = vec![("messages", Value::list(system.into_iter().chain(pair).collect()))];
    for name in SPECIAL_TOKENS {
        let token = settings.get(name).and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
        variables.extend(token.map(|token| (name, Value::text(token))));
    }
    variables.push(("add_generation_prompt", Value::Bool(false)));
    let others = messages.variables.iter().filter(|&(name, _)| name != "chat_template");
    for (name, value) in others {
        variables.retain(|(known, _)| known != name);
        variables.push((name, of_json(value)));
    }
    variables
}

/// A setting as a template sees it. Numbers that are not whole have no use there.
fn of_json(value: &Json) -> Value {
    match value {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number.as_i64().map_or(Value::None, Value::Int),
        Json::String(text) => Value::text(text),
        Json::Array(values) => Value::list(values.iter().map(of_json).collect()),
        Json::Object(fields) => {
            Value::map(fields.iter().map(|(name, value)| (name.as_str(), of_json(value))).collect())
        }
        Json::Null => Value::None,
    }
}

/// The text with slots for the characters that stand for them; `None` if these are not all there, each once and in this order.
fn with_slots(text: &str, order: &[char]) -> Option<String> {
    let slot = |of: char| match of {
        QUERY => "{query}",
        DOCUMENT => "{document}",
        _ => "{instruction}",
    };
    let found: Vec<char> = text.chars().filter(|&c| [QUERY, DOCUMENT, INSTRUCTION].contains(&c)).collect();
    let literal = [QUERY, DOCUMENT, INSTRUCTION].iter().any(|&of| text.contains(slot(of)));
    (found == order && !literal).then(|| order.iter().fold(text.to_owned(), |text, &of| text.replace(of, slot(of))))
}
