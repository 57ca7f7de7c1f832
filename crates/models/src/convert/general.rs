//! The `general.*` keys: what the file holds, who made it, from what.
//!
//! Three sources are asked in turn, and an earlier one wins: the front matter of the model card, `_name_or_path` in
//! `config.json`, the name of the directory. So does llama.cpp's converter.

use std::path::Path;

use serde_json::Value as Json;

use super::card::{Card, Field};
use super::naming::{Name, size_label, title};
use crate::keys::Keys;

/// What was found out about the model as a whole.
#[derive(Debug, Default)]
pub(super) struct General {
    name: Option<String>,
    author: Option<String>,
    version: Option<String>,
    organization: Option<String>,
    finetune: Option<String>,
    basename: Option<String>,
    description: Option<String>,
    size_label: Option<String>,
    license: Option<String>,
    license_name: Option<String>,
    license_link: Option<String>,
    source_url: Option<String>,
    source_doi: Option<String>,
    source_uuid: Option<String>,
    source_repo_url: Option<String>,
    base_models: Option<Vec<Origin>>,
    datasets: Option<Vec<Origin>>,
    tags: Vec<String>,
    languages: Vec<String>,
}

/// A model or a data set that the model was made from.
#[derive(Debug, Default, PartialEq)]
struct Origin {
    name: Option<String>,
    version: Option<String>,
    organization: Option<String>,
    repo_url: Option<String>,
}

impl General {
    /// `given` is a name chosen by the caller; `parameters` the number of weights.
    pub(super) fn gather(dir: &Path, config: &Json, card: &Card, given: Option<&str>, parameters: u64) -> Self {
        let text = |keys: &[&str]| card.text(keys).map(str::to_owned);
        let list = |key: &str| card.get(key).into_iter().flat_map(Field::texts).map(str::to_owned).collect::<Vec<_>>();
        let origins = |keys: &[&str]| {
            let field = card.first(keys)?;
            let items = match field {
                Field::Text(text) => vec![Some(text.clone())],
                Field::List(items) => items.clone(),
                Field::Other => vec![],
            };
            Some(
                items
                    .iter()
                    .map(|i| i.as_deref().map_or_else(Origin::default, |i| Origin::parse(i, parameters)))
                    .collect(),
            )
        };
        let license = card.get("license").map(|l| l.texts().join(",")).filter(|l| !l.is_empty());
        let mut general = Self {
            name: text(&["name", "model_name"]),
            author: text(&["author", "model_author", "model_creator"]),
            version: text(&["version", "model_version"]),
            organization: text(&["organization", "model_organization"]),
            description: text(&["description", "model_description"]),
            finetune: text(&["finetune", "model_finetune"]),
            basename: text(&["basename", "model_basename", "model_type"]),
            size_label: text(&["size_label", "model_size_label"]),
            license,
            license_name: text(&["license_name"]),
            license_link: text(&["license_link"]),
            source_url: text(&["url", "model_url"]),
            source_doi: text(&["doi", "model_doi"]),
            source_uuid: text(&["uuid", "model_uuid"]),
            source_repo_url: text(&["repo_url", "model_repo_url"]),
            base_models: origins(&["base_model", "base_models", "base_model_sources"]),
            datasets: origins(&["datasets", "dataset", "dataset_sources"]),
            tags: [list("tags"), list("pipeline_tag")].concat(),
            languages: [list("languages"), list("language")].concat(),
        };
        // A longer path is a place on the disk of whoever saved the model.
        if let Some(path) = config.get("_name_or_path").and_then(Json::as_str).filter(|p| p.matches('/').count() <= 1) {
            general.complete(Name::parse(path, parameters));
        }
        if let Some(folder) = folder_name(dir) {
            general.complete(Name::parse(&folder, parameters));
        }
        if let Some(given) = given {
            general.name = Some(given.to_owned());
        }
        if general.size_label.is_none() && parameters > 0 {
            general.size_label = Some(size_label(parameters));
        }
        general
    }

    /// Fills what is still open from a name.
    fn complete(&mut self, name: Name) {
        let fill = |slot: &mut Option<String>, value: Option<String>| *slot = slot.take().or(value);
        fill(&mut self.name, name.full.as_deref().map(title));
        fill(&mut self.organization, name.organization.as_deref().map(title));
        fill(&mut self.basename, name.basename);
        fill(&mut self.finetune, name.finetune);
        fill(&mut self.version, name.version);
        fill(&mut self.size_label, name.size_label);
    }

