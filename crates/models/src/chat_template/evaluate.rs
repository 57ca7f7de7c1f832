//! The names of a rendering and the values of its expressions.

use super::filters::{self, Operand};
use super::methods::{self, Given};
use super::syntax::{Arguments, Expression, ExpressionKind, Postfix, PostfixKind};
use super::values::{self, describe, integer, is_true};
use super::{Budget, Fault, TemplateError, Value, predicates, quote};
use std::cmp::Ordering;
use std::collections::HashMap;

/// What a name stands for.
pub(super) enum Binding<'t> {
    Value(Value),
    Namespace(HashMap<&'t str, Value>),
}

/// The functions that every template has. Their names are defined, but they are no values here.
const FUNCTIONS: [&str; 8] =
    ["range", "raise_exception", "strftime_now", "namespace", "dict", "lipsum", "cycler", "joiner"];

pub(super) struct Scope<'t> {
    variables: &'t [(&'t str, Value)],
    /// What the template has set, by the blocks that it is in. The last is the innermost.
    frames: Vec<HashMap<&'t str, Binding<'t>>>,
    pub(super) budget: Budget,
}

impl<'t> Scope<'t> {
    pub(super) fn new(variables: &'t [(&'t str, Value)]) -> Self {
        Self { variables, frames: vec![HashMap::new()], budget: Budget::new() }
    }

    /// Opens a block whose names end with it.
    pub(super) fn enter(&mut self) {
        self.frames.push(HashMap::new());
    }

    pub(super) fn leave(&mut self) {
        self.frames.pop();
    }

    pub(super) fn bind(&mut self, name: &'t str, binding: Binding<'t>) {
        if let Some(frame) = self.frames.last_mut() {
            frame.insert(name, binding);
        }
    }

    pub(super) fn namespace(&mut self, name: &str) -> Option<&mut HashMap<&'t str, Value>> {
        let binding = self.frames.iter_mut().rev().find_map(|frame| frame.get_mut(name));
        match binding {
            Some(Binding::Namespace(fields)) => Some(fields),
            _ => None,
        }
    }

    fn binding(&self, name: &str) -> Option<&Binding<'t>> {
        self.frames.iter().rev().find_map(|frame| frame.get(name))
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.iter().rev().find(|(variable, _)| *variable == name).map(|(_, value)| value)
    }

    pub(super) fn value(&self, expression: &Expression<'t>) -> Result<Value, TemplateError> {
        let operand = self.operand(expression)?;
        operand.into_value().map_err(|fault| fault.at(expression.line))
    }

    /// The value of an expression, or the stream that its filters end with.
    pub(super) fn operand(&self, expression: &Expression<'t>) -> Result<Operand, TemplateError> {
        let at = |fault: Fault| fault.at(expression.line);
        self.budget.steps(1).map_err(at)?;
        let value = match &expression.kind {
            ExpressionKind::Postfix(operand, steps) => return self.postfix(operand, steps),
            ExpressionKind::Literal(value) => value.clone(),
            ExpressionKind::Name(name) => self.name(name).map_err(at)?,
            ExpressionKind::List(_) | ExpressionKind::Map(_) => {
                let value = self.collection(expression)?;
                values::check_depth(&value, &self.budget).map_err(at)?;
                value
            }
            ExpressionKind::Call(name, arguments) => self.call(name, arguments)?.map_err(at)?,
            ExpressionKind::Negative(operand) => {
                let operand = self.value(operand)?;
                values::arithmetic("-", &Value::Int(0), &operand, &self.budget).map_err(at)?
            }
            ExpressionKind::Not(operand) => Value::Bool(!is_true(&self.value(operand)?)),
            ExpressionKind::Arithmetic(first, rest) => {
                let mut result = self.value(first)?;
                for (operator, operand) in rest {
                    let operand = self.value(operand)?;
                    result = values::arithmetic(operator, &result, &operand, &self.budget).map_err(at)?;
                }
                result
            }
            ExpressionKind::Concatenation(operands) => {
                let mut parts = Vec::new();
                for operand in operands {
                    parts.push(values::display(&self.value(operand)?).map_err(at)?);
                }
                values::concatenate(&parts, "", &self.budget).map_err(at)?
            }
            ExpressionKind::Comparison(first, rest) => Value::Bool(self.comparison(first, rest)?),
            ExpressionKind::And(operands) => self.first_that_is(false, operands)?,
            ExpressionKind::Or(operands) => self.first_that_is(true, operands)?,
            ExpressionKind::Conditional(conditional) => {
                if is_true(&self.value(&conditional.condition)?) {
                    return self.operand(&conditional.value);
                }
                match &conditional.otherwise {
                    Some(otherwise) => return self.operand(otherwise),
                    None => Value::Undefined,
                }
            }
        };
        Ok(Operand::Value(value))
    }

    fn name(&self, name: &str) -> Result<Value, Fault> {
        match self.binding(name) {
            Some(Binding::Value(value)) => Ok(value.clone()),
            Some(Binding::Namespace(_)) => {
                Err(Fault::new("an attribute of a namespace", format!("the namespace {}", quote(name))))
            }
            None => match self.variable(name) {
                None if FUNCTIONS.contains(&name) => {
                    Err(Fault::new("a call of a function", format!("the function {}", quote(name))))
                }
                variable => Ok(variable.cloned().unwrap_or(Value::Undefined)),
            },
        }
    }

    fn collection(&self, expression: &Expression<'t>) -> Result<Value, TemplateError> {
        match &expression.kind {
            ExpressionKind::Map(entries) => {
                let mut map = Vec::new();
                for (key, value) in entries {
                    match self.value(key)? {
                        Value::Text(text) => map.push((text, self.value(value)?)),
                        other => return Err(Fault::new("a key that is a string", describe(&other)).at(key.line)),
                    }
                }
                Ok(values::mapping(map.into_iter()))
            }
            ExpressionKind::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.value(item)).collect();
                items.map(Value::list)
            }
            _ => self.value(expression),
        }
    }

    /// As in Python, `and` and `or` give the operand that decides them.
    fn first_that_is(&self, truth: bool, operands: &[Expression<'t>]) -> Result<Value, TemplateError> {
        let mut last = Value::Undefined;
        for operand in operands {
            last = self.value(operand)?;
            if is_true(&last) == truth {
                break;
            }
        }
        Ok(last)
    }

    fn comparison(
        &self,
        first: &Expression<'t>,
        rest: &[(&'static str, Expression<'t>)],
    ) -> Result<bool, TemplateError> {
        let mut left = self.value(first)?;
        for (operator, operand) in rest {
            let right = self.value(operand)?;
            let holds = self.compare(operator, &left, &right).map_err(|fault| fault.at(operand.line))?;
            if !holds {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn compare(&self, operator: &str, left: &Value, right: &Value) -> Result<bool, Fault> {
        let budget = &self.budget;
        match operator {
            "==" => values::equal(left, right, budget),
            "!=" => Ok(!values::equal(left, right, budget)?),
            "in" => values::contains(right, left, budget),
            "not in" => Ok(!values::contains(right, left, budget)?),
            "<" => Ok(values::order(left, right, budget)? == Ordering::Less),
            "<=" => Ok(values::order(left, right, budget)? != Ordering::Greater),
            ">" => Ok(values::order(left, right, budget)? == Ordering::Greater),
            _ => Ok(values::order(left, right, budget)? != Ordering::Less),
        }
    }

    /// The outer error is of the arguments, the inner of the call.
    fn call(&self, name: &str, arguments: &Arguments<'t>) -> Result<Result<Value, Fault>, TemplateError> {
        let given = self.given(arguments)?;
        Ok(match name {
            "range" => self.range(&given),
            "raise_exception" => raise_exception(given),
            "namespace" => Err(Fault::new("a namespace only as the value of a `set`", "`namespace` in an expression")),
            _ => Err(Fault::new("a function that is read here", quote(name))),
        })
    }

    fn range(&self, given: &Given<'_>) -> Result<Value, Fault> {
        let bounds: Option<Vec<i64>> = given.positional.iter().map(integer).collect();
        let (start, end, step) = match bounds.as_deref() {
            Some(&[end]) => (0, end, 1),
            Some(&[start, end]) => (start, end, 1),
            Some(&[start, end, step]) if step != 0 => (start, end, step),
            _ => return Err(Fault::new("one to three integers for `range`", "other arguments")),
        };
        if let Some((name, _)) = given.named.first() {
            return Err(Fault::new("an argument that is read here", quote(name)));
        }
        let mut numbers = Vec::new();
        let mut next = Some(start);
        while let Some(number) = next.filter(|&number| if step > 0 { number < end } else { number > end }) {
            self.budget.steps(1)?;
            numbers.push(Value::Int(number));
            next = number.checked_add(step);
        }
        Ok(Value::list(numbers))
    }

    pub(super) fn given(&self, arguments: &Arguments<'t>) -> Result<Given<'t>, TemplateError> {
        let positional: Result<Vec<_>, _> = arguments.positional.iter().map(|argument| self.value(argument)).collect();
        let named = arguments.named.iter().map(|(name, argument)| Ok((*name, self.value(argument)?)));
        Ok(Given { positional: positional?, named: named.collect::<Result<_, TemplateError>>()? })
    }

    fn postfix(&self, first: &Expression<'t>, steps: &[Postfix<'t>]) -> Result<Operand, TemplateError> {
        let (mut operand, steps) = match self.named_without_value(first, steps) {
            Some((value, rest)) => (Operand::Value(value), rest),
            None => (self.operand(first)?, steps),
        };
        for step in steps {
            self.budget.steps(1).map_err(|fault| fault.at(step.line))?;
            operand = self.step(operand, step)?;
        }
        Ok(operand)
    }

    /// What the first step gives where it follows a namespace or a function, which are no values themselves.
    fn named_without_value<'e>(
        &self,
        first: &Expression<'t>,
        steps: &'e [Postfix<'t>],
    ) -> Option<(Value, &'e [Postfix<'t>])> {
        let ExpressionKind::Name(name) = first.kind else {
            return None;
        };
        let (step, rest) = steps.split_first()?;
        let fields = match self.binding(name) {
            Some(Binding::Namespace(fields)) => Some(fields),
            None if self.variable(name).is_none() && FUNCTIONS.contains(&name) => None,
            Some(Binding::Value(_)) | None => return None,
        };
        let value = match (&step.kind, fields) {
            (PostfixKind::Attribute(attribute), Some(fields)) => {
                fields.get(attribute).cloned().unwrap_or(Value::Undefined)
            }
            (PostfixKind::Test { name, is_negated, .. }, _) if *name == "defined" => Value::Bool(!is_negated),
            (PostfixKind::Test { name, is_negated, .. }, _) if *name == "undefined" => Value::Bool(*is_negated),
            _ => return None,
        };
        Some((value, rest))
    }

    fn step(&self, operand: Operand, step: &Postfix<'t>) -> Result<Operand, TemplateError> {
        let at = |fault: Fault| fault.at(step.line);
        let budget = &self.budget;
        if let PostfixKind::Filter(name, arguments) = &step.kind {
            return filters::apply(name, operand, self.given(arguments)?, budget).map_err(at);
        }
        let value = match (operand, &step.kind) {
            // A stream is a value like any other to these two.
            (Operand::Stream(_), PostfixKind::Test { name: "defined", .. }) => Value::Bool(true),
            (Operand::Stream(_), PostfixKind::Test { name: "undefined", .. }) => Value::Bool(false),
            (operand, _) => operand.into_value().map_err(at)?,
        };
        let result = match &step.kind {
            PostfixKind::Attribute(name) => attribute(&value, name, budget),
            PostfixKind::Index(index) => values::item(&value, &self.value(index)?, budget),
            PostfixKind::Slice(bounds) => {
                let mut numbers = [None; 3];
                for (number, bound) in numbers.iter_mut().zip(bounds.iter()) {
                    let Some(bound) = bound else { continue };
                    let value = self.value(bound)?;
                    *number = integer(&value);
                    if number.is_none() && value != Value::None {
                        return Err(Fault::new("an integer in the slice", describe(&value)).at(bound.line));
                    }
                }
                values::slice(&value, numbers, budget)
            }
            PostfixKind::Method(name, arguments) => methods::call(&value, name, self.given(arguments)?, budget),
            PostfixKind::Filter(..) => Ok(value),
            PostfixKind::Test { name, is_negated, arguments } => {
                let holds = predicates::holds(name, &value, self.given(arguments)?, budget);
                holds.map(|holds| Value::Bool(holds != *is_negated))
            }
        };
        result.map(Operand::Value).map_err(at)
    }
}

/// `value.name`: a method is not read as a value, since Jinja would give the method and not an item of that name.
fn attribute(value: &Value, name: &str, budget: &Budget) -> Result<Value, Fault> {
    if methods::has_method(value, name) {
        return Err(Fault::new(format!("a call of the method {}", quote(name)), "its name alone"));
    }
    if matches!(value, Value::Undefined) {
        return Err(Fault::new(format!("a value with the attribute {}", quote(name)), describe(value)));
    }
    values::item(value, &Value::text(name), budget)
}

fn raise_exception(given: Given<'_>) -> Result<Value, Fault> {
    let [message] = given.bind(["message"])?;
    let message = message.map_or_else(|| Ok("".into()), |message| values::display(&message))?;
    Err(Fault::new("messages that the template accepts", format!("the exception {}", quote(&message))))
}
