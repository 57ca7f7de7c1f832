//! What a document is called.

/// Headings that say nothing about their document; the next one does.
const EMPTY_TITLES: [&str; 2] = ["Notes", "📝 Notes"];

/// Longer titles are cut.
const MAX_CHARS: usize = 200;

/// The title of a document: for Markdown its first heading of level 1 or 2 (the next one if that is only "Notes"), for Org its
/// `#+TITLE:` or first heading, else the name of the file without its ending.
pub fn title_of(path: &str, text: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, ending) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).unwrap_or((name, ""));
    let heading = match ending.to_ascii_lowercase().as_str() {
        "md" | "markdown" | "mdx" | "qmd" => markdown(text),
        "org" => org(text),
        _ => None,
    };
    clipped(heading.unwrap_or(stem))
}

/// A title of the length that titles may have.
pub(super) fn clipped(title: &str) -> String {
    title.chars().take(MAX_CHARS).collect()
}

fn markdown(text: &str) -> Option<&str> {
    let mut headings = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("##").or_else(|| line.strip_prefix('#'))?;
        let title = rest.strip_prefix([' ', '\t'])?.trim().trim_end_matches('#').trim_end();
        (!title.is_empty()).then_some(title)
    });
    let first = headings.next()?;
    if EMPTY_TITLES.contains(&first) { headings.next().or(Some(first)) } else { Some(first) }
}

fn org(text: &str) -> Option<&str> {
    let title = text.lines().find_map(|line| {
        let key = line.get(..8).filter(|key| key.eq_ignore_ascii_case("#+title:"))?;
        Some(line[key.len()..].trim())
    });
    let heading = || {
        text.lines().find_map(|line| line.trim_start_matches('*').strip_prefix(' ').filter(|_| line.starts_with('*')))
    };
    title.or_else(|| heading().map(str::trim)).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_name_a_document() {
        for (path, text, title) in [
            ("a/b.md", "intro\n# The *title* #\n## Two", "The *title*"),
            ("b.md", "#tag\n### Deep\n", "b"),
            ("b.md", "# Notes\n## Meeting", "Meeting"),
            ("b.md", "# Notes\n", "Notes"),
            ("b.MD", "## Two", "Two"),
            ("b.org", "#+Title: Plan\n* x", "Plan"),
            ("b.org", "text\n** Sub", "Sub"),
            ("c.d.txt", "# no", "c.d"),
            (".env", "x", ".env"),
            ("ü.org", "ü#+titleü", "ü"),
        ] {
            assert_eq!(title_of(path, text), title, "{path} {text:?}");
        }
        assert_eq!(title_of("x.md", &format!("# {}", "ä".repeat(1000))).chars().count(), 200);
    }
}
