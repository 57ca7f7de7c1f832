//! All tokens that begin at a place in a text, in one pass.

/// Tokens by their bytes. Nodes are numbered level by level, so that the children of one lie side by side and those of the
/// next follow: a node takes nine bytes.
#[derive(Debug)]
pub(crate) struct Trie {
    /// The byte that leads to each node.
    labels: Vec<u8>,
    /// Where the children of each node begin; they end where those of the next begin.
    children: Vec<u32>,
    /// The token that ends at each node.
    ids: Vec<u32>,
}

const NO_ID: u32 = u32::MAX;

impl Trie {
    /// Of distinct tokens that are not empty.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        // By their first bytes as one number, which is at hand: most tokens differ there.
        let mut tokens: Vec<_> = tokens.map(|(token, id)| (first_bytes(token), token, id)).collect();
        tokens.sort_unstable();
        let tokens: Vec<_> = tokens.into_iter().map(|(_, token, id)| (token, id)).collect();
        let mut trie = Self { labels: vec![0], children: vec![], ids: vec![NO_ID] };
        // The tokens below each node of a level, which all have the first `depth` bytes in common.
        let mut level: Vec<_> = std::iter::once(0..tokens.len()).collect();
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = vec![];
            for range in level {
                trie.children.push(trie.labels.len() as u32);
                let mut at = range.start;
                while at < range.end {
                    let Some(&label) = tokens[at].0.get(depth) else {
                        at += 1; // the token that ends at this very node
                        continue;
                    };
                    let same = tokens[at..range.end].partition_point(|(token, _)| token.get(depth) <= Some(&label));
                    let (token, id) = tokens[at];
                    trie.labels.push(label);
                    trie.ids.push(if token.len() == depth + 1 { id } else { NO_ID });
                    below.push(at..at + same);
                    at += same;
                }
            }
            level = below;
            depth += 1;
        }
        trie.children.push(trie.labels.len() as u32);
        trie
    }

    /// Gives the length and id of each token with which a text begins, the shortest first.
    pub(crate) fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (length, byte) in (1..).zip(text) {
            let (start, end) = (self.children[node] as usize, self.children[node + 1] as usize);
            let labels = &self.labels[start..end];
            let at = if labels.len() < 16 {
                labels.iter().position(|label| label == byte)
            } else {
                labels.binary_search(byte).ok()
            };
            let Some(at) = at else { return };
            node = start + at;
            if self.ids[node] != NO_ID {
                found(length, self.ids[node]);
            }
        }
    }
}

/// The first eight bytes as a number in the order of the bytes, with zeros for those that are not there.
fn first_bytes(token: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let count = token.len().min(bytes.len());
    bytes[..count].copy_from_slice(&token[..count]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_looking_at_every_token_finds(tokens in prop::collection::hash_set("[a-cé]{1,5}|[\\x00-\\x7f]{1,2}", 0..60), text in "[a-dé]{0,9}") {
            let tokens: Vec<String> = tokens.into_iter().collect();
            let trie = Trie::new(tokens.iter().zip(0..).map(|(token, id)| (token.as_bytes(), id)));
            let mut found = vec![];
            trie.prefixes(text.as_bytes(), |length, id| found.push((length, id)));
            let mut expected: Vec<(usize, u32)> =
                tokens.iter().zip(0..).filter(|(token, _)| text.starts_with(*token)).map(|(token, id)| (token.len(), id)).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
