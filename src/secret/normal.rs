//! Texts in forms that two spellings of the same secret share.
//!
//! White space and invisible characters are dropped, capitals become small, and escapes of JSON, URLs and HTML are
//! undone, one layer after the other.

use secrecy::zeroize::Zeroizing;

use crate::util::printable::is_invisible;

/// How many layers of escapes are undone.
const MAX_LAYERS: usize = 16;
/// The longest entity that is looked for, without `&` and `;`.
const MAX_ENTITY_BYTES: usize = 32;

/// HTML's names for the characters that separate, and for those that other escapes are made of.
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

/// A text of which not every byte needs to be part of a character: an escape may stand for one byte of several.
pub(super) type Form = Zeroizing<Vec<u8>>;

/// A text as it is, and after each layer of escapes that was undone.
pub(super) struct Layers {
    /// At least one; the last one has no escapes, if `all` is set.
    pub(super) forms: Vec<Form>,
    /// There are no more escapes. Nothing that is meant to be read has more than are undone.
    pub(super) all: bool,
}

impl Layers {
    /// The work is that of a few passes over the text.
    pub(super) fn of(text: &str) -> Self {
        let mut forms = vec![compact(text.as_bytes())];
        for _ in 0..MAX_LAYERS {
            let last = forms.last().expect("begins with one");
            let next = compact(&without_escapes(last));
            if next == *last {
                return Self { forms, all: true };
            }
            forms.push(next);
        }
        Self { forms, all: false }
    }

    /// What is left when the escapes are undone.
    pub(super) fn innermost(&self) -> &Form {
        self.forms.last().expect("at least one")
    }
}

/// The letters and digits of a form.
pub(super) fn letters(form: &[u8]) -> Form {
    small(form, char::is_alphanumeric, false)
}

/// A form without what is between `<` and `>`.
pub(super) fn without_tags(form: &[u8]) -> Form {
    let mut left = Zeroizing::new(Vec::with_capacity(form.len()));
    let mut rest = form;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        let Some(length) = rest[start..].iter().position(|byte| *byte == b'>') else {
            break;
        };
        left.extend_from_slice(&rest[..start]);
        rest = &rest[start + length + 1..];
    }
    left.extend_from_slice(rest);
    left
}

/// Without what takes no place.
fn compact(form: &[u8]) -> Form {
    small(
        form,
        |c| !(c.is_whitespace() || c.is_control() || is_invisible(c)),
        true,
    )
}

/// Small letters of the characters that `keep` names.
fn small(form: &[u8], keep: impl Fn(char) -> bool, keep_broken: bool) -> Form {
    // A small letter may have a byte more than its capital. What a vector leaves behind when it grows is not wiped.
    let mut out = Zeroizing::new(Vec::with_capacity(form.len() * 2));
    for chunk in form.utf8_chunks() {
        for c in chunk.valid().chars().filter(|c| keep(*c)).flat_map(char::to_lowercase) {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if keep_broken {
            out.extend_from_slice(chunk.invalid());
        }
    }
    out
}

/// Undoes one layer of escapes in a text of small letters.
fn without_escapes(form: &[u8]) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(form.len()));
    let mut rest = form;
    while let Some(first) = rest.first() {
        let (length, stands_for) = escape(rest).unwrap_or((1, StandsFor::Byte(*first)));
        match stands_for {
            StandsFor::Byte(byte) => out.push(byte),
            StandsFor::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            StandsFor::Nothing => {}
        }
        rest = &rest[length..];
    }
    out
}

/// What an escape stands for.
#[derive(Clone, Copy)]
enum StandsFor {
    Byte(u8),
    Char(char),
    /// A blank, or no character.
    Nothing,
}

/// The escape that a text begins with, if it does: its length in bytes, and what it stands for.
fn escape(text: &[u8]) -> Option<(usize, StandsFor)> {
    match text {
        [b'%' | b'\\', b'u', ..] => utf16(text),
        [b'%', digits @ ..] => Some((3, byte(digits)?)),
        [b'\\', b'x', digits @ ..] => Some((4, byte(digits)?)),
        [b'\\', c @ (b'"' | b'\'' | b'/' | b'\\'), ..] => Some((2, StandsFor::Byte(*c))),
        [b'\\', b'b' | b'f' | b'n' | b'r' | b't', ..] => Some((2, StandsFor::Nothing)),
        [b'&', name @ ..] => entity(name),
        _ => None,
    }
}

/// Two digits.
fn byte(digits: &[u8]) -> Option<StandsFor> {
    let value = number(digits.get(..2)?, 16)?;
    Some(StandsFor::Byte(u8::try_from(value).expect("two digits")))
}

/// `\uhhhh`, `\u{h..}`, and `%uhhhh`. Two of the first may be one character.
fn utf16(text: &[u8]) -> Option<(usize, StandsFor)> {
    let after = &text[2..];
    if after.first() == Some(&b'{') {
        let length = after.iter().take(8).position(|byte| *byte == b'}')?;
        return Some((length + 3, of_code(number(&after[1..length], 16)?)));
    }
    let unit = |text: &[u8]| number(text.get(2..6)?, 16);
    let first = unit(text)?;
    let second = text[6..].starts_with(&text[..2]).then(|| unit(&text[6..])).flatten();
    match (first, second) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff);
            Some((12, of_code(code)))
        }
        _ => Some((6, of_code(first))),
    }
}

/// Of an entity, without its `&`.
fn entity(text: &[u8]) -> Option<(usize, StandsFor)> {
    let length = text.iter().take(MAX_ENTITY_BYTES + 1).position(|byte| *byte == b';')?;
    let stands_for = match &text[..length] {
        [b'#', b'x', digits @ ..] => of_code(number(digits, 16)?),
        [b'#', digits @ ..] => of_code(number(digits, 10)?),
        name => {
            let (_, c) = ENTITIES.iter().find(|(known, _)| *known == name)?;
            StandsFor::Char(*c)
        }
    };
    Some((length + 2, stands_for))
}

fn of_code(code: u32) -> StandsFor {
    char::from_u32(code).map_or(StandsFor::Nothing, StandsFor::Char)
}

/// No sign, no separators, at least one digit; nothing beyond Unicode.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })?;
    (!digits.is_empty() && value <= u32::from(char::MAX)).then_some(value)
}
