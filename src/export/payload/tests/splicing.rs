//! Attributes of the binding.

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::generated::{KEYS, request};
use super::*;
use crate::backend::AttributeNames;

/// Values of edits, which no client sends.
fn own(key: &'static str) -> KeyValue {
    KeyValue::new(key, format!("own {key}"))
}

fn edits() -> impl Strategy<Value = Edits> {
    let keys = || subsequence([&KEYS[1..], &["new.key", "last.key"]].concat(), 0..=5);
    // Not what event types depend on.
    let forced_keys = subsequence([&KEYS[1..7], &["new.key"]].concat(), 0..=3);
    let forced_on_resource = subsequence(&KEYS[1..7], 0..=2);
    let forced = (forced_keys, forced_on_resource);
    (keys(), keys(), forced, any::<bool>(), any::<bool>()).prop_map(
        |(resource, span, (forced_keys, forced_on_resource), typed, session)| Edits {
            resource: resource.into_iter().map(own).collect(),
            span_attributes: span.into_iter().map(own).collect(),
            forced_keys,
            forced_on_resource,
            event_type: typed.then_some(&AttributeNames::HONEYHIVE),
            session_id: session.then_some("session"),
        },
    )
}

fn attribute(key: &str, text: &str) -> Attribute {
    Attribute {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(text.to_owned())),
        }),
        key_strindex: 0,
    }
}

/// Returns the last text with this key.
fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    let last = attributes.iter().rfind(|attribute| attribute.key == key)?;
    match last.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Appends an attribute if its key is not set.
fn add(attributes: &mut Vec<Attribute>, key: &str, text: &str) {
    if !attributes.iter().any(|attribute| attribute.key == key) {
        attributes.push(attribute(key, text));
    }
}

/// Applies edits to a decoded request.
fn edit(request: &mut Request, edits: &Edits) {
    let remove = |attributes: &mut Vec<Attribute>| attributes.retain(|set| !edits.forced_keys.contains(&&*set.key));
    let add_own = |attributes: &mut Vec<Attribute>, own: &[KeyValue]| {
        for own in own {
            add(attributes, own.key.as_str(), &own.value.as_str());
        }
    };
    for block in &mut request.resource_spans {
        if block.resource.is_none() && !edits.resource.is_empty() {
            block.resource = Some(opentelemetry_proto::tonic::resource::v1::Resource::default());
        }
        if let Some(resource) = &mut block.resource {
            remove(&mut resource.attributes);
            let forced = &edits.forced_on_resource;
            resource.attributes.retain(|set| !forced.contains(&&*set.key));
            add_own(&mut resource.attributes, &edits.resource);
        }
        for scope in &mut block.scope_spans {
            if let Some(scope) = &mut scope.scope {
                remove(&mut scope.attributes);
            }
            for span in &mut scope.spans {
                let attributes = &mut span.attributes;
                remove(attributes);
                let event_type = match (
                    text(attributes, "gen_ai.operation.name"),
                    text(attributes, "openinference.span.kind"),
                ) {
                    (Some("chat"), _) => "model",
                    (Some("invoke_agent"), _) => "chain",
                    (operation, Some("LLM")) if operation != Some("execute_tool") => "model",
                    (operation, Some("CHAIN")) if operation != Some("execute_tool") => "chain",
                    _ => "tool",
                };
                if let Some(key) = edits.session_id {
                    let trace = span.trace_id.clone().try_into().expect("16 bytes");
                    let id = crate::backend::trace_session_id(TraceId::from_bytes(trace)).to_string();
                    add(attributes, key, &id);
                }
                if edits.event_type.is_some() {
                    add(attributes, "honeyhive_event_type", event_type);
                }
                add_own(attributes, &edits.span_attributes);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_spliced_request_decodes_to_the_edited_one(request in request(), edits in edits()) {
        let mut expected = decoded(&request);
        edit(&mut expected, &edits);
        let mut spliced = payload(request.clone()).with_gzip(Bytes::from_static(b"gzip"));
        spliced.splice(&edits);
        let found = decoded(spliced.bytes());
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(payload(spliced.bytes().clone()).spans(), spliced.spans());
        prop_assert_eq!(spliced.gzip().is_some(), found == decoded(&request));
        prop_assert_eq!(spliced.bytes() == &request, found == decoded(&request));

    }

    #[test]
    fn a_splice_without_forced_keys_changes_nothing_again(request in request(), edits in edits()) {
        let edits = Edits { forced_keys: Vec::new(), forced_on_resource: Vec::new(), ..edits };
        let mut spliced = payload(request);
        spliced.splice(&edits);
        let once = spliced.bytes().clone();
        spliced.splice(&edits);
        prop_assert_eq!(spliced.bytes().as_ptr(), once.as_ptr());
    }

    #[test]
    fn no_edits_change_nothing(request in request()) {
        let bytes = Bytes::from(request);
        let mut spliced = payload(bytes.clone()).with_gzip(Bytes::from_static(b"gzip"));
        spliced.splice(&Edits::default());
        prop_assert_eq!(spliced.bytes().as_ptr(), bytes.as_ptr());
        prop_assert!(spliced.gzip().is_some());
    }

    #[test]
    fn unknown_fields_survive_a_splice(request in request(), edits in edits()) {
        let mut spliced = payload(request.clone());
        spliced.splice(&edits);
        prop_assert_eq!(unknown_fields(spliced.bytes()), unknown_fields(&request));
    }
}

/// Returns the fields of blocks, scopes, resources and spans that OTLP does not define.
fn unknown_fields(source: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut walk = |message: Range<usize>| {
        let fields: Vec<_> = wire::fields(source, message).collect();
        let unknown = fields.iter().filter(|field| field.number > 16);
        found.extend(unknown.map(|field| source[field.whole.clone()].to_vec()));
        fields
    };
    for block in walk(0..source.len()).into_iter().filter(|field| field.number == 1) {
        for of_block in walk(block.value).into_iter().filter(|field| field.number < 3) {
            for of_scope in walk(of_block.value)
                .into_iter()
                .filter(|field| of_block.number == 2 && field.number < 3)
            {
                walk(of_scope.value);
            }
        }
    }
    found
}
