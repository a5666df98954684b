//! Values as a text, in what is shown and in what is serialized.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serializer};

/// Serializes an error as its message.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn serialize<T: Display, S: Serializer>(error: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => serializer.collect_str(error),
        None => serializer.serialize_none(),
    }
}

/// An error that can be read back from its message.
pub(crate) trait FromMessage {
    fn from_message(message: String) -> Self;
}

/// Reads an error back from its message.
pub(crate) fn deserialize<'de, T: FromMessage, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(T::from_message))
}

/// A text of others that can be shown in a terminal, a log and a page: its first characters, with each control character and each character
/// that is invisible or changes the direction of writing replaced.
pub(crate) fn harmless(text: &str, max_chars: usize) -> String {
    let replaced = |c: char| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER };
    text.chars().take(max_chars).map(replaced).collect()
}

/// Control characters, line and paragraph separators, and what Unicode calls Format (Cf) in the general punctuation, Arabic letter mark, soft
/// hyphen, byte order mark and the tags.
fn is_harmless(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !hidden
}
