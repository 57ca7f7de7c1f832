//! The front matter of a model card (`README.md`): who made the model, under which licence, from which data.
//!
//! The block between the two `---` lines is YAML. What the metadata of a GGUF file needs from it is plain: keys at the left
//! margin whose values are texts or lists of texts. That much is read here; anything deeper is stepped over.

use std::path::Path;

/// Model cards are small; what is larger is no model card.
const MAX_BYTES: u64 = 16 << 20;

/// The entries at the top level of the front matter, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Card(Vec<(String, Field)>);

/// A value of the front matter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    /// A single text. Numbers and truth values are kept as they are written.
    Text(String),
    /// A list; `None` stands for an item that is no plain text.
    List(Vec<Option<String>>),
    /// A mapping or a block of text.
    Other,
}

impl Field {
    /// The plain texts: of a list, its items; of a text, itself.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::List(items) => items.iter().flatten().map(String::as_str).collect(),
            Self::Other => vec![],
        }
    }
}

impl Card {
    /// Reads `README.md` in `dir`. A card that is missing, unreadable or without front matter has no entries: nothing in a
    /// model depends on it.
    pub(super) fn load(dir: &Path) -> Self {
        let path = dir.join("README.md");
        let readable = path.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
        if !readable {
            return Self::default();
        }
        std::fs::read_to_string(path).map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    pub(super) fn parse(markdown: &str) -> Self {
        let mut lines = markdown.lines();
        if lines.next() != Some("---") {
            return Self::default();
        }
        let mut block: Vec<String> = Vec::new();
        loop {
            match lines.next() {
                Some("---") => break,
                Some(line) => block.push(line.replace('\t', "  ")),
                None => return Self::default(),
            }
        }
        let mut entries: Vec<(String, Field)> = Vec::new();
        let mut rest = block.as_slice();
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            let Some((key, value)) = key_and_value(line) else { continue };
            // Everything that is indented, or an item of a list at the margin, belongs to this key.
            let end = rest.iter().position(|l| !belongs(l)).unwrap_or(rest.len());
            let nested = &rest[..end];
            rest = &rest[end..];
            if let Some(field) = field(value, nested) {
                entries.retain(|(k, _)| k != key);
                entries.push((key.to_owned(), field));
            }
        }
        Self(entries)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Field> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, field)| field)
    }

    /// The first of `keys` that is there.
    pub(super) fn first(&self, keys: &[&str]) -> Option<&Field> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The first of `keys` that holds a single text.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| match self.get(key) {
            Some(Field::Text(text)) => Some(text.as_str()),
            _ => None,
        })
    }
}

fn key_and_value(line: &str) -> Option<(&str, &str)> {
    if line.starts_with([' ', '#', '-', '?', '[', '{']) {
        return None;
    }
    let (key, value) = line.split_once(':')?;
    if !(value.is_empty() || value.starts_with(' ')) {
        return None;
    }
    Some((key.trim_end().trim_matches(['"', '\'']), value))
}

fn belongs(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with(' ') || line.starts_with('#') || line == "-" || line.starts_with("- ")
}

fn is_content(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

/// The value of a key: `value` on its own line, `nested` below it. `None` for null.
fn field(value: &str, nested: &[String]) -> Option<Field> {
    let value = without_comment(value);
    if value.starts_with(['|', '>', '{', '&', '*', '!']) {
        return Some(Field::Other);
    }
    if let Some(inner) = value.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else { return Some(Field::Other) };
        return Some(Field::List(inner.split(',').map(str::trim).filter(|i| !i.is_empty()).map(scalar).collect()));
    }
    let mut content = nested.iter().map(String::as_str).filter(|l| is_content(l)).peekable();
    if !value.is_empty() {
        // A plain text may run on over indented lines.
        let whole: Vec<&str> = std::iter::once(value).chain(content.map(str::trim)).collect();
        return scalar(&whole.join(" ")).map(Field::Text);
    }
    let first = *content.peek()?;
    if !is_item(first) {
        return Some(Field::Other);
    }
    let margin = indent(first);
    let mut items: Vec<Option<String>> = Vec::new();
    for line in content {
        if indent(line) == margin && is_item(line) {
            items.push(scalar(without_comment(&line.trim_start()[1..])));
        } else if let Some(last) = items.last_mut() {
            // A line below an item makes it a mapping.
            *last = None;
        }
    }
    Some(Field::List(items))
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line == "-" || line.starts_with("- ")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn without_comment(value: &str) -> &str {
    let value = value.trim();
    if value.starts_with(['"', '\'']) {
        return value;
    }
    if value.starts_with('#') {
        return "";
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

/// A text without its quotes; `None` for null and for a mapping.
fn scalar(value: &str) -> Option<String> {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            let inner = &inner[..inner.find(quote).unwrap_or(inner.len())];
            return Some(inner.to_owned());
        }
    }
    let null = matches!(value, "" | "~" | "null" | "Null" | "NULL");
    let mapping = value.contains(": ") || value.ends_with(':') || value.starts_with(['{', '[']);
    (!null && !mapping).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "---\nlanguage: en\nlicense: apache-2.0 # as the base\ntags:\n- one\n- 'two words'\n\
        datasets:\n  # comment\n  - acme/data\n  - name: nested\n    size: 3\npipeline_tag: \"sentence-similarity\"\n\
        inline: [a, 'b', no]\nempty:\nnothing: ~\ntext: |\n  many\n  lines\nmodel-index:\n- name: x\n  results:\n  - task:\n\
        run: a text\n  that goes on\nurl: https://example.org/x#y\n---\n# Title\nlicense: mit\n";

    #[test]
    fn texts_and_lists_are_read_and_the_rest_stepped_over() {
        let card = Card::parse(CARD);
        let text = |key| card.text(&[key]).map(str::to_owned);
        assert_eq!(text("language").as_deref(), Some("en"));
        assert_eq!(text("license").as_deref(), Some("apache-2.0"));
        assert_eq!(text("pipeline_tag").as_deref(), Some("sentence-similarity"));
        assert_eq!(text("run").as_deref(), Some("a text that goes on"));
        assert_eq!(text("url").as_deref(), Some("https://example.org/x#y"));
        assert_eq!(card.get("tags").unwrap().texts(), ["one", "two words"]);
        assert_eq!(card.get("datasets"), Some(&Field::List(vec![Some("acme/data".into()), None])));
        assert_eq!(card.get("inline").unwrap().texts(), ["a", "b", "no"]);
        assert_eq!(card.get("text"), Some(&Field::Other));
        assert_eq!(card.get("model-index"), Some(&Field::List(vec![None])));
        assert_eq!((card.get("empty"), card.get("nothing"), card.get("Title")), (None, None, None));
    }

    #[test]
    fn no_front_matter_no_entries() {
        for text in ["", "# Title", "---", "---\nlicense: mit\n", "text\n---\nlicense: mit\n---\n"] {
            assert_eq!(Card::parse(text), Card::default(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(lines in proptest::collection::vec("[-a:\\[\\]'\"# \t|é]{0,8}", 0..12)) {
            Card::parse(&format!("---\n{}\n---\n", lines.join("\n")));
        }
    }
}
