//! Which tokens have a special role, and which of them are put around a text.
//!
//! The rules are those of `SpecialVocab` in gguf-py, the library under llama.cpp's converter: roles are named in
//! `tokenizer_config.json`, looked up among the added tokens of `tokenizer.json`, and completed from `config.json`; whether
//! a text gets a token before and after it is read off the template of the post-processor.

use serde_json::{Map, Value as Json};

use crate::keys::Keys;

/// The roles in the order of the keys, and the key of each; `cls` has none, its token is written as `bos`.
const ROLES: [(&str, Option<&str>); 9] = [
    ("bos", Some("tokenizer.ggml.bos_token_id")),
    ("eos", Some("tokenizer.ggml.eos_token_id")),
    ("unk", Some("tokenizer.ggml.unknown_token_id")),
    ("sep", Some("tokenizer.ggml.seperator_token_id")), // the format's own spelling
    ("pad", Some("tokenizer.ggml.padding_token_id")),
    ("cls", None),
    ("mask", Some("tokenizer.ggml.mask_token_id")),
    ("eot", Some("tokenizer.ggml.eot_token_id")),
    ("eom", Some("tokenizer.ggml.eom_token_id")),
];

/// How many of the roles are always asked for; the others arise from a template that overrides the end of the text.
const ALWAYS: usize = 7;

