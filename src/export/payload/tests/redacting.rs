//! Redaction of requests, compared with a model on decoded messages.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use proptest::prelude::*;
use proptest::sample::subsequence;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::generated::{KEYS, encoded, messages};
use super::*;
use crate::config::{Pattern, RedactAction, RedactRule, ResolvedRedact};
use crate::export::payload::redact::model::redact;
use crate::policy::redaction::{REDACTED, Redaction};
use crate::selector::Selector;

fn redaction(rules: Vec<RedactRule>) -> std::sync::Arc<Redaction> {
    let rules = rules.into_iter().enumerate();
    let rules = ResolvedRedact {
        names: true,
        rules: rules.map(|(index, rule)| (format!("rule {index}"), rule)).collect(),
        ..ResolvedRedact::default()
    };
    let selector = Selector::tenant("acme").try_into().expect("a tenant");
    Redaction::new(&selector, &rules, Vec::new()).expect("rules")
}

fn redacted(request: impl Into<Bytes>, redaction: &Redaction) -> Payload {
    let mut redacted = payload(request).with_gzip(Bytes::from_static(b"gzip"));
    redacted.redact(redaction);
    redacted
}

/// Part of each secret, in letters that no pattern needs.
const TOKEN: &str = "qzxsecretxzq";
/// A secret that is a number.
const CARD: i64 = 4_111_111_111_111_111;

/// A text with a secret, in a spelling that receivers may decode.
fn secret(random: &mut StdRng) -> String {
    let mail = format!("{TOKEN}@example.com");
    let text = match random.random_range(0..9) {
        0 => mail,
        1 => mail.to_uppercase(),
        2 => mail.replace('@', "%40"),
        3 => format!("https://example.com/?user={}", mail.replace('@', "%40")),
        4 => json!({ "user": [{ "mail": mail }] }).to_string(),
        5 => json!({ "user": mail }).to_string().replace('@', "\\u0040"),
        6 => json!({ "text": json!({ "mail": mail }).to_string() }).to_string(),
        7 => json!([mail, 1, [mail]]).to_string(),
        _ => format!("name <{mail}>, and {mail}"),
    };
    match random.random_range(0..3) {
        0 => text,
        // JSON with a text around it is no JSON.
        1 if !text.starts_with(['{', '[']) => format!("\u{e9} before {text} after"),
        _ => format!(" {text}\n"),
    }
}

/// Puts secrets into some texts, bytes and numbers of a request.
fn plant(request: &mut Request, random: &mut StdRng) {
    let replace = |random: &mut StdRng, text: &mut String| {
        if random.random_ratio(1, 4) {
            *text = secret(random);
        }
    };
    for block in &mut request.resource_spans {
        let resources = block.resource.iter_mut().flat_map(|resource| &mut resource.attributes);
        resources.for_each(|attribute| plant_in(attribute, random));
        for scope in &mut block.scope_spans {
            let scopes = scope.scope.iter_mut().flat_map(|scope| &mut scope.attributes);
            scopes.for_each(|attribute| plant_in(attribute, random));
            for span in &mut scope.spans {
                replace(random, &mut span.name);
                span.attributes
                    .iter_mut()
                    .for_each(|attribute| plant_in(attribute, random));
                for event in &mut span.events {
                    replace(random, &mut event.name);
                    event
                        .attributes
                        .iter_mut()
                        .for_each(|attribute| plant_in(attribute, random));
                }
                let links = span.links.iter_mut().flat_map(|link| &mut link.attributes);
                links.for_each(|attribute| plant_in(attribute, random));
                span.status
                    .iter_mut()
                    .for_each(|status| replace(random, &mut status.message));
            }
        }
    }
}

fn plant_in(attribute: &mut Attribute, random: &mut StdRng) {
    if let Some(value) = &mut attribute.value {
        plant_in_value(value, random);
    }
}

fn plant_in_value(value: &mut AnyValue, random: &mut StdRng) {
    match &mut value.value {
        Some(Kind::ArrayValue(list)) => list.values.iter_mut().for_each(|item| plant_in_value(item, random)),
        Some(Kind::KvlistValue(map)) => map.values.iter_mut().for_each(|entry| plant_in(entry, random)),
        _ if random.random_ratio(3, 4) => {}
        Some(Kind::BytesValue(bytes)) => *bytes = secret(random).into_bytes(),
        Some(Kind::IntValue(value)) => *value = CARD,
        _ => value.value = Some(Kind::StringValue(secret(random))),
    }
}

