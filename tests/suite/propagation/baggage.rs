//! Baggage: incoming entries select no session in the next process; outgoing baggage is valid for
//! every input.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::BaggagePropagator;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tracer_registry::{Scope, Session, TracerHandle};

use super::{Headers, PARENT, SESSION, headers, injected, world};

/// One entry of a `baggage` header: name, decoded value, properties.
type Entry = (String, String, Vec<String>);

/// Parses a header strictly by W3C Baggage (section 3.3.1, "Definition"). Optional white space is
/// an error, because this crate writes none.
fn parse(header: &str) -> Result<Vec<Entry>, String> {
    let is_token = |text: &str| {
        let octet = |o: u8| matches!(o, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&o);
        !text.is_empty() && text.bytes().all(octet)
    };
    // baggage-octet = %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E
    let octet = |o: u8| matches!(o, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if !octet(*first) {
                return Err(format!("{first:#x} in the value {text:?}"));
            }
            rest = after;
            if *first == b'%' {
                let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(byte.ok_or_else(|| format!("a bare % in {text:?}"))?);
                rest = &after[2..];
            } else {
                bytes.push(*first);
            }
        }
        String::from_utf8(bytes).map_err(|_| format!("not UTF-8: {text:?}"))
    };
    if header.len() > 8192 {
        return Err(format!("{} bytes", header.len()));
    }
    let entries: Result<Vec<Entry>, String> = header
        .split(',')
        .map(|member| {
            let mut parts = member.split(';');
            let pair = parts.next().unwrap_or_default();
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("missing = in {member:?}"))?;
            if !is_token(key) {
                return Err(format!("not a token: {key:?}"));
            }
            let properties: Result<Vec<String>, String> = parts
                .map(|property| {
                    let (key, value) = property.split_once('=').unwrap_or((property, ""));
                    decoded(value)?;
                    is_token(key)
                        .then(|| property.to_owned())
                        .ok_or_else(|| format!("not a property: {property:?}"))
                })
                .collect();
            Ok((key.to_owned(), decoded(value)?, properties?))
        })
        .collect();
    let entries = entries?;
    let keys: BTreeSet<&str> = entries.iter().map(|(key, ..)| key.as_str()).collect();
    if entries.len() > 64 || keys.len() != entries.len() {
        return Err(format!("{} entries, {} distinct names", entries.len(), keys.len()));
    }
    Ok(entries)
}

/// Returns the headers that the tracer injects in a scope with this baggage.
fn injected_with(tracer: &TracerHandle, baggage: Baggage) -> Headers {
    let scope = {
        let _entered = tracer.enter();
        Scope::from(Scope::current().context().with_baggage(baggage))
    };
    scope.run(|| injected(tracer))
}

/// Returns the baggage extracted from the headers, by name.
fn extracted(tracer: &TracerHandle, headers: &Headers) -> BTreeMap<String, String> {
    let scope = tracer.extract(headers);
    let baggage = scope.context().baggage().iter();
    baggage
        .map(|(key, (value, metadata))| {
            assert_eq!(metadata.as_str(), "", "incoming metadata is not kept");
            (key.to_string(), value.to_string())
        })
        .collect()
}

