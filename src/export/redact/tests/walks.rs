//! The walk over spans of the SDK and the walk over encoded spans give the same.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue as Attribute;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use prost::Message as _;
use serde_json::json;

use crate::backend::AttributeNames;
use crate::config::{Compression, Pattern, Protocol, RedactAction, RedactRule, ResolvedRedact};
use crate::export::encode::body;
use crate::export::payload::Payload;
use crate::export::redact::{attributes, span};
use crate::export::test_fixtures;
use crate::policy::redaction::Redaction;
use crate::selector::Selector;

/// A secret for each pattern, and the part of it that must never be left.
const SECRETS: [(&str, &str); 9] = [
    ("qzxsecretxzq@example.com", "qzxsecretxzq"),
    ("+49 30 9018 2737", "9018 2737"),
    ("4012 8888 8888 1881", "8888 8888 1881"),
    ("DE89 3704 0044 0532 0130 00", "3704 0044 0532"),
    ("203.0.113.77", "203.0.113.77"),
    ("2001:db8:85a3::8a2e:370:7334", "85a3::8a2e:370"),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "dozjgNryP4J3jVmNHl0w5N",
    ),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("Bearer q83vGx7LmN2pQr5sTu8wYz1b", "q83vGx7LmN2pQr5sTu8wYz1b"),
];
/// A number that is a secret, which an `f64` holds exactly.
const CARD: i64 = 4_012_888_888_881_881;

const PATTERNS: [Pattern; 7] = [
    Pattern::Email,
    Pattern::Phone,
    Pattern::Card,
    Pattern::Iban,
    Pattern::Ip,
    Pattern::Jwt,
    Pattern::ApiKey,
];
const KEYS: [&str; 9] = [
    "password",
    "user.password",
    "User.Name",
    "list",
    "tool.args",
    "a",
    "b.c",
    "\u{e9}",
    "",
];
const GLOBS: [&str; 12] = [
    "password",
    "*.password",
    "list.0",
    "list.*",
    "*.1",
    "b*",
    "tool.args.to",
    "to",
    "user.*",
    "*a*",
    "\u{e9}",
    "*",
];
const REGEXES: [&str; 5] = ["ORD-[0-9]{4}", "[a-c]{2}", "(?i)x+y", "[0-9]+", "true|^$"];

/// Other spellings of a text that receivers may decode.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Plain,
    Url,
    Json,
    JsonTwice,
    FullWidth,
}

const SPELLINGS: [Spelling; 5] = [
    Spelling::Plain,
    Spelling::Url,
    Spelling::Json,
    Spelling::JsonTwice,
    Spelling::FullWidth,
];

impl Spelling {
    fn of(self, text: &str) -> String {
        let is_sign = |character: char| !character.is_ascii_alphanumeric();
        let each = |escape: &dyn Fn(char) -> String| text.chars().map(escape).collect();
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => each(&|character| match character {
                _ if is_sign(character) => format!("%{:02X}", u32::from(character)),
                _ => character.to_string(),
            }),
            Self::Json => each(&|character| match character {
                _ if is_sign(character) => format!("\\u{:04x}", u32::from(character)),
                _ => character.to_string(),
            }),
            Self::JsonTwice => Self::Json.of(text).replace('\\', "\\\\"),
            Self::FullWidth => each(&|character| match character.to_digit(10) {
                Some(digit) => char::from_u32(0xff10 + digit).expect("a digit").to_string(),
                None => character.to_string(),
            }),
        }
    }
}

/// Returns a text in one of several surroundings.
fn surrounded(text: &str, surroundings: usize) -> String {
    match surroundings {
        0 => text.to_owned(),
        1 => format!("call {text} or \u{e9}"),
        2 => json!({ "to": text }).to_string(),
        3 => json!({ "to": ["x", text, 7, { "password": "x" }], "n": 1.5 }).to_string(),
        4 => json!({ "text": json!([{ "to": text }]).to_string(), "b.c": true }).to_string(),
        5 => format!("{}\n{} aab", json!([text, text]), json!({ "note": text })),
        _ => format!("{{\"to\": \"{text}"),
    }
}

fn text() -> impl Strategy<Value = String> {
    let plain = select(vec![
        "",
        "text",
        "ORD-1234 for xxy",
        "aab",
        "1,2",
        "[INFO] started",
        "{}",
    ]);
    let any = "\\PC{0,12}";
    let secret = (select(&SECRETS[..]), select(&SPELLINGS[..]));
    let secret = secret.prop_map(|((secret, _), spelling)| spelling.of(secret));
    let inner = prop_oneof![2 => plain.prop_map(str::to_owned), 1 => any, 3 => secret];
    (inner, 0..7_usize).prop_map(|(text, surroundings)| surrounded(&text, surroundings))
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), 0..20_i64, Just(CARD)]
}

