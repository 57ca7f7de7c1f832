//! What the values of a template can do, as Python has it.

use super::{Budget, Fault, MAX_DEPTH, Value, quote};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;

/// The kind of a value, as an error names it.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Undefined => "an undefined value",
        Value::None => "none",
        Value::Bool(_) => "a boolean",
        Value::Int(_) => "an integer",
        Value::Text(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// A mapping in which a key given again keeps its place and takes the later value.
pub(super) fn mapping(entries: impl Iterator<Item = (Rc<str>, Value)>) -> Value {
    let mut places = HashMap::new();
    let mut map: Vec<(Rc<str>, Value)> = Vec::new();
    for (key, value) in entries {
        let place = *places.entry(Rc::clone(&key)).or_insert(map.len());
        match map.get_mut(place) {
            Some(entry) => entry.1 = value,
            None => map.push((key, value)),
        }
    }
    Value::Map(map.into())
}

pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Undefined | Value::None => false,
        Value::Bool(value) => *value,
        Value::Int(number) => *number != 0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
    }
}

/// A boolean counts as 0 or 1.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// The value as it prints.
pub(super) fn display(value: &Value) -> Result<Rc<str>, Fault> {
    match value {
        Value::Undefined => Ok("".into()),
        Value::None => Ok("None".into()),
        Value::Bool(true) => Ok("True".into()),
        Value::Bool(false) => Ok("False".into()),
        Value::Int(number) => Ok(number.to_string().into()),
        Value::Text(text) => Ok(Rc::clone(text)),
        Value::List(_) | Value::Map(_) => Err(Fault::new("a value that prints as text", describe(value))),
    }
}

/// The parts joined into one string, whose length is paid for before it is built.
pub(super) fn concatenate(parts: &[Rc<str>], separator: &str, budget: &Budget) -> Result<Value, Fault> {
    let separators = separator.len().saturating_mul(parts.len().saturating_sub(1));
    budget.text(parts.iter().fold(separators, |length, part| length.saturating_add(part.len())))?;
    Ok(Value::Text(parts.join(separator).into()))
}

/// The items that a loop over the value sees.
pub(super) fn items(value: &Value, budget: &Budget) -> Result<Vec<Value>, Fault> {
    let items: Vec<Value> = match value {
        Value::Undefined => Vec::new(),
        Value::Text(text) => {
            budget.steps(text.chars().count())?;
            return Ok(text.chars().map(|c| Value::Text(c.encode_utf8(&mut [0; 4]).into())).collect());
        }
        Value::List(items) => {
            budget.steps(items.len())?;
            items.to_vec()
        }
        Value::Map(entries) => {
            budget.steps(entries.len())?;
            entries.iter().map(|(key, _)| Value::Text(Rc::clone(key))).collect()
        }
        _ => return Err(Fault::new("a value with items", describe(value))),
    };
    Ok(items)
}

/// Refuses a value that nests too deep. Without it a loop could build one that no recursion can follow.
pub(super) fn check_depth(value: &Value, budget: &Budget) -> Result<(), Fault> {
    fn check(value: &Value, depth: usize, budget: &Budget) -> Result<(), Fault> {
        budget.steps(1)?;
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match value {
            Value::List(items) => items.iter().try_for_each(|item| check(item, depth + 1, budget)),
            Value::Map(entries) => entries.iter().try_for_each(|(_, item)| check(item, depth + 1, budget)),
            _ => Ok(()),
        }
    }
    check(value, 0, budget)
}

pub(super) fn too_deep() -> Fault {
    Fault::new(format!("values that nest at most {MAX_DEPTH} levels"), "a deeper one")
}

pub(super) fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, Fault> {
    // `items` makes values that are two levels deeper than the one it is given.
    equal_within(left, right, MAX_DEPTH + 2, budget)
}

