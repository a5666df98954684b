//! Built-in patterns, in one file for each kind. Each reads bytes of UTF-8 from start to end once,
//! with a bounded look back, so all take linear time.
//!
//! A pattern never matches inside a UUID, or next to a letter or digit.

mod bytes;
mod card;
mod email;
mod iban;
mod ip;
mod pattern_set;
mod phone;
mod token;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::config::Pattern;

pub(super) use pattern_set::PatternSet;
pub(super) use token::Anchors;

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
        anchors.find(text, survey.digits > 0, wanted, found);
    }
}
