//! IPv4 and IPv6 addresses.

use std::net::Ipv6Addr;
use std::ops::Range;

use memchr::memchr2;

use super::bytes::{before, byte, count, is_alphanumeric};

/// Longest text of an IPv6 address: eight groups, or six and an IPv4 address.
const MAX_V6: usize = 45;

pub(super) fn find(text: &[u8], found: &mut dyn FnMut(Range<usize>)) {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut at = 0;
    while let Some(offset) = memchr2(b':', b'.', &text[at..]) {
        let sign = at + offset;
        let start = sign - text[at..sign].iter().rev().take_while(|byte| is_part(byte)).count();
        let end = sign + text[sign..].iter().take_while(|byte| is_part(byte)).count();
        let token = &text[start..end];
        if count(token, b':') >= 2
            && let Some(range) = v6(text, start..end)
        {
            found(range);
        } else if count(token, b'.') >= 3 {
            v4(text, start..end, found);
        }
        at = end;
    }
}

/// Reports each run of four numbers up to 255 with dots between, in a token of hexadecimal digits,
/// dots and colons. Runs of more numbers are versions or object identifiers.
fn v4(text: &[u8], token: Range<usize>, found: &mut dyn FnMut(Range<usize>)) {
    let mut start = token.start;
    for part in text[token.clone()].split(|byte| *byte == b':') {
        let mut range = start..start + part.len();
        start = range.end + 1;
        while range.end > range.start && text[range.end - 1] == b'.' {
            range.end -= 1;
        }
        while range.end > range.start && text[range.start] == b'.' {
            range.start += 1;
        }
        let is_delimited = !is_alphanumeric(before(text, range.start, 1)) && !is_alphanumeric(byte(text, range.end));
        if is_delimited && is_v4(&text[range.clone()]) {
            found(range);
        }
    }
}

/// Also accepts leading zeros, which `Ipv4Addr` refuses.
fn is_v4(address: &[u8]) -> bool {
    let is_number = |part: &[u8]| {
        (1..=3).contains(&part.len())
            && part.iter().all(u8::is_ascii_digit)
            && part
                .iter()
                .fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'))
                < 256
    };
    address.len() <= 15
        && address.split(|byte| *byte == b'.').count() == 4
        && address.split(|byte| *byte == b'.').all(is_number)
}

/// Returns the IPv6 address in a token of hexadecimal digits, dots and colons.
fn v6(text: &[u8], token: Range<usize>) -> Option<Range<usize>> {
    let mut range = token;
    while range.end > range.start
        && (text[range.end - 1] == b'.' || (text[range.end - 1] == b':' && before(text, range.end, 2) != b':'))
    {
        range.end -= 1;
    }
    // A word and a colon in front: `addr:fe80::1`.
    let is_word_before = is_alphanumeric(before(text, range.start, 1));
    if range.is_empty() {
        return None;
    }
    if byte(text, range.start) == b':' && byte(text, range.start + 1) != b':' {
        range.start += 1;
    } else if is_word_before {
        return None;
    }
    if is_alphanumeric(byte(text, range.end)) || byte(text, range.end) == b'_' {
        return None;
    }
    if is_v6(&text[range.clone()]) {
        return Some(range);
    }
    // With a group more in front or at the end: a word of hexadecimal digits, or a port.
    let (_, after_first) = split_at_colon(&text[range.clone()], false)?;
    let (before_last, _) = split_at_colon(&text[range.clone()], true)?;
    (is_v6(after_first) || is_v6(before_last)).then_some(range)
}

/// Returns what is in front of the first or last colon, and after it.
fn split_at_colon(text: &[u8], is_last: bool) -> Option<(&[u8], &[u8])> {
    let is_colon = |byte: &u8| *byte == b':';
    let at = if is_last {
        text.iter().rposition(is_colon)
    } else {
        text.iter().position(is_colon)
    }?;
    Some((&text[..at], &text[at + 1..]))
}

/// Refuses `::` alone and words such as `a::b`, which are no addresses in programs.
fn is_v6(address: &[u8]) -> bool {
    address.len() <= MAX_V6
        && count(address, b':') >= 2
        && (address.iter().any(u8::is_ascii_digit) || count(address, b':') > 2)
        && std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
