//! Other spellings of a text: escapes of JSON and URLs, full-width letters and digits, and the
//! blanks and hyphens of typography.
//!
//! Patterns search a text as it is, and in its decoded form, which knows the position of each
//! character in the text.

use std::ops::Range;

/// Most layers of escapes that are decoded: escapes in a JSON text in a JSON text.
const MAX_LAYERS: usize = 3;

/// A decoded text. Differs from the original.
pub(super) struct Decoded {
    pub(super) text: String,
    /// Offsets where the text and the original are no longer parallel: in the text, and in the
    /// original. In order, and the first is 0.
    offsets: Vec<(usize, usize)>,
}

/// Returns the forms of a text, each with one layer of escapes less. Empty if it has none.
pub(super) fn layers(text: &str) -> Vec<Decoded> {
    let mut layers: Vec<Decoded> = Vec::new();
    while layers.len() < MAX_LAYERS {
        let Some(decoded) = decode(layers.last().map_or(text, |last| &last.text)) else {
            break;
        };
        layers.push(decoded);
    }
    layers
}

/// Returns the range in the original of a range in the last of the layers.
pub(super) fn original(layers: &[Decoded], range: Range<usize>) -> Range<usize> {
    layers.iter().rev().fold(range, |range, layer| {
        layer.original(range.start)..layer.original(range.end)
    })
}

impl Decoded {
    fn original(&self, at: usize) -> usize {
        let next = self.offsets.partition_point(|(offset, _)| *offset <= at);
        let (offset, original) = self.offsets[next - 1];
        original + (at - offset)
    }
}

/// Removes one layer of escapes. Returns `None` if there is none.
fn decode(text: &str) -> Option<Decoded> {
    let bytes = text.as_bytes();
    let mut decoded: Option<Decoded> = None;
    let (mut at, mut copied) = (0, 0);
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'%') || !byte.is_ascii();
    while let Some(offset) = bytes[at..].iter().position(is_special) {
        at += offset;
        let (length, replacement) = special(&text[at..]);
        let Some(replacement) = replacement else {
            at += length;
            continue;
        };
        let decoded = decoded.get_or_insert_with(|| Decoded {
            text: String::with_capacity(text.len()),
            offsets: vec![(0, 0)],
        });
        decoded.text.push_str(&text[copied..at]);
        decoded.offsets.push((decoded.text.len(), at));
        decoded.text.extend(replacement.character());
        at += length;
        copied = at;
        decoded.offsets.push((decoded.text.len(), at));
    }
    let mut decoded = decoded?;
    decoded.text.push_str(&text[copied..]);
    Some(decoded)
}

/// What takes the place of an escape or a character.
enum Replacement {
    Character(char),
    Nothing,
}

impl Replacement {
    fn character(self) -> Option<char> {
        match self {
            Self::Character(character) => Some(character),
            Self::Nothing => None,
        }
    }
}

/// Reads `\`, `%` or a character beyond ASCII at the start of a text. Returns its length, and
/// `None` if it stays.
fn special(text: &str) -> (usize, Option<Replacement>) {
    let bytes = text.as_bytes();
    let character = |character| Some(Replacement::Character(character));
    match bytes {
        [b'\\', b'n' | b'r' | b't' | b'b' | b'f', ..] => (2, character(' ')),
        [b'\\', sign @ (b'"' | b'\'' | b'\\' | b'/'), ..] => (2, character(char::from(*sign))),
        [b'\\', b'x', digits @ ..] => match hex(digits, 2) {
            Some(code) => (4, char::from_u32(code).map(Replacement::Character)),
            None => (1, None),
        },
        [b'\\', b'u', digits @ ..] => utf16(digits),
        [b'%', digits @ ..] => match hex(digits, 2) {
            Some(9 | 10 | 13) => (3, character(' ')),
            Some(code @ 0x20..0x7f) => (3, char::from_u32(code).map(Replacement::Character)),
            _ => (1, None),
        },
        [b'\\', ..] => (1, None),
        _ => {
            let character = text.chars().next().expect("a character at a position in the text");
            (character.len_utf8(), folded(character))
        }
    }
}

/// Reads the digits of `\uhhhh`, with a second escape if it is half of a pair.
fn utf16(digits: &[u8]) -> (usize, Option<Replacement>) {
    let Some(first) = hex(digits, 4) else { return (1, None) };
    let second = digits[4..].strip_prefix(b"\\u").and_then(|digits| hex(digits, 4));
    match (first, second) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff);
            (12, char::from_u32(code).map(Replacement::Character))
        }
        _ => (6, char::from_u32(first).map(Replacement::Character)),
    }
}

fn hex(digits: &[u8], count: usize) -> Option<u32> {
    let value = |value, digit: &u8| Some(value * 16 + char::from(*digit).to_digit(16)?);
    digits.get(..count)?.iter().try_fold(0, value)
}

/// Returns the ASCII character that a character stands for.
fn folded(character: char) -> Option<Replacement> {
    let code = u32::from(character);
    let digit = |zero: u32| char::from_digit((code - zero) % 10, 10);
    let folded = match code {
        // Full-width forms, in the order of ASCII.
        0xff01..=0xff5e => char::from_u32(code - 0xfee0),
        0x00a0 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => Some(' '),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => Some('-'),
        // Arabic, Persian, Devanagari and mathematical digits.
        0x0660..=0x0669 => digit(0x0660),
        0x06f0..=0x06f9 => digit(0x06f0),
        0x0966..=0x096f => digit(0x0966),
        0x1_d7ce..=0x1_d7ff => digit(0x1_d7ce),
        // Soft hyphen, zero width and joiners.
        0x00ad | 0x200b..=0x200d | 0x2060 | 0xfeff => return Some(Replacement::Nothing),
        _ => None,
    };
    folded.map(Replacement::Character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_of_escapes_is_decoded_and_knows_its_position() {
        for (text, needle, original_text) in [
            (r"a\u0040b", "a@b", r"a\u0040b"),
            (r"x \ud83d\ude00 a\u0040b.", "a@b", r"a\u0040b"),
            (r"\\u0040 \\\\u0041", "A", r"\\\\u0041"),
            ("to a%40b!", "a@b", "a%40b"),
            ("to a%2540b!", "a@b", "a%2540b"),
            ("nr １２３。", "123", "１２３"),
            ("nr 1\u{200b}2\u{a0}3", "12 3", "1\u{200b}2\u{a0}3"),
            ("é ٤٢!", "42", "٤٢"),
        ] {
            let layers = layers(text);
            let last = layers.last().unwrap_or_else(|| panic!("{text} has no escapes"));
            let at = last.text.find(needle).unwrap_or_else(|| panic!("{}", last.text));
            assert_eq!(&text[original(&layers, at..at + needle.len())], original_text, "{text}");
        }
    }

    #[test]
    fn a_text_without_escapes_has_no_layers() {
        for text in [
            "",
            "a",
            "100 %",
            "50%ab\u{2026}",
            "é",
            r"C:\Windows",
            r"\",
            r"\u12",
            "%4",
            "%ff",
        ] {
            assert!(layers(text).is_empty(), "{text}");
        }
    }
}
