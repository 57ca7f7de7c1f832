//! Where code may be cut, by its syntax tree.
//!
//! Definitions have the scores of qmd's table: types and modules 100, functions 90, aliases and enumerations 80, imports 60. A definition begins
//! with the comments and attributes that stand on the lines before it. The tree is made by tree-sitter, whose work is counted and not timed, so that
//! a text is cut in the same way on every machine.

use std::ops::ControlFlow;

use tree_sitter::{Language, Node, ParseOptions, Parser, Tree};

use super::breaks::Break;
use super::syntax::Syntax;

/// Longer texts are cut by their lines: code that people write is shorter, and a tree takes some hundred times its text.
const MAX_BYTES: usize = 512 << 10;

/// Bytes that the parser is given at a time; what it reads again is counted again.
const PIECE: usize = 4096;

/// How often the parser may read a text; it looks at a token again where it has to guess.
const MOST_READ: usize = 16;

/// Operations for each byte at most: ten times what code needs. The parser reports after each hundred.
const MOST_OPERATIONS: usize = 5;

/// What imports score; of several that follow each other the first alone is a place to cut.
const IMPORT: u8 = 60;

/// The places before definitions, in order; none if the language is not known, or the text is none of it.
pub(super) fn breaks(text: &str, syntax: Syntax) -> Vec<Break> {
    let Some((language, score)) = language(syntax) else { return Vec::new() };
    match parse(text, &language) {
        Some(tree) => definitions(text, &tree, score),
        None => Vec::new(),
    }
}

/// The score of a node by its kind; 0 for those that are no definitions.
type Score = fn(&Node<'_>) -> u8;

fn language(syntax: Syntax) -> Option<(Language, Score)> {
    Some(match syntax {
        Syntax::TypeScript => (tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(), typescript),
        Syntax::Tsx => (tree_sitter_typescript::LANGUAGE_TSX.into(), typescript),
        Syntax::Python => (tree_sitter_python::LANGUAGE.into(), python),
        Syntax::Go => (tree_sitter_go::LANGUAGE.into(), go),
        Syntax::Rust => (tree_sitter_rust::LANGUAGE.into(), rust),
        Syntax::Markdown | Syntax::Lines => return None,
    })
}

fn typescript(node: &Node<'_>) -> u8 {
    match node.kind() {
        "class_declaration" | "abstract_class_declaration" | "interface_declaration" => 100,
        "export_statement" | "function_declaration" | "generator_function_declaration" | "method_definition" => 90,
        "type_alias_declaration" | "enum_declaration" => 80,
        "import_statement" => IMPORT,
        "lexical_declaration" if holds_function(node) => 90,
        _ => 0,
    }
}

/// Whether a declaration is of a function: `const f = () => ...`.
fn holds_function(node: &Node<'_>) -> bool {
    let value = node.named_child(0).and_then(|declarator| declarator.child_by_field_name("value"));
    value.is_some_and(|value| matches!(value.kind(), "arrow_function" | "function_expression"))
}

fn python(node: &Node<'_>) -> u8 {
    match node.kind() {
        "class_definition" => 100,
        "function_definition" | "decorated_definition" => 90,
        "import_statement" | "import_from_statement" => IMPORT,
        _ => 0,
    }
}

fn go(node: &Node<'_>) -> u8 {
    match node.kind() {
        "function_declaration" | "method_declaration" => 90,
        "type_declaration" => 80,
        "import_declaration" => IMPORT,
        _ => 0,
    }
}

fn rust(node: &Node<'_>) -> u8 {
    match node.kind() {
        "struct_item" | "impl_item" | "trait_item" | "mod_item" => 100,
        "function_item" | "macro_definition" => 90,
        "enum_item" | "type_item" => 80,
        "use_declaration" => IMPORT,
        _ => 0,
    }
}

/// The tree of a text, unless it takes the parser more work than code does.
fn parse(text: &str, language: &Language) -> Option<Tree> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut parser = Parser::new();
    parser.set_language(language).ok()?;
    let most_read = MOST_READ * (text.len() + PIECE);
    let mut read = 0;
    let mut reader = |at: usize, _| {
        let piece = &text.as_bytes()[at.min(text.len())..text.len().min(at.saturating_add(PIECE))];
        read += piece.len();
        // The end of the text, for a parser that reads without end.
        if read > most_read { &[] } else { piece }
    };
    let mut reports = 100 + text.len() * MOST_OPERATIONS / 100;
    let mut watch = |_: &_| {
        reports = reports.saturating_sub(1);
        if reports == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let tree = parser.parse_with_options(&mut reader, None, Some(ParseOptions::new().progress_callback(&mut watch)))?;
    (read <= most_read).then_some(tree)
}

/// Walks the tree, without recursion: a text may nest as deep as it is long.
fn definitions(text: &str, tree: &Tree, score: Score) -> Vec<Break> {
    let mut breaks: Vec<Break> = Vec::new();
    let mut import_end = None;
    let mut last: Option<Beginning> = None;
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let own = score(&node);
        if own > 0 {
            let begin = beginning(text, &node, last.as_ref());
            let follows = own == IMPORT
                && import_end.is_some_and(|end| text[end..node.start_byte().max(end)].matches('\n').count() <= 1);
            if let Some(at) = begin.at.filter(|at| *at > 0 && !follows) {
                breaks.push(Break::new(at, own));
            }
            last = Some(begin);
            if own == IMPORT {
                import_end = Some(node.end_byte());
            }
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                breaks.sort_by_key(|found| (found.at, std::cmp::Reverse(found.score())));
                breaks.dedup_by_key(|found| found.at);
                return breaks;
            }
        }
    }
}

