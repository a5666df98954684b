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

/// Returns the position of the next digit, which it looks for in eight bytes at a time.
pub(super) fn next_digit(text: &[u8], from: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut at = from;
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        // Digits become 0 to 9. All other bytes become larger, and the highest bit of their sum is set.
        let from_zero = u64::from_le_bytes(*bytes) ^ (EACH * u64::from(b'0'));
        let others = ((from_zero & (EACH * 0x7f)) + EACH * 0x76) | from_zero;
        let digits = !others & (EACH * 0x80);
        if digits != 0 {
            return Some(at + digits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = text.get(at..)?.iter().position(u8::is_ascii_digit);
    rest.map(|offset| at + offset)
}

/// Returns the end of a run of digits.
pub(super) fn end_of_digits(text: &[u8], start: usize) -> usize {
    let run = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    start + run.count()
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
