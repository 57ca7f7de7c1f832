//! Normalisers, pre-tokenizers and decoders of a `tokenizer.json`.
//!
//! Only components are accepted that cannot panic or hang whatever their settings: those that this crate does itself, and
//! those of the `tokenizers` crate that have no settings or none that matter.

use base64::Engine as _;
use serde_json::json;
use tokenizers::DecoderWrapper;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior as Behavior;

use super::Node;
use crate::charsmap::Charsmap;
use crate::error::{Error, quote};
use crate::normalize;
use crate::pattern::{GPT2, Pattern};
use crate::words::{self, Prepend};

const NORMALIZERS: &str = "BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, StripAccents, Nmt, Strip, Prepend, Replace, Precompiled, \
     Sequence";
const PRE_TOKENIZERS: &str = "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Split, Whitespace, \
     WhitespaceSplit, Sequence";
const DECODERS: &str = "WordPiece, ByteLevel, Metaspace, ByteFallback, Fuse, Replace, Strip, Sequence";
const REGEXES: &str = r"a String, or the Regex ` {2,}`, `\s+` or `\s{2,}|[\n\r\t]`";

/// What transformers 5 has in the tokenizers of `DeBERTa`.
const WHITE_SPACE: &str = r"\s{2,}|[\n\r\t]";

/// Sequences inside of one another: more than any file has.
const MAX_DEPTH: usize = 8;

fn unsupported(node: &Node<'_>, key: &str, supported: &'static str) -> Error {
    let found = node.member(key);
    let found = found.str().map_or_else(|_| found.value.to_string().chars().take(60).collect(), quote);
    Error::Unsupported { place: node.place(key), found, supported }
}

/// Reads a normaliser; null is none.
pub(super) fn normalizer(node: &Node<'_>) -> Result<Vec<normalize::Step>, Error> {
    let mut steps = vec![];
    add_normalizer(node, MAX_DEPTH, &mut steps)?;
    Ok(steps)
}

fn add_normalizer(node: &Node<'_>, depth: usize, steps: &mut Vec<normalize::Step>) -> Result<(), Error> {
    use normalize::Step;
    if node.value.is_null() {
        return Ok(());
    }
    let step = match node.require("type")?.str()? {
        "Sequence" if depth > 0 => {
            for member in node.require("normalizers")?.elements()? {
                add_normalizer(&member, depth - 1, steps)?;
            }
            return Ok(());
        }
        "Precompiled" => {
            let Some(rules) = node.get("precompiled_charsmap") else { return Ok(()) };
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(rules.str()?)
                .map_err(|e| Error::unexpected(rules.path(), "base64", e.to_string()))?;
            if bytes.is_empty() {
                return Ok(()); // a model without rules
            }
            Step::Charsmap(Box::new(Charsmap::new(&bytes, rules.path())?))
        }
        "Prepend" => Step::Prepend(node.require("prepend")?.str()?.to_owned()),
        "Replace" => {
            let (pattern, content) = (node.require("pattern")?, node.require("content")?.str()?.to_owned());
            match (pattern.get("String"), pattern.get("Regex")) {
                (Some(text), None) => Step::Replace(not_empty(&text)?, content),
                (None, Some(regex)) => match regex.str()? {
                    " {2,}" => Step::Spaces(content),
                    WHITE_SPACE => Step::WhiteSpace(content),
                    r"\s+" => Step::AnyWhiteSpace(content),
                    _ => return Err(unsupported(&pattern, "Regex", REGEXES)),
                },
                _ => return Err(pattern.unexpected("a String or a Regex")),
            }
        }
        "Strip" => {
            Step::Strip { left: node.require("strip_left")?.bool()?, right: node.require("strip_right")?.bool()? }
        }
        "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" | "Nmt" => {
            Step::Crate(Box::new(node.component()?))
        }
        _ => return Err(unsupported(node, "type", NORMALIZERS)),
    };
    steps.push(step);
    Ok(())
}

fn not_empty(node: &Node<'_>) -> Result<String, Error> {
    let text = node.str()?;
    if text.is_empty() { Err(node.unexpected("a text that is not empty")) } else { Ok(text.to_owned()) }
}

/// What a pre-tokenizer comes down to.
#[derive(Default)]
pub(super) struct Cutting {
    pub(super) steps: Vec<words::Step>,
    /// The model reads bytes.
    pub(super) byte_level: bool,
    /// Spaces are written as marks.
    pub(super) metaspace: bool,
}

/// Reads a pre-tokenizer; null is none.
pub(super) fn pre_tokenizer(node: &Node<'_>) -> Result<Cutting, Error> {
    let mut cutting = Cutting::default();
    add_pre_tokenizer(node, MAX_DEPTH, &mut cutting)?;
    Ok(cutting)
}

