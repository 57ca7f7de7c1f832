//! Splits a template into text and the tokens inside its tags, with Jinja's whitespace control applied to the text.

use super::{Fault, TemplateError, quote};
use std::rc::Rc;

#[derive(Debug)]
pub(super) struct Token<'s> {
    pub(super) line: usize,
    pub(super) kind: TokenKind<'s>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'s> {
    /// What stands outside the tags.
    Text(Rc<str>),
    PrintStart,
    PrintEnd,
    BlockStart,
    BlockEnd,
    Name(&'s str),
    Str(Rc<str>),
    Int(i64),
    Operator(&'static str),
    /// The end of the template. Always the last token, and only there.
    End,
}

/// The operators, each before any other that it starts with.
const OPERATORS: [&str; 26] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

pub(super) fn tokenize(source: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    let mut lexer = Lexer { source: strip_newline_at_end(source), at: 0, line: 1, tokens: Vec::new() };
    while !lexer.rest().is_empty() {
        lexer.text_and_tag()?;
    }
    lexer.push(TokenKind::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'s>>,
}

impl<'s> Lexer<'s> {
    fn text_and_tag(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let Some((start, kind)) = find_tag(rest) else {
            self.push_text(rest);
            self.advance(rest.len());
            return Ok(());
        };
        self.text_before_tag(start, kind != b'{');
        let line = self.line;
        match kind {
            b'#' => self.comment().map_err(|fault| fault.at(line)),
            b'%' => match raw_tag(self.rest(), "raw", false) {
                Some(length) => {
                    self.advance(length);
                    self.raw_text().map_err(|fault| fault.at(line))
                }
                None => self.tag(TokenKind::BlockStart, TokenKind::BlockEnd, "%}"),
            },
            _ => self.tag(TokenKind::PrintStart, TokenKind::PrintEnd, "}}"),
        }
    }

    /// Takes the text of this length and the opening of the tag behind it, whose sign says what the text keeps.
    fn text_before_tag(&mut self, length: usize, is_block: bool) {
        let (text, tag) = self.rest().split_at(length);
        let sign = tag.as_bytes().get(2);
        let kept = match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            Some(b'+') => text,
            _ if is_block => self.without_indent(text),
            _ => text,
        };
        self.push_text(kept);
        let signed = matches!(sign, Some(b'-' | b'+'));
        self.advance(length + 2 + usize::from(signed));
    }

    /// The text without the spaces that only indent the tag behind it (`lstrip_blocks`).
    fn without_indent(&self, text: &'s str) -> &'s str {
        let before = self.source.get(..self.at).unwrap_or_default();
        let line_begins = before.is_empty() || before.ends_with(['\n', '\r']);
        let kept = text.trim_end_matches(|c| is_space(c) && c != '\n' && c != '\r');
        let at_line_start = if kept.is_empty() { line_begins } else { kept.ends_with(['\n', '\r']) };
        if at_line_start { kept } else { text }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else {
            return Err(Fault::new("`#}` that closes the comment", "the end of the template"));
        };
        let sign = rest.get(..end).and_then(|comment| comment.chars().next_back());
        self.advance(end + 2);
        self.after_block(sign);
        Ok(())
    }

    /// The text between `raw` and `endraw`, in which tags mean nothing.
    fn raw_text(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let ends = rest.match_indices("{%").find_map(|(start, tag)| {
            let opening = rest.get(start + tag.len()..)?;
            let inner = opening.strip_prefix(['-', '+']).unwrap_or(opening);
            raw_tag(inner, "endraw", true).map(|length| (start, length))
        });
        let Some((start, length)) = ends else {
            return Err(Fault::new("`{% endraw %}` that closes `raw`", "the end of the template"));
        };
        self.text_before_tag(start, true);
        let sign = self.rest().get(..length - 2).and_then(|inner| inner.chars().next_back());
        self.advance(length);
        self.after_block(sign);
        Ok(())
    }

    /// Takes the whitespace that the end of a block or of a comment takes with it, given the sign before that end.
    fn after_block(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_spaces(),
            Some('+') => {}
            _ => self.advance(newline_length(self.rest())),
        }
    }

    /// The tokens of a tag whose opening has been taken. Its end counts only outside brackets: `{{ {'a': {}} }}`.
    fn tag(&mut self, start: TokenKind<'s>, end: TokenKind<'s>, closing: &'static str) -> Result<(), TemplateError> {
        let opened = self.line;
        let mut brackets = Vec::new();
        self.push(start);
        loop {
            self.skip_spaces();
            let rest = self.rest();
            if rest.is_empty() {
                let fault = Fault::new(format!("`{closing}` that closes the tag"), "the end of the template");
                return Err(fault.at(opened));
            }
            let is_block = end == TokenKind::BlockEnd;
            let inner = rest.strip_prefix(|c: char| c == '-' || (c == '+' && is_block)).unwrap_or(rest);
            if brackets.is_empty() && inner.starts_with(closing) {
                let sign = rest.chars().next();
                self.push(end);
                self.advance(rest.len() - inner.len() + closing.len());
                match sign {
                    _ if is_block => self.after_block(sign),
                    Some('-') => self.skip_spaces(),
                    _ => {}
                }
                return Ok(());
            }
            let line = self.line;
            self.token(rest, &mut brackets).map_err(|fault| fault.at(line))?;
        }
    }

    fn token(&mut self, rest: &'s str, brackets: &mut Vec<&'static str>) -> Result<(), Fault> {
        let first = rest.chars().next().unwrap_or_default();
        if first == '\'' || first == '"' {
            return self.string(rest, first);
        }
        if first.is_ascii_digit() {
            return self.integer(rest);
        }
        if is_name(first) {
            let name = rest.get(..rest.find(|c| !is_name(c)).unwrap_or(rest.len())).unwrap_or_default();
            self.push(TokenKind::Name(name));
            self.advance(name.len());
            return Ok(());
        }
        let Some(operator) = OPERATORS.into_iter().find(|&operator| rest.starts_with(operator)) else {
            return Err(Fault::new("a token of an expression", quote(&first.to_string())));
        };
        match operator {
            "(" => brackets.push(")"),
            "[" => brackets.push("]"),
            "{" => brackets.push("}"),
            ")" | "]" | "}" => match brackets.pop() {
                Some(closing) if closing == operator => {}
                Some(closing) => return Err(Fault::new(quote(closing), quote(operator))),
                None => return Err(Fault::new("the end of the tag", quote(operator))),
            },
            _ => {}
        }
        self.push(TokenKind::Operator(operator));
        self.advance(operator.len());
        Ok(())
    }

    fn integer(&mut self, rest: &'s str) -> Result<(), Fault> {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        // `a.0.1` reads two indices, not a number with a fraction.
        let is_index = self.tokens.last().map(|token| &token.kind) == Some(&TokenKind::Operator("."));
        let mut fraction = after.strip_prefix('.').unwrap_or_default().chars();
        let has_fraction = !is_index && fraction.next().is_some_and(|c| c.is_ascii_digit());
        let plain = digits.replace('_', "");
        let is_octal_like = plain.starts_with('0') && plain.contains(|c| c != '0');
        let number = plain.parse().ok().filter(|_| !has_fraction && !is_octal_like && !digits.ends_with('_'));
        let number = number.ok_or_else(|| Fault::new("an integer of 64 bits", quote(rest.get(..end).unwrap_or(rest))));
        self.push(TokenKind::Int(number?));
        self.advance(end);
        Ok(())
    }

    fn string(&mut self, rest: &'s str, delimiter: char) -> Result<(), Fault> {
        let mut text = String::new();
        let mut chars = rest.char_indices();
        chars.next();
        while let Some((start, c)) = chars.next() {
            if c == delimiter {
                self.push(TokenKind::Str(text.into()));
                self.advance(start + c.len_utf8());
                return Ok(());
            }
            if c == '\r' {
                // A line end inside the string reads as everywhere else; the escape `\r` below stays what it says.
                let is_pair = rest.get(start + 1..).is_some_and(|rest| rest.starts_with('\n'));
                text.push_str(if is_pair { "" } else { "\n" });
                continue;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((_, escaped)) = chars.next() else { break };
            let digits = match escaped {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            if digits > 0 {
                let code = chars.by_ref().take(digits).map(|(_, digit)| digit);
                let code = code
                    .map(|digit| digit.to_digit(16))
                    .try_fold(0_u32, |code, digit| code.checked_mul(16).and_then(|code| code.checked_add(digit?)));
                let c = code.and_then(char::from_u32);
                text.push(c.ok_or_else(|| Fault::new("the code of a character", format!("`\\{escaped}`")))?);
                continue;
            }
            match escaped {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '\\' | '\'' | '"' => text.push(escaped),
                'a' | 'b' | 'f' | 'v' | 'N' | '0'..='7' | '\n' | '\r' => {
                    return Err(Fault::new("an escape that is read here", quote(&format!("\\{escaped}"))));
                }
                // Python keeps the backslash of an escape that it does not know.
                _ => text.extend(['\\', escaped]),
            }
        }
        Err(Fault::new("the end of the string", "the end of the template"))
    }

    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: TokenKind<'s>) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(TokenKind::Text(with_plain_newlines(text)));
        }
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(is_space).len());
    }

    fn advance(&mut self, length: usize) {
        let bytes = self.source.as_bytes();
        let end = self.at + length;
        let newlines = (self.at..end).filter(|&at| match bytes.get(at) {
            Some(b'\n') => true,
            Some(b'\r') => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        self.line += newlines.count();
        self.at = end;
    }
}

/// Where the next tag opens, and the byte that says which kind it is.
fn find_tag(rest: &str) -> Option<(usize, u8)> {
    let pairs = rest.as_bytes().windows(2).enumerate();
    pairs.into_iter().find_map(|(start, pair)| match pair {
        [b'{', kind @ (b'{' | b'%' | b'#')] => Some((start, *kind)),
        _ => None,
    })
}

/// The length of the inside of a `raw` or `endraw` tag with its end, if that is what stands here. The whitespace that
/// `-%}` takes along counts for `raw`, whose end takes nothing else with it.
fn raw_tag(inner: &str, name: &str, may_keep: bool) -> Option<usize> {
    let after = inner.trim_start_matches(is_space).strip_prefix(name)?.trim_start_matches(is_space);
    let end = match after.strip_prefix("-%}") {
        Some(end) if may_keep => end,
        Some(end) => end.trim_start_matches(is_space),
        None => after.strip_prefix('+').filter(|_| may_keep).unwrap_or(after).strip_prefix("%}")?,
    };
    Some(inner.len() - end.len())
}

fn strip_newline_at_end(source: &str) -> &str {
    let ends = ["\r\n", "\n", "\r"];
    ends.into_iter().find_map(|end| source.strip_suffix(end)).unwrap_or(source)
}

fn newline_length(rest: &str) -> usize {
    if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with(['\n', '\r'])) }
}

/// Jinja reads every kind of line end as `\n`.
fn with_plain_newlines(text: &str) -> Rc<str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whitespace as Python has it, which counts four separators that Unicode does not.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
