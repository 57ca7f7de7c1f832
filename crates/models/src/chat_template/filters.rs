//! The filters.

use super::methods::{self, Given, optional_count, optional_text, text};
use super::values::{self, concatenate, describe, display, is_true};
use super::{Budget, Fault, MAX_DEPTH, Value, predicates, quote};
use std::fmt::Write;
use std::rc::Rc;

/// What a filter is given or gives.
pub(super) enum Operand {
    Value(Value),
    /// The items that `selectattr` and the like give. In Jinja they can be read once and are true even when there are
    /// none, so they are no list before `list` makes them one.
    Stream(Vec<Value>),
}

impl Operand {
    pub(super) fn into_value(self) -> Result<Value, Fault> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Stream(_) => Err(Fault::new("a value, such as `| list` or `| first` gives", "a stream of items")),
        }
    }

    pub(super) fn into_items(self, budget: &Budget) -> Result<Vec<Value>, Fault> {
        match self {
            Self::Value(value) => values::items(&value, budget),
            Self::Stream(items) => Ok(items),
        }
    }
}

pub(super) fn apply(name: &str, operand: Operand, given: Given<'_>, budget: &Budget) -> Result<Operand, Fault> {
    match name {
        "selectattr" => select(operand, given, true, budget).map(Operand::Stream),
        "rejectattr" => select(operand, given, false, budget).map(Operand::Stream),
        "map" => map(operand, given, budget).map(Operand::Stream),
        "items" => {
            given.bind([])?;
            match operand.into_value()? {
                Value::Undefined => Ok(Operand::Stream(Vec::new())),
                Value::Map(entries) => methods::pairs(&entries, budget).map(Operand::Stream),
                other => Err(Fault::new("a mapping", describe(&other))),
            }
        }
        "first" => {
            given.bind([])?;
            let items = operand.into_items(budget)?;
            Ok(Operand::Value(items.into_iter().next().unwrap_or(Value::Undefined)))
        }
        "list" => {
            given.bind([])?;
            operand.into_items(budget).map(Value::list).map(Operand::Value)
        }
        "join" => {
            let [separator] = given.bind(["d"])?;
            let separator = separator.map_or_else(|| Ok("".into()), |separator| display(&separator))?;
            let parts: Result<Vec<_>, _> = operand.into_items(budget)?.iter().map(display).collect();
            concatenate(&parts?, &separator, budget).map(Operand::Value)
        }
        _ => apply_to_value(name, operand.into_value()?, given, budget).map(Operand::Value),
    }
}

fn apply_to_value(name: &str, value: Value, given: Given<'_>, budget: &Budget) -> Result<Value, Fault> {
    match name {
        "last" => {
            given.bind([])?;
            Ok(values::items(&value, budget)?.pop().unwrap_or(Value::Undefined))
        }
        "length" | "count" => {
            given.bind([])?;
            let length = match &value {
                Value::Text(text) => {
                    budget.bytes(text.len())?;
                    text.chars().count()
                }
                Value::List(items) => items.len(),
                Value::Map(entries) => entries.len(),
                Value::Undefined => 0,
                _ => return Err(Fault::new("a value with a length", describe(&value))),
            };
            Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
        }
        "default" | "d" => {
            let [default, for_false] = given.bind(["default_value", "boolean"])?;
            let is_replaced =
                value == Value::Undefined || (for_false.is_some_and(|it| is_true(&it)) && !is_true(&value));
            Ok(if is_replaced { default.unwrap_or_else(|| Value::text("")) } else { value })
        }
        "trim" => {
            let [chars] = given.bind(["chars"])?;
            methods::strip(&display(&value)?, optional_text(chars)?.as_deref(), "strip", budget)
        }
        "upper" | "lower" => {
            given.bind([])?;
            methods::change_case(&display(&value)?, name, budget)
        }
        "replace" => {
            let [old, new, count] = given.bind(["old", "new", "count"])?;
            let count = optional_count(count.as_ref().filter(|count| **count != Value::None))?;
            methods::replace(&display(&value)?, &text(old)?, &text(new)?, count, budget)
        }
        "string" | "safe" => {
            given.bind([])?;
            display(&value).map(Value::Text)
        }
        "int" => {
            let [default] = given.bind(["default"])?;
            int(&value, default)
        }
        "tojson" => {
            given.bind([])?;
            let mut json = String::new();
            write_json(&value, 0, &mut json, budget)?;
            budget.text(json.len())?;
            Ok(Value::Text(json.into()))
        }
        _ => Err(Fault::new("a filter that is read here", quote(name))),
    }
}

