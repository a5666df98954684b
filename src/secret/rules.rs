//! What a key may look like, so that the header that carries it says what was meant.
//!
//! Pasting, word processors and editors leave characters in a key that look like others or like nothing. A receiver would refuse such a key
//! much later, without a reason. A fault names the character and where it is, nothing beside it.

use super::SecretErrorKind;
use crate::util::printable::is_invisible;

/// The largest key, in bytes. Far above any real one, and below what servers take as a header.
pub(super) const MAX_KEY_BYTES: usize = 8 * 1024;

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

/// How a key is written into its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyScheme {
    /// `Bearer <key>`
    Bearer,
    /// `Basic <base64 of key>`, for keys of the form `user:secret`
    Basic,
    /// The key alone.
    Raw,
}

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
            let character = character.into();
            return Err(SecretErrorKind::BlankAtEdge { at, character });
        }
    }
    if let (Some((_, opens)), Some((_, closes))) = (first, last)
        && QUOTES
            .iter()
            .any(|(quote, ends)| *quote == opens && ends.contains(&closes))
    {
        return Err(SecretErrorKind::InQuotes(opens.into()));
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
            character: character.into(),
        }),
        None => Ok(()),
    }
}
