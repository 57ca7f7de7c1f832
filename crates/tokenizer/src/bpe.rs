//! Byte-pair encoding by learnt merges: GPT-2, RoBERTa, Llama 3, Qwen (over bytes), Gemma and Llama 2 (over characters).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::{Error, quote};
use crate::merge::{Join, Symbol, merge};
use crate::vocabulary::Vocabulary;

/// Joins symbols as learnt merges say.
#[derive(Debug)]
pub(crate) struct Bpe {
    /// What two tokens, by their ids, become.
    merges: HashMap<(u32, u32), Join, ahash::RandomState>,
    start: Start,
    /// If there is a list, a word that is a token is taken whole, whatever the merges would make of it, unless the token is in
    /// the list, which is in order.
    whole_but: Option<Vec<u32>>,
    /// Words are cut before this character, where no token has it after another.
    cut: Option<char>,
}

/// What a word is made of before anything is joined.
#[derive(Debug)]
enum Start {
    /// A token for each byte; bytes without one are left out.
    Bytes(Box<[Option<u32>; 256]>),
    Characters(Characters),
}

/// Characters, and what becomes of those that are not tokens.
#[derive(Debug, Clone)]
pub(crate) struct Characters {
    /// Tokens for the bytes of characters that have none, if there are.
    pub(crate) bytes: Option<Box<[Option<u32>; 256]>>,
    /// The token for what cannot be had otherwise; without one it is left out.
    pub(crate) unknown: Option<u32>,
    /// Neighbouring unknown characters make one token.
    pub(crate) fuse: bool,
}

/// What GPT-2 writes for each byte, so that a vocabulary is printable text: printable Latin-1 characters for themselves, the
/// others in order from U+0100 on. Source: A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
/// `encoder.py`.
static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if printable {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or_default()
    })
});

/// The bytes that a token spells in that alphabet; `None` if it has other characters.
pub(crate) fn spelt(token: &str) -> Option<Vec<u8>> {
    static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| ALPHABET.iter().copied().zip(0..=255).collect());
    token.chars().map(|c| BYTES.get(&c).copied()).collect()
}

/// The tokens of the 256 bytes in GPT-2's alphabet.
fn alphabet(vocabulary: &Vocabulary) -> [Option<u32>; 256] {
    std::array::from_fn(|byte| vocabulary.model_id(ALPHABET[byte].encode_utf8(&mut [0; 4])))
}

/// The tokens `<0x00>` to `<0xFF>`.
pub(crate) fn byte_tokens(vocabulary: &Vocabulary) -> Box<[Option<u32>; 256]> {
    Box::new(std::array::from_fn(|byte| vocabulary.model_id(&format!("<0x{byte:02X}>"))))
}

