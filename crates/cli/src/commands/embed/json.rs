//! Results as JSON: an object a line, or an array of the same objects.
//!
//! Numbers have as many digits as it takes to read the same float32 back, and no more.

use std::io::{self, Write};

use docent::Embedding;
use serde::{Serialize, Serializer};

use super::format::{Format, Item};
use crate::destination::Destination;
use crate::input::Id;

/// An object a line.
pub(super) struct Lines;

impl Format for Lines {
    fn begin(&mut self, _: &mut Destination<'_>, _: bool) -> anyhow::Result<()> {
        Ok(())
    }

    fn item(&mut self, out: &mut Destination<'_>, item: &Item<'_>) -> anyhow::Result<()> {
        write_object(out, item)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    fn end(&mut self, _: &mut Destination<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

/// An array of objects, each on a line of its own.
#[derive(Default)]
pub(super) struct Array {
    started: bool,
}

impl Format for Array {
    fn begin(&mut self, out: &mut Destination<'_>, _: bool) -> anyhow::Result<()> {
        out.write_all(b"[")?;
        Ok(())
    }

    fn item(&mut self, out: &mut Destination<'_>, item: &Item<'_>) -> anyhow::Result<()> {
        out.write_all(if self.started { b",\n" } else { b"\n" })?;
        self.started = true;
        write_object(out, item)?;
        Ok(())
    }

    fn end(&mut self, out: &mut Destination<'_>) -> anyhow::Result<()> {
        out.write_all(if self.started { b"\n]\n" } else { b"]\n" })?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Object<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    embedding: Vectors<'a>,
    tokens: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<usize>,
}

/// One vector, or those of all tokens.
enum Vectors<'a> {
    One(&'a [f32]),
    Tokens(&'a Embedding),
}

impl Serialize for Vectors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Vectors::One(vector) => vector.serialize(serializer),
            Vectors::Tokens(embedding) => serializer.collect_seq(embedding.rows()),
        }
    }
}

fn write_object(out: &mut Destination<'_>, item: &Item<'_>) -> io::Result<()> {
    let embedding = item.embedding;
    let object = Object {
        index: item.index,
        id: item.id,
        embedding: if item.is_pooled { Vectors::One(embedding.vector()) } else { Vectors::Tokens(embedding) },
        tokens: embedding.tokens,
        truncated: embedding.truncated(),
        dropped: embedding.truncated().then_some(embedding.dropped),
    };
    Ok(serde_json::to_writer(out, &object)?)
}
