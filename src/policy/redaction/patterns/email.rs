//! E-mail addresses.

use std::ops::Range;

use memchr::memchr;

pub(super) fn find(text: &[u8], found: &mut dyn FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(offset) = memchr(b'@', &text[at..]) {
        let sign = at + offset;
        let start = local_start(text, at, sign);
        let end = domain_end(text, sign + 1);
        at = sign + 1;
        if let Some(end) = end
            && start < sign
        {
            found(start..end);
            // The domain is not the local part of another address.
            at = end;
        }
    }
}

/// Returns where the part in front of the `@` starts: letters, digits and the signs that real
/// addresses have. Others, such as `=` and `/`, delimit addresses in URLs and lists.
fn local_start(text: &[u8], from: usize, sign: usize) -> usize {
    let is_local = |byte: &u8| is_letter(*byte) || matches!(byte, b'.' | b'_' | b'+' | b'-' | b'\'');
    let length = text[from..sign].iter().rev().take_while(|byte| is_local(byte)).count();
    let start = sign - length;
    // An address starts with no `.` or `'`, which belong to the sentence.
    let signs = text[start..sign]
        .iter()
        .take_while(|byte| matches!(byte, b'.' | b'\'' | b'-'));
    start + signs.count()
}

/// Returns the end of a domain with at least one dot and a top-level domain of letters.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let is_domain = |byte: &&u8| is_letter(**byte) || matches!(byte, b'.' | b'-');
    let mut domain = &text[start..start + text[start..].iter().take_while(is_domain).count()];
    // A domain ends before a label that cannot be one, and before the `.` of a sentence.
    loop {
        let label = domain.rsplit(|byte| *byte == b'.').next()?;
        let is_top = label.len() >= 2
            && (label.iter().all(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) || label.starts_with(b"xn--"));
        if is_top {
            break;
        }
        let hyphens = label
            .iter()
            .position(|byte| *byte == b'-')
            .filter(|length| *length >= 2);
        domain = match hyphens {
            Some(length) if label[..length].iter().all(u8::is_ascii_alphabetic) => {
                &domain[..domain.len() - label.len() + length]
            }
            _ => &domain[..domain.len().checked_sub(label.len() + 1)?],
        };
    }
    let is_name = domain.first().is_some_and(|byte| is_letter(*byte));
    (is_name && domain.contains(&b'.')).then_some(start + domain.len())
}

/// Letters beyond ASCII have no ASCII bytes.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}
