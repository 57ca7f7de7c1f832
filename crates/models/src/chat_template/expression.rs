//! How expressions are read from the tokens of a template.

use super::lexer::TokenKind;
use super::parser::Parser;
use super::syntax::{Arguments, Conditional, Expression, ExpressionKind, Postfix, PostfixKind};
use super::{TemplateError, Value};

/// Words that cannot be the name of a variable.
const RESERVED: [&str; 8] = ["and", "or", "not", "in", "is", "if", "else", "elif"];

type Parsed<'s> = Result<Expression<'s>, TemplateError>;

/// One method for each level of precedence, from the loosest to the tightest.
impl<'s> Parser<'s> {
    pub(super) fn expression(&mut self) -> Parsed<'s> {
        self.nested(|parser| {
            let value = parser.without_condition()?;
            if !parser.take_name("if") {
                return Ok(value);
            }
            let condition = parser.without_condition()?;
            let otherwise = if parser.take_name("else") { Some(parser.expression()?) } else { None };
            let line = value.line;
            let kind = ExpressionKind::Conditional(Box::new(Conditional { condition, value, otherwise }));
            Ok(Expression { line, kind })
        })
    }

    /// An expression in which an `if` does not belong to it, as in `for x in xs if x`.
    pub(super) fn without_condition(&mut self) -> Parsed<'s> {
        let first = self.conjunction()?;
        self.chain(first, |parser| parser.take_name("or"), Self::conjunction, ExpressionKind::Or)
    }

    fn conjunction(&mut self) -> Parsed<'s> {
        let first = self.negation()?;
        self.chain(first, |parser| parser.take_name("and"), Self::negation, ExpressionKind::And)
    }

    fn negation(&mut self) -> Parsed<'s> {
        let line = self.line();
        if !self.take_name("not") {
            return self.comparison();
        }
        let operand = self.nested(Self::negation)?;
        let kind = ExpressionKind::Not(Box::new(operand));
        Ok(Expression { line, kind })
    }

    fn comparison(&mut self) -> Parsed<'s> {
        self.operations(Self::comparison_operator, Self::sum, ExpressionKind::Comparison)
    }

    fn comparison_operator(&mut self) -> Option<&'static str> {
        if self.take_name("in") {
            return Some("in");
        }
        if self.is_name("not") && self.following() == Some(&TokenKind::Name("in")) {
            self.skip();
            self.skip();
            return Some("not in");
        }
        self.take_any(&["==", "!=", "<", "<=", ">", ">="])
    }

    fn sum(&mut self) -> Parsed<'s> {
        let operator = |parser: &mut Self| parser.take_any(&["+", "-"]);
        self.operations(operator, Self::concatenation, ExpressionKind::Arithmetic)
    }

    fn concatenation(&mut self) -> Parsed<'s> {
        let first = self.product()?;
        self.chain(first, |parser| parser.take("~"), Self::product, ExpressionKind::Concatenation)
    }

    fn product(&mut self) -> Parsed<'s> {
        let operator = |parser: &mut Self| parser.take_any(&["*", "//", "%"]);
        self.operations(operator, Self::filtered, ExpressionKind::Arithmetic)
    }

    /// Filters and tests apply to a number with its sign: `-1 | string`.
    fn filtered(&mut self) -> Parsed<'s> {
        let operand = self.signed()?;
        let mut steps = Vec::new();
        loop {
            let line = self.line();
            let kind = if self.take("|") {
                let name = self.any_name("the name of a filter")?;
                let arguments = if self.take("(") { self.arguments()? } else { Arguments::default() };
                PostfixKind::Filter(name, arguments)
            } else if self.take_name("is") {
                self.test()?
            } else {
                return Ok(with_steps(operand, steps));
            };
            steps.push(Postfix { line, kind });
        }
    }

    fn test(&mut self) -> Result<PostfixKind<'s>, TemplateError> {
        let is_negated = self.take_name("not");
        let name = self.any_name("the name of a test")?;
        let mut arguments = Arguments::default();
        if self.take("(") {
            arguments = self.arguments()?;
        } else if self.begins_argument() {
            // `x is eq 1` gives the argument without parentheses.
            arguments.positional.push(self.subscripted()?);
        }
        Ok(PostfixKind::Test { name, is_negated, arguments })
    }

    fn begins_argument(&self) -> bool {
        match self.kind() {
            TokenKind::Name(name) => !RESERVED.contains(name),
            TokenKind::Str(_) | TokenKind::Int(_) | TokenKind::Operator("[" | "{") => true,
            _ => false,
        }
    }

    fn signed(&mut self) -> Parsed<'s> {
        let line = self.line();
        if !self.take("-") {
            return self.subscripted();
        }
        let operand = self.nested(Self::signed)?;
        let kind = ExpressionKind::Negative(Box::new(operand));
        Ok(Expression { line, kind })
    }

    fn subscripted(&mut self) -> Parsed<'s> {
        let operand = self.primary()?;
        let mut steps = Vec::new();
        loop {
            let line = self.line();
            let kind = if self.take(".") {
                if let &TokenKind::Int(index) = self.kind() {
                    self.skip();
                    let kind = ExpressionKind::Literal(Value::Int(index));
                    PostfixKind::Index(Expression { line, kind })
                } else {
                    let name = self.any_name("the name of an attribute")?;
                    if self.take("(") {
                        PostfixKind::Method(name, self.arguments()?)
                    } else {
                        PostfixKind::Attribute(name)
                    }
                }
            } else if self.take("[") {
                self.subscript()?
            } else {
                return Ok(with_steps(operand, steps));
            };
            steps.push(Postfix { line, kind });
        }
    }

    /// What stands between `[` and `]`.
    fn subscript(&mut self) -> Result<PostfixKind<'s>, TemplateError> {
        let mut parts = [None, None, None];
        let mut is_slice = false;
        for (place, part) in parts.iter_mut().enumerate() {
            if place > 0 && !self.take(":") {
                break;
            }
            is_slice = place > 0;
            if !self.is(":") && !self.is("]") {
                *part = Some(self.expression()?);
            }
        }
        self.expect("]")?;
        match parts {
            [Some(index), None, None] if !is_slice => Ok(PostfixKind::Index(index)),
            [None, None, None] if !is_slice => Err(self.unexpected("an index before `]`")),
            parts => Ok(PostfixKind::Slice(Box::new(parts))),
        }
    }

    fn primary(&mut self) -> Parsed<'s> {
        let line = self.line();
        let kind = match self.kind().clone() {
            TokenKind::Int(number) => self.literal(Value::Int(number)),
            TokenKind::Str(text) => self.literal(Value::Text(text)),
            TokenKind::Name("true" | "True") => self.literal(Value::Bool(true)),
            TokenKind::Name("false" | "False") => self.literal(Value::Bool(false)),
            TokenKind::Name("none" | "None") => self.literal(Value::None),
            TokenKind::Name(name) if !RESERVED.contains(&name) => {
                self.skip();
                if self.take("(") { ExpressionKind::Call(name, self.arguments()?) } else { ExpressionKind::Name(name) }
            }
            TokenKind::Operator("(") => {
                self.skip();
                return self.parenthesised(line);
            }
            TokenKind::Operator("[") => {
                self.skip();
                ExpressionKind::List(self.items("]")?)
            }
            TokenKind::Operator("{") => {
                self.skip();
                ExpressionKind::Map(self.entries()?)
            }
            _ => return Err(self.unexpected("an expression that is read here")),
        };
        Ok(Expression { line, kind })
    }

    fn literal(&mut self, value: Value) -> ExpressionKind<'s> {
        self.skip();
        ExpressionKind::Literal(value)
    }

    /// An expression in parentheses, or a tuple, which is read as a list.
    fn parenthesised(&mut self, line: usize) -> Parsed<'s> {
        let mut items = Vec::new();
        if !self.is(")") {
            let first = self.expression()?;
            if self.take(")") {
                return Ok(first);
            }
            items.push(first);
            if !self.is(")") {
                self.expect(",")?;
            }
        }
        items.extend(self.items(")")?);
        let kind = ExpressionKind::List(items);
        Ok(Expression { line, kind })
    }

    fn items(&mut self, end: &'static str) -> Result<Vec<Expression<'s>>, TemplateError> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.expression()?);
            if !self.is(end) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn entries(&mut self) -> Result<Vec<(Expression<'s>, Expression<'s>)>, TemplateError> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.is("}") {
                self.expect(",")?;
            }
        }
        Ok(entries)
    }

    fn arguments(&mut self) -> Result<Arguments<'s>, TemplateError> {
        let mut arguments = Arguments::default();
        while !self.take(")") {
            match *self.kind() {
                TokenKind::Name(name) if self.following() == Some(&TokenKind::Operator("=")) => {
                    self.skip();
                    self.skip();
                    arguments.named.push((name, self.expression()?));
                }
                _ if arguments.named.is_empty() => arguments.positional.push(self.expression()?),
                _ => return Err(self.unexpected("an argument with its name")),
            }
            if !self.is(")") {
                self.expect(",")?;
            }
        }
        Ok(arguments)
    }

    fn chain(
        &mut self,
        first: Expression<'s>,
        take_operator: impl Fn(&mut Self) -> bool,
        operand: impl Fn(&mut Self) -> Parsed<'s>,
        kind: impl Fn(Vec<Expression<'s>>) -> ExpressionKind<'s>,
    ) -> Parsed<'s> {
        let line = first.line;
        let mut operands = vec![first];
        while take_operator(self) {
            operands.push(operand(self)?);
        }
        match operands.len() {
            1 => Ok(operands.remove(0)),
            _ => Ok(Expression { line, kind: kind(operands) }),
        }
    }

    fn operations(
        &mut self,
        take_operator: impl Fn(&mut Self) -> Option<&'static str>,
        operand: impl Fn(&mut Self) -> Parsed<'s>,
        kind: impl Fn(Box<Expression<'s>>, Vec<(&'static str, Expression<'s>)>) -> ExpressionKind<'s>,
    ) -> Parsed<'s> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = take_operator(self) {
            rest.push((operator, operand(self)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expression { line: first.line, kind: kind(Box::new(first), rest) })
    }
}

fn with_steps<'s>(operand: Expression<'s>, steps: Vec<Postfix<'s>>) -> Expression<'s> {
    if steps.is_empty() {
        return operand;
    }
    Expression { line: operand.line, kind: ExpressionKind::Postfix(Box::new(operand), steps) }
}
