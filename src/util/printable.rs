//! Escapes untrusted text for terminals, logs and messages.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;

/// Escapes untrusted text (names, paths, ids, messages) so that it prints as one line of visible
/// characters.
///
/// Escapes, in Rust's notation (`\n`, `\u{1b}`), characters that can control a terminal, start a
/// new line, or hide or move adjacent text: control characters, line and paragraph separators,
/// bidirectional controls, and zero-width characters. Leaves everything else unchanged, including
/// backslashes.
///
/// ```
/// # use tracer_registry::text::printable;
/// let name = "acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}";
/// assert_eq!(printable(name).to_string(), r"acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}");
/// ```
pub fn printable(text: &str) -> Printable<'_> {
    Printable(Cow::Borrowed(text))
}

/// Escapes a path like [`printable`]. Bytes that are not UTF-8 show as `U+FFFD`.
pub(crate) fn printable_path(path: &Path) -> Printable<'_> {
    Printable(path.to_string_lossy())
}

/// Returns the first `chars` characters of a text, quoted and escaped to ASCII. Escaping exposes
/// look-alike letters.
pub(crate) fn quoted_start(text: &str, chars: usize) -> String {
    let start: String = text.chars().take(chars).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(chars).is_some() { "..." } else { "" };
    format!("\"{start}{more}\"")
}

/// Text escaped by [`printable`].
#[derive(Clone, Debug)]
pub struct Printable<'a>(Cow<'a, str>);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Returns whether a character has no width, or moves adjacent characters.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in [
            "",
            "plain",
            "Grüße, नमस्ते, 你好, 🙂",
            r"C:\keys\acme",
            "two  words",
            "\"quoted\"",
        ] {
            assert_eq!(printable(text).to_string(), text);
        }
    }

    #[test]
    fn terminal_controls_and_hidden_characters_are_escaped() {
        for (text, expected) in [
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{9b}2J\u{85}\u{7f}", r"\u{9b}2J\u{85}\u{7f}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{202e}\u{2066}\u{200e}\u{61c}", r"\u{202e}\u{2066}\u{200e}\u{61c}"),
            (
                "\u{200b}\u{200d}\u{2060}\u{feff}\u{fe0f}",
                r"\u{200b}\u{200d}\u{2060}\u{feff}\u{fe0f}",
            ),
            ("\u{e0041}\u{3164}", r"\u{e0041}\u{3164}"),
        ] {
            assert_eq!(printable(text).to_string(), expected);
        }
        assert_eq!(printable_path(Path::new("/a\u{1b}b")).to_string(), r"/a\u{1b}b");
    }

    proptest! {
        #[test]
        fn output_never_contains_a_character_that_must_be_escaped(text in any::<String>()) {
            let shown = printable(&text).to_string();
            prop_assert!(!shown.contains(|c: char| c.is_control() || is_invisible(c)));
            prop_assert_eq!(printable(&shown).to_string(), shown);
        }
    }
}
