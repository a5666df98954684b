//! Text that others wrote, made harmless for a terminal, a log or a message.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;

/// Text of others as one line of visible characters, for a terminal or a log: names, paths, ids, messages.
///
/// Escapes, as Rust writes them (`\n`, `\u{1b}`), what could steer a terminal, begin a line of its own, or hide or move
/// what stands beside it: control characters, line and paragraph separators, bidirectional controls, and characters
/// without a width. Everything else is as it was, a backslash too.
///
/// ```
/// # use tracer_registry::text::printable;
/// let name = "acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}";
/// assert_eq!(printable(name).to_string(), r"acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}");
/// ```
pub fn printable(text: &str) -> Printable<'_> {
    Printable(Cow::Borrowed(text))
}

/// A path as [`printable`] text. What is not UTF-8 in it is shown as `U+FFFD`.
pub(crate) fn printable_path(path: &Path) -> Printable<'_> {
    Printable(path.to_string_lossy())
}

/// The start of a text in quotes, all of it in ASCII: a look-alike letter would be shown as the letter that it imitates.
pub(crate) fn quoted_start(text: &str, chars: usize) -> String {
    let start: String = text.chars().take(chars).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(chars).is_some() { "..." } else { "" };
    format!("\"{start}{more}\"")
}

/// What [`printable`] returns.
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

/// Whether a character takes no place where it is shown, or changes where its neighbours are shown.
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
    fn what_people_write_is_as_it_was() {
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
    fn what_steers_a_terminal_or_hides_is_escaped() {
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
        fn no_text_comes_out_with_a_character_that_is_escaped(text in any::<String>()) {
            let shown = printable(&text).to_string();
            prop_assert!(!shown.contains(|c: char| c.is_control() || is_invisible(c)));
            prop_assert_eq!(printable(&shown).to_string(), shown);
        }
    }
}
