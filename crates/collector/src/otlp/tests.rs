use opentelemetry_proto::tonic::common::v1::any_value;
use proptest::prelude::*;

use super::*;
use crate::model::Fingerprints;

/// A request with all kinds of data, as JSON.
const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},
"scopeSpans":[{"scope":{"name":"n","version":null},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
"spanId":"eee19b7ec3c1b174","parentSpanId":null,"name":"span","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1",
"endTimeUnixNano":2,"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":1.5}]}}},
{"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AP8="}}]}}}],"events":[{"name":"e",
"timeUnixNano":"3"}],"links":[{"traceId":"aa","spanId":"bb","flags":1}],"status":{"code":2,"message":"m"}}]}]}]}"#;

/// More memory than the bodies of these tests need.
const LIMIT: usize = 64 << 20;

fn decode(format: Format, body: &[u8]) {
    if let Ok(request) = parse(format, body, LIMIT) {
        let key = Fingerprints::default().of(b"key");
        let _ = read(request, key, None);
    }
}

#[test]
fn the_sample_request_is_valid_in_both_formats() {
    let request = parse(Format::Json, JSON.as_bytes(), LIMIT).unwrap();
    assert_eq!(
        parse(Format::Protobuf, &request.encode_to_vec(), LIMIT).unwrap(),
        request
    );
    let batch = read(request, Fingerprints::default().of(b"key"), None);
    assert_eq!((batch.arrivals.len(), batch.rejected), (1, 0));
    assert!(batch.arrivals[0].bytes > 3000, "at least four maps");
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    let array = r#"{"arrayValue":{"values":["#.repeat(10_000);
    let json = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{array}"#);
    assert!(parse(Format::Json, json.as_bytes(), LIMIT).is_err());

    // An AnyValue in an ArrayValue in an AnyValue. Each level adds a tag and a length.
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        for tag in [0x0a, 0x2a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(nested.len() as u64, &mut outer);
            outer.append(&mut nested);
            nested = outer;
        }
    }
    for tag in [0x12, 0x0a, 0x0a, 0x0a] {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.append(&mut nested);
        nested = outer;
    }
    assert!(
        parse(Format::Protobuf, &nested, LIMIT)
            .unwrap_err()
            .to_string()
            .contains("recursion")
    );
}

/// Encodes a protobuf field with a message or a text.
fn field(number: u8, inside: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(inside.len() as u64, &mut field);
    field.extend_from_slice(inside);
    field
}