/// Rules for keys of generated requests.
fn rules() -> impl Strategy<Value = Vec<RedactRule>> {
    let keys = subsequence(
        [&KEYS[..], &["a", "session.tenant.id", "*.0", "tenant.*"]].concat(),
        0..=4,
    );
    let rule = (keys, action()).prop_map(|(keys, action)| {
        let rule = RedactRule::new().attribute("absent").action(action);
        keys.into_iter().fold(rule, RedactRule::attribute)
    });
    prop::collection::vec(rule, 1..4)
}

fn action() -> impl Strategy<Value = RedactAction> {
    prop::sample::select(vec![RedactAction::Replace, RedactAction::Drop, RedactAction::Hash])
}

fn has_token(bytes: &[u8]) -> bool {
    let token = TOKEN.as_bytes();
    bytes
        .windows(token.len())
        .any(|window| window.eq_ignore_ascii_case(token))
}

proptest! {
    #[test]
    fn secrets_are_removed_and_nothing_else_is_changed(
        request in messages(),
        seed in any::<u64>(),
        (rules, action) in (rules(), action()),
        has_patterns in any::<bool>(),
    ) {
        let mut before = request;
        plant(&mut before, &mut StdRng::seed_from_u64(seed));
        let mut rules = rules;
        if has_patterns {
            let patterns = RedactRule::new().pattern(Pattern::Email).pattern(Pattern::Card);
            rules.push(patterns.action(action));
        }
        let redaction = redaction(rules);
        let request = encoded(&before, false, seed);
        let mut expected = before.clone();
        redact(&mut expected, &redaction);
        let after = redacted(request.clone(), &redaction);
        let found = decoded(after.bytes());
        // NaN differs from itself, so encodings are compared.
        prop_assert_eq!(found.encode_to_vec(), expected.encode_to_vec());
        prop_assert_eq!(payload(after.bytes().clone()).spans(), spans_of(&before).count());
        prop_assert_eq!(unknown_fields(after.bytes()), unknown_fields(&request));
        let is_changed = found.encode_to_vec() != before.encode_to_vec();
        prop_assert_eq!((after.gzip().is_some(), after.bytes() == &request), (!is_changed, !is_changed));
        let spans_before = spans_of(&before).zip(spans(&request));
        let spans_after = spans_of(&expected).zip(spans(after.bytes()));
        for ((span, before), (expected, after)) in spans_before.zip(spans_after) {
            prop_assert_eq!((&span.trace_id, &span.span_id), (&expected.trace_id, &expected.span_id));
            if span.encode_to_vec() == expected.encode_to_vec() {
                prop_assert_eq!(before.span, after.span, "a span without a match keeps its bytes");
            }
        }
        if has_patterns {
            prop_assert!(!has_token(after.bytes()), "{found:?}");
            prop_assert!(!format!("{found:?}").contains(&CARD.to_string()), "{found:?}");
        }
    }

    #[test]
    fn a_request_with_unknown_fields_in_values_stays_valid(request in messages(), seed in any::<u64>(), rules in rules()) {
        let mut before = request;
        plant(&mut before, &mut StdRng::seed_from_u64(seed));
        let patterns = RedactRule::new().pattern(Pattern::Email);
        let redaction = redaction([rules, vec![patterns]].concat());
        let request = encoded(&before, true, seed | 1);
        let after = redacted(request.clone(), &redaction);
        prop_assert_eq!(payload(after.bytes().clone()).spans(), spans_of(&before).count());
        prop_assert_eq!(unknown_fields(after.bytes()), unknown_fields(&request));
        prop_assert!(!has_token(after.bytes()));
    }

    #[test]
    fn a_replacement_is_redacted_to_itself(request in messages(), seed in any::<u64>(), keys in rules()) {
        let mut request = request;
        plant(&mut request, &mut StdRng::seed_from_u64(seed));
        let mut rules: Vec<RedactRule> = keys.into_iter().map(|rule| rule.action(RedactAction::Replace)).collect();
        rules.push(RedactRule::new().pattern(Pattern::Email).pattern(Pattern::Card));
        let redaction = redaction(rules);
        let once = redacted(encoded(&request, true, seed), &redaction);
        let twice = redacted(once.bytes().clone(), &redaction);
        prop_assert_eq!(once.bytes(), twice.bytes());
    }
}

const TRACE: [u8; 16] = [7; 16];
const SPAN: [u8; 8] = [8; 8];

/// Returns a request of one span with these fields.
fn request_with(span: impl AsRef<[u8]>) -> Vec<u8> {
    let ids = [field(1, TRACE), field(2, SPAN)].concat();
    field(1, field(2, field(2, [&ids, span.as_ref()].concat())))
}

/// Returns an attribute of a span with this content as its value.
fn attribute(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    field(9, [field(1, key), field(2, value)].concat())
}

