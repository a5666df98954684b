//! Words that a trace must contain.

use serde_json::Value;

use crate::model::Span;

/// Further words are ignored.
const MAX_WORDS: usize = 8;
const MAX_DEPTH: usize = 8;

/// Words in lower case. Each must be in a name, an id, a status message, an event, or an attribute.
/// `name=value` looks for the value in the attributes with that name.
pub(super) struct Search(Vec<Word>);

struct Word {
    attribute: Option<String>,
    text: String,
}

impl Search {
    pub(super) fn new(text: &str) -> Self {
        let word = |word: &str| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Word {
                attribute: Some(name.to_lowercase()),
                text: value.to_lowercase(),
            },
            _ => Word {
                attribute: None,
                text: word.to_lowercase(),
            },
        };
        Self(text.split_whitespace().take(MAX_WORDS).map(word).collect())
    }

    /// Returns whether each word is in one of the spans.
    pub(super) fn matches<'s>(&self, spans: &(impl Iterator<Item = &'s Span> + Clone)) -> bool {
        self.0
            .iter()
            .all(|word| spans.clone().any(|span| word.is_in_span(span)))
    }

    /// Returns whether each word is in one of the texts.
    pub(super) fn matches_texts<'t>(&self, texts: &(impl Iterator<Item = &'t str> + Clone)) -> bool {
        self.0.iter().all(|word| texts.clone().any(|text| word.is_in(text)))
    }
}

impl Word {
    fn is_in(&self, text: &str) -> bool {
        text.len() >= self.text.len() && text.to_lowercase().contains(&self.text)
    }

    fn is_in_span(&self, span: &Span) -> bool {
        let events = span.events.iter().map(|event| &event.attributes);
        let attributes = [&span.attributes, &span.resource.attributes].into_iter().chain(events);
        let mut attributes = attributes.flatten();
        if let Some(wanted) = &self.attribute {
            return attributes.any(|(name, value)| name.to_lowercase() == *wanted && self.is_in_value(value, 0));
        }
        let texts = [
            &span.name,
            &span.trace_id,
            &span.span_id,
            &span.status.message,
            &span.scope.name,
        ];
        let names = span.events.iter().map(|event| &event.name);
        texts
            .into_iter()
            .chain(&span.session_id)
            .chain(names)
            .any(|text| self.is_in(text))
            || attributes.any(|(name, value)| self.is_in(name) || self.is_in_value(value, 0))
    }

    fn is_in_value(&self, value: &Value, depth: usize) -> bool {
        match value {
            Value::String(text) => self.is_in(text),
            Value::Array(values) if depth < MAX_DEPTH => values.iter().any(|value| self.is_in_value(value, depth + 1)),
            Value::Object(entries) if depth < MAX_DEPTH => entries
                .iter()
                .any(|(name, value)| self.is_in(name) || self.is_in_value(value, depth + 1)),
            Value::Array(_) | Value::Object(_) => false,
            other => self.is_in(&other.to_string()),
        }
    }
}
