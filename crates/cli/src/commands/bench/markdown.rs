//! The report as Markdown.

use std::fmt::Write;

use super::results::Results;
use crate::table::milliseconds;

/// The report; `chart` is the name of the file with the charts beside it.
pub(super) fn report(results: &Results, chart: &str) -> String {
    let mut text = format!("# Docent on {}\n\n", escape(&results.model_info.name));
    // Writing to a string does not fail.
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(text, "- {name}: {}", escape(value));
    };
    fact("Model", &results.model());
    fact("Machine", &results.machine());
    fact("Load", &milliseconds(results.load_ms));
    fact("First vector", &milliseconds(results.first_ms));
    fact("Corpus", &results.corpus_line());
    fact("Peak memory", &results.peak_memory());

    let _ = write!(text, "\n![Time a text, by length and by batch size]({})\n", link(chart));
    let _ = write!(
        text,
        "\n| one text | characters | tokens | median | p95 | p99 | texts/s | runs |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for (name, cells) in results.single_rows() {
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let _ = write!(text, "\n| texts in one call | per text | texts/s | runs |\n|--:|--:|--:|--:|\n");
    for cells in results.batch_rows() {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let _ = write!(
        text,
        "\nTimes include tokenization; {} runs before the first that counts; texts cut to {} tokens; texts: {}.\n",
        results.warm_ups,
        results.max_length,
        escape(&results.texts)
    );
    text
}

/// The text with a backslash before everything that Markdown could take for its own.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\`*_{}[]<>#|!&~".contains(character) {
            escaped.push('\\');
        }
        escaped.push(if character.is_control() { ' ' } else { character });
    }
    escaped
}

/// A file name as the target of a link.
fn link(name: &str) -> String {
    let mut target = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}");
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::results::tests::example;

    #[test]
    fn the_report_is_markdown_whatever_the_model_is_called() {
        let text = report(&example("a|b <script> [x](y)"), "a report.svg");
        assert!(text.starts_with("# Docent on a\\|b \\<script\\> \\[x\\](y)\n"), "{text}");
        assert!(text.contains("](a%20report.svg)"));
        assert!(text.contains("| short | 48 | 12 | 1.23 ms | 1.48 ms | 1.85 ms | 810 | 15 |"), "{text}");
        assert!(text.contains("| 64 | 2.70 ms | 370 | 15 |"), "{text}");
        assert!(text.contains("- Machine: A processor, avx2, 2 threads; an OS; docent 1.2.3\n"));
    }
}
