//! Several documents at once.

use std::borrow::Cow;
use std::io::{self, Write};

use docent_search::{Fetched, number_lines};
use serde::Serialize;

use super::hits::on_disk;
use super::{Format, Show, csv_rows, harmless, quoted, xml};

/// Signs of the rule between documents.
const RULE: usize = 60;

#[derive(Serialize)]
struct Row<'a> {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    docid: Option<&'a str>,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Writes documents in their order.
pub(crate) fn write_several(out: &mut impl Write, format: Format, all: &[Fetched], show: &Show) -> io::Result<()> {
    match format {
        Format::Json => {
            let rows: Vec<Row<'_>> = all.iter().map(|fetched| row(fetched, show)).collect();
            crate::json::write_pretty(out, &rows)
        }
        Format::Csv => csv_rows(
            out,
            &["docid", "file", "title", "context", "skipped", "body"],
            all.iter().map(|fetched| {
                let document = &fetched.document;
                let body = fetched.skipped.map_or_else(|| body(fetched, show), |reason| reason.to_string());
                vec![
                    Cow::from(docid(fetched, show).unwrap_or_default()),
                    Cow::from(file(fetched, show)),
                    Cow::from(&document.title),
                    Cow::from(document.context.as_deref().unwrap_or_default()),
                    Cow::from(if fetched.skipped.is_some() { "true" } else { "false" }),
                    Cow::from(body),
                ]
            }),
        ),
        Format::Files => all.iter().try_for_each(|fetched| {
            let docid = docid(fetched, show).map_or(String::new(), |docid| format!("{docid},"));
            let context =
                fetched.document.context.as_deref().map_or(String::new(), |text| format!(",{}", quoted(text)));
            let skipped = if fetched.skipped.is_some() { ",[SKIPPED]" } else { "" };
            writeln!(out, "{docid}{}{context}{skipped}", file(fetched, show))
        }),
        Format::Md => all.iter().try_for_each(|fetched| {
            writeln!(out, "## {}\n", file(fetched, show))?;
            if let Some(context) = &fetched.document.context {
                writeln!(out, "**context:** {context}\n")?;
            }
            match fetched.skipped {
                Some(reason) => writeln!(out, "> {reason}\n"),
                None => {
                    let body = body(fetched, show);
                    let fence = fence(&body);
                    writeln!(out, "{fence}\n{body}\n{fence}\n")
                }
            }
        }),
        Format::Xml => {
            writeln!(out, "<documents>")?;
            all.iter().try_for_each(|fetched| element(out, fetched, show))?;
            writeln!(out, "</documents>")
        }
        Format::Cli => all.iter().try_for_each(|fetched| people(out, fetched, show)),
    }
}

fn row<'a>(fetched: &'a Fetched, show: &Show) -> Row<'a> {
    Row {
        file: file(fetched, show),
        docid: docid(fetched, show),
        title: &fetched.document.title,
        context: fetched.document.context.as_deref(),
        body: fetched.skipped.is_none().then(|| body(fetched, show)),
        skipped: fetched.skipped.map(|_| true),
        reason: fetched.skipped.map(|reason| reason.to_string()),
    }
}

fn file(fetched: &Fetched, show: &Show) -> String {
    let path = if show.full_path { on_disk(&fetched.document.path) } else { None };
    path.unwrap_or_else(|| format!("{}{}", fetched.document.address, show.suffix))
}

fn docid<'a>(fetched: &'a Fetched, show: &Show) -> Option<&'a str> {
    let has_path = show.full_path && on_disk(&fetched.document.path).is_some();
    if has_path { None } else { Some(&fetched.document.docid) }
}

fn body(fetched: &Fetched, show: &Show) -> String {
    let text = &fetched.document.text;
    let mut body = if show.line_numbers { number_lines(text, 1) } else { text.clone() };
    if fetched.cut > 0 {
        body.push_str(&format!("\n\n[... truncated {} more lines]", fetched.cut));
    }
    body
}

/// A fence that no line of a text closes.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

fn element(out: &mut impl Write, fetched: &Fetched, show: &Show) -> io::Result<()> {
    let docid = docid(fetched, show).map_or(String::new(), |docid| format!(" docid=\"{docid}\""));
    writeln!(out, "<document{docid}>")?;
    writeln!(out, "<file>{}</file>", xml(&file(fetched, show)))?;
    writeln!(out, "<title>{}</title>", xml(&fetched.document.title))?;
    if let Some(context) = &fetched.document.context {
        writeln!(out, "<context>{}</context>", xml(context))?;
    }
    match fetched.skipped {
        Some(reason) => writeln!(out, "<skipped>true</skipped>\n<reason>{}</reason>", xml(&reason.to_string()))?,
        None => writeln!(out, "<body>\n{}\n</body>", xml(&body(fetched, show)))?,
    }
    writeln!(out, "</document>")
}

fn people(out: &mut impl Write, fetched: &Fetched, show: &Show) -> io::Result<()> {
    let rule = "=".repeat(RULE);
    writeln!(out, "{rule}\nFile: {}", harmless(&file(fetched, show)))?;
    if let Some(context) = &fetched.document.context {
        writeln!(out, "Folder Context: {}", harmless(context))?;
    }
    writeln!(out, "{rule}\n")?;
    match fetched.skipped {
        Some(reason) => writeln!(out, "[SKIPPED: {reason}]\n"),
        None => writeln!(out, "{}\n", harmless(&body(fetched, show))),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fence_is_longer_than_those_inside() {
        assert_eq!(super::fence("a"), "```");
        assert_eq!(super::fence("```\n````x"), "`````");
    }
}
