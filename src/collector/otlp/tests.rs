use proptest::prelude::*;

use super::*;
use crate::secret::Fingerprinter;

/// A request that has something of everything, as JSON.
const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},
"scopeSpans":[{"scope":{"name":"n","version":null},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
"spanId":"eee19b7ec3c1b174","parentSpanId":null,"name":"span","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1",
"endTimeUnixNano":2,"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":1.5}]}}},
{"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AP8="}}]}}}],"events":[{"name":"e",
"timeUnixNano":"3"}],"links":[{"traceId":"aa","spanId":"bb","flags":1}],"status":{"code":2,"message":"m"}}]}]}]}"#;

fn take(format: Format, body: &[u8]) -> bool {
    let Ok(request) = parse(format, body) else { return false };
    let key = Fingerprinter::new().fingerprint(b"key");
    let _ = read(request, key, None);
    true
}

#[test]
fn the_request_that_the_properties_start_from_is_valid_in_both_formats() {
    let request = parse(Format::Json, JSON.as_bytes()).unwrap();
    assert_eq!(parse(Format::Protobuf, &request.encode_to_vec()).unwrap(), request);
    let batch = read(request, Fingerprinter::new().fingerprint(b"key"), None);
    assert_eq!((batch.arrivals.len(), batch.rejected), (1, 0));
    assert!(batch.arrivals[0].bytes > 3000, "four maps at least");
}

#[test]
fn nesting_without_end_is_refused_and_does_not_exhaust_the_stack() {
    let array = r#"{"arrayValue":{"values":["#.repeat(10_000);
    let json = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{array}"#);
    assert!(parse(Format::Json, json.as_bytes()).is_err());

    // An AnyValue in an ArrayValue in an AnyValue; each level wraps the one before in a tag and a length.
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
        parse(Format::Protobuf, &nested)
            .unwrap_err()
            .to_string()
            .contains("recursion")
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_protobuf_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        take(Format::Protobuf, &body);
    }

    #[test]
    fn no_text_makes_the_json_reader_panic(body in ".{0,200}") {
        take(Format::Json, body.as_bytes());
    }

    #[test]
    fn a_valid_request_with_bytes_changed_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        json in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let format = if json { Format::Json } else { Format::Protobuf };
        let mut body = match format {
            Format::Json => JSON.as_bytes().to_vec(),
            Format::Protobuf | Format::Grpc => parse(Format::Json, JSON.as_bytes()).unwrap().encode_to_vec(),
        };
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        take(format, &body);
        body.truncate(cut.index(body.len()));
        take(format, &body);
    }

    #[test]
    fn integers_are_read_from_numbers_and_strings_alike(start in any::<u64>(), flags in any::<u32>(), int in any::<i64>()) {
        let with = |start: String, int: String| format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"startTimeUnixNano":{start},"flags":{flags},
            "attributes":[{{"key":"i","value":{{"intValue":{int}}}}}]}}]}}]}}]}}"#
        );
        let numbers = parse(Format::Json, with(start.to_string(), int.to_string()).as_bytes()).unwrap();
        let strings = parse(Format::Json, with(format!("\"{start}\""), format!("\"{int}\"")).as_bytes()).unwrap();
        prop_assert_eq!(&numbers, &strings);
        let span = &numbers.resource_spans[0].scope_spans[0].spans[0];
        prop_assert_eq!((span.start_time_unix_nano, span.flags), (start, flags));
        let value = span.attributes[0].value.as_ref().and_then(|value| value.value.clone());
        prop_assert_eq!(value, Some(message::Value::Int(int)));
    }
}
