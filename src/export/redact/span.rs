//! Redaction of spans of the SDK.

use std::borrow::Cow;

use opentelemetry::trace::Status;
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value as Json;

use crate::backend::{AttributeNames, parse_session_id};
use crate::config::RedactAction;
use crate::policy::redaction::{Path, Place, REDACTED, Redaction, Spot, Verdict};

/// Applies the rules to a span of the program. Call before the binding's own attributes are added.
///
/// A removed attribute does not count as dropped, because no limit dropped it. The session's id
/// stays.
pub(crate) fn span(redaction: &Redaction, names: &AttributeNames, span: &mut SpanData) {
    name(redaction, &mut span.name);
    span.attributes
        .retain_mut(|attribute| is_of_session(names, attribute) || keep(redaction, attribute));
    for event in &mut span.events.events {
        name(redaction, &mut event.name);
        attributes(redaction, &mut event.attributes);
    }
    for link in &mut span.links.links {
        attributes(redaction, &mut link.attributes);
    }
    if let Status::Error { description } = &mut span.status {
        match redaction.text(Place::Status, description) {
            Verdict::Keep => {}
            Verdict::Replace(text) => *description = Cow::Owned(text),
            Verdict::Drop => *description = Cow::Borrowed(""),
        }
    }
    scope(redaction, &mut span.instrumentation_scope);
}

/// Applies the rules to attributes.
pub(crate) fn attributes(redaction: &Redaction, attributes: &mut Vec<KeyValue>) {
    attributes.retain_mut(|attribute| keep(redaction, attribute));
}

/// Returns whether an attribute is what the tracer adds for a session: its id, or the mark that
/// makes the backend create it.
fn is_of_session(names: &AttributeNames, attribute: &KeyValue) -> bool {
    let key = attribute.key.as_str();
    match &attribute.value {
        Value::String(id) => key == names.session_id && parse_session_id(id.as_str()).is_some(),
        Value::Bool(_) => Some(key) == names.session_auto_create,
        _ => false,
    }
}

fn name(redaction: &Redaction, name: &mut Cow<'static, str>) {
    match redaction.text(Place::Name, name) {
        Verdict::Keep => {}
        Verdict::Replace(text) => *name = Cow::Owned(text),
        Verdict::Drop => *name = Cow::Borrowed(REDACTED),
    }
}

/// Spans share a scope. One that changes becomes a scope of this span.
fn scope(redaction: &Redaction, scope: &mut InstrumentationScope) {
    if scope.attributes().next().is_none() {
        return;
    }
    let mut changed: Vec<KeyValue> = scope.attributes().cloned().collect();
    attributes(redaction, &mut changed);
    if scope.attributes().eq(&changed) {
        return;
    }
    let mut builder = InstrumentationScope::builder(scope.name().to_owned()).with_attributes(changed);
    if let Some(version) = scope.version() {
        builder = builder.with_version(version.to_owned());
    }
    if let Some(url) = scope.schema_url() {
        builder = builder.with_schema_url(url.to_owned());
    }
    *scope = builder.build();
}

/// Applies the rules to an attribute. Returns false if it must be removed.
fn keep(redaction: &Redaction, attribute: &mut KeyValue) -> bool {
    let place = Place::Attribute(attribute.key.as_str());
    redact(redaction, place.into(), &mut attribute.value)
}

/// Applies the rules to a value. Returns false if its attribute must be removed.
fn redact(redaction: &Redaction, spot: Spot<'_>, value: &mut Value) -> bool {
    let verdict = match &mut *value {
        Value::String(text) => redaction.text(spot, text.as_str()),
        Value::Bool(shown) => redaction.scalar(spot, if *shown { "true" } else { "false" }),
        Value::I64(number) => redaction.scalar(spot, &number.to_string()),
        Value::F64(number) => redaction.scalar(spot, &number.to_string()),
        Value::Array(array) => {
            if let Some(action) = redaction.whole(spot) {
                of_whole(redaction, action, value)
            } else {
                elements(redaction, &mut spot.path(), array);
                Verdict::Keep
            }
        }
        // A later kind of value, which no rule can be applied to.
        _ => {
            redaction.note_unreadable();
            Verdict::Drop
        }
    };
    change(value, verdict)
}