fn drop_of(key: &str) -> RedactRule {
    RedactRule::new().attribute(key).action(RedactAction::Drop)
}

/// Returns a value in maps around it, each with this key.
fn nested(levels: usize, key: &str, value: Vec<u8>) -> Vec<u8> {
    (1..levels).fold(value, |inner, _| {
        field(6, field(1, [field(1, key), field(2, inner)].concat()))
    })
}

#[test]
fn an_attribute_is_found_in_each_spelling() {
    let long = |number: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).expect("short");
        [&[number << 3 | 2, length | 0x80, 0], value].concat()
    };
    let (key, value) = (field(1, "password"), field(2, field(1, "secret")));
    let spellings = [
        [key.clone(), value.clone()].concat(),
        [value.clone(), key.clone()].concat(),
        [long(1, b"password"), long(2, &long(1, b"secret"))].concat(),
        [key.clone(), field(17, "secret"), value.clone(), field(4, "secret")].concat(),
        [key.clone(), field(2, [field(1, "secret"), field(9, "secret")].concat())].concat(),
        [key.clone(), field(2, field(9, "secret"))].concat(),
        [key.clone(), field(2, field(7, "secret"))].concat(),
        [key.clone(), field(2, field(5, field(1, field(1, "secret"))))].concat(),
        [key.clone(), field(2, nested(32, "secret", field(1, "secret")))].concat(),
    ];
    let redaction = redaction(vec![RedactRule::new().attribute("password")]);
    for spelling in spellings {
        let twice = [
            field(9, &spelling),
            attribute("kept", field(1, "kept")),
            field(9, &spelling),
        ]
        .concat();
        let after = redacted(request_with(twice), &redaction);
        assert!(
            !after.bytes().windows(6).any(|bytes| bytes == b"secret"),
            "{spelling:?}"
        );
        let found = decoded(after.bytes());
        let values: Vec<_> = spans_of(&found).flat_map(|span| &span.attributes).collect();
        let text = |text: &str| Some(Kind::StringValue(text.to_owned()));
        assert_eq!(values.len(), 3);
        for (attribute, expected) in values.iter().zip([REDACTED, "kept", REDACTED]) {
            assert_eq!(
                attribute.value.clone().expect("a value").value,
                text(expected),
                "{spelling:?}"
            );
        }
        payload(after.bytes().clone());
    }
}

#[test]
fn an_entry_of_a_map_is_found_by_its_path_and_by_its_key_at_every_level() {
    let redaction = redaction(vec![drop_of("password"), drop_of("a.a.token")]);
    for level in 2..=32 {
        let map = nested(level, "password", field(1, "secret"));
        let after = redacted(request_with(attribute("user", map)), &redaction);
        assert!(
            !after.bytes().windows(6).any(|bytes| bytes == b"secret"),
            "level {level}"
        );
    }
    let token = field(6, field(1, [field(1, "token"), field(2, field(1, "secret"))].concat()));
    for (levels, is_found) in [(1, false), (2, true), (3, false)] {
        let after = redacted(
            request_with(attribute("a", nested(levels, "a", token.clone()))),
            &redaction,
        );
        assert_eq!(
            !after.bytes().windows(6).any(|bytes| bytes == b"secret"),
            is_found,
            "{levels} levels"
        );
    }
    // So are the members of data that was flattened, which keys of attributes name.
    let key = "honeyhive_inputs.user.password.0";
    let after = redacted(request_with(attribute(key, field(1, "secret"))), &redaction);
    assert!(!after.bytes().windows(6).any(|bytes| bytes == b"secret"));
    // Any other key with dots is one key.
    let after = redacted(request_with(attribute("user.password", field(1, "kept"))), &redaction);
    assert!(after.gzip().is_some());
}

#[test]
fn an_entry_whose_path_is_too_long_is_removed() {
    let redaction = redaction(vec![drop_of("absent")]);
    let entry = |key: String| field(6, field(1, [field(1, key), field(2, field(1, "value"))].concat()));
    for (length, stays) in [(4096 - 2, true), (4096 - 1, false)] {
        let request = request_with(attribute("k", entry("x".repeat(length))));
        let after = redacted(request, &redaction);
        assert_eq!(
            after.bytes().windows(5).any(|bytes| bytes == b"value"),
            stays,
            "{length}"
        );
        payload(after.bytes().clone());
    }
    let long = request_with(attribute(&"x".repeat(4097), field(1, "value")));
    assert!(redacted(long, &redaction).gzip().is_none());
    assert_eq!(redaction.counts().1, 2);
}