impl Bpe {
    /// Over bytes, of which the vocabulary has the spelling of GPT-2; those without a token are `unknown`.
    pub(crate) fn bytes<'m>(
        vocabulary: &Vocabulary,
        merges: impl Iterator<Item = (&'m str, &'m str)>,
        unknown: Option<u32>,
        whole_but: Option<Vec<u32>>,
        place: &str,
    ) -> Result<Self, Error> {
        let merges = learn(vocabulary, merges, place)?;
        let bytes = alphabet(vocabulary).map(|id| id.or(unknown));
        Ok(Self { merges, start: Start::Bytes(Box::new(bytes)), whole_but, cut: None })
    }

    /// Over characters.
    pub(crate) fn characters<'m>(
        vocabulary: &Vocabulary,
        merges: impl Iterator<Item = (&'m str, &'m str)>,
        characters: Characters,
        whole_but: Option<Vec<u32>>,
        place: &str,
    ) -> Result<Self, Error> {
        let merges = learn(vocabulary, merges, place)?;
        let cut = if whole_but.is_some() { None } else { safe_cut(vocabulary) };
        Ok(Self { merges, start: Start::Characters(characters), whole_but, cut })
    }

    /// Appends the tokens of a word to `out`.
    pub(crate) fn split(&self, word: &str, vocabulary: &Vocabulary, out: &mut Vec<Symbol>) {
        let whole = |token: &str| {
            let but = self.whole_but.as_ref()?;
            vocabulary.model_id(token).filter(|id| but.binary_search(id).is_err())
        };
        let mut symbols = Vec::new();
        match &self.start {
            Start::Bytes(bytes) => {
                if self.whole_but.is_some()
                    && let Some(id) = whole(&word.bytes().map(|byte| ALPHABET[usize::from(byte)]).collect::<String>())
                {
                    return out.push(Symbol { id, start: 0, end: word.len() });
                }
                symbols.reserve(word.len());
                for (start, byte) in word.bytes().enumerate() {
                    symbols.extend(bytes[usize::from(byte)].map(|id| Symbol { id, start, end: start + 1 }));
                }
                self.merge(&mut symbols);
                out.append(&mut symbols);
            }
            Start::Characters(characters) => {
                if let Some(id) = whole(word) {
                    return out.push(Symbol { id, start: 0, end: word.len() });
                }
                for (base, part) in cut_at(word, self.cut) {
                    characters.split(part, base, vocabulary, &mut symbols);
                    self.merge(&mut symbols);
                    out.append(&mut symbols);
                }
            }
        }
    }

    fn merge(&self, symbols: &mut Vec<Symbol>) {
        merge(symbols, |left, right| self.merges.get(&(left.id, right.id)).copied());
    }
}

impl Characters {
    /// Appends a symbol for each character of a text, which begins at `base` of the word.
    fn split(&self, text: &str, base: usize, vocabulary: &Vocabulary, out: &mut Vec<Symbol>) {
        let mut fusing = false;
        for (at, c) in text.char_indices() {
            let (start, end) = (base + at, base + at + c.len_utf8());
            let mut utf8 = [0; 4];
            let c = c.encode_utf8(&mut utf8);
            if let Some(id) = vocabulary.model_id(c) {
                out.push(Symbol { id, start, end });
                fusing = false;
            } else if let Some(bytes) = self.bytes.as_ref().filter(|t| c.bytes().all(|b| t[usize::from(b)].is_some())) {
                for (i, byte) in c.bytes().enumerate() {
                    let (start, end) = (start + i, start + i + 1);
                    out.extend(bytes[usize::from(byte)].map(|id| Symbol { id, start, end }));
                }
                fusing = false;
            } else if let Some(id) = self.unknown {
                match out.last_mut() {
                    Some(last) if fusing && self.fuse => last.end = end,
                    _ => out.push(Symbol { id, start, end }),
                }
                fusing = true;
            }
        }
    }
}

/// The merges by the ids of their parts. Of two that have the same parts the later counts.
fn learn<'m>(
    vocabulary: &Vocabulary,
    merges: impl Iterator<Item = (&'m str, &'m str)>,
    place: &str,
) -> Result<HashMap<(u32, u32), Join, ahash::RandomState>, Error> {
    let mut learnt = HashMap::with_capacity_and_hasher(merges.size_hint().0, ahash::RandomState::new());
    let mut whole = String::new();
    for (rank, (left, right)) in (0u32..).zip(merges) {
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        let id = |token: &str| {
            vocabulary.model_id(token).ok_or_else(|| {
                let expected = "tokens of the vocabulary on both sides and joined";
                Error::unexpected(format!("{place}[{rank}]"), expected, format!("{}, which is none", quote(token)))
            })
        };
        learnt.insert((id(left)?, id(right)?), Join { rank, id: id(&whole)? });
    }
    Ok(learnt)
}

/// The parts of a word, with their starts. Before every `cut` that follows another character a part ends.
pub(crate) fn cut_at(word: &str, cut: Option<char>) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = word.get(start..).filter(|rest| !rest.is_empty())?;
        let length = cut.and_then(|cut| {
            let marks = rest.len() - rest.trim_start_matches(cut).len();
            Some(marks + rest[marks..].find(cut)?)
        });
        let at = start;
        let part = &rest[..length.unwrap_or(rest.len())];
        start += part.len();
        Some((at, part))
    })
}

