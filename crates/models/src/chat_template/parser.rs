//! The statements of a template and how they are read from its tokens.

use super::lexer::{Token, TokenKind};
use super::syntax::{Arguments, Expression, ExpressionKind};
use super::{Fault, MAX_DEPTH, TemplateError, quote};
use std::rc::Rc;

pub(super) type Body<'s> = Vec<Statement<'s>>;

#[derive(Debug)]
pub(super) struct Statement<'s> {
    pub(super) line: usize,
    pub(super) kind: StatementKind<'s>,
}

#[derive(Debug)]
pub(super) enum StatementKind<'s> {
    Text(Rc<str>),
    Print(Expression<'s>),
    Set(&'s str, Expression<'s>),
    /// `set x = namespace(..)`. A namespace is not a value, so that none can contain itself.
    SetNamespace(&'s str, Arguments<'s>),
    /// `set space.attribute = ..`
    SetAttribute(&'s str, &'s str, Expression<'s>),
    SetBlock(&'s str, Body<'s>),
    If(Vec<(Expression<'s>, Body<'s>)>, Body<'s>),
    For(For<'s>),
    /// What the model is to say, which only matters in training.
    Generation(Body<'s>),
}

#[derive(Debug)]
pub(super) struct For<'s> {
    /// One name, or those that each item is unpacked into.
    pub(super) targets: Vec<&'s str>,
    pub(super) iterable: Expression<'s>,
    pub(super) condition: Option<Expression<'s>>,
    pub(super) body: Body<'s>,
    pub(super) otherwise: Body<'s>,
}

pub(super) fn parse(tokens: Vec<Token<'_>>) -> Result<Body<'_>, TemplateError> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    parser.body(&[]).map(|(body, _)| body)
}

pub(super) struct Parser<'s> {
    /// The last one is `End`, which is never passed.
    tokens: Vec<Token<'s>>,
    at: usize,
    depth: usize,
}

impl<'s> Parser<'s> {
    /// The statements up to a tag with one of these names, which is taken and given. Without names, all of them.
    fn body(&mut self, ends: &[&str]) -> Result<(Body<'s>, &'s str), TemplateError> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let kind = match self.kind().clone() {
                TokenKind::End if ends.is_empty() => return Ok((body, "")),
                TokenKind::Text(text) => {
                    self.skip();
                    StatementKind::Text(text)
                }
                TokenKind::PrintStart => {
                    self.skip();
                    let expression = self.expression()?;
                    self.expect_end(&TokenKind::PrintEnd, "`}}`")?;
                    StatementKind::Print(expression)
                }
                TokenKind::BlockStart => {
                    self.skip();
                    match *self.kind() {
                        TokenKind::Name(name) if ends.contains(&name) => {
                            self.skip();
                            return Ok((body, name));
                        }
                        _ => self.nested(|parser| parser.block(ends))?,
                    }
                }
                _ => return Err(self.unexpected(&ends_in_words(ends))),
            };
            body.push(Statement { line, kind });
        }
    }

    fn block(&mut self, ends: &[&str]) -> Result<StatementKind<'s>, TemplateError> {
        let &TokenKind::Name(name) = self.kind() else {
            return Err(self.unexpected("the name of a statement"));
        };
        match name {
            "set" => {
                self.skip();
                self.set()
            }
            "if" => {
                self.skip();
                self.branches()
            }
            "for" => {
                self.skip();
                self.repetition()
            }
            "generation" => {
                self.skip();
                self.end_of_block()?;
                Ok(StatementKind::Generation(self.body_to("endgeneration")?))
            }
            "elif" | "else" | "endif" | "endfor" | "endset" | "endgeneration" => {
                Err(self.unexpected(&ends_in_words(ends)))
            }
            _ => Err(self.unexpected("a statement that is read here")),
        }
    }

    fn set(&mut self) -> Result<StatementKind<'s>, TemplateError> {
        let name = self.target()?;
        if self.take(".") {
            let attribute = self.any_name("the name of an attribute")?;
            self.expect("=")?;
            let value = self.expression()?;
            self.end_of_block()?;
            return Ok(StatementKind::SetAttribute(name, attribute, value));
        }
        if self.take("=") {
            let value = self.expression()?;
            self.end_of_block()?;
            return Ok(match value.kind {
                ExpressionKind::Call("namespace", arguments) => StatementKind::SetNamespace(name, arguments),
                _ => StatementKind::Set(name, value),
            });
        }
        self.expect_end(&TokenKind::BlockEnd, "`=` or `%}`")?;
        Ok(StatementKind::SetBlock(name, self.body_to("endset")?))
    }

    fn branches(&mut self) -> Result<StatementKind<'s>, TemplateError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.expression()?;
            self.end_of_block()?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            if end == "elif" {
                continue;
            }
            self.end_of_block()?;
            let otherwise = if end == "else" { self.body_to("endif")? } else { Vec::new() };
            return Ok(StatementKind::If(branches, otherwise));
        }
    }

    fn repetition(&mut self) -> Result<StatementKind<'s>, TemplateError> {
        let mut targets = vec![self.target()?];
        while self.take(",") {
            targets.push(self.target()?);
        }
        if !self.take_name("in") {
            return Err(self.unexpected("`in`"));
        }
        let iterable = self.without_condition()?;
        let condition = if self.take_name("if") { Some(self.expression()?) } else { None };
        self.end_of_block()?;
        let (body, end) = self.body(&["else", "endfor"])?;
        self.end_of_block()?;
        let otherwise = if end == "else" { self.body_to("endfor")? } else { Vec::new() };
        Ok(StatementKind::For(For { targets, iterable, condition, body, otherwise }))
    }

    fn body_to(&mut self, end: &str) -> Result<Body<'s>, TemplateError> {
        let (body, _) = self.body(&[end])?;
        self.end_of_block()?;
        Ok(body)
    }

    fn target(&mut self) -> Result<&'s str, TemplateError> {
        const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];
        match *self.kind() {
            TokenKind::Name(name) if CONSTANTS.contains(&name) => Err(self.unexpected("the name of a variable")),
            _ => self.any_name("the name of a variable"),
        }
    }

    fn end_of_block(&mut self) -> Result<(), TemplateError> {
        self.expect_end(&TokenKind::BlockEnd, "`%}`")
    }

    /// Reads something that can contain its own kind, which may go only so deep.
    pub(super) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        if self.depth == MAX_DEPTH {
            let fault = Fault::new(format!("a nesting of at most {MAX_DEPTH} levels"), "a deeper one");
            return Err(fault.at(self.line()));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    pub(super) fn kind(&self) -> &TokenKind<'s> {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    /// The kind of the token after the current one.
    pub(super) fn following(&self) -> Option<&TokenKind<'s>> {
        self.tokens.get(self.at + 1).map(|token| &token.kind)
    }

    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(1, |token| token.line)
    }

    pub(super) fn skip(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn is(&self, operator: &str) -> bool {
        matches!(self.kind(), TokenKind::Operator(found) if *found == operator)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(found) if *found == name)
    }

    pub(super) fn take(&mut self, operator: &str) -> bool {
        let is = self.is(operator);
        if is {
            self.skip();
        }
        is
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let is = self.is_name(name);
        if is {
            self.skip();
        }
        is
    }

    pub(super) fn take_any(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        operators.iter().copied().find(|operator| self.take(operator))
    }

    pub(super) fn any_name(&mut self, expected: &str) -> Result<&'s str, TemplateError> {
        let &TokenKind::Name(name) = self.kind() else {
            return Err(self.unexpected(expected));
        };
        self.skip();
        Ok(name)
    }

    pub(super) fn expect(&mut self, operator: &str) -> Result<(), TemplateError> {
        if self.take(operator) { Ok(()) } else { Err(self.unexpected(&quote(operator))) }
    }

    fn expect_end(&mut self, end: &TokenKind<'_>, expected: &str) -> Result<(), TemplateError> {
        if self.kind() != end {
            return Err(self.unexpected(expected));
        }
        self.skip();
        Ok(())
    }

    pub(super) fn unexpected(&self, expected: &str) -> TemplateError {
        let found = match self.kind() {
            TokenKind::Text(text) => format!("the text {}", quote(text)),
            TokenKind::PrintStart => "`{{`".to_owned(),
            TokenKind::PrintEnd => "`}}`".to_owned(),
            TokenKind::BlockStart => "`{%`".to_owned(),
            TokenKind::BlockEnd => "`%}`".to_owned(),
            TokenKind::Name(name) => quote(name),
            TokenKind::Str(text) => format!("the string {}", quote(text)),
            TokenKind::Int(number) => format!("the integer {number}"),
            TokenKind::Operator(operator) => quote(operator),
            TokenKind::End => "the end of the template".to_owned(),
        };
        Fault::new(expected, found).at(self.line())
    }
}

/// The tags that may end a body, as an error names them.
fn ends_in_words(ends: &[&str]) -> String {
    if ends.is_empty() {
        return "a statement or text".to_owned();
    }
    let tags: Vec<String> = ends.iter().map(|end| format!("`{{% {end} %}}`")).collect();
    tags.join(" or ")
}
