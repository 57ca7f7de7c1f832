//! The tests: what may follow `is`, and what `selectattr` may be given.

use super::methods::Given;
use super::values::{contains, equal, order};
use super::{Budget, Fault, Value, quote};
use std::cmp::Ordering;

pub(super) fn holds(name: &str, value: &Value, given: Given<'_>, budget: &Budget) -> Result<bool, Fault> {
    if let "eq" | "equalto" | "==" | "ne" | "!=" | "lt" | "<" | "gt" | ">" | "in" = name {
        let [other] = given.bind(["*other"])?;
        let other = other.ok_or_else(|| Fault::new("an argument of the test", "no argument"))?;
        return match name {
            "eq" | "equalto" | "==" => equal(value, &other, budget),
            "ne" | "!=" => Ok(!equal(value, &other, budget)?),
            "lt" | "<" => Ok(order(value, &other, budget)? == Ordering::Less),
            "gt" | ">" => Ok(order(value, &other, budget)? == Ordering::Greater),
            _ => contains(&other, value, budget),
        };
    }
    given.bind([])?;
    let is_sequence = matches!(value, Value::Undefined | Value::Text(_) | Value::List(_) | Value::Map(_));
    match name {
        "defined" => Ok(*value != Value::Undefined),
        "undefined" => Ok(matches!(value, Value::Undefined)),
        "none" => Ok(matches!(value, Value::None)),
        "true" => Ok(matches!(value, Value::Bool(true))),
        "false" => Ok(matches!(value, Value::Bool(false))),
        "boolean" => Ok(matches!(value, Value::Bool(_))),
        "integer" => Ok(matches!(value, Value::Int(_))),
        "number" => Ok(matches!(value, Value::Bool(_) | Value::Int(_))),
        "string" => Ok(matches!(value, Value::Text(_))),
        "mapping" => Ok(matches!(value, Value::Map(_))),
        // An undefined value iterates as an empty one, so Jinja counts it here.
        "iterable" | "sequence" => Ok(is_sequence),
        _ => Err(Fault::new("a test that is read here", quote(name))),
    }
}
