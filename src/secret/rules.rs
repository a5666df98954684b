//! What a key may look like, so that the header that carries it says what was meant.
//!
//! Pasting, word processors and editors leave characters in a key that look like others or like nothing. A receiver would refuse such a key
//! much later, without a reason. A fault names the character and where it is, nothing beside it.

use std::fmt;

use super::SecretErrorKind;
use super::key::{KeyScheme, MAX_KEY_BYTES};
use crate::util::printable::is_invisible;

/// The usual ones. Every other character is named by its number alone.
const NAMES: [(char, &str); 40] = [
    ('\t', "tab"),
    (' ', "space"),
    ('"', "quotation mark"),
    ('\'', "apostrophe"),
    ('`', "backtick"),
    ('\u{a0}', "no-break space"),
    ('\u{ab}', "left angle quotation mark"),
    ('\u{ad}', "soft hyphen"),
    ('\u{bb}', "right angle quotation mark"),
    ('\u{2002}', "en space"),
    ('\u{2003}', "em space"),
    ('\u{2009}', "thin space"),
    ('\u{200b}', "zero-width space"),
    ('\u{200c}', "zero-width non-joiner"),
    ('\u{200d}', "zero-width joiner"),
    ('\u{200e}', "left-to-right mark"),
    ('\u{200f}', "right-to-left mark"),
    ('\u{2010}', "hyphen"),
    ('\u{2011}', "non-breaking hyphen"),
    ('\u{2012}', "figure dash"),
    ('\u{2013}', "en dash"),
    ('\u{2014}', "em dash"),
    ('\u{2015}', "horizontal bar"),
    ('\u{2018}', "left single quotation mark"),
    ('\u{2019}', "right single quotation mark"),
    ('\u{201a}', "low single quotation mark"),
    ('\u{201c}', "left double quotation mark"),
    ('\u{201d}', "right double quotation mark"),
    ('\u{201e}', "low double quotation mark"),
    ('\u{2026}', "ellipsis"),
    ('\u{2028}', "line separator"),
    ('\u{2029}', "paragraph separator"),
    ('\u{202f}', "narrow no-break space"),
    ('\u{2039}', "left single angle quotation mark"),
    ('\u{203a}', "right single angle quotation mark"),
    ('\u{2060}', "word joiner"),
    ('\u{2212}', "minus sign"),
    ('\u{3000}', "ideographic space"),
    ('\u{feff}', "byte order mark"),
    ('\u{fffd}', "replacement character"),
];

/// Quotes that open, each with those that close it.
const QUOTES: [(char, &[char]); 12] = [
    ('"', &['"']),
    ('\'', &['\'']),
    ('`', &['`', '\'']),
    ('\u{201c}', &['\u{201d}']),
    ('\u{201d}', &['\u{201d}']),
    ('\u{201e}', &['\u{201c}', '\u{201d}']),
    ('\u{2018}', &['\u{2019}']),
    ('\u{2019}', &['\u{2019}']),
    ('\u{201a}', &['\u{2018}', '\u{2019}']),
    ('\u{ab}', &['\u{bb}']),
    ('\u{bb}', &['\u{ab}']),
    ('\u{2039}', &['\u{203a}']),
];

/// What holds for a key however it is sent.
pub(super) fn check(key: &str) -> Result<(), SecretErrorKind> {
    if key.is_empty() {
        return Err(SecretErrorKind::Empty);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(SecretErrorKind::TooLarge(MAX_KEY_BYTES));
    }
    if let Some(at) = key.find(char::is_control) {
        return Err(SecretErrorKind::ControlCharacter(at));
    }
    let mut places = key.char_indices();
    let (first, last) = (places.next(), places.next_back());
    for (at, character) in [first, last].into_iter().flatten() {
        if character.is_whitespace() || is_invisible(character) {
            let character = CodePoint(character);
            return Err(SecretErrorKind::BlankAtEdge { at, character });
        }
    }
    if let (Some((_, opens)), Some((_, closes))) = (first, last)
        && QUOTES
            .iter()
            .any(|(quote, ends)| *quote == opens && ends.contains(&closes))
    {
        return Err(SecretErrorKind::InQuotes(CodePoint(opens)));
    }
    Ok(())
}

/// What holds for a key that is sent so.
pub(super) fn check_for(key: &str, scheme: KeyScheme) -> Result<(), SecretErrorKind> {
    let written = match scheme {
        KeyScheme::Bearer => Some("Bearer"),
        KeyScheme::Basic => Some("Basic"),
        KeyScheme::Raw => None,
    };
    let (word, rest) = key.split_once(' ').unwrap_or_default();
    if let Some(written) = written.filter(|written| !rest.is_empty() && word.eq_ignore_ascii_case(written)) {
        return Err(SecretErrorKind::SchemeInKey(written));
    }
    // Basic encodes it, as UTF-8 (RFC 7617, 2.1). In the others it is the header, whose bytes beyond ASCII each receiver reads in its own way
    // (RFC 9110, 5.5).
    let outside = key.char_indices().find(|(_, character)| !character.is_ascii());
    match outside.filter(|_| scheme != KeyScheme::Basic) {
        Some((at, character)) => Err(SecretErrorKind::NotAscii {
            at,
            character: CodePoint(character),
        }),
        None => Ok(()),
    }
}

/// A character by its number, and by its name if it is one of those that are found in keys by mistake: `U+2014 (em dash)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodePoint(char);

impl From<char> for CodePoint {
    fn from(character: char) -> Self {
        Self(character)
    }
}

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        match NAMES.iter().find(|(character, _)| *character == self.0) {
            Some((_, name)) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
