//! The text of a web page, with headings, lists and code as Markdown has them.
//!
//! The page is read token by token, as the HTML standard cuts it, and no tree is made of it: what a tree would add (which element closes
//! which) matters little to where lines and words begin, and without it neither depth nor malformed nesting costs anything. Time and memory are
//! linear in the bytes of the page.

mod elements;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, State, Tokenizer};

use elements::{
    ENCLOSING, LINES, NEVER_SHOWN, NOT_NESTED, PARAGRAPHS, SKIPPED, WHOLE, enclosing, is_foreign, text_state,
};

/// Longer headings are none: one that nobody closed.
const MAX_HEADING_BYTES: usize = 300;

/// What a page says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// What `<title>` says, else the first `<h1>`.
    pub(super) title: Option<String>,
    /// Its text.
    pub(super) text: String,
}

/// Whether a file is a web page, by its name.
pub(super) fn is_html(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, ending)| ["html", "htm", "xhtml"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The text of a page. Scripts, styles, navigation and the controls of forms are left out, entities decoded, white space is made one space or line.
pub(super) fn extract(path: &str, html: &str) -> Page {
    let is_xml = path.to_ascii_lowercase().ends_with(".xhtml");
    let mut writer = Writer { is_xml, ..Writer::default() };
    let emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| writer.take(&event));
    let mut tokens = Tokenizer::new_with_emitter(html, emitter);
    while let Some(Ok(state)) = tokens.next() {
        tokens.set_state(state);
    }
    drop(tokens);
    writer.finish()
}

/// What stands between two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Cell,
    Line,
    Paragraph,
}

#[derive(Default)]
struct Writer {
    is_xml: bool,
    out: String,
    gap: Gap,
    /// What the next word has before it: the mark of a heading or an item.
    mark: &'static str,
    title: Option<String>,
    is_in_title: bool,
    /// The element whose text is left out.
    skipped: Option<Skip>,
    /// Whether what an element hid that was never closed is being written.
    is_replaying: bool,
    /// How many of each of [`ENCLOSING`] are open.
    enclosing: [usize; ENCLOSING.len()],
    /// How many drawings and formulas are open, whose elements close themselves and are none of HTML's.
    foreign: usize,
    /// The name of the start tag that is being read.
    tag: Vec<u8>,
    /// Where the text of the open heading begins in `out`, and its level.
    heading: Option<(usize, usize)>,
    first_h1: Option<String>,
    /// The text of the open `<pre>`, as it is.
    code: Option<String>,
    has_cells: bool,
}

/// An element whose text is left out, and what to do should nobody close it.
struct Skip {
    name: &'static str,
    /// How many of its name are open.
    depth: usize,
    /// How many of each of [`ENCLOSING`] are open in it.
    enclosing: [usize; ENCLOSING.len()],
    /// The tags and texts in it: what each is, and where it ends in `bytes`.
    events: Vec<(Hidden, usize)>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Hidden {
    Open,
    Close,
    Text,
}

impl Skip {
    fn new(name: &'static str) -> Skip {
        Skip { name, depth: 1, enclosing: [0; ENCLOSING.len()], events: Vec::new(), bytes: Vec::new() }
    }

