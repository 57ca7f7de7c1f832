//! SentencePiece's precompiled normalisation rules, as XLM-RoBERTa's family has them.
//!
//! Format: the length of a trie in bytes (u32), the trie as a double array of u32 units (J. Aoe, "An Efficient Digital Search
//! Algorithm by Using a Double-Array Structure", 1989, in the layout of the Darts library), all little-endian, and the
//! replacements in UTF-8, each ended by a NUL. Everything is checked when it is read, as it comes from files.

use unicode_segmentation::UnicodeSegmentation;

use crate::error::Error;
use crate::text::{Builder, Text};

/// What becomes of characters and short clusters of them.
#[derive(Debug)]
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
    /// What becomes of each ASCII character.
    ascii: [Option<(u32, u32)>; 128],
}

/// Clusters of this many bytes or more are taken character by character, as the reference implementation does.
const LONG: usize = 6;

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

impl Charsmap {
    /// Reads and checks the rules.
    pub(crate) fn new(bytes: &[u8], place: &str) -> Result<Self, Error> {
        let wrong = |expected: String, found: String| Error::unexpected(place, expected, found);
        let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
            return Err(wrong("at least 4 bytes".into(), bytes.len().to_string()));
        };
        let size = u32::from_le_bytes(*size) as usize;
        let Some((trie, replacements)) = rest.split_at_checked(size) else {
            return Err(wrong(format!("a trie of {size} bytes"), rest.len().to_string()));
        };
        let (units, []) = trie.as_chunks::<4>() else {
            return Err(wrong("a trie of units of 4 bytes".into(), format!("{size} bytes")));
        };
        if units.is_empty() {
            return Err(wrong("a trie".into(), "none".into()));
        }
        let replacements = std::str::from_utf8(replacements).map_err(|e| {
            wrong("replacements in UTF-8".into(), format!("something else at byte {}", e.valid_up_to()))
        })?;
        let units: Vec<u32> = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        check(&units, replacements).map_err(|(expected, found)| wrong(expected, found))?;
        let mut charsmap = Self { units, replacements: replacements.to_owned(), ascii: [None; 128] };
        charsmap.ascii = std::array::from_fn(|c| charsmap.find(&[c as u8]));
        Ok(charsmap)
    }

    /// The replacement for the shortest beginning of a cluster that has one, as a range of the replacements.
    fn find(&self, cluster: &[u8]) -> Option<(u32, u32)> {
        let mut node = offset(self.units[0]);
        for &byte in cluster.iter().take_while(|byte| **byte != 0) {
            node ^= usize::from(byte);
            let unit = *self.units.get(node)?;
            if label(unit) != u32::from(byte) {
                return None;
            }
            node ^= offset(unit);
            if has_leaf(unit) {
                let start = *self.units.get(node)? & 0x7fff_ffff;
                let text = self.replacements.get(start as usize..)?;
                return Some((start, start + text.find('\0').unwrap_or(text.len()) as u32));
            }
        }
        None
    }

    fn replacement(&self, (start, end): (u32, u32)) -> &str {
        &self.replacements[start as usize..end as usize]
    }

    /// Normalises a text.
    pub(crate) fn apply(&self, text: &Text<'_>) -> Text<'static> {
        let mut out = text.builder();
        let bytes = text.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            // ASCII makes clusters with nothing, apart from CR with LF; this spares most texts the search for clusters.
            let run = bytes[at..].iter().take_while(|byte| byte.is_ascii() && **byte != b'\r').count();
            let alone = if at + run == bytes.len() { run } else { run.saturating_sub(1) };
            let mut copied = at;
            for (place, &byte) in bytes.iter().enumerate().skip(at).take(alone) {
                if let Some(found) = self.ascii[usize::from(byte)] {
                    out.copy(text, copied..place);
                    out.push(self.replacement(found), text, place..place + 1);
                    copied = place + 1;
                }
            }
            at += alone;
            out.copy(text, copied..at);
            let end = clusters_end(bytes, at);
            for (start, cluster) in text.text[at..end].grapheme_indices(true) {
                self.apply_to_cluster(cluster, at + start, text, &mut out);
            }
            at = end;
        }
        out.finish()
    }

    fn apply_to_cluster(&self, cluster: &str, start: usize, text: &Text<'_>, out: &mut Builder) {
        if cluster.len() < LONG
            && let Some(found) = self.find(cluster.as_bytes())
        {
            return replace(self.replacement(found), cluster, start, text, out);
        }
        for (at, c) in cluster.char_indices() {
            let (start, end) = (start + at, start + at + c.len_utf8());
            match self.find(text.text[start..end].as_bytes()) {
                Some(found) => out.push(self.replacement(found), text, start..end),
                None => out.copy(text, start..end),
            }
        }
    }
}

/// Appends what takes the place of a cluster: each character that of the same number, what is left over that of the last.
fn replace(replacement: &str, cluster: &str, start: usize, text: &Text<'_>, out: &mut Builder) {
    let mut origins = cluster.char_indices().map(|(at, c)| start + at..start + at + c.len_utf8());
    let mut origin = start..start;
    for c in replacement.chars() {
        origin = origins.next().unwrap_or(origin);
        out.push(c.encode_utf8(&mut [0; 4]), text, origin.clone());
    }
}

/// Where a stretch ends in which clusters have to be looked for: after an ASCII character with another behind it.
fn clusters_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() {
        let next = bytes.get(at + 1);
        if bytes[at].is_ascii() && bytes[at] != b'\r' && next.is_none_or(u8::is_ascii) {
            return at + 1;
        }
        at += 1;
    }
    bytes.len()
}

/// Checks that every replacement that can be reached is there.
fn check(units: &[u32], replacements: &str) -> Result<(), (String, String)> {
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(units[0])];
    while let Some(node) = open.pop() {
        if node >= units.len() || std::mem::replace(&mut seen[node], true) {
            continue;
        }
        for byte in 1..=255u32 {
            let Some(&unit) = units.get(node ^ byte as usize) else { continue };
            if label(unit) != byte {
                continue;
            }
            let below = node ^ byte as usize ^ offset(unit);
            if has_leaf(unit) {
                let Some(&leaf) = units.get(below) else {
                    return Err((
                        format!("a trie of {} units that stays within itself", units.len()),
                        below.to_string(),
                    ));
                };
                let start = (leaf & 0x7fff_ffff) as usize;
                if replacements.get(start..).is_none_or(|text| !text.contains('\0')) {
                    let expected = format!("replacements within {} bytes, each ended by a NUL", replacements.len());
                    return Err((expected, format!("one at byte {start}")));
                }
            }
            open.push(below);
        }
    }
    Ok(())
}
