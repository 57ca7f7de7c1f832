//! What the elements of a web page do to its text.

use html5gum::State;

/// Whether an element is of another language than HTML: a drawing or a formula.
pub(super) fn is_foreign(name: &[u8]) -> bool {
    matches!(name, b"svg" | b"math")
}

/// How the text of an element is read in which tags are none. The text of `<noscript>`, `<textarea>` and `<iframe>` is skipped, and is read
/// by its tags, to be text should nobody close it.
pub(super) fn text_state(name: &[u8]) -> Option<State> {
    match name {
        b"title" => Some(State::RcData),
        b"script" => Some(State::ScriptData),
        b"style" | b"xmp" => Some(State::RawText),
        b"plaintext" => Some(State::PlainText),
        _ => None,
    }
}

pub(super) fn enclosing(name: &[u8]) -> Option<usize> {
    ENCLOSING.iter().position(|known| known.as_bytes() == name)
}

/// Elements whose end tag nobody leaves out, so that it closes all in them.
pub(super) const ENCLOSING: [&str; 16] = [
    "body", "html", "div", "section", "article", "main", "header", "footer", "aside", "table", "ul", "ol", "dl",
    "form", "fieldset", "figure",
];

/// Skipped elements that are no text even where nobody closes them.
pub(super) const NEVER_SHOWN: [&str; 2] = ["script", "style"];

/// Skipped elements that may have a whole page in them.
pub(super) const WHOLE: [&str; 5] = ["template", "noscript", "iframe", "script", "style"];

/// Skipped elements that are never in one another: the first end tag closes them.
pub(super) const NOT_NESTED: [&str; 6] = ["button", "select", "textarea", "datalist", "script", "style"];

/// Elements whose text nobody reads, or that is not the page's own.
pub(super) const SKIPPED: [&str; 17] = [
    "script", "style", "nav", "template", "noscript", "svg", "canvas", "iframe", "object", "audio", "video",
    "textarea", "select", "button", "noembed", "noframes", "datalist",
];

/// Elements that are paragraphs, or hold them.
pub(super) const PARAGRAPHS: [&str; 20] = [
    "p",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "blockquote",
    "ul",
    "ol",
    "dl",
    "table",
    "figure",
    "hr",
    "form",
    "fieldset",
    "address",
    "details",
    "body",
    "search",
];

/// Elements that are lines.
pub(super) const LINES: [&str; 7] = ["dt", "dd", "caption", "summary", "figcaption", "legend", "option"];