#[derive(Debug, Default)]
pub(super) struct Special {
    /// Role and id, in the order in which they were found.
    ids: Vec<(&'static str, u32)>,
    /// Role and whether its token is added to a text.
    add: Vec<(&'static str, bool)>,
}

impl Special {
    /// `size` is the number of tokens; ids beyond it are ignored.
    pub(super) fn gather(tokenizer: &Json, tokenizer_config: Option<&Json>, config: &Json, size: usize) -> Self {
        let mut found = Self::default();
        let mut names: Option<Map<String, Json>> =
            tokenizer_config.and_then(Json::as_object).filter(|m| !m.is_empty()).cloned();
        if let Some(names) = &mut names {
            // BERT's [CLS] and [SEP] are also the first and last token.
            for (role, stand_in) in [("bos_token", "cls_token"), ("eos_token", "sep_token")] {
                if !truthy(names.get(role))
                    && let Some(token) = names.get(stand_in).filter(|t| truthy(Some(t))).cloned()
                {
                    names.insert(role.to_owned(), token);
                }
            }
        }
        let mut roles = ALWAYS;
        for processor in processors(tokenizer) {
            found.read_processor(processor, &mut names, &mut roles);
        }
        if let Some(names) = &names {
            found.read_names(names, &ROLES[..roles], tokenizer, size);
        }
        for (role, _) in &ROLES[..roles] {
            let id = config.get(format!("{role}_token_id")).and_then(Json::as_u64);
            found.set_id(role, id, size);
        }
        found
    }

    pub(super) fn write(&self, keys: &mut Keys) {
        for (role, id) in &self.ids {
            if let Some((_, Some(key))) = ROLES.iter().find(|(r, _)| r == role) {
                keys.u32(key, *id);
            }
        }
        for (role, add) in &self.add {
            if ["bos", "eos", "sep"].contains(role) {
                keys.bool(&format!("tokenizer.ggml.add_{role}_token"), *add);
            }
        }
    }

    fn set_id(&mut self, role: &'static str, id: Option<u64>, size: usize) {
        let id = id.filter(|id| (*id as usize) < size).and_then(|id| u32::try_from(id).ok());
        if let Some(id) = id
            && self.ids.iter().all(|(r, _)| *r != role)
        {
            self.ids.push((role, id));
        }
    }

    fn set_add(&mut self, role: &'static str, add: bool) {
        match self.add.iter_mut().find(|(r, _)| *r == role) {
            Some((_, old)) => *old = add,
            None => self.add.push((role, add)),
        }
    }

    fn read_processor(&mut self, processor: &Json, names: &mut Option<Map<String, Json>>, roles: &mut usize) {
        match processor.get("type").and_then(Json::as_str) {
            Some("ByteLevel") => {
                for role in ["bos", "eos"] {
                    if self.add.iter().all(|(r, _)| *r != role) {
                        self.set_add(role, false);
                    }
                }
            }
            Some("RobertaProcessing") => {
                ["bos", "eos", "sep"].into_iter().for_each(|role| self.set_add(role, true));
                for (role, key, stand_in) in [("cls", "cls_token", "bos_token"), ("sep", "sep_token", "eos_token")] {
                    let Some(names) = names.as_mut().filter(|names| !truthy(names.get(key))) else { continue };
                    let own = processor.get(role).and_then(|token| token.get(0)).cloned();
                    if let Some(token) = own.or_else(|| names.get(stand_in).cloned()) {
                        names.insert(key.to_owned(), token);
                    }
                }
            }
            Some("TemplateProcessing") => self.read_template(processor, names, roles),
            _ => {}
        }
    }

    /// Reads `[CLS] $A [SEP]` and `[CLS] $A [SEP] $B [SEP]`. Without a `tokenizer_config.json` the template itself says
    /// which tokens these are.
    fn read_template(&mut self, processor: &Json, names: &mut Option<Map<String, Json>>, roles: &mut usize) {
        let pieces = |key: &str| processor.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let token =
            |piece: &Json| piece.get("SpecialToken").and_then(|s| s.get("id")).filter(|id| truthy(Some(id))).cloned();
        let role = |names: &Option<Map<String, Json>>, key: &str| {
            names.as_ref().and_then(|n| n.get(key)).filter(|t| truthy(Some(t))).cloned()
        };
        let single = pieces("single");
        let (mut first, mut last) = (None, None);
        if let [start, .., end] = single {
            (first, last) = (token(start), token(end));
        }
        if first.is_some() {
            if let Some(n) = names.as_mut()
                && [n.get("bos_token"), n.get("cls_token")].iter().all(|t| *t != first.as_ref())
            {
                for key in ["bos_token", "cls_token"] {
                    if !truthy(n.get(key)) {
                        n.insert(key.to_owned(), first.clone().unwrap_or_default());
                    }
                }
            }
            let known = names.is_none() || [role(names, "bos_token"), role(names, "cls_token")].contains(&first);
            self.set_add("bos", known);
        }
        if last.is_some() {
            if let Some(n) = names.as_mut()
                && n.get("eos_token").filter(|t| truthy(Some(t))) != last.as_ref()
            {
                // The end of the text takes over; the former end keeps its id under another role.
                if let Some((former, _)) = ROLES.get(*roles) {
                    let token = n.get("eos_token").cloned().unwrap_or_default();
                    n.insert(format!("{former}_token"), token);
                    *roles += 1;
                }
                n.insert("eos_token".to_owned(), last.clone().unwrap_or_default());
            }
            self.set_add("eos", true);
        }
        let separators = || [role(names, "sep_token"), role(names, "eos_token").or_else(|| last.clone())];
        if let Some(add) = separator_added(pieces("pair"), &token, &first, &last, separators) {
            self.set_add("sep", add);
            if let Some(names) = names.as_mut().filter(|names| add && !truthy(names.get("sep_token")))
                && let Some(end) = names.get("eos_token").cloned()
            {
                names.insert("sep_token".to_owned(), end);
            }
        }
    }

    fn read_names(
        &mut self,
        names: &Map<String, Json>,
        roles: &[(&'static str, Option<&str>)],
        tokenizer: &Json,
        size: usize,
    ) {
        let added = tokenizer.get("added_tokens").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for (role, _) in roles {
            if let Some(add) = names.get(&format!("add_{role}_token")).and_then(Json::as_bool)
                && self.add.iter().all(|(r, _)| r != role)
            {
                self.set_add(role, add);
            }
            let content = match names.get(&format!("{role}_token")) {
                Some(Json::String(text)) => Some(text.as_str()),
                Some(Json::Object(token)) => token.get("content").and_then(Json::as_str),
                _ => None,
            };
            let Some(content) = content else { continue };
            let entry = added.iter().find(|t| t.get("content").and_then(Json::as_str) == Some(content));
            self.set_id(role, entry.and_then(|t| t.get("id")).and_then(Json::as_u64), size);
        }
    }
}

/// Whether a pair of texts gets a separator besides the token that ends each of them; `None` if the template does not say.
fn separator_added(
    pair: &[Json],
    token: &impl Fn(&Json) -> Option<Json>,
    first: &Option<Json>,
    last: &Option<Json>,
    separators: impl Fn() -> [Option<Json>; 2],
) -> Option<bool> {
    let (start, end) = (pair.first()?, pair.last()?);
    let mut middle = pair;
    if first.is_some() && token(start) == *first {
        middle = middle.get(1..)?;
    }
    if last.is_some() && token(end) == *last {
        middle = middle.get(..middle.len().checked_sub(1)?)?;
    }
    let is_text =
        |piece: Option<&Json>, id: &str| piece.and_then(|p| p.get("Sequence")?.get("id")?.as_str()) == Some(id);
    if !is_text(middle.first(), "A") || !is_text(middle.last(), "B") {
        return None;
    }
    let between = middle.get(1..middle.len() - 1).filter(|b| !b.is_empty())?;
    let separators = separators();
    let separates = |piece: &Json| token(piece).is_some_and(|t| separators.contains(&Some(t)));
    let alone = separates(&between[0]) && last.is_none();
    Some(alone || (between.len() == 2 && separates(&between[1])))
}

/// The steps of the post-processor, whether one or a sequence.
fn processors(tokenizer: &Json) -> Vec<&Json> {
    match tokenizer.get("post_processor") {
        Some(whole @ Json::Object(map)) => match map.get("processors") {
            Some(Json::Array(list)) => list.iter().collect(),
            _ => vec![whole],
        },
        _ => vec![],
    }
}

/// A value that names something: neither absent, null, false nor empty.
fn truthy(value: Option<&Json>) -> bool {
    match value {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(Json::String(text)) => !text.is_empty(),
        Some(Json::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}
