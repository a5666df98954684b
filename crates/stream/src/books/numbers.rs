//! Running numbers of one process, as ranges with the sums of items at their ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of numbers from 0 on. 0 is always in it: nothing was published before 1.
///
/// Written as a list of `[first, last, items before, items after]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<[u64; 4]>", into = "Vec<[u64; 4]>")]
pub(crate) struct Numbers {
    /// By their first number. No two overlap or touch.
    ranges: BTreeMap<u64, Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    last: u64,
    /// Items of all messages before the first.
    before: u64,
    /// Items of all messages up to the last.
    after: u64,
}

/// Numbers that are missing between others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Items of all messages before the gap, and up to its end.
    pub(crate) sums: [u64; 2],
}

impl Gap {
    pub(crate) fn items(&self) -> u64 {
        self.sums[1].saturating_sub(self.sums[0])
    }

    pub(crate) fn overlaps(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }
}

impl Default for Numbers {
    fn default() -> Self {
        let zero = Range {
            last: 0,
            before: 0,
            after: 0,
        };
        Self {
            ranges: BTreeMap::from([(0, zero)]),
        }
    }
}

impl Numbers {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.before(number).is_some_and(|(_, range)| number <= range.last)
    }

    /// Returns the items of all messages up to the last number.
    pub(crate) fn sum(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, range)| range.after)
    }

    /// Adds one number. `sum` is that of all messages up to it. Returns false if it was there.
    pub(crate) fn insert(&mut self, number: u64, items: u64, sum: u64) -> bool {
        let is_new = !self.contains(number);
        if is_new {
            self.fill(&Gap {
                first: number,
                last: number,
                sums: [sum.saturating_sub(items), sum],
            });
        }
        is_new
    }

    /// Adds the numbers of a gap. None of them may be there.
    pub(crate) fn fill(&mut self, gap: &Gap) {
        let [before, after] = gap.sums;
        let (mut first, mut range) = (
            gap.first,
            Range {
                last: gap.last,
                before,
                after,
            },
        );
        if let Some((left, of_left)) = self.before(first)
            && of_left.last.checked_add(1) == Some(first)
        {
            (first, range.before) = (left, of_left.before);
        }
        let right = range.last.checked_add(1).and_then(|next| self.ranges.remove(&next));
        if let Some(right) = right {
            (range.last, range.after) = (right.last, right.after);
        }
        self.ranges.insert(first, range);
    }

    /// Returns what is missing, in order. `end` is a number and the sum of items up to it, if they
    /// are known from elsewhere.
    pub(crate) fn gaps(&self, end: Option<(u64, u64)>) -> Vec<Gap> {
        let inner = self.ranges.values().zip(self.ranges.iter().skip(1));
        let mut gaps: Vec<Gap> = inner
            .map(|(left, (first, right))| Gap {
                first: left.last + 1,
                last: first - 1,
                sums: [left.after, right.before],
            })
            .collect();
        if let Some((last, sum)) = end
            && let Some(of_last) = self.ranges.values().next_back()
            && last > of_last.last
        {
            gaps.push(Gap {
                first: of_last.last + 1,
                last,
                sums: [of_last.after, sum],
            });
        }
        gaps
    }

    /// The largest number.
    pub(crate) fn last(&self) -> u64 {
        self.ranges.values().next_back().map_or(0, |range| range.last)
    }

    fn before(&self, number: u64) -> Option<(u64, Range)> {
        self.ranges
            .range(..=number)
            .next_back()
            .map(|(first, range)| (*first, *range))
    }
}

impl From<Vec<[u64; 4]>> for Numbers {
    /// Leaves out ranges that are not valid, so that their numbers count as missing.
    fn from(ranges: Vec<[u64; 4]>) -> Self {
        let mut numbers = Self::default();
        for [first, last, before, after] in ranges {
            if first == 0 {
                numbers.ranges.insert(0, Range { last, before, after });
            } else if first <= last && first > numbers.last() {
                numbers.fill(&Gap {
                    first,
                    last,
                    sums: [before, after],
                });
            }
        }
        numbers
    }
}

impl From<Numbers> for Vec<[u64; 4]> {
    fn from(numbers: Numbers) -> Self {
        let ranges = numbers.ranges.into_iter();
        ranges
            .map(|(first, range)| [first, range.last, range.before, range.after])
            .collect()
    }
}