    /// Adds the keys, in the converter's order. What is empty is left out.
    pub(super) fn write(&self, keys: &mut Keys) {
        keys.text("general.type", "model");
        for (key, value) in [
            ("name", &self.name),
            ("author", &self.author),
            ("version", &self.version),
            ("organization", &self.organization),
            ("finetune", &self.finetune),
            ("basename", &self.basename),
            ("description", &self.description),
            ("size_label", &self.size_label),
            ("license", &self.license),
            ("license.name", &self.license_name),
            ("license.link", &self.license_link),
            ("source.url", &self.source_url),
            ("source.doi", &self.source_doi),
            ("source.uuid", &self.source_uuid),
            ("source.repo_url", &self.source_repo_url),
        ] {
            keys.optional_text(&format!("general.{key}"), value.as_deref());
        }
        for (kind, origins) in [("base_model", &self.base_models), ("dataset", &self.datasets)] {
            let Some(origins) = origins else { continue };
            keys.u32(&format!("general.{kind}.count"), origins.len() as u32); // a card has at most 16 MiB
            for (index, origin) in origins.iter().enumerate() {
                for (key, value) in [
                    ("name", &origin.name),
                    ("version", &origin.version),
                    ("organization", &origin.organization),
                    ("repo_url", &origin.repo_url),
                ] {
                    keys.optional_text(&format!("general.{kind}.{index}.{key}"), value.as_deref());
                }
            }
        }
        keys.texts("general.tags", &self.tags);
        keys.texts("general.languages", &self.languages);
    }
}

impl Origin {
    fn parse(id: &str, parameters: u64) -> Self {
        let described = |id: &str| {
            let name = Name::parse(id, parameters);
            let (full, organization) = (name.full, name.organization);
            let titled = |text: &Option<String>| text.as_deref().map(title);
            (
                Self {
                    name: titled(&full),
                    version: name.version,
                    organization: titled(&organization),
                    repo_url: None,
                },
                full,
                organization,
            )
        };
        if ["http://", "https://", "ssh://"].iter().any(|scheme| id.starts_with(scheme)) {
            let repository =
                ["https://huggingface.co/", "http://huggingface.co/"].iter().find_map(|host| id.strip_prefix(host));
            let repository =
                repository.filter(|r| r.split('/').count() == 2 && r.split('/').all(|part| !part.is_empty()));
            let origin = repository.map_or_else(Self::default, |r| described(r).0);
            return Self { repo_url: Some(id.to_owned()), ..origin };
        }
        let (origin, full, organization) = described(id);
        let repo_url = full.zip(organization).map(|(full, o)| format!("https://huggingface.co/{o}/{full}"));
        Self { repo_url, ..origin }
    }
}

/// The last part of the path, also for `.` and the like.
pub(super) fn folder_name(dir: &Path) -> Option<String> {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    name(dir).or_else(|| name(&dir.canonicalize().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_by_name_and_by_address() {
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(
            Origin::parse("acme/base-bert-v2", 0),
            Origin {
                name: text("Base Bert v2"),
                version: text("v2"),
                organization: text("Acme"),
                repo_url: text("https://huggingface.co/acme/base-bert-v2")
            }
        );
        assert_eq!(Origin::parse("eli5", 0), Origin { name: text("Eli5"), ..Origin::default() });
        let url = "https://huggingface.co/acme/data";
        assert_eq!(
            Origin::parse(url, 0),
            Origin { name: text("Data"), organization: text("Acme"), repo_url: text(url), version: None }
        );
        let url = "https://example.org/acme/data";
        assert_eq!(Origin::parse(url, 0), Origin { repo_url: text(url), ..Origin::default() });
    }

    #[test]
    fn the_card_wins_over_the_configuration_and_that_over_the_folder() {
        let config = serde_json::json!({"_name_or_path": "acme/config-name-v3"});
        let gather = |card: &str, config: &Json, given| {
            let g = General::gather(Path::new("models/folder-name-small"), config, &Card::parse(card), given, 1000);
            [g.name, g.version, g.organization, g.size_label].map(Option::unwrap_or_default)
        };
        assert_eq!(gather("", &config, None), ["Config Name v3", "v3", "Acme", "small"]);
        assert_eq!(gather("---\nname: card\n---\n", &config, None), ["card", "v3", "Acme", "small"]);
        assert_eq!(gather("", &Json::Null, None), ["Folder Name Small", "", "", "small"]);
        assert_eq!(
            gather("", &serde_json::json!({"_name_or_path": "/a/b/c"}), Some("given")),
            ["given", "", "", "small"]
        );
    }
}
