//! Telephone numbers. National forms match only with separators, and only in shapes that other
//! numbers do not have.

use std::ops::Range;

use super::bytes::{before, byte, is_alphanumeric, is_decimal_after, is_decimal_before, is_digit, overlaps_uuid};

/// Fewest digits of a number.
pub(super) const MIN_DIGITS: usize = 7;

/// Most digits of an international number (ITU-T E.164).
const MAX_DIGITS: usize = 15;

/// North American numbers; `d` is any digit, and `a` is 2 to 9.
const SHAPES: [&str; 13] = [
    "(ddd) ddd-dddd",
    "(ddd)ddd-dddd",
    "(ddd) ddd dddd",
    "(ddd) ddd.dddd",
    "1 (ddd) ddd-dddd",
    "1-ddd-ddd-dddd",
    "1 ddd-ddd-dddd",
    "1 add add dddd",
    "1.add.add.dddd",
    "ddd-ddd-dddd",
    "add ddd-dddd",
    "add.ddd.dddd",
    "add ddd dddd",
];

/// Returns the number of which the first digit is at a position, after no letter or digit. Its
/// signs start at `from` or later.
pub(super) fn at(text: &[u8], from: usize, digit: usize) -> Option<Range<usize>> {
    let number_at = |start| {
        let number = start..phone_at(text, start)?;
        (!overlaps_uuid(text, &number)).then_some(number)
    };
    // The signs of `+ (1` may be in front.
    let signs = (digit.saturating_sub(3).max(from)..digit).filter(|start| matches!(text[*start], b'+' | b'('));
    signs.chain([digit]).find_map(number_at)
}

fn phone_at(text: &[u8], start: usize) -> Option<usize> {
    let (first, previous) = (text[start], before(text, start, 1));
    if is_alphanumeric(previous) || previous == b'_' || is_decimal_before(text, start) {
        return None;
    }
    if first == b'+' {
        let body = start + 1 + usize::from(byte(text, start + 1) == b' ');
        let body = body + usize::from(byte(text, body) == b'(');
        return international(text, body, 8);
    }
    // Part of another number, a time or a name.
    let earlier = before(text, start, 2);
    let is_part = match previous {
        b'-' | b'.' | b'+' => is_alphanumeric(earlier),
        b':' | b'/' => earlier.is_ascii_digit(),
        _ => false,
    };
    if is_part {
        return None;
    }
    if first == b'0' && byte(text, start + 1) == b'0' {
        return international(text, start + 2, 9);
    }
    let digits = text[start..].iter().take(4).take_while(|byte| byte.is_ascii_digit());
    let may_have_shape = match digits.count() {
        0 | 3 => true,
        1 => first == b'1',
        _ => false,
    };
    let shapes = SHAPES.iter().filter(|_| may_have_shape);
    let shapes = shapes.filter_map(|shape| shape_at(text, start, shape));
    shapes.max().or_else(|| with_trunk_prefix(text, start))
}

/// Returns the end of a number with its country code, after `+` or `00`: the longest that has at
/// most [`MAX_DIGITS`]. `min`: its fewest digits if nothing separates them.
fn international(text: &[u8], start: usize, min: usize) -> Option<usize> {
    if !matches!(byte(text, start), b'1'..=b'9') {
        return None;
    }
    let (mut end, mut digits, mut groups, mut dots) = (start, 0, 0, 0);
    let mut longest = None;
    loop {
        let length = text[end..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        (digits, end, groups) = (digits + length, end + length, groups + 1);
        if digits > MAX_DIGITS {
            return longest;
        }
        let is_decimal = (dots > 0 && groups == 2) || (groups == 1 && is_decimal_after(text, end));
        let is_enough = digits >= if groups > 1 { min - 1 } else { min };
        if is_enough && !is_decimal && !is_alphanumeric(byte(text, end)) {
            longest = Some(end);
        }
        let separator = text[end..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')'));
        let separator = separator.count();
        if !(1..=3).contains(&separator) || !is_digit(text, end + separator) {
            return longest;
        }
        dots += usize::from(text[end] == b'.');
        end += separator;
    }
}

/// Returns the end of a text of this shape.
fn shape_at(text: &[u8], start: usize, shape: &str) -> Option<usize> {
    let candidate = text.get(start..start + shape.len())?;
    let matches = shape.bytes().zip(candidate).all(|(wanted, byte)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'a' => matches!(byte, b'2'..=b'9'),
        _ => *byte == wanted,
    });
    let end = start + shape.len();
    (matches && is_end(text, end)).then_some(end)
}

/// Whether neither a word nor another group of digits continues a national number.
fn is_end(text: &[u8], end: usize) -> bool {
    let next = byte(text, end);
    let continues = matches!(next, b'-' | b'.' | b'/' | b':') && is_digit(text, end + 1);
    !is_alphanumeric(next) && next != b'_' && !continues
}

/// Returns the end of a number that starts with 0 and an area code: `030 1234567`,
/// `(0171) 123 45 67`, `01 23 45 67 89`.
fn with_trunk_prefix(text: &[u8], start: usize) -> Option<usize> {
    let has_parenthesis = text[start] == b'(';
    let area = start + usize::from(has_parenthesis);
    if byte(text, area) != b'0' || !matches!(byte(text, area + 1), b'1'..=b'9') {
        return None;
    }
    let digits_at = |at: usize| {
        text[at.min(text.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let area_length = digits_at(area);
    let mut end = area + area_length;
    if has_parenthesis {
        if byte(text, end) != b')' {
            return None;
        }
        end += 1 + usize::from(byte(text, end + 1) == b' ');
    } else if text[end..].starts_with(b" / ") {
        end += 3;
    } else if matches!(byte(text, end), b' ' | b'-' | b'/' | b'.') {
        end += 1;
    } else {
        return None;
    }
    if area_length == 2 {
        return pairs(text, end);
    }
    if !(3..=5).contains(&area_length) || byte(text, area + area_length) == b'.' {
        return None;
    }
    let (mut digits, mut longest, mut has_other_start) = (area_length, None, false);
    loop {
        let length = digits_at(end);
        has_other_start |= byte(text, end) != b'0';
        digits += length;
        if length < 2 || digits > 12 {
            return longest;
        }
        end += length;
        if digits >= 9 && has_other_start && is_end(text, end) {
            longest = Some(end);
        }
        if !matches!(byte(text, end), b' ' | b'-') {
            return longest;
        }
        end += 1;
    }
}

/// Returns the end of four pairs of digits with the same separator, of which the first follows one.
fn pairs(text: &[u8], start: usize) -> Option<usize> {
    const LENGTH: usize = 11;
    let separator = before(text, start, 1);
    let pairs = text.get(start..start + LENGTH)?;
    let matches = pairs.iter().enumerate().all(|(index, byte)| {
        if index % 3 == 2 {
            *byte == separator
        } else {
            byte.is_ascii_digit()
        }
    });
    let end = start + LENGTH;
    (matches && separator != b'/' && is_end(text, end)).then_some(end)
}