fn add_pre_tokenizer(node: &Node<'_>, depth: usize, cutting: &mut Cutting) -> Result<(), Error> {
    use words::Step;
    if node.value.is_null() {
        return Ok(());
    }
    let kind = node.require("type")?.str()?;
    if kind == "Sequence" && depth > 0 {
        for member in node.require("pretokenizers")?.elements()? {
            add_pre_tokenizer(&member, depth - 1, cutting)?;
        }
        return Ok(());
    }
    if cutting.byte_level {
        return Err(Error::unexpected(node.path(), "nothing after ByteLevel", quote(kind)));
    }
    let step = match kind {
        "ByteLevel" => {
            cutting.byte_level = true;
            if node.require("add_prefix_space")?.bool()? {
                cutting.steps.push(Step::PrefixSpace);
            }
            if !node.get("use_regex").map_or(Ok(true), |flag| flag.bool())? {
                return Ok(());
            }
            let pattern = Pattern::new(GPT2, node.path())?;
            Step::Pattern { pattern, behavior: Behavior::Isolated, invert: false }
        }
        "Metaspace" => {
            cutting.metaspace = true;
            let split = node.get("split").map_or(Ok(true), |flag| flag.bool())?;
            let (mark, prepend) = metaspace(node)?;
            Step::Metaspace { mark, prepend, split }
        }
        "Split" => {
            let (pattern, invert) = (node.require("pattern")?, node.flag("invert")?);
            let behavior = node.require("behavior")?.component()?;
            match (pattern.get("String"), pattern.get("Regex")) {
                (Some(text), None) => Step::At { delimiter: not_empty(&text)?, behavior, invert },
                (None, Some(regex)) => {
                    Step::Pattern { pattern: Pattern::new(regex.str()?, regex.path())?, behavior, invert }
                }
                _ => return Err(pattern.unexpected("a String or a Regex")),
            }
        }
        "CharDelimiterSplit" => {
            let delimiter = character(&node.require("delimiter")?)?.to_string();
            Step::At { delimiter, behavior: Behavior::Removed, invert: false }
        }
        "WhitespaceSplit" => Step::Whitespace,
        "BertPreTokenizer" | "Whitespace" | "Punctuation" | "Digits" => Step::Crate(Box::new(node.component()?)),
        _ => return Err(unsupported(node, "type", PRE_TOKENIZERS)),
    };
    cutting.steps.push(step);
    Ok(())
}

fn character(node: &Node<'_>) -> Result<char, Error> {
    let mut chars = node.str()?.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(node.unexpected("one character")),
    }
}

/// The mark of a Metaspace, and where it is put in front. Early files have a flag for this.
fn metaspace(node: &Node<'_>) -> Result<(char, Prepend), Error> {
    let mark = node.get("replacement").map_or(Ok('▁'), |mark| character(&mark))?;
    let prepend = match node.get("prepend_scheme") {
        Some(scheme) => match scheme.str()? {
            "always" => Prepend::Always,
            "first" => Prepend::First,
            "never" => Prepend::Never,
            _ => return Err(scheme.unexpected("always, first or never")),
        },
        None if node.get("add_prefix_space").map_or(Ok(true), |flag| flag.bool())? => Prepend::Always,
        None => Prepend::Never,
    };
    Ok((mark, prepend))
}

/// Reads a decoder; null is none.
pub(super) fn decoder(node: &Node<'_>) -> Result<Option<DecoderWrapper>, Error> {
    if node.value.is_null() { Ok(None) } else { read_decoder(node, MAX_DEPTH).map(Some) }
}

fn read_decoder(node: &Node<'_>, depth: usize) -> Result<DecoderWrapper, Error> {
    match node.require("type")?.str()? {
        "Sequence" if depth > 0 => {
            let members = node.require("decoders")?.elements()?.map(|member| read_decoder(&member, depth - 1));
            Ok(Sequence::new(members.collect::<Result<_, _>>()?).into())
        }
        "Metaspace" => {
            let (mark, prepend) = metaspace(node)?;
            let scheme = match prepend {
                Prepend::Always => PrependScheme::Always,
                Prepend::First => PrependScheme::First,
                Prepend::Never => PrependScheme::Never,
            };
            Ok(Metaspace::new(mark, scheme, true).into())
        }
        "Replace" => {
            let Some(text) = node.require("pattern")?.get("String") else {
                return Err(node.member("pattern").unexpected("a String"));
            };
            let (text, content) = (not_empty(&text)?, node.require("content")?.str()?);
            crate::family::decoder(json!({"type": "Replace", "pattern": {"String": text}, "content": content}))
        }
        "Strip" => {
            // The crate would panic on a token that is shorter than what is to be taken off its end.
            let (stop, content) = (node.require("stop")?, character(&node.require("content")?)?);
            if stop.u32()? != 0 {
                return Err(stop.unexpected("0"));
            }
            let start = node.require("start")?.u32()?;
            crate::family::decoder(json!({"type": "Strip", "content": content, "start": start, "stop": 0}))
        }
        "WordPiece" | "ByteLevel" | "ByteFallback" | "Fuse" => node.component(),
        _ => Err(unsupported(node, "type", DECODERS)),
    }
}