/// Where a definition begins.
struct Beginning {
    start: usize,
    end: usize,
    /// Where its first line begins.
    line: usize,
    /// Where its lines begin, with those of its comments and attributes; `None` if it begins inside a line.
    at: Option<usize>,
    /// Whether it is another definition with its decorators or `export` before it.
    is_wrapper: bool,
}

/// Where a definition begins. Nothing before the one that was met `last` is looked at, so that all take no longer than the text is.
fn beginning(text: &str, node: &Node<'_>, last: Option<&Beginning>) -> Beginning {
    let (start, end) = (node.start_byte(), node.end_byte());
    let is_wrapper = matches!(node.kind(), "decorated_definition" | "export_statement");
    let from = last.map_or(0, |last| last.start);
    let line = text[from..start].rfind('\n').map_or(last.map_or(0, |last| last.line), |end| from + end + 1);
    let found = |at| Beginning { start, end, line, at, is_wrapper };
    if let Some(last) = last.filter(|last| last.is_wrapper && end == last.end) {
        // What it wraps ends where it does; a method of an exported object does not.
        let before = text[line..start].trim_start();
        if before.is_empty() || before.starts_with("export ") {
            return found(last.at);
        }
    }
    let before = text[line..start].trim_start();
    if !before.is_empty() && !before.starts_with("export ") {
        return found(None);
    }
    let floor = last.map(|last| last.line);
    let mut at = line;
    while let Some(end) = at.checked_sub(1) {
        let above = text[..end].rfind('\n').map_or(0, |end| end + 1);
        let line = text[above..end].trim();
        let is_other = floor.is_some_and(|floor| above <= floor);
        if is_other || line.is_empty() || !LEADS.iter().any(|mark| line.starts_with(mark)) {
            break;
        }
        at = above;
    }
    found(Some(at))
}