#[test]
fn a_resource_that_would_be_too_large_is_removed() {
    let redaction = redaction(vec![RedactRule::new().attribute("k")]);
    let attributes = |count: usize| field(1, [field(1, "k"), field(2, field(1, ""))].concat()).repeat(count);
    let ids = [field(1, TRACE), field(2, SPAN)].concat();
    let request = |count: usize| {
        let scope = field(
            2,
            [
                field(1, field(3, [field(1, "k"), field(2, field(1, ""))].concat())),
                field(2, &ids),
            ]
            .concat(),
        );
        field(1, [field(1, attributes(count)), scope].concat())
    };
    for (count, stays) in [(1000, true), (20_000, false)] {
        let after = redacted(request(count), &redaction);
        let found = decoded(after.bytes());
        let block = &found.resource_spans[0];
        assert_eq!(
            block.resource.as_ref().map_or(0, |resource| resource.attributes.len()),
            if stays { count } else { 0 }
        );
        let scope = block.scope_spans[0].scope.as_ref().expect("a scope");
        assert_eq!(
            scope.attributes[0].value,
            Some(AnyValue {
                value: Some(Kind::StringValue(REDACTED.to_owned()))
            })
        );
        payload(after.bytes().clone());
    }
}

/// A request of its name with so many values.
type Counted<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<u8>);

#[test]
fn changes_that_take_too_much_memory_are_refused() {
    const MAX: usize = 1 << 20;
    let redaction = redaction(vec![RedactRule::new().regex("7").action(RedactAction::Hash)]);
    let digit = field(1, [0x18, 7]);
    let event = |count: usize| field(11, field(2, "7")).repeat(count);
    let key_value = [field(1, "k"), field(2, [0x18, 7])].concat();
    let resource = |count: usize| {
        let span = field(2, field(2, [field(1, TRACE), field(2, SPAN)].concat()));
        field(1, [field(1, field(1, &key_value).repeat(count)), span].concat())
    };
    let requests: [Counted<'_>; 6] = [
        ("list", &|count| {
            request_with(attribute("k", field(5, digit.repeat(count))))
        }),
        ("map", &|count| {
            request_with(attribute("k", field(6, field(1, &key_value).repeat(count))))
        }),
        ("attributes", &|count| request_with(field(9, &key_value).repeat(count))),
        ("events", &|count| request_with(event(count))),
        ("spans", &|count| request_with(field(5, "7")).repeat(count)),
        ("resource", &resource),
    ];
    for (name, request) in requests {
        for (count, fits) in [(1000, true), (20_000, false)] {
            let mut payload = payload(request(count));
            let before = payload.bytes().clone();
            let mut outcome = Ok(());
            let spent = allocation_counter::measure(|| outcome = payload.redact_within(&redaction, MAX));
            // The list of changes may have grown just before, and the copy at the end has them too.
            let most = 6 * MAX as u64 + before.len() as u64;
            assert!(spent.bytes_max < most, "{name}: {} bytes", spent.bytes_max);
            assert_eq!(outcome.is_ok(), fits, "{name}: {count}");
            assert_eq!(payload.bytes() == &before, !fits, "{name}: {count}");
        }
    }
    // What is only removed takes no more memory, however much it is.
    let redaction = super::redacting::redaction(vec![drop_of("k")]);
    let mut payload = payload(request_with(field(9, &key_value).repeat(100_000)));
    assert_eq!(payload.redact_within(&redaction, MAX), Ok(()));
    // A large text that replaces a large one is no change of this kind.
    let redaction = super::redacting::redaction(vec![RedactRule::new().regex("7")]);
    let text = format!("{}7", "x".repeat(4 * MAX));
    let mut payload = super::payload(request_with(attribute("k", field(1, text))));
    assert_eq!(payload.redact_within(&redaction, MAX), Ok(()));
}

#[test]
fn a_request_without_a_match_allocates_nothing_for_its_spans() {
    let redaction = redaction(vec![drop_of("absent")]);
    let attributes = [
        attribute("a", field(1, "text")),
        attribute("b", [0x18, 7]),
        attribute("c", nested(3, "d", field(1, "text"))),
    ];
    let event = field(
        11,
        [
            field(2, "event"),
            field(3, [field(1, "e"), field(2, field(1, "text"))].concat()),
        ]
        .concat(),
    );
    let span = request_with([&attributes.concat()[..], &event, &field(15, field(2, "message"))].concat());
    let spent = |count: usize| {
        let mut many = payload(span.repeat(count));
        many.redact(&redaction);
        allocation_counter::measure(|| many.redact(&redaction)).count_total
    };
    assert_eq!(spent(1), spent(200));
}
