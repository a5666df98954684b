//! Clients that break HTTP/2 or gRPC: their stream or connection ends, and nothing is queued.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, data, export, export_headers, frame, header_block, whole_export,
};
use crate::support::{ACME, Service, body, framed, until};

/// Checks that the service still takes an export on a new connection.
#[track_caller]
fn assert_serves(service: &Service) {
    let mut http2 = Http2::connect(service.grpc(), &[]);
    http2.0.write(whole_export(1, ACME, &body(&["after"])));
    let end = http2.read_end_of(1).expect("an answer");
    assert_eq!(end.kind, HEADERS);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn frames_that_break_the_protocol_end_their_connection() {
    let service = Service::start("");
    let message = framed(false, &body(&["span"]));
    let head = export(1, ACME, &[]);
    let whole = [head.clone(), data(1, &message)].concat();
    let cases = [
        ("DATA on stream 0", frame(DATA, END_STREAM, 0, &message)),
        (
            "DATA on a stream that is not open",
            frame(DATA, END_STREAM, 3, &message),
        ),
        (
            "HEADERS on an even stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &[0x82, 0x86, 0x84]),
        ),
        (
            "HEADERS on stream 0",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &[0x82, 0x86, 0x84]),
        ),
        (
            "CONTINUATION without HEADERS",
            frame(CONTINUATION, END_HEADERS, 1, &[0x82]),
        ),
        (
            "another frame in a block",
            [frame(HEADERS, 0, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "another stream in a block",
            [
                frame(HEADERS, 0, 1, &[0x82]),
                frame(CONTINUATION, END_HEADERS, 3, &[0x86]),
            ]
            .concat(),
        ),
        (
            "a block that is no HPACK",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
        ),
        (
            "an index that does not exist",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xfe]),
        ),
        (
            "a table larger than allowed",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0xff, 0x7f]),
        ),
        (
            "a string longer than its block",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 0x7f, 0xff, 0xff, 0xff, 0x7f]),
        ),
        (
            "padding longer than its frame",
            [head.clone(), frame(DATA, PADDED, 1, &[200, 1, 2])].concat(),
        ),
        (
            "padding of headers longer than the frame",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]),
        ),
        (
            "a frame larger than allowed",
            [head.clone(), frame(DATA, 0, 1, &vec![0; 17_000])].concat(),
        ),
        ("SETTINGS of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an answer to SETTINGS with content", frame(SETTINGS, 1, 0, &[0; 6])),
        (
            "a window above the limit",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "a frame size above the limit",
            frame(SETTINGS, 0, 0, &[0, 5, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("PING of a wrong length", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PRIORITY of a wrong length", frame(PRIORITY, 0, 1, &[0; 4])),
        (
            "RST_STREAM of a stream that is not open",
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        (
            "WINDOW_UPDATE that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        ("WINDOW_UPDATE of zero", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("PUSH_PROMISE", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
    ];
    for (name, frames) in cases {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        http2.flood(&frames);
        assert!(http2.read_until(|frame| frame.kind == GOAWAY).is_some(), "{name}");
        assert!(http2.read_until(|_| false).is_none(), "{name}");
    }
    until(|| service.status().requests.running == 0);
    assert_eq!(service.status().requests.succeeded, 0);
    // Only the stream ends.
    let cases = [
        (
            "DATA after END_STREAM",
            [whole.clone(), frame(DATA, END_STREAM, 1, &message)].concat(),
        ),
        (
            "a window of a stream that overflows",
            [head.clone(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(),
        ),
        (
            "a stream that depends on itself",
            [head.clone(), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])].concat(),
        ),
    ];
    for (name, frames) in cases {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        http2.flood(&frames);
        let end = http2.read_until(|frame| matches!(frame.kind, RST_STREAM | GOAWAY));
        assert!(end.is_some(), "{name}");
    }
    // Frames of an unknown kind are skipped.
    let mut http2 = Http2::connect(service.grpc(), &[]);
    http2.0.write([frame(0xfa, 0xff, 1, &[7; 100]), whole].concat());
    assert_eq!(http2.read_end_of(1).expect("an answer").kind, HEADERS);
    assert_serves(&service);
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let service = Service::start("http2_max_streams = 10");
    let mut http2 = Http2::connect(service.grpc(), &[]);
    let settings = http2
        .read_until(|frame| frame.kind == SETTINGS && frame.flags == 0)
        .unwrap();
    let announced = settings
        .payload
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .unwrap();
    assert_eq!(announced[2..], 10_u32.to_be_bytes());
    http2.0.write(frame(SETTINGS, 1, 0, &[]));
    let message = framed(false, &body(&["span"]));
    let streams = (0..15).map(|index| 2 * index + 1);
    http2.0.write(
        streams
            .clone()
            .flat_map(|stream| export(stream, ACME, &[]))
            .collect::<Vec<_>>(),
    );
    for _ in 0..5 {
        let refused = http2.read_until(|frame| frame.kind == RST_STREAM).unwrap();
        assert_eq!(
            (refused.stream > 19, &refused.payload[..]),
            (true, &7_u32.to_be_bytes()[..])
        );
    }
    http2.0.write(
        streams
            .take(10)
            .flat_map(|stream| data(stream, &message))
            .collect::<Vec<_>>(),
    );
    for _ in 0..10 {
        assert!(
            http2
                .read_until(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0)
                .is_some()
        );
    }
    service.flush();
    assert_eq!(service.spans("acme").len(), 10);
}

#[test]
fn grpc_frames_that_lie_are_refused() {
    let service = Service::start("");
    let message = body(&["span"]);
    let whole = framed(false, &message);
    let mut long = whole.clone();
    long[4] += 1;
    let mut short = whole.clone();
    short[4] -= 1;
    let mut flag = whole.clone();
    flag[0] = 2;
    let cases = [
        ("longer than announced", short),
        ("shorter than announced", long),
        ("an unknown flag", flag),
        ("two messages", whole.repeat(2)),
        ("an empty message behind", [&whole[..], &framed(false, b"")].concat()),
        ("half a prefix behind", [&whole[..], &[0, 0]].concat()),
        ("nothing", vec![]),
        ("half a prefix", vec![0, 0]),
        ("a compressed message without encoding", framed(true, &message)),
    ];
    for (name, body) in &cases {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        let end = if body.is_empty() {
            frame(DATA, END_STREAM, 1, &[])
        } else {
            data(1, body)
        };
        http2.0.write([export(1, ACME, &[]), end].concat());
        let answer = http2.read_until(|frame| frame.stream == 1).unwrap();
        // A refusal has no message.
        assert_eq!(
            (answer.kind, answer.flags & END_STREAM),
            (HEADERS, END_STREAM),
            "{name}"
        );
    }
    // A deadline of the client is its own matter, whatever it is.
    for timeout in ["1n", "99999999H", "0S", "-1S", "1", "H", ""] {
        let mut http2 = Http2::connect(service.grpc(), &[]);
        http2.0.write(
            [
                export(1, ACME, &[("grpc-timeout", timeout.as_bytes())]),
                data(1, &whole),
            ]
            .concat(),
        );
        let answer = http2.read_until(|frame| frame.stream == 1).unwrap();
        assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, 0), "{timeout:?}");
    }
    service.flush();
    assert_eq!(service.spans("acme").len(), 7);
    let malformed = service.status().requests.refused;
    assert_eq!(malformed.values().sum::<u64>(), cases.len() as u64);
}

#[test]
fn padding_counts_for_nothing_and_a_message_may_come_in_any_frames() {
    let service = Service::start("");
    let message = framed(false, &body(&["span"]));
    let mut http2 = Http2::connect(service.grpc(), &[]);
    let mut frames = export(1, ACME, &[]);
    for byte in &message {
        let padded = [&[200, *byte][..], &[0; 200]].concat();
        frames.extend(frame(DATA, PADDED, 1, &padded));
    }
    frames.extend(frame(DATA, END_STREAM, 1, &[]));
    http2.0.write(frames);
    let answer = http2.read_until(|frame| frame.stream == 1).unwrap();
    assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, 0));
    // One byte of the headers in a frame, as few as the limit of frames allows.
    let authorization = format!("Bearer {ACME}");
    let block = header_block(&export_headers(&authorization, &[]));
    let mut frames = frame(HEADERS, 0, 3, &[]);
    frames.extend(frame(CONTINUATION, 0, 3, &block[..1]));
    frames.extend(frame(CONTINUATION, END_HEADERS, 3, &block[1..]));
    http2.0.write([frames, data(3, &message)].concat());
    let answer = http2.read_until(|frame| frame.stream == 3).unwrap();
    assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, 0));
    service.flush();
    assert_eq!(service.spans("acme").len(), 2);
}
