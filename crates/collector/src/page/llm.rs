//! Model and tokens of a span, by the attribute names of common instrumentations.

use serde::Serialize;
use serde_json::Value;

use super::cut::short;
use crate::model::Attributes;

// OpenTelemetry's conventions first, then older ones of them, OpenInference, Traceloop and
// HoneyHive.
const MODEL: [&str; 6] = [
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "llm.response.model",
    "llm.request.model",
    "honeyhive_config.model",
];
const INPUT: [&str; 5] = [
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
    "honeyhive_metadata.prompt_tokens",
];
const OUTPUT: [&str; 5] = [
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
    "honeyhive_metadata.completion_tokens",
];

/// What a span says of a call to a language model.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Llm {
    pub(super) model: Option<String>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
}

impl Llm {
    /// `None` if the span has none of it.
    pub(super) fn of(attributes: &Attributes) -> Option<Self> {
        let first = |names: &[&str]| names.iter().find_map(|name| attributes.get(*name)).cloned();
        let tokens = |names| first(names).as_ref().and_then(number);
        let llm = Self {
            model: first(&MODEL).and_then(|model| model.as_str().map(short)),
            input_tokens: tokens(&INPUT),
            output_tokens: tokens(&OUTPUT),
        };
        let has_any = llm.model.is_some() || llm.input_tokens.is_some() || llm.output_tokens.is_some();
        has_any.then_some(llm)
    }
}

/// Some clients send numbers as texts or doubles.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn number(value: &Value) -> Option<u64> {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    let double = || {
        value
            .as_f64()
            .filter(|number| *number >= 0.0)
            .map(|number| number as u64)
    };
    value.as_u64().or_else(text).or_else(double)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn model_and_tokens_are_found_by_each_convention() {
        let of = |attributes: Value| {
            let entries = attributes.as_object().unwrap().clone();
            Llm::of(&entries.into_iter().collect())
        };
        let llm = |model: &str, input, output| Llm {
            model: Some(model.to_owned()),
            input_tokens: Some(input),
            output_tokens: Some(output),
        };
        let current =
            json!({ "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4 });
        assert_eq!(of(current), Some(llm("m", 3, 4)));
        let older = json!({ "llm.model_name": "m", "llm.token_count.prompt": "3", "llm.token_count.completion": 4.0 });
        assert_eq!(of(older), Some(llm("m", 3, 4)));
        assert_eq!(of(json!({ "http.route": "/", "llm.model_name": 7 })), None);
        assert_eq!(of(json!({ "gen_ai.usage.input_tokens": -1 })), None);
    }
}
