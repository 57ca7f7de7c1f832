//! Chat templates: in `tokenizer_config.json`, or in files of their own.

use serde_json::Value as Json;

use super::super::Error;
use super::super::json::Document;
use super::Files;
use crate::keys::Keys;

/// The templates of a model, the default one apart.
#[derive(Debug, Default)]
pub(super) struct Templates {
    default: Option<String>,
    named: Vec<(String, String)>,
}

/// The largest template that is read.
const MAX_BYTES: u64 = 1 << 20;

impl Templates {
    pub(super) fn read(files: &Files<'_>) -> Result<Self, Error> {
        let Some(settings) = &files.settings else { return Ok(Self::default()) };
        let stated = match settings.get("chat_template") {
            Some(stated) => Some(stated.clone()),
            None => beside(files)?,
        };
        let mut templates = Self::default();
        match stated {
            Some(Json::String(template)) => templates.default = Some(template),
            Some(Json::Array(list)) => {
                for entry in list {
                    let text = |key: &str| entry.get(key).and_then(Json::as_str).map(str::to_owned);
                    let (Some(name), Some(template)) = (text("name"), text("template")) else { continue };
                    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
                    match name.as_str() {
                        "" => {}
                        "default" => templates.default = Some(template),
                        _ => templates.named.push((name, template)),
                    }
                }
            }
            _ => {}
        }
        Ok(templates)
    }

    pub(super) fn write(&self, keys: &mut Keys) {
        for (name, template) in &self.named {
            keys.text(&format!("tokenizer.chat_template.{name}"), template);
        }
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.named {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        keys.texts("tokenizer.chat_templates", &names);
        keys.optional_text("tokenizer.chat_template", self.default.as_deref());
    }
}

/// The template of `chat_template.jinja` or `chat_template.json`.
fn beside(files: &Files<'_>) -> Result<Option<Json>, Error> {
    let path = files.dir.join("chat_template.jinja");
    if let Ok(file) = std::fs::metadata(&path) {
        if file.len() > MAX_BYTES {
            return Err(Error::TooLarge { path, limit: MAX_BYTES, found: file.len() });
        }
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        return Ok(Some(Json::from(text)));
    }
    let document = Document::read(files.dir, "chat_template.json")?;
    Ok(document.and_then(|document| document.get("chat_template").cloned()))
}