    fn keep(&mut self, kind: Hidden, bytes: &[u8]) {
        // Nobody reads these, closed or not.
        if !NEVER_SHOWN.contains(&self.name) {
            self.bytes.extend_from_slice(bytes);
            self.events.push((kind, self.bytes.len()));
        }
    }
}

impl Writer {
    /// Takes an event; returns how the tokenizer is to read on, where a tag changes that.
    fn take(&mut self, event: &CallbackEvent<'_>) -> Option<State> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag.clear();
                self.tag.extend_from_slice(name);
                self.foreign += usize::from(is_foreign(name));
                self.open(name);
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                let name = std::mem::take(&mut self.tag);
                // Of HTML's own elements none closes itself; of XML's and of drawings, each may.
                let is_other = self.is_xml || self.foreign > 0;
                if *self_closing && is_other {
                    self.end(&name);
                }
                let state = if is_other { None } else { text_state(&name) };
                self.tag = name;
                return state;
            }
            CallbackEvent::EndTag { name } => self.end(name),
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            _ => {}
        }
        None
    }

    fn end(&mut self, name: &[u8]) {
        if is_foreign(name) {
            self.foreign = self.foreign.saturating_sub(1);
        } else if name == b"body" {
            self.foreign = 0;
        }
        self.close(name);
    }

    fn open(&mut self, name: &[u8]) {
        if self.ends_skip(name) {
            self.foreign = 0;
            self.replay();
        }
        let place = enclosing(name);
        if let Some(skip) = &mut self.skipped {
            skip.depth += usize::from(skip.name.as_bytes() == name && !NOT_NESTED.contains(&skip.name));
            if let Some(place) = place {
                skip.enclosing[place] += 1;
            }
            skip.keep(Hidden::Open, name);
            return;
        }
        let skipped: &[&'static str] = if self.is_replaying { &NEVER_SHOWN } else { &SKIPPED };
        if let Some(name) = skipped.iter().find(|known| known.as_bytes() == name) {
            self.skipped = Some(Skip::new(name));
            self.separate(Gap::Space);
            return;
        }
        if let Some(place) = place.filter(|_| !self.is_replaying) {
            self.enclosing[place] += 1;
        }
        match name {
            b"title" => self.is_in_title = self.title.is_none() && self.foreign == 0,
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => {
                self.end_heading();
                let level = usize::from(name[1] - b'0');
                self.separate(Gap::Paragraph);
                self.mark = &"###### "[6 - level..];
                self.heading = Some((self.out.len(), level));
            }
            b"li" => {
                self.end_heading();
                self.separate(Gap::Line);
                self.mark = "- ";
            }
            b"tr" => {
                self.end_heading();
                self.separate(Gap::Line);
                self.has_cells = false;
            }
            b"td" | b"th" => {
                self.separate(if self.has_cells { Gap::Cell } else { Gap::Space });
                self.has_cells = true;
            }
            b"pre" if self.code.is_none() => {
                self.end_heading();
                self.code = Some(String::new());
            }
            b"br" | b"div" => self.separate(if self.heading.is_some() { Gap::Space } else { Gap::Line }),
            _ => self.separate_block(name),
        }
    }

    fn close(&mut self, name: &[u8]) {
        let place = enclosing(name);
        if let Some(skip) = &mut self.skipped {
            if skip.name.as_bytes() == name {
                skip.depth -= 1;
                if skip.depth == 0 {
                    self.skipped = None;
                } else {
                    skip.keep(Hidden::Close, name);
                }
                return;
            }
            let is_inside = place.is_none_or(|place| skip.enclosing[place] > 0 || self.enclosing[place] == 0);
            if name != b"body" && is_inside {
                if let Some(place) = place {
                    skip.enclosing[place] = skip.enclosing[place].saturating_sub(1);
                }
                skip.keep(Hidden::Close, name);
                return;
            }
            self.replay();
        }
        if let Some(place) = place.filter(|_| !self.is_replaying) {
            self.enclosing[place] = self.enclosing[place].saturating_sub(1);
        }
        match name {
            b"title" => self.is_in_title = false,
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => {
                self.end_heading();
                self.separate(Gap::Paragraph);
            }
            b"pre" => self.end_code(),
            b"li" => {
                self.mark = "";
                self.separate(Gap::Line);
            }
            b"tr" => self.separate(Gap::Line),
            b"div" => self.separate(if self.heading.is_some() { Gap::Space } else { Gap::Line }),
            _ => self.separate_block(name),
        }
    }

    /// Whether a start tag shows that somebody forgot to close what is skipped.
    fn ends_skip(&self, name: &[u8]) -> bool {
        let is_begin = matches!(name, b"main" | b"h1");
        is_begin && self.skipped.as_ref().is_some_and(|skip| !WHOLE.contains(&skip.name))
    }

    /// Writes what an element hid that nobody closed. All in it is taken once more at most, for nothing is kept meanwhile.
    fn replay(&mut self) {
        let Some(skip) = self.skipped.take() else { return };
        self.is_replaying = true;
        let mut start = 0;
        for (kind, end) in skip.events {
            let bytes = &skip.bytes[start..end];
            match kind {
                Hidden::Open => self.open(bytes),
                Hidden::Close => self.close(bytes),
                Hidden::Text => self.text(&String::from_utf8_lossy(bytes)),
            }
            start = end;
        }
        self.skipped = None;
        self.is_replaying = false;
    }

    fn separate_block(&mut self, name: &[u8]) {
        if PARAGRAPHS.iter().any(|known| known.as_bytes() == name) {
            self.end_heading();
            self.separate(Gap::Paragraph);
        } else if LINES.iter().any(|known| known.as_bytes() == name) {
            self.separate(Gap::Line);
        }
    }

    fn separate(&mut self, gap: Gap) {
        if let Some(code) = &mut self.code {
            if gap >= Gap::Line && !code.is_empty() && !code.ends_with('\n') {
                code.push('\n');
            }
            return;
        }
        self.gap = self.gap.max(gap);
    }

    fn text(&mut self, text: &str) {
        if let Some(skip) = &mut self.skipped {
            skip.keep(Hidden::Text, text.as_bytes());
        } else if self.is_in_title {
            self.title.get_or_insert_default().push_str(text);
        } else if let Some(code) = &mut self.code {
            code.push_str(text);
        } else {
            for part in text.split_inclusive(char::is_whitespace) {
                let word = part.trim_end();
                if !word.is_empty() {
                    self.word(word);
                }
                if word.len() < part.len() {
                    self.separate(Gap::Space);
                }
            }
        }
    }

    fn word(&mut self, word: &str) {
        let is_begin = self.heading.is_some() && !self.mark.is_empty();
        let is_line = self.heading.is_none() && (self.out.is_empty() || self.gap >= Gap::Line);
        self.fill_gap();
        if is_line && is_syntax(word) {
            self.out.push('\\');
        }
        if is_begin && let Some((start, _)) = &mut self.heading {
            *start = self.out.len();
        }
        self.out.push_str(word);
        if self.heading.is_some_and(|(start, _)| self.out.len() - start > MAX_HEADING_BYTES) {
            self.heading = None;
        }
    }

    fn fill_gap(&mut self) {
        if !self.out.is_empty() {
            self.out.push_str(match self.gap {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Cell => " | ",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            });
        }
        self.gap = Gap::None;
        self.out.push_str(std::mem::take(&mut self.mark));
    }

    fn end_heading(&mut self) {
        let Some((start, level)) = self.heading.take() else { return };
        if self.mark.is_empty() {
            if level == 1 && self.first_h1.is_none() {
                self.first_h1 = Some(self.out[start..].to_owned());
            }
            self.separate(Gap::Paragraph);
        } else {
            // Nothing was in it.
            self.mark = "";
        }
    }

    /// Writes a block of code between fences that nothing in it can close.
    fn end_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        let code = code.trim_start_matches(['\r', '\n']).trim_end();
        if code.is_empty() {
            return;
        }
        let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat((longest + 1).max(3));
        self.gap = Gap::Paragraph;
        self.mark = "";
        self.fill_gap();
        for part in [&fence, "\n", code, "\n", &fence] {
            self.out.push_str(part);
        }
        self.gap = Gap::Paragraph;
    }

    fn finish(mut self) -> Page {
        self.replay();
        self.end_code();
        self.end_heading();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let title = self.title.map(|title| words(&title)).filter(|title| !title.is_empty());
        let text = match (&title, &self.first_h1) {
            // The title is the heading of a page that has none.
            (Some(title), None) if self.out.is_empty() => format!("# {title}\n"),
            (Some(title), None) => format!("# {title}\n\n{}\n", self.out),
            _ if self.out.is_empty() => String::new(),
            _ => self.out + "\n",
        };
        Page { title: title.or(self.first_h1), text }
    }
}
/// Whether a word at the beginning of a line would make a heading or a fence of it. What comes next may add to a word that is marks alone.
fn is_syntax(word: &str) -> bool {
    ['#', '`', '~'].iter().any(|mark| word.trim_start_matches(*mark).is_empty())
        || ["```", "~~~"].iter().any(|fence| word.starts_with(fence))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn text(html: &str) -> String {
        extract("a.html", html).text
    }

    #[test]
    fn a_page_becomes_text_with_its_headings() {
        let page = extract(
            "a/b.HTML",
            "<!doctype html><html><head><title>Cats &amp; dogs\n - Site</title><style>p { color: red }</style>
             <script>if (a < b) { document.write('<p>no') }</script></head>
             <body><nav><ul><li>Home<nav>x</nav></ul></nav>
             <h1>Cats <em>&eacute;</em></h1><p>The   cat\nsat<b>.</b><br>On a&nbsp;mat.</p><div>A<div>B</div></div>
             <h2 id=x></h2><h2><div>More</div></h2><ul><li>one<li><p>two</p></ul>
             <table><tr><th>a<th>b</tr><tr><td>1<td>2</table>
             <pre><code>fn main() {\n    ```\n}\n</code></pre>end",
        );
        assert_eq!(page.title.as_deref(), Some("Cats & dogs - Site"));
        let expected = "# Cats é\n\nThe cat sat.\nOn a mat.\n\nA\nB\n\n## More\n\n- one\n\n- two\n\na | b\n1 | 2\n\n\
                        ````\nfn main() {\n    ```\n}\n````\n\nend\n";
        assert_eq!(page.text, expected);
    }

    #[test]
    fn titles_and_headings_stand_in_for_each_other() {
        assert_eq!(extract("a.htm", "<h1>A b</h1>c"), Page { title: Some("A b".into()), text: "# A b\n\nc\n".into() });
        assert_eq!(text("<title>T</title><p>c"), "# T\n\nc\n");
        assert_eq!(text("<title>T</title><script>x</script>"), "# T\n");
        assert_eq!(extract("a.htm", "<p> </p>"), Page::default());
        assert_eq!(text("a<title>One</title><svg><title>Two</title></svg>"), "# One\n\na\n");
    }

    #[test]
    fn what_is_not_closed_hides_nothing_else() {
        assert_eq!(text("<h2>Head<p>text"), "## Head\n\ntext\n");
        assert_eq!(text("<pre>code"), "```\ncode\n```\n");
        assert_eq!(text("<svg/>seen<svg><g/></svg>too"), "seen too\n");
        assert_eq!(extract("a.xhtml", "<html><script src='x'/><p>seen</p></html>").text, "seen\n");
        assert_eq!(text("</div></p></pre></nav>a</h1> b < c &lt;d&gt; &bogus;"), "a\n\nb < c <d> &bogus;\n");
    }

    #[test]
    fn drawings_and_formulas_close_themselves() {
        assert_eq!(text("a<svg><style/><title/><g/></svg><p>b"), "a\n\nb\n");
        assert_eq!(text("a<math><style/><title/><mi>x</mi></math><p>b"), "a x\n\nb\n");
        assert_eq!(text("<button><svg><style/></svg></button>b<style>p {}</style><script>'<p>'</script>c"), "b c\n");
    }

    #[test]
    fn skipped_elements_end_where_others_do() {
        assert_eq!(text("<button>x<button>y</button>seen"), "seen\n");
        assert_eq!(text("<select><option>x<select><option>y</select>seen"), "seen\n");
        assert_eq!(text("<div><object>x</div><p>seen"), "x\n\nseen\n");
        assert_eq!(text("<nav><div>x</div><main>seen</main>"), "x\n\nseen\n");
        assert_eq!(text("<nav>x<h1>Seen</h1>y"), "x\n\n# Seen\n\ny\n");
        assert_eq!(text("<body><nav>x<p>y<script>z</script></body>w"), "x\n\ny\n\nw\n");
        assert_eq!(text("<nav>x<p>seen<textarea>y"), "x\n\nseeny\n");
        assert_eq!(text("<p>a<template><h1>b</h1></template>c<script>x"), "a c\n");
    }

    #[test]
    fn elements_of_xml_close_themselves() {
        let xml = |text: &str| extract("a.xhtml", text);
        assert_eq!(xml("<title/><p>a</p>"), Page { title: None, text: "a\n".into() });
        assert_eq!(xml("<pre/><p>a</p><h1/><nav/><script/>b").text, "a\n\nb\n");
    }

    #[test]
    fn text_is_not_taken_for_markdown() {
        assert_eq!(
            text("<p># a<p>```<p>~~~ b<br>#c ## d<h2># e</h2>"),
            "\\# a\n\n\\```\n\n\\~~~ b\n#c ## d\n\n## # e\n"
        );
        assert_eq!(text("<p>#<b># a</b>"), "\\## a\n");
    }

    #[test]
    fn hostile_pages_take_linear_time() {
        let begun = Instant::now();
        for part in [
            "<div>",
            "<b><p>",
            "<li>",
            "<table><tr><td>",
            "<nav>",
            "<div><object>x</div>",
            "<nav><h1>",
            "<svg><math>",
            "<h1>",
            "<a b=c ",
            "<pre>",
            "&amp",
            "<!--",
            "</p>",
            "`",
        ] {
            let html = part.repeat((4 << 20) / part.len());
            assert!(text(&html).len() <= 2 * html.len() + 100, "{part}");
        }
        // Seconds in a debug build on a busy machine; a quadratic one would take hours.
        assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    }
}
