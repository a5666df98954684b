//! Built-in patterns, in one file for each kind. Each reads bytes of UTF-8 from start to end once,
//! with a bounded look back, so all take linear time.
//!
//! A pattern never matches inside a UUID, or next to a letter or digit.

mod card;
mod email;
mod iban;
mod ip;
mod phone;
mod token;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::config::Pattern;

pub(super) use token::Anchors;

/// A set of patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PatternSet(u8);

impl PatternSet {
    pub(super) fn insert(&mut self, pattern: Pattern) {
        self.0 |= 1 << pattern as u8;
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn contains(self, pattern: Pattern) -> bool {
        self.0 & (1 << pattern as u8) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn uses_anchors(self) -> bool {
        self.contains(Pattern::Jwt) || self.contains(Pattern::ApiKey)
    }
}

/// What occurs in a text: decides which patterns can match at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    digits: usize,
    dots: usize,
    colons: usize,
    has_at: bool,
    /// It has `\`, `%` or a character beyond ASCII, so its decoded form may differ.
    pub(super) may_decode: bool,
}

impl Survey {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut survey = Self::default();
        // Counts of a byte each, so that the compiler uses vector instructions.
        for chunk in text.chunks(128) {
            let (mut digits, mut dots, mut colons, mut at, mut escapes) = (0_u8, 0_u8, 0_u8, 0_u8, 0_u8);
            for byte in chunk {
                digits += u8::from(byte.wrapping_sub(b'0') < 10);
                dots += u8::from(*byte == b'.');
                colons += u8::from(*byte == b':');
                at |= u8::from(*byte == b'@');
                escapes |= u8::from(*byte == b'\\') | u8::from(*byte == b'%') | (*byte >> 7);
            }
            survey.digits += usize::from(digits);
            survey.dots += usize::from(dots);
            survey.colons += usize::from(colons);
            survey.has_at |= at != 0;
            survey.may_decode |= escapes != 0;
        }
        survey
    }
}

/// Reports each match of one pattern.
type Search = fn(&[u8], &mut dyn FnMut(Range<usize>));

/// Reports each match of the wanted patterns.
pub(super) fn find(
    text: &[u8],
    survey: Survey,
    wanted: PatternSet,
    anchors: Option<&Anchors>,
    found: &mut impl FnMut(Pattern, Range<usize>),
) {
    let mut run = |pattern, can_match: bool, search: Search| {
        if can_match && wanted.contains(pattern) {
            search(text, &mut |range| found(pattern, range));
        }
    };
    run(Pattern::Email, survey.has_at, email::find);
    run(Pattern::Phone, survey.digits >= 7, phone::find);
    run(Pattern::Card, survey.digits >= card::MIN_DIGITS, card::find);
    run(Pattern::Iban, survey.digits >= 4, iban::find);
    let can_be_ip = survey.colons >= 2 || (survey.dots >= 3 && survey.digits >= 4);
    run(Pattern::Ip, can_be_ip, ip::find);
    if let Some(anchors) = anchors
        && wanted.uses_anchors()
    {
        anchors.find(text, wanted, found);
    }
}

fn count(text: &[u8], wanted: u8) -> usize {
    text.iter().map(|byte| usize::from(*byte == wanted)).sum()
}

/// Returns the byte at a position, or 0 outside the text.
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

fn before(text: &[u8], at: usize, back: usize) -> u8 {
    at.checked_sub(back).map_or(0, |at| byte(text, at))
}

fn is_digit(text: &[u8], at: usize) -> bool {
    byte(text, at).is_ascii_digit()
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Whether a decimal point and a digit follow.
fn is_decimal_after(text: &[u8], end: usize) -> bool {
    matches!(byte(text, end), b'.' | b',') && is_digit(text, end + 1)
}

/// Whether a digit and a decimal point precede.
fn is_decimal_before(text: &[u8], start: usize) -> bool {
    matches!(before(text, start, 1), b'.' | b',') && before(text, start, 2).is_ascii_digit()
}

/// Whether a range shares bytes with a UUID.
fn overlaps_uuid(text: &[u8], range: &Range<usize>) -> bool {
    const LENGTH: usize = 36;
    let is_uuid = |start: usize| {
        let bytes = text.get(start..start + LENGTH);
        bytes.is_some_and(|bytes| {
            [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-')
                && count(bytes, b'-') == 4
                && bytes.iter().all(|byte| *byte == b'-' || byte.is_ascii_hexdigit())
        })
    };
    (range.start.saturating_sub(LENGTH - 1)..range.end).any(is_uuid)
}
