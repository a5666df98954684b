//! Attacks on the memory and the time of a gateway. Each is one bounded round.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, data, export, export_headers, frame, header_block, whole_export,
};
use super::messages::tagged;
use super::process::Target;
use crate::limits::Raw;
use crate::support::{ACME, body, framed, gzip};

pub(crate) type Attack = fn(Target);

/// Messages that expand.
pub(crate) const MESSAGES: &[(&str, Attack)] = &[
    ("1,000 compression bombs at once", bombs),
    ("messages of many empty parts", empty_parts),
    ("deep nesting", nesting),
    ("large numbers, texts and escapes in JSON", json),
    ("session requests that expand", session_json),
];

/// Requests and answers that do not end.
pub(crate) const UNFINISHED: &[(&str, Attack)] = &[
    ("2,000 heads that stop before their end", partial_heads),
    (
        "1,000 blocks of headers that stop before their end",
        partial_header_blocks,
    ),
    ("100 streams with large heads on 50 connections", large_heads),
    ("200 uploads that stop", partial_bodies),
    ("500 uploads without credential", refused_uploads),
    ("answers that are not read", unread_answers),
];

/// Floods of HTTP/2.
pub(crate) const FLOODS: &[(&str, Attack)] = &[
    ("rapid reset", rapid_reset),
    ("uploads that are reset", reset_uploads),
    ("CONTINUATION flood", continuation_flood),
    ("SETTINGS and PING flood", settings_and_ping_flood),
    ("PRIORITY and WINDOW_UPDATE flood", priority_flood),
    ("empty and padded DATA", empty_data),
    ("HPACK bomb", hpack_bomb),
];

/// Many small requests and connections.
pub(crate) const MANY: &[(&str, Attack)] = &[
    ("500 requests in a packet", pipelined),
    ("2,000 connections closed at once", connects),
];

const TRACES: &str = "/v1/traces";
/// Size of the large messages, within `max_request`.
const LARGE: usize = 1 << 20;

/// Bombs by their encoding. Inflated, each is larger than `max_request`.
static BOMBS: LazyLock<[(&str, Vec<u8>); 6]> = LazyLock::new(|| {
    let zeros = vec![0; 24 << 20];
    let member = gzip(&zeros[..4 << 20]);
    [
        ("gzip", gzip(&zeros)),
        ("gzip", member.repeat(6)),
        ("gzip", gzip(b"").repeat(1001)),
        ("gzip", gzip(&gzip(&gzip(&zeros)))),
        // Blocks without content, which inflate to nothing but take time.
        (
            "gzip",
            [&gzip(b"")[..10], &[2, 8, 0x20, 0x80, 0][..].repeat(10_000)].concat(),
        ),
        ("zstd", zstd::encode_all(&zeros[..], 19).unwrap()),
    ]
});

/// Reads to the end of the connection, or until nothing arrives for a while.
fn drain(stream: &mut TcpStream, silence: Duration) {
    stream.set_read_timeout(Some(silence)).unwrap();
    let mut buffer = [0; 16 * 1024];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

fn post_head(path: &str, token: &str, headers: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{headers}\
         content-length: {length}\r\n\r\n"
    )
}

/// Posts messages at once, each on a connection of its own, and checks the status of each answer.
fn post_all(target: Target, path: &str, content_type: &str, messages: &[Vec<u8>], statuses: &[u16]) {
    let mut connections: Vec<Raw> = messages
        .iter()
        .map(|message| {
            let mut raw = Raw::connect(target.http);
            raw.write(post_head(
                path,
                ACME,
                &format!("content-type: {content_type}\r\n"),
                message.len(),
            ));
            // A refusal may arrive, and the connection end, before everything is written.
            drop(raw.0.write_all(message));
            raw
        })
        .collect();
    for (index, raw) in connections.iter_mut().enumerate() {
        let status: u16 = raw.read_head()[9..12].parse().unwrap();
        assert!(
            statuses.contains(&status),
            "{path} {content_type} message {index}: {status}"
        );
    }
}

