//! Names, in error messages, of characters that are often in keys by mistake.

use std::fmt;

/// The common ones. Every other character is shown by its number alone.
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

/// A character, displayed as its code point and, if it is often in keys by mistake, its name:
/// `U+2014 (em dash)`.
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
