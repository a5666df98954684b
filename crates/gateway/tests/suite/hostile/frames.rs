//! HTTP/2 frames written and read by hand.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::framed;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// What a client sends first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest payload of a frame without another setting.
const MAX_PAYLOAD: usize = 16 * 1024;

/// A frame of the gateway.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// An HTTP/2 connection whose frames the test writes itself.
pub(crate) struct Http2(pub(crate) Raw);

impl Http2 {
    /// Connects, with the payload of a `SETTINGS` frame.
    pub(crate) fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut raw = Raw::connect(address);
        raw.write([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        Self(raw)
    }

    /// Writes until everything is written, the gateway closes the connection, or it reads nothing
    /// for a while.
    pub(crate) fn flood(&mut self, bytes: &[u8]) {
        self.0.0.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        drop(self.0.0.write_all(bytes));
    }

    /// Reads a frame. Returns `None` if the connection ended.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.0.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads frames until one matches. Returns `None` if the connection ended before.
    pub(crate) fn read_until(&mut self, mut is_wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.read()).find(|frame| is_wanted(frame))
    }

    /// Reads frames up to the last one of a stream. Returns `None` if the connection ended before.
    pub(crate) fn read_end_of(&mut self, stream: u32) -> Option<Frame> {
        self.read_until(|frame| {
            let is_end = frame.kind == RST_STREAM || (frame.kind <= HEADERS && frame.flags & END_STREAM != 0);
            frame.stream == stream && is_end
        })
    }
}

/// Returns a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Returns a block of headers, each with its name and value as they are.
pub(crate) fn header_block(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name.as_bytes(), value] {
            put_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// Appends a length of HPACK with a prefix of seven bits.
fn put_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).unwrap());
    };
    block.push(127);
    while rest >= 128 {
        block.push(0x80 | u8::try_from(rest % 128).unwrap());
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// Returns the headers of an export over gRPC.
pub(crate) fn export_headers<'h>(authorization: &'h str, more: &[(&'h str, &'h [u8])]) -> Vec<(&'h str, &'h [u8])> {
    let mut headers: Vec<(&str, &[u8])> = vec![
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", EXPORT.as_bytes()),
        (":authority", b"localhost"),
        ("content-type", b"application/grpc"),
        ("te", b"trailers"),
        ("authorization", authorization.as_bytes()),
    ];
    headers.extend_from_slice(more);
    headers
}

/// Returns the `HEADERS` frame of an export over gRPC whose body follows.
pub(crate) fn export(stream: u32, token: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let block = header_block(&export_headers(&authorization, more));
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// Returns the `DATA` frames of a body.
pub(crate) fn data(stream: u32, body: &[u8]) -> Vec<u8> {
    let mut chunks = body.chunks(MAX_PAYLOAD).peekable();
    let mut frames = Vec::new();
    while let Some(chunk) = chunks.next() {
        let flags = if chunks.peek().is_none() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, stream, chunk));
    }
    frames
}

/// Returns the frames of a whole export over gRPC.
pub(crate) fn whole_export(stream: u32, token: &str, message: &[u8]) -> Vec<u8> {
    [export(stream, token, &[]), data(stream, &framed(false, message))].concat()
}
