//! A small, bounded evaluator of the Jinja templates that models keep in `chat_template.jinja`.
//!
//! A template comes with a model and is not trusted, so everything that it could make large has a bound: its own
//! length, how deep it nests, the steps of one rendering, the length of any string and the bytes of all of them.
//! Passing a bound is an error, as is anything outside the subset of Jinja that is read here. It is for these bounds that this is code of
//! our own: minijinja, the library for it, counts the steps of a rendering, but a few dozen steps make a string that fills the memory.
//!
//! What is read means what it means to `apply_chat_template` of transformers, which sets `trim_blocks` and
//! `lstrip_blocks`, drops one newline at the end of the template and prints an undefined value as nothing.
//! Where exactness would need more than the subset has, such as printing a list, the answer is an error, not a guess.

mod evaluate;
mod expression;
mod filters;
#[cfg(test)]
mod jinja2_cases;
mod lexer;
mod methods;
mod parser;
mod predicates;
mod render;
mod syntax;
#[cfg(test)]
mod tests;
mod values;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// The longest template that is read, in bytes.
const MAX_TEMPLATE: usize = 256 * 1024;
/// The longest string that a rendering may build, its output included, in bytes.
const MAX_TEXT: usize = 1024 * 1024;
/// How many bytes of strings one rendering may read and write in all.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How many expressions, iterations and list items one rendering may work through.
const MAX_STEPS: usize = 100_000;
/// How deep expressions, blocks and values may nest. Every recursion here is bounded by it.
const MAX_DEPTH: usize = 64;

/// What a template is rendered with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    List(Rc<[Value]>),
    /// The entries in their order, each key once.
    Map(Rc<[(Rc<str>, Value)]>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn list(items: Vec<Value>) -> Self {
        Self::List(items.into())
    }

    /// A mapping. As in Python, a key given again keeps its place and takes the later value.
    pub(crate) fn map(entries: Vec<(&str, Value)>) -> Self {
        values::mapping(entries.into_iter().map(|(key, value)| (key.into(), value)))
    }
}

/// A template that has been read and can be rendered any number of times.
#[derive(Debug)]
pub(crate) struct Template<'s> {
    body: Vec<parser::Statement<'s>>,
}

impl<'s> Template<'s> {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// The template is too long, nests too deep or is not in the subset of Jinja that is read here.
    pub(crate) fn parse(source: &'s str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE {
            let fault =
                Fault::new(format!("a template of at most {MAX_TEMPLATE} bytes"), format!("{} bytes", source.len()));
            return Err(fault.at(1));
        }
        let body = parser::parse(lexer::tokenize(source)?)?;
        Ok(Self { body })
    }

    /// Renders the template with these variables. A name that is not among them is undefined.
    ///
    /// # Errors
    ///
    /// The template passes a bound, raises an exception itself or does what its values do not allow.
    pub(crate) fn render(&self, variables: &[(&str, Value)]) -> Result<String, TemplateError> {
        render::render(&self.body, variables)
    }
}

/// Why a template could not be read or rendered. The line counts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) line: usize,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}, found {}", self.line, self.expected, self.found)
    }
}

impl std::error::Error for TemplateError {}

/// An error whose line is not known yet: values and filters do not know where they stand in the template.
#[derive(Debug)]
struct Fault {
    expected: String,
    found: String,
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }

    fn at(self, line: usize) -> TemplateError {
        TemplateError { line, expected: self.expected, found: self.found }
    }
}

/// A piece of the template as an error shows it: on one line, and short however long the piece is.
fn quote(piece: &str) -> String {
    const SHOWN: usize = 60;
    let shown: String = piece.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let rest = if piece.chars().nth(SHOWN).is_some() { "..." } else { "" };
    format!("`{shown}{rest}`")
}

/// What one rendering may still spend.
struct Budget {
    steps: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn new() -> Self {
        Self { steps: Cell::new(MAX_STEPS), bytes: Cell::new(MAX_BYTES) }
    }

    /// Pays for work on so many values.
    fn steps(&self, count: usize) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(count);
        let left = left.ok_or_else(|| Fault::new(format!("a rendering of at most {MAX_STEPS} steps"), "more steps"))?;
        self.steps.set(left);
        Ok(())
    }

    /// Pays for reading so many bytes of a string.
    fn bytes(&self, count: usize) -> Result<(), Fault> {
        let left = self.bytes.get().checked_sub(count);
        let left = left.ok_or_else(|| Fault::new(format!("a rendering of at most {MAX_BYTES} bytes"), "more bytes"))?;
        self.bytes.set(left);
        Ok(())
    }

    /// Pays for a string of this length, before it is built.
    fn text(&self, length: usize) -> Result<(), Fault> {
        if length > MAX_TEXT {
            return Err(Fault::new(
                format!("strings of at most {MAX_TEXT} bytes"),
                format!("a string of {length} bytes"),
            ));
        }
        self.bytes(length)
    }
}
