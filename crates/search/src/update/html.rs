//! The text of a web page, with headings, lists and code as Markdown has them.
//!
//! The page is read token by token, as the HTML standard cuts it, and no tree is made of it: what a tree would add (which element closes
//! which) matters little to where lines and words begin, and without it neither depth nor malformed nesting costs anything. Time and memory are
//! linear in the bytes of the page.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

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

/// The text of a page. Scripts, styles, navigation and forms are left out, entities decoded, white space is made one space or line.
pub(super) fn extract(path: &str, html: &str) -> Page {
    let is_xml = path.to_ascii_lowercase().ends_with(".xhtml");
    let mut writer = Writer { is_xml, ..Writer::default() };
    let mut emitter = CallbackEmitter::<_, std::convert::Infallible>::new(|event: CallbackEvent<'_>, _: Span<()>| {
        writer.take(&event);
        None
    });
    // In XML, a script is closed like every other element; in HTML, its text ends at `</script` alone.
    emitter.naively_switch_states(!is_xml);
    let Ok(()) = Tokenizer::new_with_emitter(html, emitter).finish();
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
    /// The element whose text is left out, and how many of its name are open.
    skipped: Option<(&'static str, usize)>,
    /// Where the text of the open heading begins in `out`, and its level.
    heading: Option<(usize, usize)>,
    first_h1: Option<String>,
    /// The text of the open `<pre>`, as it is.
    code: Option<String>,
    has_cells: bool,
    /// Whether the tag that is being read opened what is skipped.
    has_just_skipped: bool,
}

impl Writer {
    fn take(&mut self, event: &CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => self.open(name),
            CallbackEvent::CloseStartTag { self_closing } => {
                // Of HTML's own elements none closes itself; of XML's and of drawings, each may.
                let closes = self.is_xml || self.skipped.is_some_and(|(name, _)| name == "svg");
                if *self_closing && self.has_just_skipped && closes {
                    self.unskip();
                }
                self.has_just_skipped = false;
            }
            CallbackEvent::EndTag { name } => self.close(name),
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            _ => {}
        }
    }

    fn open(&mut self, name: &[u8]) {
        if let Some((skipped, depth)) = &mut self.skipped {
            self.has_just_skipped = skipped.as_bytes() == name;
            *depth += usize::from(self.has_just_skipped);
            return;
        }
        if let Some(skipped) = SKIPPED.iter().find(|known| known.as_bytes() == name) {
            self.skipped = Some((skipped, 1));
            self.has_just_skipped = true;
            self.separate(Gap::Space);
            return;
        }
        match name {
            b"title" => self.is_in_title = self.title.is_none(),
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
        if let Some((skipped, _)) = self.skipped {
            if skipped.as_bytes() == name {
                self.unskip();
            }
            return;
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

    fn unskip(&mut self) {
        self.skipped = self.skipped.filter(|(_, depth)| *depth > 1).map(|(name, depth)| (name, depth - 1));
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
        if self.skipped.is_some() {
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
        self.fill_gap();
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

/// Elements whose text nobody reads, or that is not the page's own.
const SKIPPED: [&str; 17] = [
    "script", "style", "nav", "template", "noscript", "svg", "canvas", "iframe", "object", "audio", "video",
    "textarea", "select", "button", "noembed", "noframes", "datalist",
];

/// Elements that are paragraphs, or hold them.
const PARAGRAPHS: [&str; 20] = [
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
const LINES: [&str; 7] = ["dt", "dd", "caption", "summary", "figcaption", "legend", "option"];

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
    fn hostile_pages_take_linear_time() {
        let begun = Instant::now();
        for part in [
            "<div>",
            "<b><p>",
            "<li>",
            "<table><tr><td>",
            "<nav>",
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
