//! Sets of patterns.

use crate::config::Pattern;

/// A set of patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct PatternSet(u8);

impl PatternSet {
    pub(in super::super) fn insert(&mut self, pattern: Pattern) {
        self.0 |= 1 << pattern as u8;
    }

    pub(in super::super) fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(in super::super) fn contains(self, pattern: Pattern) -> bool {
        self.0 & (1 << pattern as u8) != 0
    }

    pub(in super::super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in super::super) fn has_tokens(self) -> bool {
        self.contains(Pattern::Jwt) || self.contains(Pattern::ApiKey)
    }
}
