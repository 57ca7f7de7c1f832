//! The checks of a query expander.

use std::time::Instant;

use docent::{ExpandOptions, Expander};

use super::Report;
use crate::table::count;

/// What is expanded.
const QUERY: &str = "Who writes down the weather?";

/// Tokens to write: a few lines of a model that was trained for it.
const TOKENS: usize = 120;

impl Report {
    /// A query twice: what is written depends on it alone.
    pub(super) fn probe_expansion(&mut self, expander: &Expander) {
        let options = ExpandOptions { max_tokens: TOKENS, ..ExpandOptions::default() };
        let begin = Instant::now();
        let first = expander.expand_with(QUERY, &options, &|| false);
        let time = begin.elapsed();
        self.first_vector_ms = Some(time.as_secs_f64() * 1e3);
        let first = match first {
            Ok(first) => first,
            Err(error) => return self.add("writes", Err(error.to_string())),
        };
        let rate = first.tokens as f64 / time.as_secs_f64();
        let of_use = if first.fallback { 0 } else { first.lines.len() };
        let written =
            format!("{} of use in {}, {rate:.1} a second", count(of_use, "line"), count(first.tokens, "token"));
        self.add("writes", Ok(written));
        let again = expander.expand_with(QUERY, &options, &|| false).map_err(|error| error.to_string());
        let same = again.and_then(|again| match again == first {
            true => Ok("twice".to_owned()),
            false => Err("another expansion the second time".to_owned()),
        });
        self.add("same lines again", same);
    }
}
