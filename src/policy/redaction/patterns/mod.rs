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
mod words;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::config::Pattern;

pub(super) use pattern_set::PatternSet;
use words::WordStarts;

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

/// Reports each match of the wanted patterns.
pub(super) fn find(text: &[u8], survey: Survey, wanted: PatternSet, found: &mut impl FnMut(Pattern, Range<usize>)) {
    if wanted.contains(Pattern::Email) && survey.has_at {
        email::find(text, &mut |range| found(Pattern::Email, range));
    }
    let can_be_ip = survey.colons >= 2 || (survey.dots >= 3 && survey.digits >= 4);
    if wanted.contains(Pattern::Ip) && can_be_ip {
        ip::find(text, &mut |range| found(Pattern::Ip, range));
    }
    // The others start with a letter or digit after neither, or with signs in front of one.
    let has_phone = wanted.contains(Pattern::Phone) && survey.digits >= phone::MIN_DIGITS;
    let has_card = wanted.contains(Pattern::Card) && survey.digits >= card::MIN_DIGITS;
    let has_iban = wanted.contains(Pattern::Iban) && survey.digits >= iban::MIN_DIGITS;
    let has_token = wanted.has_tokens();
    if !(has_phone || has_card || has_iban || has_token) {
        return;
    }
    // Ends of the last match of each.
    let (mut phone_end, mut card_end, mut iban_end, mut token_end) = (0, 0, 0, 0);
    for start in WordStarts::new(text) {
        if text[start].is_ascii_digit() {
            if has_phone
                && start >= phone_end
                && let Some(range) = phone::at(text, phone_end, start)
            {
                phone_end = range.end;
                found(Pattern::Phone, range);
            }
            if has_card
                && start >= card_end
                && let Some(end) = card::at(text, start)
            {
                card_end = end;
                found(Pattern::Card, start..end);
            }
        } else {
            if has_iban
                && start >= iban_end
                && let Some(end) = iban::at(text, start)
            {
                iban_end = end;
                found(Pattern::Iban, start..end);
            }
            if has_token
                && start >= token_end
                && let Some((pattern, range)) = token::at(text, start)
                && wanted.contains(pattern)
            {
                token_end = range.end;
                found(pattern, range);
            }
        }
    }
}
