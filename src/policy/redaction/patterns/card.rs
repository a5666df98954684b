//! Card numbers: 12 to 19 digits with a valid Luhn checksum, in groups with a blank or `-` between.

use super::bytes::{byte, is_alphanumeric, is_decimal_after, is_decimal_before, is_digit, overlaps_uuid};

pub(super) const MIN_DIGITS: usize = 12;
const MAX_DIGITS: usize = 19;

/// Fewest digits of each group but the last, so that lists of small numbers do not match.
const MIN_GROUP: usize = 4;

/// Returns the end of the card number that starts at a digit after no letter or digit.
pub(super) fn at(text: &[u8], start: usize) -> Option<usize> {
    longest(text, start).filter(|end| !overlaps_uuid(text, &(start..*end)))
}

/// Returns the end of the longest card number that starts here.
fn longest(text: &[u8], start: usize) -> Option<usize> {
    if !is_digit(text, start + MIN_GROUP - 1) || is_decimal_before(text, start) {
        return None;
    }
    let (mut digits, mut count, mut end, mut groups) = ([0_u8; MAX_DIGITS], 0, start, 0);
    let mut longest = None;
    loop {
        let group = end;
        while is_digit(text, end) {
            *digits.get_mut(count)? = text[end] - b'0';
            count += 1;
            end += 1;
            if count == MAX_DIGITS && is_digit(text, end) {
                return longest;
            }
        }
        groups += 1;
        let is_end = !is_alphanumeric(byte(text, end)) && !is_decimal_after(text, end);
        let digits = &digits[..count];
        if count >= MIN_DIGITS && is_end && is_luhn(digits) && !is_time(digits, groups == 1) {
            longest = Some(end);
        }
        let continues = matches!(byte(text, end), b' ' | b'-') && is_digit(text, end + 1);
        if !continues || end - group < MIN_GROUP || count == MAX_DIGITS {
            return longest;
        }
        end += 1;
    }
}

fn is_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| u32::from(if index % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10)
}

/// Whether digits are no card number, but a time since 1970 in milliseconds, microseconds or
/// nanoseconds, or a date and time. Also refuses a leading zero, which no issuer has.
fn is_time(digits: &[u8], is_one_group: bool) -> bool {
    let is_epoch = digits[0] == 1 && matches!(digits.len(), 13 | 16 | 19);
    digits[0] == 0 || (is_one_group && (is_epoch || is_date(digits)))
}

/// Whether digits are a year, month, day, hour and minute.
fn is_date(digits: &[u8]) -> bool {
    let two = |at: usize| digits[at] * 10 + digits[at + 1];
    matches!(digits.len(), 12 | 14 | 17)
        && (19..=21).contains(&two(0))
        && (1..=12).contains(&two(4))
        && (1..=31).contains(&two(6))
        && two(8) < 24
        && two(10) < 60
}
