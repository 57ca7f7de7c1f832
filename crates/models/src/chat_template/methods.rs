//! The methods of strings and mappings, and how a call's arguments meet its parameters.

use super::lexer::is_space;
use super::values::{self, describe, integer};
use super::{Budget, Fault, Value, quote};
use std::rc::Rc;

/// The arguments of a call once they have values.
#[derive(Default)]
pub(super) struct Given<'s> {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(&'s str, Value)>,
}

impl Given<'_> {
    /// The argument of each parameter, if it has one. A name that starts with `*` takes no argument by name.
    pub(super) fn bind<const N: usize>(self, parameters: [&str; N]) -> Result<[Option<Value>; N], Fault> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            return Err(Fault::new(format!("at most {N} arguments"), format!("{} arguments", self.positional.len())));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let slot = parameters.iter().position(|parameter| *parameter == name).and_then(|at| bound.get_mut(at));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                _ => return Err(Fault::new("an argument that is read here", quote(name))),
            }
        }
        Ok(bound)
    }
}

/// An argument that must be a string.
pub(super) fn text(argument: Option<Value>) -> Result<Rc<str>, Fault> {
    match argument {
        Some(Value::Text(text)) => Ok(text),
        other => Err(Fault::new("a string as argument", described(other.as_ref()))),
    }
}

/// An argument that is a string or none, which is as good as no argument.
pub(super) fn optional_text(argument: Option<Value>) -> Result<Option<Rc<str>>, Fault> {
    match argument {
        None | Some(Value::None) => Ok(None),
        given => text(given).map(Some),
    }
}

/// How often to do something at most: a negative number, as no number, means without end.
pub(super) fn optional_count(argument: Option<&Value>) -> Result<Option<usize>, Fault> {
    match argument.map(|value| (value, integer(value))) {
        None => Ok(None),
        Some((_, Some(count))) => Ok(usize::try_from(count).ok()),
        Some((other, None)) => Err(Fault::new("an integer as argument", describe(other))),
    }
}

fn described(argument: Option<&Value>) -> &'static str {
    argument.map_or("no argument", describe)
}

/// Whether a value has a method of this name here, so that the name alone is not an attribute that it lacks.
pub(super) fn has_method(value: &Value, name: &str) -> bool {
    match value {
        Value::Text(_) => TEXT_METHODS.contains(&name),
        Value::Map(_) => MAP_METHODS.contains(&name),
        _ => false,
    }
}

const TEXT_METHODS: [&str; 9] =
    ["strip", "lstrip", "rstrip", "startswith", "endswith", "split", "upper", "lower", "replace"];
const MAP_METHODS: [&str; 4] = ["get", "items", "keys", "values"];

pub(super) fn call(value: &Value, name: &str, given: Given<'_>, budget: &Budget) -> Result<Value, Fault> {
    match value {
        Value::Text(text) => text_method(text, name, given, budget),
        Value::Map(entries) => map_method(value, entries, name, given, budget),
        _ => Err(unknown(value, name)),
    }
}

fn unknown(value: &Value, name: &str) -> Fault {
    Fault::new(format!("a method that is read here of {}", describe(value)), quote(name))
}

fn text_method(subject: &Rc<str>, name: &str, given: Given<'_>, budget: &Budget) -> Result<Value, Fault> {
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = given.bind(["*chars"])?;
            strip(subject, optional_text(chars)?.as_deref(), name, budget)
        }
        "startswith" | "endswith" => {
            let [affix] = given.bind(["*affix"])?;
            let affixes = match affix {
                Some(Value::List(affixes)) => affixes.iter().cloned().map(|affix| text(Some(affix))).collect(),
                affix => text(affix).map(|affix| vec![affix]),
            }?;
            budget.bytes(affixes.iter().map(|affix| affix.len().min(subject.len())).sum())?;
            let fits = |affix: &Rc<str>| match name {
                "startswith" => subject.starts_with(&**affix),
                _ => subject.ends_with(&**affix),
            };
            Ok(Value::Bool(affixes.iter().any(fits)))
        }
        "split" => {
            let [separator, limit] = given.bind(["sep", "maxsplit"])?;
            split(subject, optional_text(separator)?.as_deref(), optional_count(limit.as_ref())?, budget)
        }
        "upper" | "lower" => {
            given.bind([])?;
            change_case(subject, name, budget)
        }
        "replace" => {
            let [old, new, count] = given.bind(["*old", "*new", "*count"])?;
            replace(subject, &text(old)?, &text(new)?, optional_count(count.as_ref())?, budget)
        }
        _ => Err(unknown(&Value::Text(Rc::clone(subject)), name)),
    }
}

