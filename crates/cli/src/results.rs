//! Documents as they are written: for people, and in the formats that scripts and agents know from qmd.

mod hits;
mod several;

use std::io::{self, Write};

use clap::ValueEnum;
pub(crate) use hits::write_results;
pub(crate) use several::write_several;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Cli,
    /// One JSON array
    Json,
    /// One row a result, under a heading
    Csv,
    /// Markdown
    Md,
    /// One element a result
    Xml,
    /// One line a result: docid, score, file
    Files,
}

/// What is written of each result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Show {
    pub(crate) full: bool,
    pub(crate) line_numbers: bool,
    pub(crate) full_path: bool,
    pub(crate) explain: bool,
    /// What follows an address: the index, if it is not the default one.
    pub(crate) suffix: String,
    pub(crate) colours: bool,
}

/// The characters that XML gives a meaning to, as it writes them; those that it cannot have are left out.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A value in a line of `--files`: in quotes, which it doubles.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\"").replace(['\n', '\r'], " "))
}

/// A text that cannot steer a terminal: control characters other than ends of lines and tabs are shown, not sent.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_harmless = !c.is_control() || c == '\n' || c == '\t';
            let shown: Vec<char> = if is_harmless { vec![c] } else { c.escape_default().collect() };
            shown
        })
        .collect()
}

/// Rows under a heading, as the `csv` crate writes them; errors of `out` come back as they are.
fn csv_rows<'a>(
    out: &mut impl Write,
    heading: &[&str],
    rows: impl Iterator<Item = Vec<std::borrow::Cow<'a, str>>>,
) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(out);
    let plain = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    writer.write_record(heading).map_err(plain)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| cell.as_bytes())).map_err(plain)?;
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        assert_eq!(xml("a<b> & \"c\"\u{1b}\n"), "a&lt;b&gt; &amp; &quot;c&quot;\n");
        assert_eq!(quoted("a \"b\"\nc"), "\"a \"\"b\"\" c\"");
        assert_eq!(harmless("a\u{1b}[31m\tb\n"), "a\\u{1b}[31m\tb\n");
    }
}
