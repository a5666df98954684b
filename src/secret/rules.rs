//! Rules for keys, so that a header carries exactly the intended key.
//!
//! Pasting, word processors and editors leave look-alike and invisible characters in keys. A
//! receiver would refuse such a key much later, without a reason. An error names the character and
//! its offset, and nothing next to it.

use super::SecretErrorKind;
use crate::util::printable::is_invisible;

/// Maximum key size in bytes. Far above any real key, and below the header limits of servers.
pub(super) const MAX_KEY_BYTES: usize = 8 * 1024;

/// Opening quotes, each with its closing quotes.
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

/// How a header carries a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyScheme {
    /// `Bearer <key>`
    Bearer,
    /// `Basic <base64 of key>`, for keys of the form `user:secret`
    Basic,
    /// The key alone.
    Raw,
}

/// Checks the rules that apply to every scheme.
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
    let mut characters = key.char_indices();
    let (first, last) = (characters.next(), characters.next_back());
    for (at, character) in [first, last].into_iter().flatten() {
        if character.is_whitespace() || is_invisible(character) {
            let character = character.into();
            return Err(SecretErrorKind::WhitespaceAtEdge { at, character });
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

/// Checks the rules of one scheme.
pub(super) fn check_for(key: &str, scheme: KeyScheme) -> Result<(), SecretErrorKind> {
    let prefix = match scheme {
        KeyScheme::Bearer => Some("Bearer"),
        KeyScheme::Basic => Some("Basic"),
        KeyScheme::Raw => None,
    };
    let (word, rest) = key.split_once(' ').unwrap_or_default();
    if let Some(prefix) = prefix.filter(|prefix| !rest.is_empty() && word.eq_ignore_ascii_case(prefix)) {
        return Err(SecretErrorKind::SchemeInKey(prefix));
    }
    // Basic encodes the key as UTF-8 (RFC 7617, 2.1). The other schemes send it unencoded, and
    // receivers differ in how they read bytes beyond ASCII (RFC 9110, 5.5).
    let outside = key.char_indices().find(|(_, character)| !character.is_ascii());
    match outside.filter(|_| scheme != KeyScheme::Basic) {
        Some((at, character)) => Err(SecretErrorKind::NotAscii {
            at,
            character: character.into(),
        }),
        None => Ok(()),
    }
}
