//! Which files of a folder belong to a collection.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::Error;

/// Patterns of a text longer than this are refused.
const MAX_BYTES: usize = 4096;

/// Folders of tools that nobody means when they name a folder.
const TOOLS: [&str; 5] = ["node_modules", "vendor", "dist", "build", "__pycache__"];

/// The patterns of a collection, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    wanted: GlobSet,
    ignored: GlobSet,
}

impl Mask {
    /// Compiles a mask, globs separated by commas that stand in no braces or brackets, and patterns of what is ignored.
    pub(crate) fn new(mask: &str, ignore: &[String]) -> Result<Mask, Error> {
        Ok(Mask { wanted: globs(split(mask))?, ignored: globs(ignore.iter().map(String::as_str))? })
    }

    /// Whether a file belongs to the collection; `path` is below its folder, with `/`.
    pub(crate) fn takes(&self, path: &str) -> bool {
        self.wanted.is_match(path) && !self.ignored.is_match(path)
    }

    /// Whether nothing in a folder belongs to it.
    pub(crate) fn prunes(&self, folder: &str) -> bool {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        TOOLS.contains(&name) || self.ignored.is_match(folder)
    }
}

fn globs<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |reason: String| Error::Pattern { pattern: pattern.chars().take(200).collect(), reason };
        if pattern.len() > MAX_BYTES {
            return Err(bad(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let pattern = pattern.trim().trim_start_matches("./").trim_end_matches('/');
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|error| bad(error.kind().to_string()))?);
    }
    set.build().map_err(|error| Error::Pattern { pattern: String::new(), reason: error.kind().to_string() })
}

/// The parts of a mask between commas.
fn split(mask: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in mask.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&mask[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&mask[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_outside_of_braces() {
        assert_eq!(split("**/*.md, docs/*.{txt,rst},[a,b]"), ["**/*.md", " docs/*.{txt,rst}", "[a,b]"]);
        assert_eq!(split(","), Vec::<&str>::new());
    }

    #[test]
    fn files_are_taken_or_left() {
        let mask = Mask::new("**/*.md,src/*.rs", &["drafts".into(), "**/*.tmp.md".into()]).unwrap();
        for path in ["a.md", "x/y/b.md", "src/lib.rs"] {
            assert!(mask.takes(path), "{path}");
        }
        for path in ["a.txt", "src/deep/lib.rs", "x/c.tmp.md", "a.MD"] {
            assert!(!mask.takes(path), "{path}");
        }
        assert!(mask.prunes("drafts") && mask.prunes("x/node_modules") && !mask.prunes("x/drafts"));
    }

    #[test]
    fn what_is_no_pattern_is_an_error() {
        for pattern in ["[", "{a", &"x".repeat(5000)] {
            assert!(matches!(Mask::new(pattern, &[]), Err(Error::Pattern { .. })), "{pattern:.10}");
        }
    }
}