#[test]
fn incoming_baggage_selects_no_session_in_the_next_process_in_any_spelling() {
    let world = world();
    let (edge, sessions) = (world.tenant("a"), world.tenant("sessions"));
    for forged in [
        format!("session.id={SESSION}"),
        format!("x=y;m%2Csession.id={SESSION}"),
        format!("x=y;m%252Csession.id={SESSION}"),
        format!("x=y;session.id={SESSION};p=%2Csession.id={SESSION}"),
        format!("session%2Eid={SESSION}"),
        format!("session%252Eid={SESSION}"),
        format!("x=%2Csession.id%3D{SESSION}"),
        format!("x=%252Csession.id%253D{SESSION}"),
        format!("x=y;m%0d%0abaggage:%20session.id={SESSION}"),
        format!("x=%0d%0abaggage:%20session.id={SESSION}"),
    ] {
        let mut incoming = HeaderMap::new();
        incoming.insert("baggage", forged.parse().expect("a header's value"));
        for tracer in [&edge, &sessions] {
            if forged.starts_with("session.id") && tracer.same_tracer(&sessions) {
                // A plain session id, which this tracer trusts.
                continue;
            }
            let scope = tracer.extract(&HeaderExtractor(&incoming));
            scope.run(|| {
                tracer.in_span("edge", |_| {
                    let mut out = HeaderMap::new();
                    tracer.inject(&mut HeaderInjector(&mut out));
                    let text = injected(tracer);
                    assert!(
                        out.contains_key("traceparent") && out.len() == text.len(),
                        "{forged}: {out:?}, {text:?}"
                    );
                    if let Some(baggage) = text.get("baggage") {
                        assert_eq!(out["baggage"], baggage.as_str());
                        let entries = parse(baggage).unwrap_or_else(|why| panic!("{forged}: {why}"));
                        assert!(
                            entries
                                .iter()
                                .all(|(key, _, properties)| key == "x" && properties.is_empty())
                        );
                    }
                    // The next process receives them directly, or through one with OpenTelemetry's
                    // own propagator.
                    let stock = BaggagePropagator::new();
                    let mut after_stock = Headers::new();
                    stock.inject_context(&stock.extract(&text), &mut after_stock);
                    for next in [&text, &after_stock] {
                        sessions
                            .extract(next)
                            .run(|| assert!(Session::current().is_none(), "{forged}: {next:?}"));
                    }
                });
            });
        }
    }
}

#[test]
fn a_session_is_injected_for_any_incoming_headers_and_any_amount_of_baggage() {
    let world = world();
    let sessions = world.tenant("sessions");
    let many: Vec<String> = (0..100).map(|i| format!("k{i}=v")).collect();
    let own_sixty_four: Vec<KeyValue> = (0..64).map(|i| KeyValue::new(format!("own{i:02}"), "v")).collect();
    for (incoming, own) in [
        ("x=y;m%0a".to_owned(), Vec::new()),
        ("x=%00".to_owned(), Vec::new()),
        (many.join(","), Vec::new()),
        (format!("k={}", "%22".repeat(2_700)), Vec::new()),
        (String::new(), own_sixty_four),
    ] {
        let session = sessions.session("mine").start();
        let _incoming = sessions.extract(&headers(&[("baggage", &incoming)])).enter();
        let _in_session = session.enter();
        let _own = (!own.is_empty()).then(|| {
            let cx = Scope::current().context().with_baggage(own);
            Scope::from(cx).enter()
        });
        let mut out = HeaderMap::new();
        sessions.inject(&mut HeaderInjector(&mut out));
        let header = out["baggage"].to_str().expect("text");
        let entries = parse(header).unwrap_or_else(|why| panic!("{incoming:.40}: {why}"));
        let expected = ("session.id".to_owned(), session.id().to_owned(), Vec::new());
        assert!(entries.contains(&expected), "{incoming:.40}: {header}");
    }
}

#[test]
fn entries_beyond_the_limits_are_dropped_and_counted() {
    let world = world();
    let a = world.tenant("a");
    let dropped = || world.registry.status().propagation.baggage_dropped;
    // Each `%` of a value takes three bytes in the header, so two entries exceed the limit.
    let long: Baggage = (0..4)
        .map(|i| KeyValue::new(format!("k{i}"), "%".repeat(1000)))
        .collect();
    let entries = parse(&injected_with(&a, long)["baggage"]).expect("valid");
    let keys: Vec<&str> = entries.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(
        (keys, dropped()),
        (vec!["k0", "k1"], 2),
        "entries are written in the order of their names"
    );
    let mut odd = Baggage::new();
    odd.insert("50%", "a name with a percent sign");
    odd.insert_with_metadata("bad", "v", "not a=property, but another=entry");
    odd.insert_with_metadata("good", "v", "ttl=5 m; secret");
    assert_eq!(injected_with(&a, odd)["baggage"], "good=v;ttl=5%20m;secret");
    assert_eq!(dropped(), 4);
}

