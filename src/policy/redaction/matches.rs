//! Matches of rules in a text.

use std::ops::Range;

use crate::config::RedactAction;

/// Most replacements in one text, each of which takes about 70 bytes of memory. A text that is JSON
/// may consist of single digits.
pub(super) const MAX_EDITS: usize = 1 << 18;

/// Matches of all rules in one text.
#[derive(Default)]
pub(super) struct Matches {
    found: Vec<(Range<usize>, RedactAction)>,
    drops: bool,
    are_too_many: bool,
}

impl Matches {
    /// Adds a match, widened to whole characters.
    pub(super) fn add(&mut self, text: &str, range: Range<usize>, action: RedactAction) {
        self.drops |= action == RedactAction::Drop;
        let (mut start, mut end) = (range.start.min(text.len()), range.end.min(text.len()));
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        if self.found.len() == MAX_EDITS {
            self.are_too_many = true;
        } else if start < end {
            self.found.push((start..end, action));
        }
    }

    /// Returns whether there were more matches than are kept.
    pub(super) fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    /// Returns whether a rule that drops matched.
    pub(super) fn drops(&self) -> bool {
        self.drops
    }

    /// Returns the matches in order. Those that overlap are one, replaced if one of them is.
    pub(super) fn merged(mut self) -> impl Iterator<Item = (Range<usize>, RedactAction)> {
        self.found.sort_unstable_by_key(|(range, _)| range.start);
        let mut found = self.found.into_iter().peekable();
        std::iter::from_fn(move || {
            let (mut range, mut action) = found.next()?;
            while let Some((next, other)) = found.next_if(|(next, _)| next.start < range.end) {
                range.end = range.end.max(next.end);
                action = action.max(other);
            }
            Some((range, action))
        })
    }
}

/// Replaces parts of a text, given in order.
pub(super) fn splice(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut spliced = String::with_capacity(text.len());
    let mut copied = 0;
    for (range, by) in edits {
        spliced.push_str(&text[copied..range.start]);
        spliced.push_str(by);
        copied = range.end;
    }
    spliced.push_str(&text[copied..]);
    spliced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_matches_are_one_and_replacing_is_stronger() {
        use RedactAction::{Hash, Replace};
        let merged = |found: &[(Range<usize>, RedactAction)]| {
            let mut matches = Matches::default();
            for (range, action) in found {
                matches.add("0123456789é", range.clone(), *action);
            }
            matches.merged().collect::<Vec<_>>()
        };
        assert_eq!(merged(&[]), []);
        assert_eq!(
            merged(&[(4..6, Hash), (1..3, Replace)]),
            [(1..3, Replace), (4..6, Hash)]
        );
        assert_eq!(
            merged(&[(3..6, Hash), (1..3, Replace)]),
            [(1..3, Replace), (3..6, Hash)]
        );
        assert_eq!(merged(&[(2..6, Hash), (1..3, Replace)]), [(1..6, Replace)]);
        assert_eq!(merged(&[(1..9, Hash), (2..3, Hash), (8..10, Hash)]), [(1..10, Hash)]);
        assert_eq!(merged(&[(1..2, Hash), (1..2, Replace)]), [(1..2, Replace)]);
        assert_eq!(merged(&[(9..11, Hash), (3..3, Hash)]), [(9..12, Hash)]);
    }
}