/// Returns what a rule that takes a whole value does with it.
fn of_whole(redaction: &Redaction, action: RedactAction, value: &Value) -> Verdict {
    match action {
        RedactAction::Replace => Verdict::Replace(REDACTED.to_owned()),
        RedactAction::Drop => Verdict::Drop,
        RedactAction::Hash => Verdict::Replace(match value {
            Value::Array(array) => redaction.hash(json(array).to_string().as_bytes()),
            other => redaction.hash(other.as_str().as_bytes()),
        }),
    }
}

/// Changes a value. Returns false if its attribute must be removed.
fn change(value: &mut Value, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Keep => true,
        Verdict::Replace(text) => {
            *value = Value::String(text.into());
            true
        }
        Verdict::Drop => false,
    }
}

/// Applies the rules to the elements of an array at a path. A dropped element is removed. An array
/// of numbers or booleans becomes one of texts if an element is replaced, because the elements of an
/// array have one type.
fn elements(redaction: &Redaction, path: &mut Path, array: &mut Array) {
    match array {
        Array::String(texts) => {
            let verdicts = verdicts(path, texts, |path, text| redaction.text(path, text.as_str()));
            let mut verdicts = verdicts.into_iter();
            texts.retain_mut(|text| match verdicts.next() {
                Some(Verdict::Keep) => true,
                Some(Verdict::Replace(replaced)) => {
                    *text = replaced.into();
                    true
                }
                Some(Verdict::Drop) | None => false,
            });
        }
        Array::Bool(values) => numbers(redaction, path, values).map_or((), |texts| *array = texts),
        Array::I64(values) => numbers(redaction, path, values).map_or((), |texts| *array = texts),
        Array::F64(values) => numbers(redaction, path, values).map_or((), |texts| *array = texts),
        // A later kind of array.
        _ => {
            redaction.note_unreadable();
            *array = Array::String(Vec::new());
        }
    }
}

/// Applies the rules to numbers or booleans. Returns the texts in their place if one is replaced.
fn numbers<T: ToString>(redaction: &Redaction, path: &mut Path, values: &mut Vec<T>) -> Option<Array> {
    let verdicts = verdicts(path, values, |path, value| redaction.scalar(path, &value.to_string()));
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Replace(_))) {
        let texts = values
            .iter()
            .zip(verdicts)
            .filter_map(|(value, verdict)| match verdict {
                Verdict::Keep => Some(value.to_string().into()),
                Verdict::Replace(text) => Some(text.into()),
                Verdict::Drop => None,
            });
        return Some(Array::String(texts.collect()));
    }
    let mut verdicts = verdicts.into_iter();
    values.retain(|_| verdicts.next() == Some(Verdict::Keep));
    None
}

/// Returns the verdicts on the elements of an array, each at its own path.
fn verdicts<T>(path: &mut Path, elements: &[T], decide: impl Fn(&Path, &T) -> Verdict) -> Vec<Verdict> {
    let of_element = |(index, element)| {
        path.push_index(index);
        let verdict = decide(path, element);
        path.pop();
        verdict
    };
    elements.iter().enumerate().map(of_element).collect()
}

/// Returns an array as JSON, as for arrays of encoded spans.
fn json(array: &Array) -> Json {
    match array {
        Array::Bool(values) => values.as_slice().into(),
        Array::I64(values) => values.as_slice().into(),
        Array::F64(values) => values.as_slice().into(),
        Array::String(texts) => texts.iter().map(StringValue::as_str).collect(),
        _ => Json::Null,
    }
}
