//! Escapes untrusted text for a terminal.

use std::fmt::Write as _;

/// Returns text as one line of visible characters. Escapes control characters, line separators,
/// bidirectional controls and zero-width characters in Rust syntax.
pub(crate) fn printable(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c) {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns whether a character has no width or changes the position of its neighbours.
fn is_invisible(c: char) -> bool {
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
    use super::*;

    #[test]
    fn only_control_and_invisible_characters_are_escaped() {
        let name = "acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}\u{2028}";
        assert_eq!(printable(name), r"acme\u{1b}[2J\r\nok: \u{202e}no\u{200b}\u{2028}");
        for text in ["", "Grüße, नमस्ते, 你好, 🙂", r"C:\keys", "\"quoted\""] {
            assert_eq!(printable(text), text);
        }
    }
}
