//! The report as a page that stands on its own.

use std::fmt::Write;

use super::chart;
use super::results::Results;
use crate::table::{bytes, milliseconds, three_digits};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--muted:#5b6472;--ground:#fff;--card:#f3f5f8;--rule:#dde1e7}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--muted:#a0a9b8;--ground:#161a21;--card:#1f252f;--rule:#343c49}}\
body{margin:0 auto;max-width:60rem;padding:2rem 1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}\
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p{margin:.25rem 0;color:var(--muted)}\
dl.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1.5rem 0}\
dl.figures div{background:var(--card);border-radius:.5rem;padding:.75rem 1rem}\
dt{color:var(--muted);font-size:.85rem}dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1.5rem 2.5rem}\
.charts svg{width:100%;height:auto;background:none}\
.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:right;padding:.35rem .75rem;border-bottom:1px solid var(--rule);white-space:nowrap}\
th{font-weight:600;color:var(--muted);font-size:.85rem}\
th:first-child,td:first-child{text-align:left}\
table.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}table.facts td:first-child{color:var(--muted);white-space:nowrap}";

/// The report.
pub(super) fn report(results: &Results) -> String {
    let name = escape(&results.model_info.name);
    let [latency, batches] = chart::elements(results);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>Docent on {name}</title>\n<style>{STYLE}{}</style>\n</head>\n<body>\n\
         <h1>Docent on {name}</h1>\n<p>{}</p>\n<p>{}</p>\n",
        chart::STYLE,
        escape(&results.model()),
        escape(&results.machine()),
    );
    // Writing to a string does not fail.
    let _ = writeln!(page, "<dl class=\"figures\">");
    for (name, figure) in [
        ("load", milliseconds(results.load_ms)),
        ("first vector", milliseconds(results.first_ms)),
        ("corpus, tokens/s", three_digits(results.corpus.tok_s)),
        ("corpus, texts/s", three_digits(results.corpus.texts_s)),
        ("peak memory", results.peak_memory()),
    ] {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&figure));
    }
    let _ = writeln!(page, "</dl>\n<div class=\"charts\">\n{latency}\n{batches}\n</div>");

    let singles = results.single_rows().map(|(name, cells)| [name.to_owned()].into_iter().chain(cells).collect());
    let headings = ["text", "characters", "tokens", "median", "p95", "p99", "texts/s", "runs"];
    table(&mut page, "One text in a call", &headings, singles);
    let batches = results.batch_rows().map(Vec::from);
    table(&mut page, "Several texts in a call", &["texts", "per text", "texts/s", "runs"], batches);

    let _ = writeln!(page, "<h2>Conditions</h2>\n<table class=\"facts\">");
    let system = &results.system_info;
    let memory = system.memory_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    for (name, value) in [
        ("processor", format!("{}, {} threads available, {memory} of memory", system.cpu, system.available_threads)),
        ("computed with", format!("{}, {} threads", system.isa, system.threads)),
        ("system", format!("{}, {}", system.os, system.arch)),
        ("model file", results.model_info.path.clone()),
        ("packed weights", bytes(results.model_info.packed_bytes)),
        ("texts", format!("{}, cut to {} tokens", results.texts, results.max_length)),
        ("corpus", results.corpus_line()),
        ("method", format!("{} runs before the first that counts; times include tokenization", results.warm_ups)),
    ] {
        let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

fn table(page: &mut String, title: &str, headings: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = write!(page, "<h2>{title}</h2>\n<div class=\"wide\"><table>\n<tr>");
    for heading in headings {
        let _ = write!(page, "<th scope=\"col\">{heading}</th>");
    }
    page.push_str("</tr>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

/// The text without what a browser could take for markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::results::tests::example;

    #[test]
    fn the_page_stands_on_its_own_whatever_the_model_is_called() {
        let page = report(&example("<script>alert(1)</script>\"'&"));
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
        for outside in ["http", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        for tag in ["table", "div", "dl", "tr", "td", "th", "svg", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }
}