/// `selectattr` and `rejectattr`: the items whose attribute passes a test, or fails it.
fn select(operand: Operand, given: Given<'_>, keeps: bool, budget: &Budget) -> Result<Vec<Value>, Fault> {
    let [path, test, argument] = given.bind(["*attribute", "*test", "*argument"])?;
    let path = text(path)?;
    let test = test.map(|test| text(Some(test))).transpose()?;
    let mut kept = Vec::new();
    for item in operand.into_items(budget)? {
        budget.steps(1)?;
        let value = attribute(&item, &path, budget)?;
        let passes = match &test {
            None => is_true(&value),
            Some(test) => {
                let positional = argument.iter().cloned().collect();
                let given = Given { positional, ..Given::default() };
                predicates::holds(test, &value, given, budget)?
            }
        };
        if passes == keeps {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// `map`: the attribute of each item, or what a filter gives for it.
fn map(operand: Operand, mut given: Given<'_>, budget: &Budget) -> Result<Vec<Value>, Fault> {
    const FILTERS: [&str; 4] = ["trim", "upper", "lower", "string"];
    let items = operand.into_items(budget)?;
    if given.positional.is_empty() {
        let [path, default] = given.bind(["attribute", "default"])?;
        let path = text(path)?;
        let value_of = |item: &Value| {
            budget.steps(1)?;
            let value = attribute(item, &path, budget)?;
            Ok(if value == Value::Undefined { default.clone().unwrap_or(value) } else { value })
        };
        return items.iter().map(value_of).collect();
    }
    let name = text(Some(given.positional.remove(0)))?;
    if !FILTERS.contains(&&*name) {
        return Err(Fault::new("a filter that `map` reads here", quote(&name)));
    }
    let filtered = |item| {
        budget.steps(1)?;
        let positional = given.positional.clone();
        let named = given.named.clone();
        apply_to_value(&name, item, Given { positional, named }, budget)
    };
    items.into_iter().map(filtered).collect()
}

/// The attribute that a path such as `content.0.text` leads to.
fn attribute(item: &Value, path: &str, budget: &Budget) -> Result<Value, Fault> {
    budget.bytes(path.len())?;
    path.split('.').try_fold(item.clone(), |value, part| {
        budget.steps(1)?;
        let index = part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
        values::item(&value, &index.map_or_else(|| Value::text(part), Value::Int), budget)
    })
}

/// The integer that a value reads as, or the default.
fn int(value: &Value, default: Option<Value>) -> Result<Value, Fault> {
    let default = default.unwrap_or(Value::Int(0));
    match value {
        Value::Undefined => Err(Fault::new("a value that reads as an integer", describe(value))),
        Value::Text(text) => {
            let digits = text.trim();
            if let Ok(number) = digits.parse() {
                return Ok(Value::Int(number));
            }
            // A number with a fraction loses it, as in Python; one that is no integer of 64 bits is refused.
            match digits.parse::<f64>() {
                Ok(number) if number.abs() < 9e15 => {
                    let whole = format!("{:.0}", number.trunc()).parse();
                    Ok(whole.map_or(default, Value::Int))
                }
                Ok(_) => Err(Fault::new("an integer of 64 bits", quote(digits))),
                Err(_) => Ok(default),
            }
        }
        other => Ok(values::integer(other).map_or(default, Value::Int)),
    }
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it.
fn write_json(value: &Value, depth: usize, json: &mut String, budget: &Budget) -> Result<(), Fault> {
    budget.steps(1)?;
    if depth > MAX_DEPTH + 2 {
        return Err(values::too_deep());
    }
    match value {
        Value::Undefined => return Err(Fault::new("a value that JSON has", describe(value))),
        Value::None => json.push_str("null"),
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => json.push_str(&number.to_string()),
        Value::Text(text) => write_json_string(text, json, budget)?,
        Value::List(items) => {
            json.push('[');
            for (place, item) in items.iter().enumerate() {
                json.push_str(if place == 0 { "" } else { ", " });
                write_json(item, depth + 1, json, budget)?;
            }
            json.push(']');
        }
        Value::Map(entries) => {
            json.push('{');
            for (place, (key, item)) in entries.iter().enumerate() {
                json.push_str(if place == 0 { "" } else { ", " });
                write_json_string(key, json, budget)?;
                json.push_str(": ");
                write_json(item, depth + 1, json, budget)?;
            }
            json.push('}');
        }
    }
    Ok(())
}

fn write_json_string(text: &Rc<str>, json: &mut String, budget: &Budget) -> Result<(), Fault> {
    // Escaping makes a byte at most six times as long.
    budget.bytes(text.len().saturating_mul(6))?;
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\x08' => json.push_str("\\b"),
            '\x0c' => json.push_str("\\f"),
            // Writing to a string cannot fail.
            '\0'..='\x1f' => drop(write!(json, "\\u{:04x}", u32::from(c))),
            _ => json.push(c),
        }
    }
    json.push('"');
    Ok(())
}