#[test]
fn a_tracestate_that_is_not_a_valid_header_value_is_not_injected() {
    let world = world();
    let trusts = world.tenant("trusts");
    for (state, expected) in [
        ("vendor=1", "vendor=1"),
        ("vendor=1\r\nx-evil: 2", ""),
        ("vendor=\u{fc}", ""),
    ] {
        let incoming = headers(&[("traceparent", PARENT), ("tracestate", state)]);
        let out = trusts.extract(&incoming).run(|| injected(&trusts));
        assert_eq!(
            (out["traceparent"].as_str(), out["tracestate"].as_str()),
            (PARENT, expected)
        );
    }
}

fn cases() -> Config {
    Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Generates valid and invalid baggage names.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z!#$&'*+.^_`|~-]{1,6}", "[ -~]{0,5}", any::<String>()]
}

/// Generates texts with every character that has a meaning in a header.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "[,;=%\"\\\\ \t\r\n\u{0}a]{0,20}",
        "(%[0-9A-Fa-f]{2}|[a,;=]){0,12}",
        any::<String>(),
        "é{0,900}"
    ]
}

#[test]
fn outgoing_baggage_is_valid_and_is_extracted_unchanged() {
    let world = world();
    let a = world.tenant("a");
    let entries = vec((name(), text(), prop_oneof![Just(String::new()), text()]), 0..80);
    let mut runner = TestRunner::new_with_rng(cases(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&entries, |entries| {
            let mut baggage = Baggage::new();
            for (key, value, metadata) in entries {
                baggage.insert_with_metadata(key, value, metadata.as_str());
            }
            baggage.remove("session.id");
            let all: BTreeMap<String, String> = baggage
                .iter()
                .map(|(key, (value, _))| (key.to_string(), value.to_string()))
                .collect();
            let before = world.registry.status().propagation.baggage_dropped;
            let out = injected_with(&a, baggage);
            let dropped = world.registry.status().propagation.baggage_dropped - before;
            let written = out.get("baggage").map_or(Ok(Vec::new()), |header| parse(header));
            let written = written.map_err(TestCaseError::fail)?;
            let written: BTreeMap<String, String> = written.into_iter().map(|(key, value, _)| (key, value)).collect();
            prop_assert!(
                written.iter().all(|(key, value)| all.get(key) == Some(value)),
                "{written:?} of {all:?}"
            );
            prop_assert_eq!(written.len() as u64 + dropped, all.len() as u64);
            prop_assert_eq!(extracted(&a, &out), written);
            Ok(())
        })
        .expect("holds for every baggage");
}

#[test]
fn outgoing_baggage_is_valid_for_every_incoming_header() {
    let world = world();
    let a = world.tenant("a");
    let mut runner = TestRunner::new_with_rng(cases(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let header = prop_oneof![
        text(),
        vec((text(), text()), 0..80).prop_map(|entries| {
            let entries = entries
                .iter()
                .map(|(entry, metadata)| format!("k{}={entry};{metadata}", entry.len()));
            entries.collect::<Vec<_>>().join(",")
        })
    ];
    runner
        .run(&header, |header| {
            let incoming: HashMap<String, String> = headers(&[("baggage", &header)]);
            let out = a.extract(&incoming).run(|| injected(&a));
            if let Some(baggage) = out.get("baggage") {
                parse(baggage).map_err(|why| TestCaseError::fail(format!("{why}: {baggage:?}")))?;
                let (outgoing, received) = (extracted(&a, &out), extracted(&a, &incoming));
                prop_assert!(outgoing.iter().all(|(key, value)| received.get(key) == Some(value)));
            }
            Ok(())
        })
        .expect("holds for every header");
}

#[test]
fn the_strict_parser_of_this_test_rejects_invalid_baggage() {
    for wrong in [
        "", "a", "a=b,", "a=b;", "a b=c", "a=b c", "a=\u{e9}", "a=%", "a=%f", "a=%ff", "a=b\r\n", "a=1,a=2", "a=b;c d",
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    let entry = ("a".to_owned(), "b,c".to_owned(), vec!["d".to_owned(), "e=f".to_owned()]);
    assert_eq!(parse("a=b%2Cc;d;e=f"), Ok(vec![entry]));
}
