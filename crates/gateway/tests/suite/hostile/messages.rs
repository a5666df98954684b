//! Messages that lie about their length, nest, or expand.

use http::Request;

use crate::requests::EXPORT;
use crate::support::{ACME, Service, body, framed, gzip};

/// Returns a field with a length.
pub(crate) fn tagged(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    let mut rest = content.len();
    while rest >= 128 {
        out.push(0x80 | u8::try_from(rest % 128).unwrap());
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
    out.extend_from_slice(content);
    out
}

fn post_json(service: &Service, json: &str) -> u16 {
    let request: http::request::Builder = service.request("/v1/traces", ACME);
    let request: Request<bytes::Bytes> = request
        .header("content-type", "application/json")
        .body(json.to_owned().into())
        .unwrap();
    service.client.send(request).status
}

/// Returns a span with an attribute of this encoded `AnyValue`, in a request.
fn with_value(value: &[u8]) -> Vec<u8> {
    let attribute = [tagged(1, b"k"), tagged(2, value)].concat();
    let span = [
        tagged(1, &[7; 16]),
        tagged(2, &[9; 8]),
        tagged(5, b"span"),
        tagged(9, &attribute),
    ]
    .concat();
    tagged(1, &tagged(2, &tagged(2, &span)))
}

/// Returns an array in an array, and so on.
fn nested(levels: usize) -> Vec<u8> {
    (1..levels).fold(vec![0x10, 1], |value, _| tagged(5, &tagged(1, &value)))
}

fn nested_json(levels: usize) -> String {
    let value = (1..levels).fold(r#"{"boolValue":true}"#.to_owned(), |value, _| {
        format!(r#"{{"arrayValue":{{"values":[{value}]}}}}"#)
    });
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c",
        "spanId":"eee19b7ec3c1b174","name":"span","attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}"#
    )
}

#[test]
fn values_nest_up_to_the_limit_in_each_format() {
    let service = Service::start("");
    for (levels, status) in [(1, 200), (32, 200), (33, 400), (100, 400), (20_000, 400)] {
        assert_eq!(
            service.post(ACME, &[], with_value(&nested(levels))).status,
            status,
            "{levels}"
        );
        assert_eq!(post_json(&service, &nested_json(levels)), status, "{levels} in JSON");
    }
    // Fields of JSON that are unknown are skipped without recursion.
    for levels in [32, 400_000] {
        let json = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!(post_json(&service, &json), 200, "{levels}");
    }
    service.flush();
    assert_eq!(service.spans("acme").len(), 4);
}

