//! What a search found.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use docent_search::{Explain, Hit, number_lines};
use serde::Serialize;

use super::{Format, Show, csv_rows, harmless, quoted, xml};

/// Characters of a snippet: in JSON, and elsewhere.
const JSON_SNIPPET: usize = 300;
const SNIPPET: usize = 500;

/// From these scores on, a result is shown as a good one, or a fair one.
const GOOD: f64 = 0.70;
const FAIR: f64 = 0.40;

/// A result as JSON, with the fields of qmd in their order.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    docid: Option<&'a str>,
    score: f64,
    file: String,
    line: usize,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Explain>,
}

/// Writes results, best first.
pub(crate) fn write_results(out: &mut impl Write, format: Format, hits: &[Hit], show: &Show) -> io::Result<()> {
    match format {
        Format::Cli => people(out, hits, show),
        Format::Json => {
            let rows: Vec<Row<'_>> = hits.iter().map(|hit| show.row(hit)).collect();
            crate::json::write_pretty(out, &rows)
        }
        Format::Csv => csv(out, hits, show),
        Format::Files => hits.iter().try_for_each(|hit| {
            let context = hit.context.as_deref().map_or(String::new(), |context| format!(",{}", quoted(context)));
            let (docid, score) = (show.docid(hit).map_or(String::new(), |docid| format!("{docid},")), hit.score);
            writeln!(out, "{docid}{score:.2},{}{context}", show.file(hit))
        }),
        Format::Md => hits.iter().try_for_each(|hit| {
            writeln!(out, "---\n# {}\n**file:** `{}`", hit.title, show.file(hit))?;
            if let Some(docid) = show.docid(hit) {
                writeln!(out, "**docid:** `{docid}`")?;
            }
            if let Some(context) = &hit.context {
                writeln!(out, "**context:** {context}")?;
            }
            writeln!(out, "\n{}", show.content(hit, SNIPPET))
        }),
        Format::Xml if hits.is_empty() => writeln!(out, "<results></results>"),
        Format::Xml => hits.iter().try_for_each(|hit| {
            write!(out, "<file")?;
            if let Some(docid) = show.docid(hit) {
                write!(out, " docid=\"{docid}\"")?;
            }
            write!(out, " name=\"{}\" title=\"{}\"", xml(&show.file(hit)), xml(&hit.title))?;
            if let Some(context) = &hit.context {
                write!(out, " context=\"{}\"", xml(context))?;
            }
            writeln!(out, ">\n{}\n</file>", xml(&show.content(hit, SNIPPET)))
        }),
    }
}

impl Show {
    fn row<'a>(&self, hit: &'a Hit) -> Row<'a> {
        let content = self.content(hit, JSON_SNIPPET);
        let (body, snippet) = if self.full { (Some(content), None) } else { (None, Some(content)) };
        Row {
            docid: self.docid(hit),
            score: (hit.score * 100.0).round() / 100.0,
            file: self.file(hit),
            line: hit.snippet(JSON_SNIPPET).line,
            title: &hit.title,
            context: hit.context.as_deref(),
            body,
            snippet,
            explain: hit.explain.as_ref().filter(|_| self.explain),
        }
    }

    /// The address, or where the file is, if that was asked for and it is there.
    fn file(&self, hit: &Hit) -> String {
        let path = if self.full_path { on_disk(&hit.path) } else { None };
        path.unwrap_or_else(|| format!("{}{}", hit.address, self.suffix))
    }

    /// The docid; not beside a path of the file system.
    fn docid<'a>(&self, hit: &'a Hit) -> Option<&'a str> {
        let has_path = self.full_path && on_disk(&hit.path).is_some();
        if has_path { None } else { Some(&hit.docid) }
    }

    /// The text or the lines that match.
    fn content(&self, hit: &Hit, limit: usize) -> String {
        match (self.full, self.line_numbers) {
            (true, false) => hit.text.clone(),
            (true, true) => number_lines(&hit.text, 1),
            (false, false) => hit.snippet(limit).with_header(),
            (false, true) => hit.snippet(limit).with_line_numbers(),
        }
    }
}

/// Where a file is: below the current folder as `./x`, else in full; `None` if it is gone.
pub(super) fn on_disk(path: &Path) -> Option<String> {
    let real = std::fs::canonicalize(path).ok()?;
    let here = std::env::current_dir().and_then(std::fs::canonicalize).ok();
    let below = here.and_then(|here| real.strip_prefix(here).ok().map(|rest| format!("./{}", rest.display())));
    Some(below.unwrap_or_else(|| real.display().to_string()))
}

fn csv(out: &mut impl Write, hits: &[Hit], show: &Show) -> io::Result<()> {
    let rows = hits.iter().map(|hit| {
        vec![
            Cow::from(show.docid(hit).unwrap_or_default()),
            Cow::from(format!("{:.4}", hit.score)),
            Cow::from(show.file(hit)),
            Cow::from(&hit.title),
            Cow::from(hit.context.as_deref().unwrap_or_default()),
            Cow::from(hit.snippet(SNIPPET).line.to_string()),
            Cow::from(show.content(hit, SNIPPET)),
        ]
    });
    csv_rows(out, &["docid", "score", "file", "title", "context", "line", "snippet"], rows)
}

fn people(out: &mut impl Write, hits: &[Hit], show: &Show) -> io::Result<()> {
    if hits.is_empty() {
        return writeln!(out, "No results found.");
    }
    let paint = |colour: Option<AnsiColor>, text: &str| {
        let style = Style::new().bold().fg_color(colour.map(Into::into));
        if show.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    for (index, hit) in hits.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let snippet = hit.snippet(SNIPPET);
        let line = if snippet.matched { format!(":{}", snippet.line) } else { String::new() };
        let docid = show.docid(hit).map_or(String::new(), |docid| format!(" {docid}"));
        let file = harmless(&format!("{}{line}", show.file(hit)));
        writeln!(out, "{}{docid}", paint(Some(AnsiColor::Cyan), &file))?;
        writeln!(out, "Title: {}", harmless(&hit.title))?;
        if let Some(context) = &hit.context {
            writeln!(out, "Context: {}", harmless(context))?;
        }
        let colour = match hit.score {
            GOOD.. => Some(AnsiColor::Green),
            FAIR.. => Some(AnsiColor::Yellow),
            _ => None,
        };
        writeln!(out, "Score: {}", paint(colour, &format!("{:.0}%", hit.score * 100.0)))?;
        if let Some(explain) = hit.explain.as_ref().filter(|_| show.explain) {
            writeln!(out, "Explain: {}", one_line(explain))?;
        }
        writeln!(out, "\n{}", harmless(&show.content(hit, SNIPPET)))?;
    }
    Ok(())
}

/// An explanation in a line.
fn one_line(explain: &Explain) -> String {
    let evidence = &explain.evidence;
    let lists: Vec<String> = explain
        .rrf
        .contributions
        .iter()
        .map(|from| format!("{} {} #{}", from.source, from.query_type, from.rank))
        .collect();
    let meaning = match (evidence.cosine, evidence.deviations) {
        (Some(cosine), Some(deviations)) => format!(", cosine {cosine:.3} ({deviations:.1} deviations)"),
        _ => String::new(),
    };
    let reranked = explain.rerank_score.map_or(String::new(), |score| format!(", reranker {score:.3}"));
    format!(
        "rank {} of {}; coverage {:.2}{meaning}, ranks {:.4}{reranked}",
        explain.rrf.rank,
        lists.join(", "),
        evidence.coverage,
        explain.rrf.total_score
    )
}
