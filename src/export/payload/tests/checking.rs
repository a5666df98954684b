//! What is accepted, counted and refused.

use proptest::prelude::*;

use super::generated::request;
use super::*;
use crate::export::payload::check::MAX_VALUE_LEVELS;

fn spans_in(request: &Request) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|block| &block.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

const TRACE: [u8; 16] = [7; 16];
const SPAN: [u8; 8] = [8; 8];

fn ids() -> Vec<u8> {
    [field(1, TRACE), field(2, SPAN)].concat()
}

/// Returns a request with a good span and one with these fields.
fn request_with(span: impl AsRef<[u8]>) -> Vec<u8> {
    field(1, field(2, [field(2, ids()), field(2, span)].concat()))
}

/// Returns a request whose second span has an attribute with this value.
fn request_with_value(value: impl AsRef<[u8]>) -> Vec<u8> {
    request_with([ids(), field(9, field(2, value))].concat())
}

fn error_of(request: impl Into<Bytes>) -> String {
    Payload::check(request.into())
        .expect_err("a request that breaks a rule")
        .to_string()
}

proptest! {
    #[test]
    fn a_valid_request_is_accepted_and_counted(request in request()) {
        let count = spans_in(&decoded(&request));
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
            prop_assert_eq!(payload.spans(), spans_in(&decoded(&damaged)));
            prop_assert_eq!(spans(&damaged).len(), payload.spans());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_decode(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(payload) = Payload::check(bytes.clone().into()) {
            prop_assert_eq!(payload.spans(), spans_in(&decoded(&bytes)));
        }
    }
}

#[test]
fn a_request_without_spans_is_valid() {
    for request in [vec![], field(1, []), field(1, field(2, []))] {
        assert_eq!(payload(request).spans(), 0);
    }
}

#[test]
fn an_error_names_field_and_rule() {
    let repeated = |extra: Vec<u8>| request_with([ids(), extra.clone(), extra].concat());
    for (request, expected) in [
        (
            request_with([field(1, [7; 15]), field(2, SPAN)].concat()),
            "trace_id: expected 16 bytes, found 15",
        ),
        (
            request_with([field(1, [0; 16]), field(2, SPAN)].concat()),
            "trace_id: an id is not all zeros",
        ),
        (request_with(field(2, SPAN)), "trace_id: expected 16 bytes, found 0"),
        (request_with(field(1, TRACE)), "span_id: expected 8 bytes, found 0"),
        (
            request_with([field(1, TRACE), field(2, [0; 8])].concat()),
            "span_id: an id is not all zeros",
        ),
        (
            request_with([ids(), field(4, [1; 7])].concat()),
            "parent_span_id: expected 8 bytes, found 7",
        ),
        (request_with([ids(), ids()].concat()), "trace_id: set more than once"),
        (
            request_with([ids(), vec![0x30, 1, 0x30, 1]].concat()),
            "kind: set more than once",
        ),
        (repeated(field(5, "name")), "name: set more than once"),
        (repeated(field(15, [])), "status: set more than once"),
        (repeated(vec![0x85, 1, 0, 0, 0, 0]), "flags: set more than once"),
        (
            request_with([ids(), field(5, [0xff])].concat()),
            "name: not valid UTF-8",
        ),
        (
            request_with([ids(), field(3, [0xc0, 0x80])].concat()),
            "trace_state: not valid UTF-8",
        ),
        (
            request_with([ids(), field(15, field(2, [0xff]))].concat()),
            "status.message: not valid UTF-8",
        ),
        (
            request_with([ids(), field(9, field(1, [0xff]))].concat()),
            "attributes[0].key: not valid UTF-8",
        ),
        (
            request_with([ids(), field(9, []), field(9, [field(2, []), field(2, [])].concat())].concat()),
            "attributes[1].value: set more than once",
        ),
        (
            request_with_value(field(1, [0xff])),
            "attributes[0].value.string_value: not valid UTF-8",
        ),
        (
            request_with_value([field(1, "a"), vec![0x10, 1]].concat()),
            "attributes[0].value.bool_value: set more than once",
        ),
        (
            request_with([ids(), field(13, field(1, TRACE))].concat()),
            "links[0].span_id: expected 8 bytes, found 0",
        ),
        (
            request_with([ids(), field(11, field(3, field(1, [0xff])))].concat()),
            "events[0].attributes[0].key: not valid UTF-8",
        ),
        (
            request_with([ids(), field(6, [])].concat()),
            "kind: expected wire type 0, found 2",
        ),
        (
            request_with([ids(), vec![0x28, 1]].concat()),
            "name: expected wire type 2, found 0",
        ),
        (
            request_with([ids(), vec![0x2a, 3, b'a']].concat()),
            "name: length 3 exceeds what is left of the message: 1",
        ),
        (
            request_with([ids(), vec![0x2a]].concat()),
            "name: the message ends inside a field",
        ),
        (
            request_with([ids(), vec![0x39, 1, 2]].concat()),
            "start_time_unix_nano: the message ends inside a field",
        ),
        (
            request_with([ids(), [vec![0x30], vec![0xff; 10]].concat()].concat()),
            "kind: a varint has at most 64 bits",
        ),
        (
            request_with([ids(), [vec![0x30], vec![0xff; 9], vec![2]].concat()].concat()),
            "kind: a varint has at most 64 bits",
        ),
        (
            request_with([ids(), vec![0xc3, 1]].concat()),
            "field 24: groups are not supported",
        ),
        (
            request_with([ids(), vec![0x2b]].concat()),
            "name: groups are not supported",
        ),
        (
            request_with([ids(), vec![0xc7, 1]].concat()),
            "field 24: wire type 7 does not exist",
        ),
    ] {
        assert_eq!(
            error_of(request),
            format!("resource_spans[0].scope_spans[0].spans[1].{expected}")
        );
    }
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
    let table: Nest = |value| field(6, field(1, field(2, value)));
    let nested = |nest: Nest, levels: u32| (1..levels).fold(Vec::new(), |value, _| nest(value));
    // Attributes of events are the deepest.
    let request = |value| request_with([ids(), field(11, field(3, field(2, value)))].concat());
    for nest in [list, table] {
        let deepest = request(nested(nest, MAX_VALUE_LEVELS));
        assert_eq!(payload(deepest.clone()).spans(), spans_in(&decoded(&deepest)));
        for levels in [MAX_VALUE_LEVELS + 1, 10_000] {
            let error = error_of(request(nested(nest, levels)));
            let place = "resource_spans[0].scope_spans[0].spans[1].events[0].attributes[0].value.";
            assert!(
                error.starts_with(place) && error.ends_with("...: values nest at most 32 levels"),
                "{error}"
            );
            assert!(error.len() < 200, "{error}");
        }
    }
    let siblings = request_with([ids(), field(9, field(2, nested(list, MAX_VALUE_LEVELS))).repeat(3)].concat());
    assert_eq!(payload(siblings).spans(), 2);
}

#[test]
fn long_forms_of_varints_are_accepted() {
    let long = vec![0x8a, 0x80, 0, 0x80, 0x80, 0];
    assert_eq!(decoded(&long).resource_spans.len(), 1);
    assert_eq!(payload(long).spans(), 0);
}