#[test]
fn lengths_and_numbers_that_are_wrong_are_refused() {
    let service = Service::start("");
    let overflow = [0xff; 9];
    let cases: [(&str, Vec<u8>); 14] = [
        ("a length past the end", vec![0x0a, 5, 0x12, 0]),
        ("a length of 2^63", [&[0x0a], &overflow[..], &[0x01]].concat()),
        (
            "a length of more than 64 bits",
            [&[0x0a], &overflow[..], &[0x7f]].concat(),
        ),
        (
            "a length of eleven bytes",
            [&[0x0a], &overflow[..], &[0xff, 0x01]].concat(),
        ),
        ("a length without end", vec![0x0a, 0xff]),
        ("a tag without end", vec![0xff]),
        ("a tag of more than 32 bits", [&overflow[..], &[0x01]].concat()),
        ("field 0", vec![0x02, 0]),
        ("a group", vec![0x0b, 0x0c]),
        ("an end of a group", vec![0x0c]),
        ("wire type 6", vec![0x0e]),
        ("a fixed number that is cut off", vec![0x39, 1, 2, 3]),
        ("an inner length past its message", tagged(1, &[0x12, 9, 0x12, 0])),
        ("a length of a value past its attribute", with_value(&[0x0a, 200, b'x'])),
    ];
    for (name, message) in cases {
        assert_eq!(service.post(ACME, &[], message.clone()).status, 400, "{name}");
        assert_eq!(
            service.call(EXPORT, ACME, &[], framed(false, &message)).grpc_status(),
            3,
            "{name}"
        );
    }
    let id = |trace_id: &str, more: &str| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace_id}","spanId":"eee19b7ec3c1b174"{more}}}]}}]}}]}}"#
        )
    };
    let whole = "5b8efff798038103d269b633813fc60c";
    for json in [
        id(&whole[1..], ""),
        id(&whole.repeat(1000), ""),
        id("00000000000000000000000000000000", ""),
        id(whole, r#","startTimeUnixNano":18446744073709551616"#),
        id(whole, r#","startTimeUnixNano":"-1""#),
        id(whole, r#","kind":1e400"#),
        id(whole, r#","kind":4294967296"#),
        id(
            whole,
            r#","attributes":[{"key":"k","value":{"intValue":"9223372036854775808"}}]"#,
        ),
        id(whole, r#","name":"\ud800""#),
        id(whole, r#","name":"\u00""#),
        id(whole, r#","name":"a","name":"b""#),
        id(whole, ""),
        "{}{}".to_owned(),
        "[]".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"resourceSpans\":\u{0}[]}".to_owned(),
    ]
    .iter()
    .filter(|json| **json != id(whole, ""))
    {
        assert_eq!(post_json(&service, json), 400, "{json:.200}");
    }
    assert_eq!(post_json(&service, &id(whole, "")), 200);
    assert_eq!(service.status().requests.succeeded, 1);
}

#[test]
fn compressed_messages_that_lie_are_refused() {
    let service = Service::start("max_request = \"1MiB\"");
    let message = body(&["span"]);
    let whole = gzip(&message);
    let with_trailer = |change: fn(&mut [u8])| {
        let mut lying = whole.clone();
        let at = lying.len() - 8;
        change(&mut lying[at..]);
        lying
    };
    let zstd_header = |window: u8, content: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window][..], content].concat();
    let cases: [(&str, &str, Vec<u8>, u16); 12] = [
        ("another checksum", "gzip", with_trailer(|trailer| trailer[0] ^= 1), 400),
        (
            "a larger length",
            "gzip",
            with_trailer(|trailer| trailer[4..].fill(0xff)),
            400,
        ),
        (
            "a length of a megabyte",
            "gzip",
            with_trailer(|trailer| trailer[6] = 0x0f),
            400,
        ),
        ("a smaller length", "gzip", with_trailer(|trailer| trailer[4] -= 1), 400),
        ("no trailer", "gzip", whole[..whole.len() - 8].to_vec(), 400),
        ("half a header", "gzip", whole[..5].to_vec(), 400),
        (
            "a name without end",
            "gzip",
            [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0][..], &vec![b'n'; 100_000]].concat(),
            400,
        ),
        ("gzip in gzip", "gzip", gzip(&whole), 400),
        // A block of the kind that is reserved.
        (
            "a block that does not exist",
            "zstd",
            zstd_header(0x58, &[7, 0, 0]),
            400,
        ),
        // Windows of 4 TiB and 16 MiB, each with a block that repeats a byte.
        (
            "a window of terabytes",
            "zstd",
            zstd_header(0xff, &[0x23, 0, 0, 7]),
            400,
        ),
        (
            "a window above the limit",
            "zstd",
            zstd_header(0x70, &[0x23, 0, 0, 7]),
            400,
        ),
        (
            "a block that repeats more than allowed",
            "zstd",
            zstd_header(0x58, &[0xfb, 0xff, 0xff, 7]),
            400,
        ),
    ];
    for (name, encoding, message, status) in cases {
        let reply = service.post(ACME, &[("content-encoding", encoding)], message.clone());
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        let reply = service.call(EXPORT, ACME, &[("grpc-encoding", encoding)], framed(true, &message));
        assert_eq!(reply.grpc_status(), 3, "{name}: {reply:?}");
    }
    // A window of 8 MiB is allowed.
    let empty = zstd_header(0x68, &[1, 0, 0]);
    assert_eq!(service.post(ACME, &[("content-encoding", "zstd")], empty).status, 200);
    assert_eq!(service.status().memory.used, 0);
    service.flush();
    assert!(service.spans("acme").is_empty());
}
