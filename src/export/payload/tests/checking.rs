//! What is accepted, counted and refused.

use opentelemetry_proto::tonic::common::v1::KeyValue as Attribute;
use proptest::prelude::*;

use super::generated::request;
use super::*;
use crate::export::payload::check::{MAX_EMPTY_BLOCKS, MAX_OWN_BYTES, MAX_VALUE_LEVELS, plain_key};

const TRACE: [u8; 16] = [7; 16];
const SPAN: [u8; 8] = [8; 8];

fn ids() -> Vec<u8> {
    [field(1, TRACE), field(2, SPAN)].concat()
}

/// Returns a request with a good span and one with these fields.
fn request_with(span: impl AsRef<[u8]>) -> Vec<u8> {
    field(1, field(2, [field(2, ids()), field(2, span)].concat()))
}

fn error_of(request: impl Into<Bytes>) -> String {
    Payload::check(request.into())
        .expect_err("a request that breaks a rule")
        .to_string()
}

proptest! {
    #[test]
    fn a_valid_request_is_accepted_and_counted(request in request()) {
        let count = spans_of(&decoded(&request)).count();
        prop_assert_eq!(payload(request).spans(), count);
    }

    #[test]
    fn damaged_requests_are_refused_or_still_decode(
        request in request(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        truncate in any::<bool>(),
    ) {
        let mut request = request;
        for (index, byte) in damage {
            if truncate || request.is_empty() {
                request.truncate(index.index(request.len() + 1));
            } else {
                let at = index.index(request.len());
                request[at] ^= byte;
            }
        }
        let damaged = Bytes::from(request);
        if let Ok(payload) = Payload::check(damaged.clone()) {
            prop_assert_eq!(payload.spans(), spans_of(&decoded(&damaged)).count());
            prop_assert_eq!(spans(&damaged).len(), payload.spans());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_decode(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(payload) = Payload::check(bytes.clone().into()) {
            prop_assert_eq!(payload.spans(), spans_of(&decoded(&bytes)).count());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_plain_attribute_is_valid(
        bytes in proptest::collection::vec(proptest::sample::select(&b"\x0a\x12\x10\x18\x21\x00\x01\x02\x03\x04a\x80\xff"[..]), 0..9),
        key in 0..3_usize,
        is_whole in any::<bool>(),
    ) {
        // Half of the attributes have the right lengths, so that many are plain.
        let value = [&[0x12, u8::try_from(bytes.len()).expect("short")], &bytes[..]].concat();
        let attribute = if is_whole { [field(1, "k".repeat(key)), value].concat() } else { bytes };
        prop_assert!(plain_key(&attribute).is_none() || Attribute::decode(&attribute[..]).is_ok_and(|decoded| decoded.value.is_some()));
    }
}

#[test]
fn a_key_that_chooses_a_project_is_noticed_in_any_encoding() {
    let value = field(2, field(1, "v"));
    let long_length = |number: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).expect("short");
        [&[number << 3 | 2, length | 0x80, 0], value].concat()
    };
    for (attribute, expected) in [
        ([field(1, "wandb.project"), value.clone()].concat(), true),
        ([value.clone(), field(1, "wandb.project")].concat(), true),
        (field(1, "wandb.project"), true),
        ([long_length(1, b"wandb.project"), value.clone()].concat(), true),
        (
            [field(1, "wandb.project"), long_length(2, &field(1, "v"))].concat(),
            true,
        ),
        (
            [field(17, "x"), field(1, "wandb.project"), value.clone()].concat(),
            true,
        ),
        ([field(1, "wandb.projects"), value.clone()].concat(), false),
        ([field(1, "key"), field(2, field(1, "wandb.project"))].concat(), false),
    ] {
        let on_span = request_with([ids(), field(9, &attribute)].concat());
        let on_resource = field(1, field(1, field(1, &attribute)));
        let on_scope = field(1, field(2, field(1, field(3, &attribute))));
        for request in [on_span, on_resource, on_scope] {
            assert_eq!(payload(request).has_project_attribute, expected, "{attribute:?}");
        }
    }
}

#[test]
fn common_attributes_are_plain() {
    for (value, expected) in [
        (field(1, "text"), true),
        (field(1, ""), true),
        (field(1, "x".repeat(125)), true),
        (field(1, "x".repeat(126)), false),
        (field(1, "x".repeat(128)), false),
        (field(1, "ä"), false),
        (vec![0x10, 1], true),
        (vec![0x18, 127], true),
        (vec![0x18, 0xff, 1], true),
        ([&[0x21][..], &[0xff; 8]].concat(), true),
        (vec![], false),
        (field(5, []), false),
    ] {
        let attribute = [field(1, "key"), field(2, &value)].concat();
        assert_eq!(plain_key(&attribute), expected.then_some(&b"key"[..]), "{attribute:?}");
        assert_eq!(payload(request_with([ids(), field(9, &attribute)].concat())).spans(), 2);
        let longer = [attribute, field(17, [])].concat();
        assert!(plain_key(&longer).is_none());
        assert!(plain_key(&[field(1, "ä"), field(2, &value)].concat()).is_none());
    }
}

#[test]
fn a_request_without_spans_is_valid() {
    for request in [vec![], field(1, []), field(1, field(2, []))] {
        assert_eq!(payload(request).spans(), 0);
    }
}

fn assert_error_of_span(span: impl AsRef<[u8]>, expected: &str) {
    let place = "resource_spans[0].scope_spans[0].spans[1]";
    assert_eq!(error_of(request_with(span)), format!("{place}.{expected}"));
}

/// Checks the error of a span that has these fields besides its ids.
fn assert_error_of_fields(fields: impl AsRef<[u8]>, expected: &str) {
    assert_error_of_span([&ids(), fields.as_ref()].concat(), expected);
}

#[test]
fn a_wrong_id_is_refused() {
    for (span, expected) in [
        (
            [field(1, [7; 15]), field(2, SPAN)].concat(),
            "trace_id: expected 16 bytes, found 15",
        ),
        (
            [field(1, [0; 16]), field(2, SPAN)].concat(),
            "trace_id: an id is not all zeros",
        ),
        (field(2, SPAN), "trace_id: expected 16 bytes, found 0"),
        (field(1, TRACE), "span_id: expected 8 bytes, found 0"),
        (
            [field(1, TRACE), field(2, [0; 8])].concat(),
            "span_id: an id is not all zeros",
        ),
        (
            [ids(), field(4, [1; 7])].concat(),
            "parent_span_id: expected 8 bytes, found 7",
        ),
        (
            [ids(), field(13, ids()), field(13, field(1, [1; 17]))].concat(),
            "links[1].trace_id: expected 16 bytes, found 17",
        ),
    ] {
        assert_error_of_span(span, expected);
    }
    for link in [vec![], field(1, [0; 16]), field(2, [0; 8]), field(1, TRACE)] {
        assert_eq!(payload(request_with([ids(), field(13, link)].concat())).spans(), 2);
    }
    for parent in [&[][..], &[0; 8], &SPAN] {
        assert_eq!(payload(request_with([ids(), field(4, parent)].concat())).spans(), 2);
    }
}

#[test]
fn a_repeated_singular_field_is_refused() {
    assert_error_of_fields(ids(), "trace_id: set more than once");
    for (fields, expected) in [
        (vec![0x30, 1], "kind"),
        (field(5, "name"), "name"),
        (field(15, []), "status"),
        (vec![0x85, 1, 0, 0, 0, 0], "flags"),
        (vec![0x39, 0, 0, 0, 0, 0, 0, 0, 0], "start_time_unix_nano"),
    ] {
        assert_error_of_fields(fields.repeat(2), &format!("{expected}: set more than once"));
    }
    let attribute = |attribute: Vec<u8>| [field(9, []), field(9, attribute)].concat();
    for (fields, expected) in [
        (attribute(field(1, "key").repeat(2)), "attributes[1].key"),
        (attribute(field(2, []).repeat(2)), "attributes[1].value"),
        (
            attribute(field(2, [field(1, "a"), vec![0x10, 1]].concat())),
            "attributes[1].value.bool_value",
        ),
        (
            attribute(field(2, field(5, []).repeat(2))),
            "attributes[1].value.array_value",
        ),
    ] {
        assert_error_of_fields(fields, &format!("{expected}: set more than once"));
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let bad = [0xff];
    for (fields, expected) in [
        (field(3, [0xc0, 0x80]), "trace_state"),
        (field(5, bad), "name"),
        (field(9, field(1, bad)), "attributes[0].key"),
        (field(9, field(2, field(1, bad))), "attributes[0].value.string_value"),
        (
            field(9, field(2, field(5, field(1, field(1, bad))))),
            "attributes[0].value.array_value.values[0].string_value",
        ),
        (
            field(9, field(2, field(6, field(1, field(1, bad))))),
            "attributes[0].value.kvlist_value.values[0].key",
        ),
        (field(11, field(2, bad)), "events[0].name"),
        (field(11, field(3, field(1, bad))), "events[0].attributes[0].key"),
        (field(13, [ids(), field(3, bad)].concat()), "links[0].trace_state"),
        (
            field(13, [ids(), field(4, field(1, bad))].concat()),
            "links[0].attributes[0].key",
        ),
        (field(15, field(2, bad)), "status.message"),
    ] {
        let shown = error_of(request_with([ids(), fields].concat()));
        let place = format!("resource_spans[0].scope_spans[0].spans[1].{expected}");
        // A long path is cut off.
        let place: Vec<&str> = place.split('.').collect();
        let end = if place.len() > 8 {
            "...: not valid UTF-8"
        } else {
            ": not valid UTF-8"
        };
        assert_eq!(shown, place[..place.len().min(8)].join(".") + end);
    }
    let bytes = field(9, [field(1, "key"), field(2, field(7, bad))].concat());
    assert_eq!(
        payload(request_with([ids(), bytes].concat())).spans(),
        2,
        "bytes are not text"
    );
}

#[test]
fn a_broken_field_is_refused() {
    let varint = |bytes: &[u8]| [&[0x30], bytes].concat();
    for (fields, expected) in [
        (field(6, []), "kind: expected wire type 0, found 2"),
        (vec![0x28, 1], "name: expected wire type 2, found 0"),
        (
            vec![0x2a, 3, b'a'],
            "name: length 3 exceeds what is left of the message: 1",
        ),
        (vec![0x2a], "name: the message ends inside a field"),
        (
            vec![0x39, 1, 2],
            "start_time_unix_nano: the message ends inside a field",
        ),
        (varint(&[0xff; 10]), "kind: a varint has at most 64 bits"),
        (
            varint(&[&[0xff; 9][..], &[2]].concat()),
            "kind: a varint has at most 64 bits",
        ),
        (vec![0xc3, 1], "field 24: groups are not supported"),
        (vec![0x2b], "name: groups are not supported"),
        (vec![0xc7, 1], "field 24: wire type 7 does not exist"),
    ] {
        assert_error_of_fields(fields, expected);
    }
    let most = [ids(), varint(&[&[0xff; 9][..], &[1]].concat())].concat();
    assert_eq!(payload(request_with(most)).spans(), 2);
}

#[test]
fn an_error_outside_spans_names_its_place() {
    let (url, key) = (field(3, "url"), field(1, [0xff]));
    for (request, expected) in [
        (vec![0x00], "field number 0 is not between 1 and 2^29 - 1"),
        (
            [&[0xf8, 0xff, 0xff, 0xff, 0x1f][..], &[0]].concat(),
            "field number 1073741823 is not between 1 and 2^29 - 1",
        ),
        (vec![0x80], "the message ends inside a field"),
        (vec![0xff; 11], "a varint has at most 64 bits"),
        (vec![0x08, 1], "resource_spans[0]: expected wire type 2, found 0"),
        (
            field(1, [field(1, []), field(1, [])].concat()),
            "resource_spans[0].resource: set more than once",
        ),
        (
            field(1, [url.clone(), url.clone()].concat()),
            "resource_spans[0].schema_url: set more than once",
        ),
        (
            field(1, field(3, [0xff])),
            "resource_spans[0].schema_url: not valid UTF-8",
        ),
        (
            field(1, field(1, field(1, &key))),
            "resource_spans[0].resource.attributes[0].key: not valid UTF-8",
        ),
        (
            field(1, field(1, field(3, [field(3, "a"), field(3, [0xff])].concat()))),
            "resource_spans[0].resource.entity_refs[0].id_keys[1]: not valid UTF-8",
        ),
        (
            [field(1, []), field(1, field(2, [field(1, []), field(1, [])].concat()))].concat(),
            "resource_spans[1].scope_spans[0].scope: set more than once",
        ),
        (
            field(1, field(2, field(1, field(3, &key)))),
            "resource_spans[0].scope_spans[0].scope.attributes[0].key: not valid UTF-8",
        ),
    ] {
        assert_eq!(error_of(request), expected);
    }
}

#[test]
fn values_nest_to_the_limit_of_protobuf_libraries() {
    type Nest = fn(Vec<u8>) -> Vec<u8>;
    let list: Nest = |value| field(5, field(1, value));
    let table: Nest = |value| field(6, field(1, [field(1, "key"), field(2, value)].concat()));
    let nested = |nest: Nest, leaf: &[u8], levels: u32| (1..levels).fold(leaf.to_vec(), |value, _| nest(value));
    // Attributes of events are the deepest.
    let request = |value| request_with([ids(), field(11, field(3, field(2, value)))].concat());
    for (nest, leaf) in [
        (list, &[][..]),
        (table, &[]),
        (table, &[0x10, 1]),
        (table, &[0x0a, 1, b'a']),
    ] {
        let deepest = request(nested(nest, leaf, MAX_VALUE_LEVELS));
        assert_eq!(payload(deepest.clone()).spans(), spans_of(&decoded(&deepest)).count());
        for levels in [MAX_VALUE_LEVELS + 1, 10_000] {
            let error = error_of(request(nested(nest, leaf, levels)));
            let place = "resource_spans[0].scope_spans[0].spans[1].events[0].attributes[0].value.";
            assert!(
                error.starts_with(place) && error.ends_with("...: values nest at most 32 levels"),
                "{error}"
            );
            assert!(error.len() < 200, "{error}");
        }
    }
    let siblings = request_with([ids(), field(9, field(2, nested(list, &[], MAX_VALUE_LEVELS))).repeat(3)].concat());
    assert_eq!(payload(siblings).spans(), 2);
}

#[test]
fn what_each_part_of_a_request_would_repeat_is_bounded() {
    let expected = |place: &str| format!("{place}at most {MAX_OWN_BYTES} bytes besides spans");
    // An unknown field with a tag of two bytes and a length of three.
    let own = |bytes: usize| field(17, vec![0; bytes - 5]);
    for (request, place) in [
        ((|own| own) as fn(Vec<u8>) -> Vec<u8>, ""),
        (|own| field(1, own), "resource_spans[0]: "),
        (
            |own| field(1, field(2, [own, field(2, ids())].concat())),
            "resource_spans[0].scope_spans[0]: ",
        ),
    ] {
        Payload::check(request(own(MAX_OWN_BYTES)).into()).expect("not more than allowed");
        assert_eq!(error_of(request(own(MAX_OWN_BYTES + 1))), expected(place));
    }
    let spans = field(1, field(2, field(2, [ids(), own(2 * MAX_OWN_BYTES)].concat())));
    assert_eq!(payload(spans).spans(), 1, "spans are not repeated");
}

#[test]
fn the_number_of_blocks_without_spans_is_bounded() {
    let span = field(1, field(2, field(2, ids())));
    let most = |block: Vec<u8>| [span.repeat(2), block].concat();
    let blocks = field(1, []).repeat(MAX_EMPTY_BLOCKS);
    assert_eq!(payload(most(blocks.clone())).spans(), 2);
    let expected = "a request has at most 1024 blocks without spans";
    assert_eq!(error_of(most([blocks, field(1, [])].concat())), expected);
    assert_eq!(
        error_of(most(field(1, field(2, []).repeat(MAX_EMPTY_BLOCKS)))),
        expected
    );
}

#[test]
fn long_forms_of_varints_are_accepted() {
    let long = vec![0x8a, 0x80, 0, 0x80, 0x80, 0];
    assert_eq!(decoded(&long).resource_spans.len(), 1);
    assert_eq!(payload(long).spans(), 0);
}

#[test]
fn spans_in_a_field_that_otlp_removed_are_refused() {
    let old = field(1, field(1000, field(2, field(2, ids()))));
    let error = Payload::check(old.into()).expect_err("receivers ignore the field");
    let error = error.to_string();
    assert!(
        error.contains("instrumentation_library_spans") && error.starts_with("resource_spans[0]"),
        "{error}"
    );
}
