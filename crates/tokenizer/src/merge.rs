//! Joining neighbours, best first: the heart of byte-pair encoding.
//!
//! Source: R. Sennrich, B. Haddow, A. Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016 (arXiv
//! 1508.07909). Of all neighbours that may be joined, those of the lowest rank are, the leftmost of equals first, until none
//! is left. With a heap of candidates this takes n log n steps for n symbols.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A token in the making: its id and the bytes of the word that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub(crate) id: u32,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What two neighbours may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Join {
    /// The lowest goes first.
    pub(crate) rank: u32,
    pub(crate) id: u32,
}

/// Up to this many symbols, looking through all of them every time is faster than keeping a heap.
const SHORT: usize = 32;

/// Joins symbols, which must be in order, until no two neighbours can be.
pub(crate) fn merge(symbols: &mut Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) {
    if symbols.len() <= SHORT { merge_short(symbols, join) } else { merge_long(symbols, join) }
}

fn merge_short(symbols: &mut Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) {
    // What each symbol may become together with the next.
    let mut joins = [None; SHORT];
    for (slot, pair) in joins.iter_mut().zip(symbols.windows(2)) {
        *slot = join(&pair[0], &pair[1]);
    }
    loop {
        let pairs = symbols.len().saturating_sub(1);
        let best = joins[..pairs].iter().enumerate().filter_map(|(at, join)| Some((join.as_ref()?.rank, at))).min();
        let Some((_, at)) = best else { return };
        let Some(Join { id, .. }) = joins[at] else { return };
        symbols[at] = Symbol { id, start: symbols[at].start, end: symbols[at + 1].end };
        symbols.remove(at + 1);
        joins.copy_within(at + 1..pairs, at);
        if let Some(next) = symbols.get(at + 1) {
            joins[at] = join(&symbols[at], next);
        }
        if at > 0 {
            joins[at - 1] = join(&symbols[at - 1], &symbols[at]);
        }
    }
}

const NONE: usize = usize::MAX;

fn merge_long(symbols: &mut Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) {
    let n = symbols.len();
    let mut next: Vec<usize> = (1..=n).map(|i| if i == n { NONE } else { i }).collect();
    let mut previous: Vec<usize> = (0..n).map(|i| i.wrapping_sub(1)).collect();
    let mut gone = vec![false; n];
    let mut heap = BinaryHeap::with_capacity(n);
    let candidate = |symbols: &[Symbol], left: usize, right: usize| {
        join(&symbols[left], &symbols[right]).map(|j| Reverse((j.rank, left, j.id, symbols[right].end)))
    };
    heap.extend((1..n).filter_map(|right| candidate(symbols, right - 1, right)));
    while let Some(Reverse((_, left, id, end))) = heap.pop() {
        let right = next[left];
        // Either symbol may have been joined with something else since.
        if gone[left] || right == NONE || symbols[right].end != end {
            continue;
        }
        if join(&symbols[left], &symbols[right]).is_none_or(|join| join.id != id) {
            continue;
        }
        symbols[left].id = id;
        symbols[left].end = end;
        gone[right] = true;
        next[left] = next[right];
        if next[left] != NONE {
            previous[next[left]] = left;
            heap.extend(candidate(symbols, left, next[left]));
        }
        if previous[left] != NONE {
            heap.extend(candidate(symbols, previous[left], left));
        }
    }
    let mut gone = gone.into_iter();
    symbols.retain(|_| !gone.next().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn symbols(ids: &[u32]) -> Vec<Symbol> {
        ids.iter().enumerate().map(|(i, &id)| Symbol { id, start: i, end: i + 1 }).collect()
    }

    #[test]
    fn the_lowest_rank_goes_first_then_the_leftmost() {
        // 1 1 -> 2 (rank 5), 2 1 -> 3 (rank 1), 1 2 -> 4 (rank 2).
        let join = |a: &Symbol, b: &Symbol| match (a.id, b.id) {
            (1, 1) => Some(Join { rank: 5, id: 2 }),
            (2, 1) => Some(Join { rank: 1, id: 3 }),
            (1, 2) => Some(Join { rank: 2, id: 4 }),
            _ => None,
        };
        for (before, after) in
            [(vec![1, 1, 1], vec![3]), (vec![1, 1, 1, 1], vec![3, 1]), (vec![9, 1, 2], vec![9, 4]), (vec![], vec![])]
        {
            for merge in [merge_short, merge_long] {
                let mut got = symbols(&before);
                merge(&mut got, join);
                assert_eq!(got.iter().map(|s| s.id).collect::<Vec<_>>(), after);
                assert_eq!(got.last().map_or(0, |s| s.end), before.len());
            }
        }
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same(ids in prop::collection::vec(0u32..4, 0..SHORT), rules in prop::collection::vec(prop::option::of((0u32..20, 0u32..12)), 144)) {
            let join = |a: &Symbol, b: &Symbol| {
                let (rank, id) = (*rules.get((a.id * 12 + b.id) as usize)?)?;
                // An id stands for a text, so that what it covers must have one length.
                (id as usize % 3 + 2 == b.end - a.start).then_some(Join { rank, id })
            };
            let (mut short, mut long) = (symbols(&ids), symbols(&ids));
            merge_short(&mut short, join);
            merge_long(&mut long, join);
            prop_assert_eq!(short, long);
        }
    }
}