/// `▁`, if no token has it after another character: then nothing can ever be joined across such a place, and a text may be cut
/// there, which keeps the pieces small.
pub(crate) fn safe_cut(vocabulary: &Vocabulary) -> Option<char> {
    const MARK: char = '▁';
    let inside = |token: &str| token.trim_start_matches(MARK).contains(MARK);
    let safe = vocabulary.model_id("▁").is_some() && !vocabulary.model_tokens().any(|(token, _)| inside(token));
    safe.then_some(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for (id, token) in (0u32..).zip(tokens) {
            vocabulary.insert(token, id, "vocab").unwrap();
        }
        vocabulary
    }

    fn ids(bpe: &Bpe, vocabulary: &Vocabulary, word: &str) -> Vec<u32> {
        let mut out = vec![];
        bpe.split(word, vocabulary, &mut out);
        out.iter().map(|symbol| symbol.id).collect()
    }

    #[test]
    fn bytes_are_spelt_as_in_gpt_2() {
        assert_eq!([0x20, 0x0a, 0x41, 0xe9, 0xad, 0x00].map(|byte| ALPHABET[byte]), ['Ġ', 'Ċ', 'A', 'é', 'Ń', 'Ā']);
        assert_eq!(spelt("ĠAĊ\u{e9}ŃĀ"), Some(vec![0x20, 0x41, 0x0a, 0xe9, 0xad, 0x00]));
        assert_eq!(spelt("a b"), None);
        assert!((0..=255u8).all(|byte| spelt(&ALPHABET[usize::from(byte)].to_string()) == Some(vec![byte])));
        let vocabulary = vocabulary(&["Ġ", "a", "Ġa", "Ã", "©", "Ã©", "Ġaa"]);
        let merges = [("Ġ", "a"), ("Ã", "©")];
        let bpe = Bpe::bytes(&vocabulary, merges.into_iter(), None, None, "merges").unwrap();
        assert_eq!(ids(&bpe, &vocabulary, " aé"), [2, 5]);
        assert_eq!(ids(&bpe, &vocabulary, " aax"), [2, 1]);
        let whole = Bpe::bytes(&vocabulary, merges.into_iter(), None, Some(vec![]), "merges").unwrap();
        assert_eq!(ids(&whole, &vocabulary, " aa"), [6]);
        let error = Bpe::bytes(&vocabulary, [("a", "a")].into_iter(), None, None, "merges").unwrap_err();
        assert!(error.to_string().starts_with("merges[0]: expected tokens of the vocabulary on both sides and joined"));
    }

    #[test]
    fn characters_fall_back_on_bytes_then_on_the_unknown_token() {
        let vocabulary = vocabulary(&["<unk>", "a", "▁", "▁a", "<0xC3>", "<0xA9>"]);
        let characters = Characters { bytes: Some(byte_tokens(&vocabulary)), unknown: Some(0), fuse: true };
        let bpe = Bpe::characters(&vocabulary, [("▁", "a")].into_iter(), characters, None, "merges").unwrap();
        assert_eq!(bpe.cut, Some('▁'));
        assert_eq!(ids(&bpe, &vocabulary, "▁aé▁▁axyé"), [3, 4, 5, 2, 3, 0, 4, 5]);
    }

    #[test]
    fn cutting_keeps_runs_of_marks_together() {
        let parts = |word, cut| cut_at(word, cut).collect::<Vec<_>>();
        assert_eq!(parts("▁▁a▁b", Some('▁')), [(0, "▁▁a"), (7, "▁b")]);
        assert_eq!(parts("a▁", Some('▁')), [(0, "a"), (1, "▁")]);
        assert_eq!(parts("a▁b", None), [(0, "a▁b")]);
        assert_eq!(parts("▁▁", Some('▁')), [(0, "▁▁")]);
        assert_eq!(parts("", Some('▁')), []);
    }
}
