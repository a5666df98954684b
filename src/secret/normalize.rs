//! Normal forms of text, equal for different encodings of the same secret.
//!
//! Normalizing drops white space and invisible characters, converts to lower case, and decodes
//! escapes of JSON, URLs and HTML, one layer at a time.

use secrecy::zeroize::Zeroizing;

use crate::util::printable::is_invisible;

/// Maximum number of escape layers to decode.
const MAX_LAYERS: usize = 16;
/// Longest entity to recognize, without `&` and `;`.
const MAX_ENTITY_BYTES: usize = 32;

/// HTML entity names of separators and of characters that other escapes consist of.
const ENTITIES: [(&[u8], char); 51] = [
    (b"amp", '&'),
    (b"apos", '\''),
    (b"ast", '*'),
    (b"bsol", '\\'),
    (b"colon", ':'),
    (b"comma", ','),
    (b"commat", '@'),
    (b"dash", '-'),
    (b"dollar", '$'),
    (b"emsp", ' '),
    (b"ensp", ' '),
    (b"equals", '='),
    (b"excl", '!'),
    (b"grave", '`'),
    (b"gt", '>'),
    (b"hat", '^'),
    (b"hyphen", '-'),
    (b"lbrace", '{'),
    (b"lbrack", '['),
    (b"lcub", '{'),
    (b"lowbar", '_'),
    (b"lpar", '('),
    (b"lsqb", '['),
    (b"lt", '<'),
    (b"nbsp", ' '),
    (b"ndash", '-'),
    (b"newline", ' '),
    (b"num", '#'),
    (b"percnt", '%'),
    (b"period", '.'),
    (b"plus", '+'),
    (b"quest", '?'),
    (b"quot", '"'),
    (b"rbrace", '}'),
    (b"rbrack", ']'),
    (b"rcub", '}'),
    (b"rpar", ')'),
    (b"rsqb", ']'),
    (b"semi", ';'),
    (b"shy", ' '),
    (b"sol", '/'),
    (b"tab", ' '),
    (b"thinsp", ' '),
    (b"tilde", '~'),
    (b"underbar", '_'),
    (b"verbar", '|'),
    (b"vert", '|'),
    (b"wj", ' '),
    (b"zerowidthspace", ' '),
    (b"zwj", ' '),
    (b"zwnj", ' '),
];

/// A normalized text. Not necessarily UTF-8, because an escape may encode one byte of a multi-byte
/// character.
pub(super) type NormalForm = Zeroizing<Vec<u8>>;

/// A text and its decoded forms, one per layer of escapes.
pub(super) struct DecodedLayers {
    /// At least one. The last form has no escapes if `fully_decoded` is set.
    pub(super) forms: Vec<NormalForm>,
    /// No escapes are left. Readable text never has more layers than are decoded.
    pub(super) fully_decoded: bool,
}

impl DecodedLayers {
    /// Takes time for at most [`MAX_LAYERS`] passes over the text.
    pub(super) fn of(text: &str) -> Self {
        let mut forms = vec![compact(text.as_bytes())];
        for _ in 0..MAX_LAYERS {
            let last = forms.last().expect("at least one form");
            let next = compact(&decode_layer(last));
            if next == *last {
                return Self {
                    forms,
                    fully_decoded: true,
                };
            }
            forms.push(next);
        }
        Self {
            forms,
            fully_decoded: false,
        }
    }

    /// Returns the form after all decoded layers.
    pub(super) fn innermost(&self) -> &NormalForm {
        self.forms.last().expect("at least one form")
    }
}

/// Returns the letters and digits of a form.
pub(super) fn alphanumerics(form: &[u8]) -> NormalForm {
    lowercase(form, char::is_alphanumeric, false)
}

/// Removes tags: everything from `<` to the next `>`.
pub(super) fn without_tags(form: &[u8]) -> NormalForm {
    let mut kept = Zeroizing::new(Vec::with_capacity(form.len()));
    let mut rest = form;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        let Some(length) = rest[start..].iter().position(|byte| *byte == b'>') else {
            break;
        };
        kept.extend_from_slice(&rest[..start]);
        rest = &rest[start + length + 1..];
    }
    kept.extend_from_slice(rest);
    kept
}

