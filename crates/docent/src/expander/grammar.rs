//! The form of an expansion, held token by token.
//!
//! ```text
//! expansion = line, { line } ;
//! line = ( "lex" | "vec" | "hyde" ), ": ", byte other than newline, { byte other than newline }, newline ;
//! ```
//!
//! A token may follow if all of its bytes do: it may end a line, and be the whole beginning of the next.

use std::sync::OnceLock;

use docent_tokenizer::Tokenizer;

use super::LineKind;

/// What a line begins with. The first letters differ, so one byte tells which it is.
const BEGINNINGS: [(&[u8], LineKind); 3] =
    [(b"lex: ", LineKind::Lex), (b"vec: ", LineKind::Vec), (b"hyde: ", LineKind::Hyde)];

/// Bytes of a beginning, at most.
const LONGEST: usize = 6;

/// What has been written of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Begin,
    /// So many bytes of one of the beginnings, fewer than all and more than none.
    Within { beginning: usize, bytes: usize },
    /// A beginning, and no text yet.
    NoText,
    /// Some text.
    Text,
}

/// Places for what is known of each state.
const STATES: usize = 3 + BEGINNINGS.len() * LONGEST;

impl State {
    fn index(self) -> usize {
        match self {
            State::Begin => 0,
            State::NoText => 1,
            State::Text => 2,
            State::Within { beginning, bytes } => 3 + beginning * LONGEST + bytes,
        }
    }

    /// The state after one more byte, if that may be written.
    fn after(self, byte: u8) -> Option<State> {
        let (beginning, bytes) = match self {
            State::Begin => (BEGINNINGS.iter().position(|(beginning, _)| beginning[0] == byte)?, 0),
            State::Within { beginning, bytes } => (beginning, bytes),
            State::Text if byte == b'\n' => return Some(State::Begin),
            State::NoText | State::Text => return (byte != b'\n').then_some(State::Text),
        };
        let text = BEGINNINGS[beginning].0;
        if text[bytes] != byte {
            return None;
        }
        let bytes = bytes + 1;
        Some(if bytes == text.len() { State::NoText } else { State::Within { beginning, bytes } })
    }

    /// The state after all of these bytes, if they may be written.
    fn after_all(self, bytes: &[u8]) -> Option<State> {
        bytes.iter().try_fold(self, |state, &byte| state.after(byte))
    }
}

/// Which tokens of a vocabulary may be written, and what they write.
pub(super) struct Grammar {
    /// The bytes of all tokens one after the other.
    bytes: Vec<u8>,
    /// Where each ends, by id; a token of no bytes is never written.
    ends: Vec<u32>,
    allowed: Box<[OnceLock<Vec<u32>>; STATES]>,
}

impl Grammar {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for id in 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX) {
            bytes.extend(tokenizer.token_bytes(id).unwrap_or_default());
            // A vocabulary has at most 2^21 tokens out of a file of metadata, far from 4 GiB.
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Grammar { bytes, ends, allowed: Box::new([const { OnceLock::new() }; STATES]) }
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[id] as usize]
    }

    /// The tokens that may follow, ascending.
    pub(super) fn allowed(&self, state: State) -> &[u32] {
        self.allowed[state.index()].get_or_init(|| {
            let ids = 0..u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
            let may_follow = |&id: &u32| {
                let bytes = self.bytes(id);
                !bytes.is_empty() && state.after_all(bytes).is_some()
            };
            ids.filter(may_follow).collect()
        })
    }
}

/// Puts lines together from what is written of them.
pub(super) struct Lines {
    pub(super) state: State,
    open: Vec<u8>,
    /// Those that are complete.
    pub(super) done: Vec<(LineKind, String)>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Lines { state: State::Begin, open: Vec::new(), done: Vec::new() }
    }

    /// Writes the bytes of a token that is allowed in the state.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let Some(state) = self.state.after(byte) else { return };
            self.state = state;
            if byte != b'\n' {
                self.open.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.open);
            let known = BEGINNINGS.iter().find(|(beginning, _)| line.starts_with(beginning));
            // Tokens may be parts of characters, and a model may put such together as make none.
            let text = |beginning: &[u8]| String::from_utf8_lossy(&line[beginning.len()..]).trim().to_owned();
            self.done.extend(known.map(|&(beginning, kind)| (kind, text(beginning))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written_is_what_the_grammar_says() {
        for whole in ["lex: a\n", "vec: a b\nhyde: \u{1f98a}: lex:\n", "hyde:  \n", "lex: lex: \nvec: x\n"] {
            assert_eq!(State::Begin.after_all(whole.as_bytes()), Some(State::Begin), "{whole}");
        }
        for part in ["l", "vec:", "hyde: ", "lex: a", "lex: a\nv", ""] {
            assert!(State::Begin.after_all(part.as_bytes()).is_some(), "{part}");
        }
        for never in ["x", " lex: a\n", "lex:a\n", "lex: \n", "\n", "lex: a\n\n", "lexx", "LEX: a\n", "hyd: a"] {
            assert_eq!(State::Begin.after_all(never.as_bytes()), None, "{never}");
        }
    }

    #[test]
    fn states_have_places_of_their_own() {
        let mut all = vec![State::Begin, State::NoText, State::Text];
        for (beginning, (text, _)) in BEGINNINGS.iter().enumerate() {
            all.extend((1..text.len()).map(|bytes| State::Within { beginning, bytes }));
        }
        let mut places: Vec<usize> = all.iter().map(|state| state.index()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), all.len());
        assert!(places.iter().all(|&place| place < STATES));
    }

    #[test]
    fn lines_come_of_pieces_cut_anywhere() {
        let text = "lex: caf\u{e9} menu\nhyde:  The menu. \nvec: cut o".as_bytes();
        for size in 1..text.len() {
            let mut lines = Lines::new();
            text.chunks(size).for_each(|piece| lines.write(piece));
            let done: Vec<_> = lines.done.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
            assert_eq!(done, [(LineKind::Lex, "caf\u{e9} menu"), (LineKind::Hyde, "The menu.")]);
            assert_eq!(lines.state, State::Text);
        }
    }
}
