//! The result of tokenizing a text, and the window through which a long one is seen.

/// A text as a model reads it.
///
/// `ids` and `offsets` have the same length. Special tokens that the tokenizer put around the text (`[CLS]`, `[SEP]`) are
/// among them, with the offsets (0, 0).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoding {
    /// Token ids, in order.
    pub ids: Vec<u32>,
    /// Where each token comes from: start and end in bytes of the original text, both on character boundaries. Starts and
    /// ends never decrease along the text, but tokens may share bytes (the parts of a decomposed character) or leave some
    /// out (spaces, characters that normalisation removes).
    pub offsets: Vec<(usize, usize)>,
    /// How many tokens of the text truncation removed.
    pub dropped: usize,
}

/// Which end of a text is cut off when it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TruncationSide {
    /// The end is cut off, the beginning stays.
    #[default]
    Right,
    /// The beginning is cut off, the end stays.
    Left,
}

/// Which tokens of a text to keep. All are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    All,
    First(usize),
    Last(usize),
}

/// Takes the tokens of a text one by one and keeps those in the window, in memory that the window bounds.
pub(crate) struct Collector {
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    with_offsets: bool,
    window: Window,
    total: usize,
}

impl Collector {
    /// How many tokens beyond the window pile up before the oldest are thrown out: large, so that this is rare.
    const SLACK: usize = 4096;

    /// A collector for a text of `text_len` bytes.
    pub(crate) fn new(window: Window, with_offsets: bool, text_len: usize) -> Self {
        // Prose has four to five bytes a token; the vectors grow for text that has fewer.
        let guess = text_len / 4 + 1;
        let capacity = match window {
            Window::All => guess,
            Window::First(n) => guess.min(n),
            Window::Last(n) => guess.min(n.saturating_mul(2).saturating_add(Self::SLACK)),
        };
        let offsets = Vec::with_capacity(if with_offsets { capacity } else { 0 });
        Self { ids: Vec::with_capacity(capacity), offsets, with_offsets, window, total: 0 }
    }

    /// Whether anyone will look at the offsets.
    pub(crate) fn with_offsets(&self) -> bool {
        self.with_offsets
    }

    pub(crate) fn push(&mut self, id: u32, offsets: (usize, usize)) {
        self.total += 1;
        match self.window {
            Window::First(n) if self.ids.len() >= n => return,
            Window::Last(n) if self.ids.len() >= n.saturating_mul(2).saturating_add(Self::SLACK) => self.keep_last(n),
            _ => {}
        }
        self.ids.push(id);
        if self.with_offsets {
            self.offsets.push(offsets);
        }
    }

    fn keep_last(&mut self, n: usize) {
        let surplus = self.ids.len().saturating_sub(n);
        self.ids.drain(..surplus);
        if self.with_offsets {
            self.offsets.drain(..surplus);
        }
    }

    /// The kept tokens by themselves.
    pub(crate) fn collected(mut self) -> Encoding {
        if let Window::Last(n) = self.window {
            self.keep_last(n);
        }
        Encoding { dropped: self.total - self.ids.len(), ids: self.ids, offsets: self.offsets }
    }

    /// The kept tokens between `before` and `after`.
    pub(crate) fn finish(mut self, before: &[u32], after: &[u32]) -> Encoding {
        if let Window::Last(n) = self.window {
            self.keep_last(n);
        }
        let dropped = self.total - self.ids.len();
        let ids = [before, &self.ids, after].concat();
        let mut offsets = Vec::new();
        if self.with_offsets {
            offsets.reserve_exact(ids.len());
            offsets.resize(before.len(), (0, 0));
            offsets.append(&mut self.offsets);
            offsets.resize(ids.len(), (0, 0));
        }
        Encoding { ids, offsets, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(window: Window, n: u32) -> Encoding {
        let mut collector = Collector::new(window, true, 10);
        (0..n).for_each(|id| collector.push(id, (id as usize, id as usize + 1)));
        collector.finish(&[100], &[101, 102])
    }

    #[test]
    fn a_window_keeps_one_end_and_counts_the_rest() {
        for n in [0, 1, 5, 10_000] {
            let first = collect(Window::First(5), n);
            let last = collect(Window::Last(5), n);
            let kept = n.min(5);
            assert_eq!(first.ids, [vec![100], (0..kept).collect(), vec![101, 102]].concat());
            assert_eq!(last.ids, [vec![100], (n - kept..n).collect(), vec![101, 102]].concat());
            assert_eq!(last.offsets.len(), last.ids.len());
            if kept > 0 {
                assert_eq!(last.offsets[1].0, (n - kept) as usize);
            }
            assert_eq!((first.dropped, last.dropped), ((n - kept) as usize, (n - kept) as usize));
            assert_eq!(collect(Window::All, n).ids.len(), n as usize + 3);
        }
    }

    #[test]
    fn an_empty_window_keeps_the_specials_only() {
        for window in [Window::First(0), Window::Last(0)] {
            let encoding = collect(window, 9000);
            assert_eq!((encoding.ids, encoding.dropped), (vec![100, 101, 102], 9000));
        }
    }
}
