//! The expressions of a template.

use super::Value;

#[derive(Debug)]
pub(super) struct Expression<'s> {
    pub(super) line: usize,
    pub(super) kind: ExpressionKind<'s>,
}

/// Chains of operators are kept flat, so that a long one is not a deep one.
#[derive(Debug)]
pub(super) enum ExpressionKind<'s> {
    Literal(Value),
    Name(&'s str),
    List(Vec<Expression<'s>>),
    Map(Vec<(Expression<'s>, Expression<'s>)>),
    /// A call of a function that every template has, such as `range`.
    Call(&'s str, Arguments<'s>),
    Postfix(Box<Expression<'s>>, Vec<Postfix<'s>>),
    Negative(Box<Expression<'s>>),
    Not(Box<Expression<'s>>),
    /// `+`, `-`, `*`, `//` and `%`, from left to right.
    Arithmetic(Box<Expression<'s>>, Vec<(&'static str, Expression<'s>)>),
    /// `~`
    Concatenation(Vec<Expression<'s>>),
    /// As in Python, `a < b < c` compares both pairs.
    Comparison(Box<Expression<'s>>, Vec<(&'static str, Expression<'s>)>),
    And(Vec<Expression<'s>>),
    Or(Vec<Expression<'s>>),
    Conditional(Box<Conditional<'s>>),
}

#[derive(Debug)]
pub(super) struct Conditional<'s> {
    pub(super) condition: Expression<'s>,
    pub(super) value: Expression<'s>,
    pub(super) otherwise: Option<Expression<'s>>,
}

#[derive(Debug)]
pub(super) struct Postfix<'s> {
    pub(super) line: usize,
    pub(super) kind: PostfixKind<'s>,
}

#[derive(Debug)]
pub(super) enum PostfixKind<'s> {
    Attribute(&'s str),
    Index(Expression<'s>),
    /// The start, the end and the step.
    Slice(Box<[Option<Expression<'s>>; 3]>),
    Method(&'s str, Arguments<'s>),
    Filter(&'s str, Arguments<'s>),
    Test {
        name: &'s str,
        is_negated: bool,
        arguments: Arguments<'s>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Arguments<'s> {
    pub(super) positional: Vec<Expression<'s>>,
    pub(super) named: Vec<(&'s str, Expression<'s>)>,
}
