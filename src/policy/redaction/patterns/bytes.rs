//! Bytes around a match.

use std::ops::Range;

pub(super) fn count(text: &[u8], wanted: u8) -> usize {
    text.iter().map(|byte| usize::from(*byte == wanted)).sum()
}

/// Returns the byte at a position, or 0 outside the text.
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

pub(super) fn before(text: &[u8], at: usize, back: usize) -> u8 {
    at.checked_sub(back).map_or(0, |at| byte(text, at))
}

pub(super) fn is_digit(text: &[u8], at: usize) -> bool {
    byte(text, at).is_ascii_digit()
}

pub(super) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Whether a decimal point and a digit follow. A comma is more often that of a list.
pub(super) fn is_decimal_after(text: &[u8], end: usize) -> bool {
    byte(text, end) == b'.' && is_digit(text, end + 1)
}

/// Whether a digit and a decimal point precede.
pub(super) fn is_decimal_before(text: &[u8], start: usize) -> bool {
    before(text, start, 1) == b'.' && before(text, start, 2).is_ascii_digit()
}

/// Whether a range shares bytes with a UUID.
pub(super) fn overlaps_uuid(text: &[u8], range: &Range<usize>) -> bool {
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