/// What lines begin with that belong to the definition after them.
const LEADS: [&str; 5] = ["//", "/*", "*", "#", "@"];

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn found(text: &str, syntax: Syntax) -> Vec<(&str, u8)> {
        breaks(text, syntax).iter().map(|found| (text[found.at..].lines().next().unwrap(), found.score())).collect()
    }

    #[test]
    fn definitions_have_the_scores_of_their_kinds() {
        let rust = "//! Crate.\n\nuse a;\nuse b;\n\n/// Doc.\n#[derive(X)]\nstruct S { a: u8 }\nimpl S {\n    fn f() {}\n}\nenum E { A }\n";
        let expected =
            [("use a;", 60), ("/// Doc.", 100), ("impl S {", 100), ("    fn f() {}", 90), ("enum E { A }", 80)];
        assert_eq!(found(rust, Syntax::Rust), expected);
        let python =
            "x = 1\nimport a\nfrom b import c\n\n@d\ndef f():\n    pass\n\nclass A:\n    def g(self):\n        pass\n";
        let expected = [("import a", 60), ("@d", 90), ("class A:", 100), ("    def g(self):", 90)];
        assert_eq!(found(python, Syntax::Python), expected);
        let go = "package a\n\nimport \"fmt\"\n\n// T is.\ntype T struct{}\n\nfunc (t T) F() {}\n";
        assert_eq!(found(go, Syntax::Go), [("import \"fmt\"", 60), ("// T is.", 80), ("func (t T) F() {}", 90)]);
        let script =
            "import a from 'a';\n\nexport class A {\n  f() {}\n}\nconst g = () => 1;\nconst x = 1;\nenum E { A }\n";
        let expected = [("export class A {", 100), ("  f() {}", 90), ("const g = () => 1;", 90), ("enum E { A }", 80)];
        assert_eq!(found(script, Syntax::TypeScript), expected);
        assert_eq!(
            found("let a = 1;\nfunction B() { return <b>x</b>; }\n", Syntax::Tsx),
            [("function B() { return <b>x</b>; }", 90)]
        );
    }

    #[test]
    fn what_is_no_code_is_cut_by_its_lines() {
        assert_eq!(breaks("# Head\n\nfn a() {}\n", Syntax::Markdown), []);
        assert_eq!(breaks("", Syntax::Rust), []);
        assert_eq!(breaks(&"fn a() {}\n".repeat(MAX_BYTES / 8), Syntax::Rust), [], "too long");
    }

    #[test]
    fn code_as_it_is_written_stays_within_the_bounds() {
        let language = tree_sitter_rust::LANGUAGE.into();
        let text = include_str!("tree.rs").repeat(20);
        assert!(parse(&text, &language).is_some());
    }

    #[test]
    fn definitions_that_begin_with_marks_are_not_comments_of_the_next() {
        let methods = format!("class A {{\n{}}}\n", "  #a(){}\n".repeat(20_000));
        assert_eq!(found(&methods, Syntax::TypeScript).len(), 20_000);
        let classes = format!("let x;\n{}", "@d class A{}\n".repeat(1000));
        assert_eq!(found(&classes, Syntax::TypeScript).len(), 1000);
    }

    #[test]
    fn what_a_definition_wraps_begins_with_it() {
        let object = "let x;\nexport default {\n  a() {},\n  b() {},\n};\n";
        let expected = [("export default {", 90), ("  a() {},", 90), ("  b() {},", 90)];
        assert_eq!(found(object, Syntax::TypeScript), expected);
        let class = "let x;\n/** Doc. */\n@d\nexport class A {\n  f() {}\n}\n// G.\nexport const g = () => 1;\n";
        let expected = [("/** Doc. */", 100), ("  f() {}", 90), ("// G.", 90)];
        assert_eq!(found(class, Syntax::TypeScript), expected);
    }

    #[test]
    fn many_definitions_after_an_import_all_count() {
        let text = format!("import a from 'a';\n{}", "interface Abcde { a: number }\n".repeat(14_000));
        assert_eq!(found(&text, Syntax::TypeScript).len(), 14_000);
    }

    #[test]
    fn hostile_code_takes_bounded_time() {
        let begun = Instant::now();
        for syntax in [Syntax::Rust, Syntax::Python, Syntax::Go, Syntax::TypeScript, Syntax::Tsx] {
            for part in ["(", "{", "<a>", "/*", "\"", "r#\"", "`${", "if x:\n ", "fn a(", "<<<<", "'''", "\u{e9}=", "@"]
            {
                breaks(&part.repeat((8 << 10) / part.len()), syntax);
            }
        }
        // A second where it is not a debug build.
        assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    }
}
