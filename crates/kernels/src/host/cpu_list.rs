//! Sets of processors as the Linux kernel writes them: `0-3,8,10-11`.

use std::str::FromStr;

/// The highest number of a processor that is believed; the kernel is built for 8192 at most.
const MOST: usize = 1 << 16;

/// A set of processors: ranges, both ends included, in order and without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CpuList {
    ranges: Vec<(usize, usize)>,
}

/// The text is no set of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotACpuList;

impl CpuList {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The lowest.
    pub(super) fn first(&self) -> Option<usize> {
        self.ranges.first().map(|(first, _)| *first)
    }

    /// From the lowest to the highest.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Those that are in both.
    pub(super) fn intersection(&self, other: &CpuList) -> CpuList {
        let both = |&(first, last): &(usize, usize)| {
            other.ranges.iter().map(move |&(from, to)| (first.max(from), last.min(to))).filter(|(from, to)| from <= to)
        };
        CpuList { ranges: self.ranges.iter().flat_map(both).collect() }
    }
}

impl FromStr for CpuList {
    type Err = NotACpuList;

    fn from_str(text: &str) -> Result<Self, NotACpuList> {
        let number = |text: &str| text.trim().parse().ok().filter(|&cpu| cpu <= MOST).ok_or(NotACpuList);
        let mut ranges = text
            .trim()
            .split(',')
            .map(|part| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last) = (number(first)?, number(last)?);
                if first <= last { Ok((first, last)) } else { Err(NotACpuList) }
            })
            .collect::<Result<Vec<(usize, usize)>, _>>()?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let meet = next.0 <= range.1 + 1;
            if meet {
                range.1 = range.1.max(next.1);
            }
            meet
        });
        Ok(CpuList { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
    }

    #[test]
    fn ranges_and_numbers() {
        let cpus = list("0-3,8,10-11\n");
        assert_eq!(cpus.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!((cpus.len(), cpus.first(), cpus.is_empty()), (7, Some(0), false));
        // Other ways to write a set.
        assert_eq!(list("2-3, 0-1"), list("0-3"));
        assert_eq!(list("5,1-9,9,7-12").iter().collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn intersections() {
        let both = list("0-3,8,10-20").intersection(&list("2-9,12,19-30"));
        assert_eq!(both.iter().collect::<Vec<_>>(), [2, 3, 8, 12, 19, 20]);
        assert!(list("0-3").intersection(&list("4")).is_empty());
        assert_eq!(list("0-3").intersection(&list("4")).first(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "\n", "a", "1-", "-1", "3-1", "1,,2", "1-2-3", "0-99999999999", "18446744073709551616", "0x1"]
        {
            assert_eq!(text.parse::<CpuList>(), Err(NotACpuList), "{text:?}");
        }
    }
}