#[expect(clippy::cast_precision_loss, reason = "it is exact")]
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![-1e9..1e9, Just(0.5), Just(1e300), Just(f64::NAN), Just(CARD as f64)]
}

fn value() -> impl Strategy<Value = Value> {
    let array = prop_oneof![
        2 => vec(text().prop_map(StringValue::from), 0..4).prop_map(Array::String),
        1 => vec(any::<bool>(), 0..4).prop_map(Array::Bool),
        1 => vec(integer(), 0..4).prop_map(Array::I64),
        1 => vec(double(), 0..4).prop_map(Array::F64),
    ];
    prop_oneof![
        4 => text().prop_map(|text| Value::String(text.into())),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => integer().prop_map(Value::I64),
        1 => double().prop_map(Value::F64),
        4 => array.prop_map(Value::Array),
    ]
}

fn some_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attributes = btree_map(select(&KEYS[..]), value(), 0..4);
    attributes.prop_map(|by_key: BTreeMap<_, _>| {
        by_key
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value))
            .collect()
    })
}

fn some_span() -> impl Strategy<Value = SpanData> {
    let status = prop_oneof![Just(Status::Unset), Just(Status::Ok), text().prop_map(Status::error),];
    let of_scope = (any::<bool>(), some_attributes());
    let rest = (
        some_attributes(),
        vec((text(), some_attributes()), 0..3),
        vec(some_attributes(), 0..3),
    );
    (text(), status, of_scope, rest).prop_map(|(name, status, (has_version, of_scope), rest)| {
        let (attributes, events, links) = rest;
        let mut span = test_fixtures::span(name);
        span.status = status;
        span.dropped_attributes_count = 3;
        span.attributes = attributes;
        let events = events.into_iter().zip(0..);
        let at = |number| UNIX_EPOCH + Duration::from_nanos(number);
        span.events.events = events
            .map(|((name, attributes), number)| Event::new(name, at(number), attributes, 1))
            .collect();
        let links = links.into_iter().zip(100..);
        span.links.links = links
            .map(|(attributes, number)| Link::new(context(number), attributes, 0))
            .collect();
        let scope = InstrumentationScope::builder("lib").with_attributes(of_scope);
        span.instrumentation_scope = if has_version {
            scope.with_version("1.2").with_schema_url("https://schema").build()
        } else {
            scope.build()
        };
        span
    })
}