fn equal_within(left: &Value, right: &Value, depth: usize, budget: &Budget) -> Result<bool, Fault> {
    budget.steps(1)?;
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    match (left, right) {
        (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => Ok(true),
        (Value::Text(left), Value::Text(right)) => {
            budget.bytes(left.len().min(right.len()))?;
            Ok(left == right)
        }
        (Value::List(left), Value::List(right)) if left.len() == right.len() => {
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal_within(left, right, depth, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(left), Value::Map(right)) if left.len() == right.len() => {
            for (key, left) in left.iter() {
                match entry(right, key, budget)? {
                    Some(right) if equal_within(left, right, depth, budget)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => Ok(integer(left).is_some() && integer(left) == integer(right)),
    }
}

pub(super) fn order(left: &Value, right: &Value, budget: &Budget) -> Result<Ordering, Fault> {
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        budget.bytes(left.len().min(right.len()))?;
        return Ok(left.cmp(right));
    }
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Ok(left.cmp(&right)),
        _ => Err(Fault::new("two integers or two strings to order", both(left, right))),
    }
}

/// `item in container`
pub(super) fn contains(container: &Value, item: &Value, budget: &Budget) -> Result<bool, Fault> {
    match (container, item) {
        (Value::Text(text), Value::Text(part)) => {
            budget.bytes(text.len())?;
            Ok(text.contains(&**part))
        }
        (Value::List(items), _) => {
            for candidate in items.iter() {
                if equal(candidate, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Map(entries), Value::Text(key)) => Ok(entry(entries, key, budget)?.is_some()),
        (Value::Undefined | Value::Map(_), _) => Ok(false),
        _ => Err(Fault::new("a container and what may be in it", both(container, item))),
    }
}

/// The value of a key, if the mapping has it.
pub(super) fn entry<'v>(
    entries: &'v [(Rc<str>, Value)],
    key: &str,
    budget: &Budget,
) -> Result<Option<&'v Value>, Fault> {
    budget.steps(entries.len() / 16)?;
    Ok(entries.iter().find(|(name, _)| **name == *key).map(|(_, value)| value))
}

/// `value[index]`, which is undefined where there is no such item.
pub(super) fn item(value: &Value, index: &Value, budget: &Budget) -> Result<Value, Fault> {
    let found = match (value, index) {
        (Value::Undefined, _) => return Err(Fault::new("a value with items", describe(value))),
        (Value::Map(entries), Value::Text(key)) => entry(entries, key, budget)?.cloned(),
        (Value::List(items), _) => {
            let place = integer(index).and_then(|index| place(index, items.len()));
            place.and_then(|place| items.get(place)).cloned()
        }
        (Value::Text(text), _) => {
            budget.bytes(text.len())?;
            let place = integer(index).and_then(|index| place(index, text.chars().count()));
            let c = place.and_then(|place| text.chars().nth(place));
            c.map(|c| Value::Text(c.encode_utf8(&mut [0; 4]).into()))
        }
        _ => None,
    };
    Ok(found.unwrap_or(Value::Undefined))
}

/// Where an index points, which counts from the end if it is negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(distance) } else { Some(distance) }
}

/// `value[start:end:step]`
pub(super) fn slice(value: &Value, bounds: [Option<i64>; 3], budget: &Budget) -> Result<Value, Fault> {
    match value {
        Value::List(items) => {
            budget.steps(items.len())?;
            let places = sliced_places(bounds, items.len())?;
            Ok(Value::List(places.into_iter().filter_map(|place| items.get(place)).cloned().collect()))
        }
        Value::Text(text) => {
            budget.text(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            let places = sliced_places(bounds, chars.len())?;
            let sliced: String = places.into_iter().filter_map(|place| chars.get(place)).collect();
            Ok(Value::Text(sliced.into()))
        }
        _ => Err(Fault::new("a list or a string to slice", describe(value))),
    }
}

fn sliced_places([start, end, step]: [Option<i64>; 3], length: usize) -> Result<Vec<usize>, Fault> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Fault::new("a step of a slice", "0"));
    }
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        bound.clamp(lowest, highest)
    };
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let end = end.map_or(last, clamp);
    let mut at = start.map_or(first, clamp);
    let mut places = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        places.extend(usize::try_from(at));
        at = at.saturating_add(step);
    }
    Ok(places)
}

/// `left operator right` for the operators of arithmetic.
pub(super) fn arithmetic(operator: &str, left: &Value, right: &Value, budget: &Budget) -> Result<Value, Fault> {
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        let result = match operator {
            "+" => left.checked_add(right),
            "-" => left.checked_sub(right),
            "*" => left.checked_mul(right),
            _ if right == 0 => return Err(Fault::new("a divisor", "0")),
            "//" => floor_division(left, right).map(|(quotient, _)| quotient),
            _ => floor_division(left, right).map(|(_, remainder)| remainder),
        };
        let result = result.ok_or_else(|| Fault::new("an integer of 64 bits", format!("{left} {operator} {right}")))?;
        return Ok(Value::Int(result));
    }
    match (operator, left, right) {
        ("+", Value::Text(left), Value::Text(right)) => concatenate(&[Rc::clone(left), Rc::clone(right)], "", budget),
        ("+", Value::List(left), Value::List(right)) => {
            budget.steps(left.len().saturating_add(right.len()))?;
            Ok(Value::List(left.iter().chain(right.iter()).cloned().collect()))
        }
        ("*", Value::Text(text), count) | ("*", count, Value::Text(text)) if integer(count).is_some() => {
            let count = usize::try_from(integer(count).unwrap_or(0).max(0)).unwrap_or(usize::MAX);
            budget.text(text.len().saturating_mul(count))?;
            Ok(Value::Text(if text.is_empty() { Rc::clone(text) } else { text.repeat(count).into() }))
        }
        _ => Err(Fault::new(format!("operands of {}", quote(operator)), both(left, right))),
    }
}

/// The quotient rounded down, and the remainder that has the sign of the divisor.
fn floor_division(left: i64, right: i64) -> Option<(i64, i64)> {
    let (quotient, remainder) = (left.checked_div(right)?, left.checked_rem(right)?);
    if remainder != 0 && (remainder < 0) != (right < 0) {
        return Some((quotient - 1, remainder + right));
    }
    Some((quotient, remainder))
}

fn both(left: &Value, right: &Value) -> String {
    format!("{} and {}", describe(left), describe(right))
}