/// Removes white space, control and invisible characters.
fn compact(form: &[u8]) -> NormalForm {
    lowercase(
        form,
        |c| !(c.is_whitespace() || c.is_control() || is_invisible(c)),
        true,
    )
}

/// Converts the characters that `keep` accepts to lower case.
fn lowercase(form: &[u8], keep: impl Fn(char) -> bool, keep_invalid: bool) -> NormalForm {
    // Lower case may take one byte more than upper case. A growing vector leaves copies behind that
    // are not wiped.
    let mut out = Zeroizing::new(Vec::with_capacity(form.len() * 2));
    for chunk in form.utf8_chunks() {
        for c in chunk.valid().chars().filter(|c| keep(*c)).flat_map(char::to_lowercase) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if keep_invalid {
            out.extend_from_slice(chunk.invalid());
        }
    }
    out
}

/// Decodes one layer of escapes in a lower-case text.
fn decode_layer(form: &[u8]) -> NormalForm {
    let mut out = Zeroizing::new(Vec::with_capacity(form.len()));
    let mut rest = form;
    while let Some(first) = rest.first() {
        let (length, decoded) = escape(rest).unwrap_or((1, Decoded::Byte(*first)));
        match decoded {
            Decoded::Byte(byte) => out.push(byte),
            Decoded::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Decoded::Nothing => {}
        }
        rest = &rest[length..];
    }
    out
}

/// Decoded value of an escape.
#[derive(Clone, Copy)]
enum Decoded {
    Byte(u8),
    Char(char),
    /// White space, or no character.
    Nothing,
}

/// Decodes the escape at the start of a text. Returns its length in bytes and its value, or `None`
/// if the text starts with no escape.
fn escape(text: &[u8]) -> Option<(usize, Decoded)> {
    match text {
        [b'%' | b'\\', b'u', ..] => utf16(text),
        [b'%', digits @ ..] => Some((3, byte(digits)?)),
        [b'\\', b'x', digits @ ..] => Some((4, byte(digits)?)),
        [b'\\', c @ (b'"' | b'\'' | b'/' | b'\\'), ..] => Some((2, Decoded::Byte(*c))),
        [b'\\', b'b' | b'f' | b'n' | b'r' | b't', ..] => Some((2, Decoded::Nothing)),
        [b'&', name @ ..] => entity(name),
        _ => None,
    }
}

/// Decodes two hexadecimal digits.
fn byte(digits: &[u8]) -> Option<Decoded> {
    let value = number(digits.get(..2)?, 16)?;
    Some(Decoded::Byte(u8::try_from(value).expect("two digits")))
}

/// Decodes `\uhhhh`, `\u{h..}` and `%uhhhh`, including surrogate pairs.
fn utf16(text: &[u8]) -> Option<(usize, Decoded)> {
    let after = &text[2..];
    if after.first() == Some(&b'{') {
        let length = after.iter().take(8).position(|byte| *byte == b'}')?;
        return Some((length + 3, decoded_char(number(&after[1..length], 16)?)));
    }
    let unit = |text: &[u8]| number(text.get(2..6)?, 16);
    let first = unit(text)?;
    let second = text[6..].starts_with(&text[..2]).then(|| unit(&text[6..])).flatten();
    match (first, second) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff);
            Some((12, decoded_char(code)))
        }
        _ => Some((6, decoded_char(first))),
    }
}

/// Decodes an HTML entity, given without its `&`.
fn entity(text: &[u8]) -> Option<(usize, Decoded)> {
    let length = text.iter().take(MAX_ENTITY_BYTES + 1).position(|byte| *byte == b';')?;
    let decoded = match &text[..length] {
        [b'#', b'x', digits @ ..] => decoded_char(number(digits, 16)?),
        [b'#', digits @ ..] => decoded_char(number(digits, 10)?),
        name => {
            let (_, c) = ENTITIES.iter().find(|(known, _)| *known == name)?;
            Decoded::Char(*c)
        }
    };
    Some((length + 2, decoded))
}

fn decoded_char(code: u32) -> Decoded {
    char::from_u32(code).map_or(Decoded::Nothing, Decoded::Char)
}

/// Parses a number of at least one digit, without sign or separators, up to the largest Unicode
/// code point.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })?;
    (!digits.is_empty() && value <= u32::from(char::MAX)).then_some(value)
}