fn bombs(target: Target) {
    let mut http = Vec::new();
    let mut grpc = Vec::new();
    for index in 0..500 {
        let (encoding, bomb) = &BOMBS[index % BOMBS.len()];
        let mut raw = Raw::connect(target.http);
        let headers = format!("content-type: application/x-protobuf\r\ncontent-encoding: {encoding}\r\n");
        raw.write([post_head(TRACES, ACME, &headers, bomb.len()).as_bytes(), bomb].concat());
        http.push(raw);
        let mut http2 = Http2::connect(target.grpc, &[]);
        let head = export(1, ACME, &[("grpc-encoding", encoding.as_bytes())]);
        http2.0.write([head, data(1, &framed(true, bomb))].concat());
        grpc.push(http2);
    }
    for raw in &mut http {
        let status = &raw.read_head()[9..12];
        assert!(["413", "400", "503"].contains(&status), "{status}");
    }
    for http2 in &mut grpc {
        assert!(http2.read_end_of(1).is_some());
    }
}

fn empty_parts(target: Target) {
    let repeated = |part: &[u8]| part.repeat(LARGE / part.len());
    let nested = |fields: &[u8], content: Vec<u8>| {
        fields
            .iter()
            .rev()
            .fold(content, |content, field| tagged(*field, &content))
    };
    let span = body(&["span"]);
    let protobuf = [
        repeated(b"\x0a\x00"),
        nested(&[1], repeated(b"\x12\x00")),
        nested(&[1, 2], repeated(b"\x12\x00")),
        nested(&[1, 2, 2], repeated(b"\x4a\x00")),
        nested(&[1, 1], repeated(b"\x0a\x00")),
        [span, repeated(b"\x0a\x00")].concat(),
    ];
    post_all(target, TRACES, "application/x-protobuf", &protobuf, &[200, 400, 503]);
    let list = |before: &str, after: &str| format!("{before}{{}}{}{after}", ",{}".repeat(LARGE / 3 - 100)).into_bytes();
    let json = [
        list(r#"{"resourceSpans":["#, "]}"),
        list(r#"{"resourceSpans":[{"scopeSpans":["#, "]}]}"),
        list(r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#, "]}]}]}"),
        list(r#"{"unknown":["#, "]}"),
    ];
    post_all(target, TRACES, "application/json", &json, &[200, 400, 503]);
}

fn nesting(target: Target) {
    let opened = |text: &str| text.repeat(LARGE / text.len()).into_bytes();
    let json = [
        opened("["),
        opened(r#"{"a":"#),
        opened(r#"{"resourceSpans":["#),
        [&br#"{"resourceSpans":"#[..], &opened("[")].concat(),
    ];
    post_all(target, TRACES, "application/json", &json, &[400, 503]);
    // Values in values, as deep as the size allows.
    let mut protobuf = Vec::new();
    while protobuf.len() < LARGE / 16 {
        protobuf = tagged(5, &tagged(1, &protobuf));
    }
    for field in [2, 9, 2, 2, 1] {
        protobuf = tagged(field, &protobuf);
    }
    // Groups, which old protobuf libraries skip by recursion.
    post_all(
        target,
        TRACES,
        "application/x-protobuf",
        &[protobuf, opened("\x1b")],
        &[400, 503],
    );
}

fn json(target: Target) {
    let value = |value: String| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c",
            "spanId":"eee19b7ec3c1b174","name":"json","attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}"#
        )
        .into_bytes()
    };
    let many = LARGE - 1000;
    let messages = [
        value(format!(r#"{{"intValue":{}}}"#, "9".repeat(many))),
        value(format!(r#"{{"doubleValue":0.{}}}"#, "9".repeat(many))),
        value(format!(r#"{{"doubleValue":1e{}}}"#, "9".repeat(many))),
        value(format!(r#"{{"stringValue":"{}"}}"#, "\\u0041".repeat(many / 6))),
        value(format!(r#"{{"stringValue":"{}"}}"#, "\\ud83d".repeat(many / 6))),
        value(format!(r#"{{"{}":1}}"#, "k".repeat(many))),
        value(format!("{{{}}}", r#""a":1,"#.repeat(many / 6))),
    ];
    post_all(target, TRACES, "application/json", &messages, &[200, 400, 503]);
}

fn session_json(target: Target) {
    let filled = |before: &str, part: &str, after: &str| {
        format!("{before}{}{after}", part.repeat(LARGE / part.len() - 100)).into_bytes()
    };
    let messages = [
        filled(r#"{"session":{"inputs":["#, "{},", "{}]}}"),
        filled(r#"{"session":{"inputs":{"a":["#, "0,", "0]}}}"),
        filled(r#"{"session":{"metadata":"#, r#"{"a":"#, "}"),
        filled(r#"{"session":{"metadata":["#, "[", "]}}"),
        filled(r#"{"session":{"session_name":""#, "\\u0041", r#""}}"#),
        filled(r#"{"session":{"duration":1"#, "0", "}}"),
        filled(r#"{"session":{"#, r#""":1,"#, r#""":1}}"#),
        [
            r#"{"session":{"a":1"#.to_owned(),
            (0..LARGE / 12).fold(String::new(), |mut fields, index| {
                write!(fields, ",\"{index:06}\":1").unwrap();
                fields
            }),
            "}}".to_owned(),
        ]
        .concat()
        .into_bytes(),
    ];
    post_all(
        target,
        "/session/start",
        "application/json",
        &messages,
        &[200, 400, 413, 503],
    );
}

fn partial_heads(target: Target) {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "y".repeat(30_000)
    );
    let connections: Vec<Raw> = (0..2000)
        .map(|_| {
            let mut raw = Raw::connect(target.http);
            drop(raw.0.write_all(head.as_bytes()));
            raw
        })
        .collect();
    // The last ones are read too.
    settle(target);
    drop(connections);
}

fn partial_header_blocks(target: Target) {
    let block = header_block(&export_headers("Bearer x", &[("x", &vec![b'y'; 30_000])]));
    let (first, second) = block.split_at(16_000);
    let frames = [
        frame(HEADERS, 0, 1, first),
        frame(CONTINUATION, 0, 1, &second[..second.len() - 10]),
    ]
    .concat();
    let connections: Vec<Http2> = (0..1000)
        .map(|_| {
            let mut http2 = Http2::connect(target.grpc, &[]);
            http2.flood(&frames);
            http2
        })
        .collect();
    settle(target);
    drop(connections);
}

/// Waits until the gateway has read what was written before.
fn settle(target: Target) {
    for _ in 0..20 {
        let mut raw = Raw::connect(target.http);
        raw.write("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert!(raw.read_head().starts_with("HTTP/1.1 200 "));
    }
}

fn partial_bodies(target: Target) {
    let part = vec![0; LARGE];
    let connections: Vec<Raw> = (0..200)
        .map(|_| {
            let mut raw = Raw::connect(target.http);
            raw.write_head(ACME, LARGE + 1);
            raw.0.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            drop(raw.0.write_all(&part));
            raw
        })
        .collect();
    settle(target);
    drop(connections);
}

fn refused_uploads(target: Target) {
    let part = frame(DATA, 0, 1, &[0; 16 * 1024]).repeat(3);
    let connections: Vec<Http2> = (0..500)
        .map(|_| {
            let mut http2 = Http2::connect(target.grpc, &[]);
            http2.flood(&[export(1, "unknown", &[]), part.clone()].concat());
            http2
        })
        .collect();
    settle(target);
    drop(connections);
}

fn unread_answers(target: Target) {
    let message = body(&["unread"]);
    let request = [
        post_head(
            TRACES,
            "unknown",
            "content-type: application/x-protobuf\r\n",
            message.len(),
        )
        .into_bytes(),
        message,
    ]
    .concat();
    let requests = request.repeat(4 * LARGE / request.len());
    let window_of_zero = [0, 4, 0, 0, 0, 0];
    let streams: Vec<u8> = (0..200)
        .flat_map(|index| whole_export(2 * index + 1, ACME, &body(&["unread"])))
        .collect();
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut raw = Http2(Raw::connect(target.http));
        raw.flood(&requests);
        let mut http2 = Http2::connect(target.grpc, &window_of_zero);
        http2.flood(&streams);
        connections.push((raw, http2));
    }
    settle(target);
}

fn pipelined(target: Target) {
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..4 {
        let mut raw = Raw::connect(target.http);
        raw.write(request.repeat(500));
        for _ in 0..500 {
            assert!(raw.read_head().starts_with("HTTP/1.1 200 "));
            raw.0.read_exact(&mut [0; 3]).unwrap();
        }
    }
}

fn rapid_reset(target: Target) {
    // GET / over http, and a reset.
    let burst: Vec<u8> = (0..5000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            [
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x82, 0x86, 0x84]),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    for _ in 0..20 {
        let mut http2 = Http2::connect(target.grpc, &[]);
        http2.flood(&burst);
        drain(&mut http2.0.0, Duration::from_millis(500));
    }
}

fn reset_uploads(target: Target) {
    let burst: Vec<u8> = (0..1000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            [
                export(stream, ACME, &[]),
                frame(DATA, 0, stream, b"\0\0\x10\0\0some bytes"),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    for _ in 0..20 {
        let mut http2 = Http2::connect(target.grpc, &[]);
        http2.flood(&burst);
        drain(&mut http2.0.0, Duration::from_millis(500));
    }
}

fn continuation_flood(target: Target) {
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(100_000);
    let full = frame(CONTINUATION, 0, 1, &header_block(&[("x", &vec![b'y'; 16_000])])).repeat(100);
    for flood in [&empty, &full] {
        let mut http2 = Http2::connect(target.grpc, &[]);
        let start = frame(HEADERS, 0, 1, &header_block(&export_headers("Bearer x", &[])));
        http2.flood(&[&start[..], flood].concat());
        assert!(http2.read_until(|_| false).is_none(), "the connection ends");
    }
}

fn settings_and_ping_flood(target: Target) {
    let flood = [
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(50_000),
        frame(PING, 0, 0, &[7; 8]).repeat(50_000),
    ];
    for frames in flood {
        let mut http2 = Http2::connect(target.grpc, &[]);
        http2.flood(&frames);
    }
    settle(target);
}

fn priority_flood(target: Target) {
    let mut http2 = Http2::connect(target.grpc, &[]);
    let priorities = (0..50_000_u32).flat_map(|index| frame(PRIORITY, 0, 2 * index + 1, &[0, 0, 0, 0, 16]));
    http2.flood(&priorities.collect::<Vec<u8>>());
    let mut http2 = Http2::connect(target.grpc, &[]);
    http2.flood(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100_000));
    settle(target);
}

fn empty_data(target: Target) {
    let padded = [&[255][..], &[0; 255]].concat();
    for flood in [
        frame(DATA, 0, 1, &[]).repeat(50_000),
        frame(DATA, PADDED, 1, &padded).repeat(5000),
    ] {
        let mut http2 = Http2::connect(target.grpc, &[]);
        http2.flood(&[export(1, ACME, &[]), flood].concat());
    }
    settle(target);
}

fn hpack_bomb(target: Target) {
    // One entry of the dynamic table, of almost 4 KiB, named again and again by one byte.
    let mut block = header_block(&export_headers("Bearer x", &[]));
    block.push(0x40);
    block.extend_from_slice(&header_block(&[("x-large-header", &[b'y'; 3900])])[1..]);
    block.extend_from_slice(&[0xbe; 10_000]);
    for _ in 0..20 {
        let mut http2 = Http2::connect(target.grpc, &[]);
        http2.flood(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        drain(&mut http2.0.0, Duration::from_millis(50));
    }
}

fn large_heads(target: Target) {
    let head = |stream| {
        let authorization = format!("Bearer {ACME}");
        let block = header_block(&export_headers(&authorization, &[("x", &vec![b'y'; 31_000])]));
        let (first, second) = block.split_at(16_000);
        [
            frame(HEADERS, 0, stream, first),
            frame(CONTINUATION, END_HEADERS, stream, second),
        ]
        .concat()
    };
    // No stream has a body, so each waits.
    let heads: Vec<u8> = (0..100).flat_map(|index| head(2 * index + 1)).collect();
    let connections: Vec<Http2> = (0..50)
        .map(|_| {
            let mut http2 = Http2::connect(target.grpc, &[]);
            http2.flood(&heads);
            http2
        })
        .collect();
    settle(target);
    drop(connections);
}

fn connects(target: Target) {
    for _ in 0..1000 {
        drop(Raw::connect(target.http));
        drop(Raw::connect(target.grpc));
    }
    settle(target);
}
