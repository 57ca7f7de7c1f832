//! What a text is written in, as far as cutting it goes.

/// How a text says where its parts begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syntax {
    /// Headings and fences of code, as Markdown writes them. Plain text too: a line of `#` and a space is rarely anything else there.
    Markdown,
    /// Blank lines and indentation, as in any code.
    Lines,
    /// TypeScript, and JavaScript, which it contains.
    TypeScript,
    /// The same with tags in it.
    Tsx,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Rust.
    Rust,
}

/// Endings of texts that are read as Markdown. The text of web pages is written so when they are read.
const MARKDOWN: [&str; 9] = ["md", "markdown", "mdx", "qmd", "txt", "html", "htm", "xhtml", ""];

/// Files of tools that have no ending, or a misleading one.
const TOOLS: [&str; 9] = [
    "makefile",
    "gnumakefile",
    "dockerfile",
    "containerfile",
    "justfile",
    "rakefile",
    "gemfile",
    "jenkinsfile",
    "cmakelists.txt",
];

impl Syntax {
    /// What a text is written in, by the name of its file, and for a name without an ending by whether it begins as a script does.
    pub fn of(path: &str, text: &str) -> Syntax {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending {
            "ts" | "mts" | "cts" | "js" | "mjs" | "cjs" => Syntax::TypeScript,
            "tsx" | "jsx" => Syntax::Tsx,
            "py" | "pyi" => Syntax::Python,
            "go" => Syntax::Go,
            "rs" => Syntax::Rust,
            _ if TOOLS.contains(&name.as_str()) || (ending.is_empty() && text.starts_with("#!")) => Syntax::Lines,
            _ if MARKDOWN.contains(&ending) => Syntax::Markdown,
            _ => Syntax::Lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_lines_tell() {
        for (path, text, syntax) in [
            ("a/b.md", "", Syntax::Markdown),
            ("README", "# Read", Syntax::Markdown),
            ("x.TXT", "", Syntax::Markdown),
            ("page.html", "", Syntax::Markdown),
            ("a.md/x.rs", "", Syntax::Rust),
            ("a.d.ts", "", Syntax::TypeScript),
            ("b.JSX", "", Syntax::Tsx),
            ("run", "#!/bin/sh\n# no heading", Syntax::Lines),
            ("docs/Makefile", "# no heading", Syntax::Lines),
            ("CMakeLists.txt", "# no heading", Syntax::Lines),
            ("a.sh", "", Syntax::Lines),
            ("a.c", "", Syntax::Lines),
        ] {
            assert_eq!(Syntax::of(path, text), syntax, "{path}");
        }
    }
}