/// Without characters to strip, whitespace is.
pub(super) fn strip(subject: &str, chars: Option<&str>, name: &str, budget: &Budget) -> Result<Value, Fault> {
    // Each character at the ends is looked up among those to strip.
    budget.bytes(chars.map_or(0, |chars| chars.len().saturating_mul(subject.len())))?;
    budget.text(subject.len())?;
    let strips = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let stripped = match name {
        "lstrip" => subject.trim_start_matches(strips),
        "rstrip" => subject.trim_end_matches(strips),
        _ => subject.trim_matches(strips),
    };
    Ok(Value::text(stripped))
}

pub(super) fn change_case(subject: &str, name: &str, budget: &Budget) -> Result<Value, Fault> {
    // A change of case makes a character at most three times as long.
    budget.bytes(subject.len().saturating_mul(3))?;
    let changed = if name == "upper" { subject.to_uppercase() } else { subject.to_lowercase() };
    budget.text(changed.len())?;
    Ok(Value::Text(changed.into()))
}

pub(super) fn replace(
    subject: &str,
    old: &str,
    new: &str,
    count: Option<usize>,
    budget: &Budget,
) -> Result<Value, Fault> {
    budget.bytes(subject.len())?;
    let count = count.unwrap_or(usize::MAX).min(subject.matches(old).count());
    budget.text(subject.len().saturating_add(new.len().saturating_mul(count)))?;
    Ok(Value::Text(subject.replacen(old, new, count).into()))
}

fn split(subject: &str, separator: Option<&str>, limit: Option<usize>, budget: &Budget) -> Result<Value, Fault> {
    budget.text(subject.len())?;
    let limit = limit.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = subject;
    loop {
        budget.steps(1)?;
        let found = match separator {
            Some("") => return Err(Fault::new("a separator", "an empty string")),
            Some(separator) => rest.split_once(separator),
            None => {
                rest = rest.trim_start_matches(is_space);
                if rest.is_empty() {
                    break;
                }
                rest.split_once(is_space).or(Some((rest, "")))
            }
        };
        match found {
            Some((part, after)) if parts.len() < limit => {
                parts.push(Value::text(part));
                rest = after;
            }
            _ => {
                parts.push(Value::text(rest));
                break;
            }
        }
    }
    Ok(Value::list(parts))
}

fn map_method(
    map: &Value,
    entries: &[(Rc<str>, Value)],
    name: &str,
    given: Given<'_>,
    budget: &Budget,
) -> Result<Value, Fault> {
    match name {
        "get" => {
            let [key, default] = given.bind(["*key", "*default"])?;
            let found = match &key {
                Some(Value::Text(key)) => values::entry(entries, key, budget)?.cloned(),
                Some(Value::List(_) | Value::Map(_)) | None => {
                    return Err(Fault::new("a key as argument", described(key.as_ref())));
                }
                Some(_) => None,
            };
            Ok(found.or(default).unwrap_or(Value::None))
        }
        "items" => {
            given.bind([])?;
            pairs(entries, budget).map(Value::list)
        }
        "keys" => {
            given.bind([])?;
            values::items(map, budget).map(Value::list)
        }
        "values" => {
            given.bind([])?;
            budget.steps(entries.len())?;
            Ok(Value::list(entries.iter().map(|(_, value)| value.clone()).collect()))
        }
        _ => Err(unknown(map, name)),
    }
}

/// Each key with its value.
pub(super) fn pairs(entries: &[(Rc<str>, Value)], budget: &Budget) -> Result<Vec<Value>, Fault> {
    budget.steps(entries.len())?;
    let pair = |(key, value): &(Rc<str>, Value)| Value::list(vec![Value::Text(Rc::clone(key)), value.clone()]);
    Ok(entries.iter().map(pair).collect())
}
