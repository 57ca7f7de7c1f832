use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/bert-tiny");
    Tokenizer::from_directory(&folder).unwrap()
});

fn cut_up(text: &str, tokens: usize) -> Vec<Chunk> {
    chunks(text, Syntax::Markdown, &TOKENIZER, ChunkOptions::new(tokens)).unwrap()
}

fn count(text: &str) -> usize {
    TOKENIZER.ids(text).unwrap().len() - TOKENIZER.special_token_count()
}

#[test]
fn a_short_text_is_one_chunk() {
    let text = "\n# Title\n\nthe cat sat\n";
    let expected = Chunk { range: 1..text.len() - 1, line: 2, heading: String::new() };
    assert_eq!(cut_up(text, 100), [expected]);
    assert_eq!(cut_up(" \n", 100), []);
    assert_eq!(cut_up("", 100), []);
}

#[test]
fn cuts_are_made_before_headings_and_paths_kept() {
    let body = "the cat sat on the mat\n".repeat(4);
    let text = format!("# Animals\n\n{body}\n## Cats\n\n{body}\n## Dogs\n\n{body}");
    let found = cut_up(&text, 60);
    let shown: Vec<(&str, &str, usize)> =
        found.iter().map(|c| (text[c.range.clone()].lines().next().unwrap(), c.heading.as_str(), c.line)).collect();
    assert_eq!(shown, [("# Animals", "", 1), ("## Cats", "Animals", 8), ("## Dogs", "Animals", 15)]);
    assert!(found[1].input(&text).starts_with("Animals\n## Cats\n\nthe cat"));
}

#[test]
fn chunks_inside_a_section_overlap_by_lines() {
    let text: String = (0..80).map(|i| format!("the cat number {i} sat on the mat\n")).collect();
    let found = cut_up(&text, 120);
    assert!(found.len() > 4);
    for pair in found.windows(2) {
        assert!(pair[1].range.start < pair[0].range.end, "{pair:?}");
        assert!(text[..pair[1].range.start].ends_with('\n'));
    }
}

#[test]
fn code_that_fits_is_not_torn() {
    let code = format!("```\n{}```\n", "x = cat\n".repeat(6));
    let text = format!("{}\n{code}\n{}", "the cat sat on the mat\n".repeat(8), "a dog\n".repeat(20));
    let found = cut_up(&text, 80);
    assert!(found.iter().any(|chunk| text[chunk.range.clone()].contains(code.trim())), "{found:?}");
}

#[test]
fn one_long_line_is_cut_at_sentences_and_spaces() {
    let text = "the cat sat on the mat. ".repeat(60);
    for chunk in cut_up(&text, 40) {
        assert!(text[chunk.range].ends_with('.'));
    }
    // A word that the model does not know is one token, however long.
    assert_eq!(cut_up(&"x".repeat(3000), 40).len(), 1);
    assert!(cut_up(&"a.".repeat(300), 40).len() > 10, "anywhere if there is neither");
}

#[test]
fn code_is_cut_between_its_units() {
    let unit = |name: &str| format!("# About {name}\ndef {name}():\n    cat = 1\n\n    dog = 2\n\n    return cat\n");
    let text: String = ["one", "two", "three", "four"].map(|name| unit(name) + "\n").concat();
    let options = ChunkOptions { overlap: 0, ..ChunkOptions::new(45) };
    let found = chunks(&text, Syntax::of("a.py", &text), &TOKENIZER, options).unwrap();
    assert!(found.len() > 1);
    for chunk in found {
        assert!(text[chunk.range.clone()].starts_with("# About"), "{:?}", &text[chunk.range]);
        assert_eq!(chunk.heading, "", "a comment is no heading");
    }
}

proptest! {
    #[test]
    fn chunks_cover_the_text_and_fit(
        lines in prop::collection::vec("(#{1,4} |- |```|    )?[ a-zé猫\\t.,]{0,40}", 0..60),
        tokens in 8usize..80,
    ) {
        let text = lines.join("\n");
        let found = cut_up(&text, tokens);
        let mut covered = 0;
        for (index, chunk) in found.iter().enumerate() {
            prop_assert!(text.is_char_boundary(chunk.range.start) && text.is_char_boundary(chunk.range.end));
            prop_assert!(index == 0 || chunk.range.start > found[index - 1].range.start, "each begins later");
            if chunk.range.start > covered {
                // Nothing between chunks that a model could read.
                prop_assert_eq!(count(&text[covered..chunk.range.start]), 0);
            }
            covered = covered.max(chunk.range.end);
            prop_assert_eq!(chunk.line, text[..chunk.range.start].matches('\n').count() + 1);
            // What is left of a word that was cut may have more tokens than it had in the word.
            let is_cut = |before: &str, after: &str| {
                !before.ends_with(char::is_whitespace) && !after.starts_with(char::is_whitespace) && !before.is_empty()
            };
            let (start, end) = (chunk.range.start, chunk.range.end);
            let torn = is_cut(&text[..start], &text[start..]) || (end < text.len() && is_cut(&text[..end], &text[end..]));
            prop_assert!(torn || count(&text[start..end]) <= tokens, "{:?}", &text[start..end]);
        }
        if covered < text.len() {
            prop_assert_eq!(count(&text[covered..]), 0);
        }
    }
}
