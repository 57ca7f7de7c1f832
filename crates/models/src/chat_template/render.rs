//! Runs the statements of a template.

use super::evaluate::{Binding, Scope};
use super::filters::Operand;
use super::parser::{For, Statement, StatementKind};
use super::syntax::Arguments;
use super::values::{self, describe, is_true};
use super::{Fault, MAX_TEXT, TemplateError, Value, quote};
use std::collections::HashMap;

pub(super) fn render<'t>(
    body: &'t [Statement<'t>],
    variables: &'t [(&'t str, Value)],
) -> Result<String, TemplateError> {
    let mut renderer = Renderer { scope: Scope::new(variables), output: String::new() };
    renderer.body(body)?;
    Ok(renderer.output)
}

struct Renderer<'t> {
    scope: Scope<'t>,
    output: String,
}

impl<'t> Renderer<'t> {
    fn body(&mut self, body: &'t [Statement<'t>]) -> Result<(), TemplateError> {
        body.iter().try_for_each(|statement| self.statement(statement))
    }

    /// The body with names of its own.
    fn inner_body(&mut self, body: &'t [Statement<'t>]) -> Result<(), TemplateError> {
        self.scope.enter();
        let result = self.body(body);
        self.scope.leave();
        result
    }

    fn statement(&mut self, statement: &'t Statement<'t>) -> Result<(), TemplateError> {
        let at = |fault: Fault| fault.at(statement.line);
        self.scope.budget.steps(1).map_err(at)?;
        match &statement.kind {
            StatementKind::Text(text) => self.write(text).map_err(at),
            StatementKind::Print(expression) => {
                let value = self.scope.value(expression)?;
                let text = values::display(&value).map_err(|fault| fault.at(expression.line))?;
                self.write(&text).map_err(|fault| fault.at(expression.line))
            }
            StatementKind::Set(name, expression) => {
                let value = self.scope.value(expression)?;
                self.scope.bind(name, Binding::Value(value));
                Ok(())
            }
            StatementKind::SetNamespace(name, arguments) => self.set_namespace(name, arguments, at),
            StatementKind::SetAttribute(name, attribute, expression) => {
                let value = self.scope.value(expression)?;
                let Some(fields) = self.scope.namespace(name) else {
                    return Err(at(Fault::new("a namespace whose attribute is set", quote(name))));
                };
                fields.insert(attribute, value);
                Ok(())
            }
            StatementKind::SetBlock(name, body) => {
                let before = std::mem::take(&mut self.output);
                let result = self.inner_body(body);
                let text = std::mem::replace(&mut self.output, before);
                result?;
                self.scope.bind(name, Binding::Value(Value::text(&text)));
                Ok(())
            }
            StatementKind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if is_true(&self.scope.value(condition)?) {
                        return self.body(body);
                    }
                }
                self.body(otherwise)
            }
            StatementKind::For(repetition) => self.repeat(repetition, at),
            StatementKind::Generation(body) => self.inner_body(body),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Fault> {
        self.scope.budget.bytes(text.len())?;
        if self.output.len() + text.len() > MAX_TEXT {
            return Err(Fault::new(format!("an output of at most {MAX_TEXT} bytes"), "a longer one"));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn set_namespace(
        &mut self,
        name: &'t str,
        arguments: &Arguments<'t>,
        at: impl Fn(Fault) -> TemplateError,
    ) -> Result<(), TemplateError> {
        let given = self.scope.given(arguments)?;
        if let Some(argument) = given.positional.first() {
            return Err(at(Fault::new("the attributes of a namespace by name", describe(argument))));
        }
        let fields: HashMap<&str, Value> = given.named.into_iter().collect();
        self.scope.bind(name, Binding::Namespace(fields));
        Ok(())
    }

    fn repeat(
        &mut self,
        repetition: &'t For<'t>,
        at: impl Fn(Fault) -> TemplateError + Copy,
    ) -> Result<(), TemplateError> {
        let operand = self.scope.operand(&repetition.iterable)?;
        let items = operand.into_items(&self.scope.budget).map_err(at)?;
        let items = self.that_meet_condition(items, repetition, at)?;
        if items.is_empty() {
            return self.inner_body(&repetition.otherwise);
        }
        let length = items.len();
        for (place, item) in items.into_iter().enumerate() {
            self.scope.budget.steps(1).map_err(at)?;
            self.scope.enter();
            self.scope.bind("loop", Binding::Value(loop_variable(place, length)));
            let result = self.bind_targets(item, repetition).map_err(at);
            let result = result.and_then(|()| self.body(&repetition.body));
            self.scope.leave();
            result?;
        }
        Ok(())
    }

    fn that_meet_condition(
        &mut self,
        items: Vec<Value>,
        repetition: &'t For<'t>,
        at: impl Fn(Fault) -> TemplateError,
    ) -> Result<Vec<Value>, TemplateError> {
        let Some(condition) = &repetition.condition else {
            return Ok(items);
        };
        let mut kept = Vec::new();
        for item in items {
            self.scope.enter();
            let result = self.bind_targets(item.clone(), repetition).map_err(&at);
            let value = result.and_then(|()| self.scope.value(condition));
            self.scope.leave();
            if is_true(&value?) {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn bind_targets(&mut self, item: Value, repetition: &'t For<'t>) -> Result<(), Fault> {
        if let [name] = *repetition.targets {
            self.scope.bind(name, Binding::Value(item));
            return Ok(());
        }
        let parts = Operand::Value(item).into_items(&self.scope.budget)?;
        if parts.len() != repetition.targets.len() {
            return Err(Fault::new(
                format!("items of {} parts", repetition.targets.len()),
                format!("one of {}", parts.len()),
            ));
        }
        for (name, part) in repetition.targets.iter().zip(parts) {
            self.scope.bind(name, Binding::Value(part));
        }
        Ok(())
    }
}

fn loop_variable(place: usize, length: usize) -> Value {
    let number = |count: usize| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
    Value::map(vec![
        ("index", number(place + 1)),
        ("index0", number(place)),
        ("revindex", number(length - place)),
        ("revindex0", number(length - place - 1)),
        ("first", Value::Bool(place == 0)),
        ("last", Value::Bool(place + 1 == length)),
        ("length", number(length)),
    ])
}