fn context(number: u64) -> SpanContext {
    let (trace, span) = (TraceId::from(7), SpanId::from(number));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

/// Spans with ids by their order.
fn some_spans() -> impl Strategy<Value = Vec<SpanData>> {
    vec(some_span(), 1..4).prop_map(|mut spans| {
        for (span, number) in spans.iter_mut().zip(1..) {
            span.span_context = context(number);
        }
        spans
    })
}

fn action() -> impl Strategy<Value = RedactAction> {
    select(vec![RedactAction::Replace, RedactAction::Drop, RedactAction::Hash])
}

fn some_rules() -> impl Strategy<Value = Vec<RedactRule>> {
    let parts = (
        subsequence(&GLOBS[..], 0..3),
        subsequence(&PATTERNS[..], 0..3),
        subsequence(&REGEXES[..], 0..2),
    );
    let rule = (parts, action()).prop_map(|((globs, patterns, regexes), action)| {
        let rule = RedactRule::new().action(action);
        let rule = globs.into_iter().fold(rule, RedactRule::attribute);
        let rule = patterns.into_iter().fold(rule, RedactRule::pattern);
        let rule = regexes.into_iter().fold(rule, RedactRule::regex);
        rule.attribute("absent")
    });
    vec(rule, 1..4)
}

fn redaction(rules: &[RedactRule], names: bool) -> std::sync::Arc<Redaction> {
    let rules = rules.iter().cloned().enumerate();
    let rules = ResolvedRedact {
        names,
        rules: rules.map(|(index, rule)| (format!("rule{index}"), rule)).collect(),
        ..ResolvedRedact::default()
    };
    let selector = Selector::tenant("acme").try_into().expect("a tenant");
    Redaction::new(&selector, &rules, Vec::new()).expect("rules")
}

fn encoded(spans: &[SpanData], of_resource: &[KeyValue], protocol: Protocol) -> Bytes {
    let resource = Resource::builder_empty()
        .with_attributes(of_resource.iter().cloned())
        .with_schema_url(Vec::new(), "https://schema")
        .build();
    let spans: Vec<&SpanData> = spans.iter().collect();
    let encoded = body::spans(&spans, &resource, protocol, Compression::None);
    encoded.expect("spans that can be encoded").body
}

/// Returns a request with one block for each span, in the order of their ids. What a block shares
/// with others depends on which scopes are still equal, and the order of a resource's attributes is
/// any.
///
/// In a list with a text, all elements become texts, as in arrays of the SDK.
fn normal(encoded: &[u8]) -> Request {
    let mut request = Request::decode(encoded).expect("a valid request");
    for block in &mut request.resource_spans {
        let blocks = std::mem::take(&mut block.scope_spans).into_iter().flat_map(|scope| {
            let spans = scope.spans.clone();
            spans.into_iter().map(move |span| {
                let mut single = scope.clone();
                single.spans = vec![span];
                single
            })
        });
        block.scope_spans = blocks.collect();
        block.scope_spans.sort_by_key(|scope| scope.spans[0].span_id.clone());
        let resource = block.resource.as_mut().expect("a resource");
        resource.attributes.sort_by_key(|attribute| attribute.key.clone());
        let texts = |attributes: &mut Vec<Attribute>| attributes.iter_mut().for_each(all_texts);
        texts(&mut resource.attributes);
        for scope in &mut block.scope_spans {
            texts(&mut scope.scope.as_mut().expect("a scope").attributes);
            for span in &mut scope.spans {
                texts(&mut span.attributes);
                span.events.iter_mut().for_each(|event| texts(&mut event.attributes));
                span.links.iter_mut().for_each(|link| texts(&mut link.attributes));
            }
        }
    }
    request
}

fn all_texts(attribute: &mut Attribute) {
    let value = attribute.value.as_mut().and_then(|value| value.value.as_mut());
    let Some(Kind::ArrayValue(list)) = value else { return };
    let is_text = |item: &AnyValue| matches!(item.value, Some(Kind::StringValue(_)));
    if !list.values.iter().any(is_text) {
        return;
    }
    for item in &mut list.values {
        let shown = match &item.value {
            Some(Kind::BoolValue(value)) => value.to_string(),
            Some(Kind::IntValue(value)) => value.to_string(),
            Some(Kind::DoubleValue(value)) => value.to_string(),
            _ => continue,
        };
        item.value = Some(Kind::StringValue(shown));
    }
}

/// Returns the part of a secret that is left in encoded spans, in any spelling.
fn left(encoded: &[u8], shown: &str) -> Option<String> {
    let bytes = String::from_utf8_lossy(encoded);
    let escaped = |text: &str| text.replace('\\', "\\\\");
    let parts = SECRETS
        .iter()
        .flat_map(|(_, part)| SPELLINGS.map(|spelling| spelling.of(part)));
    let mut parts = parts
        .flat_map(|part| [escaped(&escaped(&part)), escaped(&part), part])
        .chain([CARD.to_string()]);
    parts.find(|part| bytes.contains(part) || shown.contains(part))
}

proptest! {
    #[test]
    fn spans_of_the_program_and_encoded_spans_become_the_same(
        spans in some_spans(),
        of_resource in some_attributes(),
        rules in some_rules(),
        names in any::<bool>(),
        of_patterns in option::of(action()),
    ) {
        let mut rules = rules;
        if let Some(action) = of_patterns {
            let rule = RedactRule::new().action(action);
            rules.push(PATTERNS.into_iter().fold(rule, RedactRule::pattern));
        }
        let has_patterns = of_patterns.is_some();
        let names = names || has_patterns;

        let by_span = redaction(&rules, names);
        let (mut after, mut resource_after) = (spans.clone(), of_resource.clone());
        for after in &mut after {
            span(&by_span, &AttributeNames::HONEYHIVE, after);
        }
        attributes(&by_span, &mut resource_after);
        let of_spans = encoded(&after, &resource_after, Protocol::HttpProtobuf);

        let by_bytes = redaction(&rules, names);
        let mut payload = Payload::check(encoded(&spans, &of_resource, Protocol::HttpProtobuf)).expect("a valid request");
        payload.redact(&by_bytes);

        let (found, expected) = (normal(&of_spans), normal(payload.bytes()));
        let shown = format!("{found:?}");
        // NaN differs from itself, so texts are compared.
        prop_assert_eq!(&shown, &format!("{expected:?}"));
        prop_assert!(found.encode_to_vec() == expected.encode_to_vec());
        // A scope counts once in encoded spans, and here with each of its spans.
        if spans.len() == 1 {
            prop_assert_eq!(by_span.counts(), by_bytes.counts());
        }
        if has_patterns {
            let json = encoded(&after, &resource_after, Protocol::HttpJson);
            for bytes in [&of_spans, payload.bytes(), &json] {
                prop_assert_eq!(left(bytes, &shown), None, "{:?} becomes {}", spans, shown);
            }
        }
    }
}
