//! Texts and values cut to a size.

use serde_json::{Map, Value};

/// Bytes of a text in a list.
const SHORT_BYTES: usize = 256;
/// Bytes of a text in the details of a span or a session.
const LONG_BYTES: usize = 64 * 1024;
/// Bytes of all texts in the details of a span or a session.
pub(super) const DETAIL_BYTES: usize = 1024 * 1024;
/// What an entry of a list or an object costs without its texts.
const ENTRY_BYTES: usize = 16;

/// Cuts a text for a list.
pub(super) fn short(text: &str) -> String {
    cut(text, SHORT_BYTES)
}

fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let is_start = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=bytes).rev().find(is_start).unwrap_or(0);
    format!("{}… ({} more bytes)", &text[..end], text.len() - end)
}

/// Cuts values until all together have at most a number of bytes.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(DETAIL_BYTES)
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let cut = cut(text, LONG_BYTES.min(self.0));
        self.0 = self.0.saturating_sub(cut.len());
        cut
    }

    pub(super) fn object<'v>(
        &mut self,
        entries: impl IntoIterator<Item = (&'v String, &'v Value)>,
    ) -> Map<String, Value> {
        let mut kept = Map::new();
        let mut entries = entries.into_iter();
        while self.0 > 0
            && let Some((name, value)) = entries.next()
        {
            self.0 = self.0.saturating_sub(ENTRY_BYTES);
            let name = self.text(name);
            kept.insert(name, self.value(value));
        }
        let more = entries.count();
        if more > 0 {
            kept.insert("…".to_owned(), format!("{more} more entries").into());
        }
        kept
    }

    /// The depth of a value was bounded when it was decoded.
    pub(super) fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(values) => {
                let mut kept = Vec::new();
                for (index, value) in values.iter().enumerate() {
                    if self.0 == 0 {
                        kept.push(format!("… ({} more entries)", values.len() - index).into());
                        break;
                    }
                    self.0 = self.0.saturating_sub(ENTRY_BYTES);
                    kept.push(self.value(value));
                }
                kept.into()
            }
            Value::Object(entries) => Value::Object(self.object(entries)),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_say_how_much_is_missing() {
        assert_eq!(short("name"), "name");
        let long = format!("{}ä", "x".repeat(SHORT_BYTES - 1));
        assert_eq!(short(&long), format!("{}… (2 more bytes)", "x".repeat(SHORT_BYTES - 1)));
    }

    #[test]
    fn all_values_together_have_a_limit() {
        let text = "x".repeat(100_000);
        let values = vec![json!({ "text": [text] }); 1000];
        let cut = Budget::new().value(&Value::Array(values));
        let size = cut.to_string().len();
        assert!(
            (DETAIL_BYTES - LONG_BYTES..DETAIL_BYTES + LONG_BYTES).contains(&size),
            "{size}"
        );
        assert!(cut.to_string().contains("more entries"));
        let small = json!({ "a": [1, true, null, "x"] });
        assert_eq!(Budget::new().value(&small), small);
    }
}