/// Returns bodies of many small values, which take many times their size in memory.
fn amplifying(count: usize) -> Vec<(&'static str, Format, Vec<u8>)> {
    let request = |span: &[u8]| field(1, &field(2, span));
    let ids = [field(1, b"0123456789abcdef"), field(2, b"01234567")].concat();
    let span = |rest: &[u8]| request(&field(2, &[&ids, rest].concat()));
    let value = |value: &[u8]| span(&field(9, &[field(1, b"a"), field(2, value)].concat()));
    let list = |open: &str, element: &str, close: &str| {
        format!("{open}{}{close}", vec![element; count].join(",")).into_bytes()
    };
    let spans = r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#;
    let attributes = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":["#;
    vec![
        ("resources", Format::Protobuf, field(1, b"").repeat(count)),
        (
            "entities",
            Format::Protobuf,
            field(1, &field(1, &field(3, b"").repeat(count))),
        ),
        (
            "texts of an entity",
            Format::Protobuf,
            field(1, &field(1, &field(3, &field(4, b"").repeat(count)))),
        ),
        ("scopes", Format::Protobuf, field(1, &field(2, b"").repeat(count))),
        ("empty spans", Format::Protobuf, request(&field(2, b"").repeat(count))),
        (
            "after a group",
            Format::Protobuf,
            [&[0x4b, 0x4c][..], &request(&field(2, b"").repeat(count))].concat(),
        ),
        (
            "after an entity",
            Format::Protobuf,
            [
                field(1, &field(1, &field(3, &field(3, b"service.name")))),
                request(&field(2, b"").repeat(count)),
            ]
            .concat(),
        ),
        ("spans", Format::Protobuf, request(&field(2, &ids).repeat(count))),
        ("attributes", Format::Protobuf, span(&field(9, b"").repeat(count))),
        (
            "events",
            Format::Protobuf,
            span(&field(11, &field(3, b"")).repeat(count)),
        ),
        ("links", Format::Protobuf, span(&field(13, b"").repeat(count))),
        (
            "values of a list",
            Format::Protobuf,
            value(&field(5, &field(1, b"").repeat(count))),
        ),
        (
            "maps",
            Format::Protobuf,
            value(&field(5, &field(1, &field(6, &field(1, b""))).repeat(count))),
        ),
        ("spans", Format::Json, list(spans, "{}", "]}]}]}")),
        (
            "attributes",
            Format::Json,
            list(attributes, r#"{"key":"a"}"#, "]}]}]}]}"),
        ),
        (
            "maps",
            Format::Json,
            list(
                &format!(r#"{attributes}{{"value":{{"arrayValue":{{"values":["#),
                r#"{"kvlistValue":{"values":[{}]}}"#,
                "]}}}]}]}]}]}",
            ),
        ),
    ]
}

#[test]
fn a_body_over_the_memory_limit_is_refused_without_allocating_it() {
    for (name, format, body) in amplifying(200_000) {
        let mut refused = None;
        let used = allocation_counter::measure(|| refused = Some(parse(format, &body, 10 << 20).map(|_| ())));
        assert!(
            matches!(refused, Some(Err(ParseError::TooLarge(_)))),
            "{name} of {format}"
        );
        assert!(used.bytes_max < 10_000, "{name} of {format}: {used:?}");
    }
    let objects = [r#"{"session":{"a":["#, &vec!["[]"; 200_000].join(","), "]}}"].concat();
    let maps = [r#"{"session":{"a":["#, &vec![r#"{"":0}"#; 200_000].join(","), "]}}"].concat();
    let entries: Vec<String> = (0..200_000).map(|number| format!(r#""{number}":0"#)).collect();
    let entries = format!("{{{}}}", entries.join(","));
    for body in [objects, maps, entries] {
        let mut refused = None;
        let used = allocation_counter::measure(|| refused = Some(parse_object(body.as_bytes(), 5 << 20).map(|_| ())));
        assert!(matches!(refused, Some(Err(ParseError::TooLarge(_)))), "{}", &body[..30]);
        assert!(used.bytes_max < 10_000, "{used:?}");
    }
}

#[test]
fn decoding_uses_no_more_memory_than_measured() {
    let key = Fingerprints::default().of(b"key");
    for (name, format, body) in amplifying(1000) {
        let mut batch = None;
        let used = allocation_counter::measure(|| {
            let request = parse(format, &body, usize::MAX).unwrap();
            batch = Some(read(request, key, None));
        });
        let mut allowance = Allowance::new(usize::MAX);
        match format {
            Format::Json => measure::json(Kind::Request, &body, &mut allowance),
            Format::Protobuf | Format::Grpc => measure::protobuf(Kind::Request, &body, &mut allowance),
        }
        let (used, measured) = (usize::try_from(used.bytes_max).unwrap(), allowance.spent());
        assert!(
            used <= measured + 2 * body.len() + 10_000,
            "{name} of {format}: {used} bytes, {measured} measured"
        );
        drop(batch);
    }
}

#[test]
fn a_full_body_of_typical_spans_uses_at_most_ten_times_its_size() {
    let attribute = |key: &str| {
        let value = field(1, b"a value of usual length, some forty bytes");
        field(9, &[field(1, key.as_bytes()), field(2, &value)].concat())
    };
    let attributes = [
        "http.request.method",
        "url.full",
        "service.version",
        "session.id",
        "gen_ai.model",
    ]
    .map(attribute);
    let times = [0x39, 1, 2, 3, 4, 5, 6, 7, 8, 0x41, 1, 2, 3, 4, 5, 6, 7, 9];
    let head = [
        field(1, b"0123456789abcdef"),
        field(2, b"01234567"),
        field(5, b"POST /chat"),
    ]
    .concat();
    let span = field(2, &[head, times.to_vec(), attributes.concat()].concat());
    let body = field(1, &field(2, &span.repeat((2 << 20) / span.len())));
    assert_eq!(
        parse(Format::Protobuf, &body, 10 * body.len())
            .unwrap()
            .resource_spans
            .len(),
        1,
        "{} bytes per span",
        span.len()
    );
}

#[test]
fn a_double_value_of_a_wrong_type_is_refused_without_buffering_it() {
    let body = |number: &str| {
        let open = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"doubleValue":"#;
        format!("{open}{number}}}}}]}}}}]}}")
    };
    let many = body(&format!("[{}]", vec!["0"; 100_000].join(",")));
    let used = allocation_counter::measure(|| assert!(parse(Format::Json, many.as_bytes(), LIMIT).is_err()));
    assert!(used.bytes_max < 10_000, "{used:?}");
    for number in ["1.5", "1", "-1", "\"1.5\"", "\"NaN\"", "18446744073709551615"] {
        parse(Format::Json, body(number).as_bytes(), LIMIT).unwrap();
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic_the_protobuf_decoder(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode(Format::Protobuf, &body);
    }

    #[test]
    fn random_text_never_panics_the_json_decoder(body in ".{0,200}") {
        decode(Format::Json, body.as_bytes());
    }

    #[test]
    fn a_corrupted_request_is_decoded_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        json in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let format = if json { Format::Json } else { Format::Protobuf };
        let mut body = match format {
            Format::Json => JSON.as_bytes().to_vec(),
            Format::Protobuf | Format::Grpc => parse(Format::Json, JSON.as_bytes(), LIMIT).unwrap().encode_to_vec(),
        };
        for (position, byte) in changes {
            let position = position.index(body.len());
            body[position] = byte;
        }
        decode(format, &body);
        body.truncate(cut.index(body.len()));
        decode(format, &body);
    }

    #[test]
    fn integers_are_decoded_from_numbers_and_strings(start in any::<u64>(), flags in any::<u32>(), int in any::<i64>()) {
        let with = |start: String, int: String| format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"startTimeUnixNano":{start},"flags":{flags},
            "attributes":[{{"key":"i","value":{{"intValue":{int}}}}}]}}]}}]}}]}}"#
        );
        let numbers = parse(Format::Json, with(start.to_string(), int.to_string()).as_bytes(), LIMIT).unwrap();
        let strings = parse(Format::Json, with(format!("\"{start}\""), format!("\"{int}\"")).as_bytes(), LIMIT).unwrap();
        prop_assert_eq!(&numbers, &strings);
        let span = &numbers.resource_spans[0].scope_spans[0].spans[0];
        prop_assert_eq!((span.start_time_unix_nano, span.flags), (start, flags));
        let value = span.attributes[0].value.as_ref().and_then(|value| value.value.clone());
        prop_assert_eq!(value, Some(any_value::Value::IntValue(int)));
    }
}
