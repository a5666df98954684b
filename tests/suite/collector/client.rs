//! A minimal HTTP client that can send malformed requests, and builders for its messages.
//!
//! Messages use the types of `opentelemetry-proto`, independent of the collector's own decoder.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value;
use tracer_registry_collector::LocalCollector;

use super::PATIENCE;

/// A request. Each one opens a connection.
#[derive(Clone)]
pub(super) struct Call {
    method: &'static str,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) fn get(path: &str) -> Call {
    call("GET", path)
}

pub(super) fn post(path: &str) -> Call {
    call("POST", path)
}

/// Creates a protobuf export of `spans` with `key`.
pub(super) fn export(key: &str, spans: Vec<Span>) -> Call {
    post("/v1/traces").bearer(key).protobuf(&request(spans))
}

pub(super) fn call(method: &'static str, path: &str) -> Call {
    Call {
        method,
        path: path.to_owned(),
        host: "localhost".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        chunked: false,
    }
}

impl Call {
    pub(super) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn bearer(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    pub(super) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(super) fn protobuf(self, message: &impl Message) -> Self {
        self.body("application/x-protobuf", message.encode_to_vec())
    }

    pub(super) fn gzip(self) -> Self {
        self.gzip_as("gzip")
    }

    pub(super) fn gzip_as(mut self, encoding: &str) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body).expect("writing to memory cannot fail");
        self.body = encoder.finish().expect("writing to memory cannot fail");
        self.header("Content-Encoding", encoding)
    }

    pub(super) fn deflate(mut self) -> Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body).expect("writing to memory cannot fail");
        self.body = encoder.finish().expect("writing to memory cannot fail");
        self.header("Content-Encoding", "deflate")
    }

    pub(super) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends the request and reads the response until the connection closes.
    ///
    /// Returns an error if the body is shorter than its content length.
    pub(super) fn send(&self, collector: &LocalCollector) -> io::Result<Response> {
        self.begin(collector)?.finish()
    }

    /// Sends the request without reading the response.
    pub(super) fn begin(&self, collector: &LocalCollector) -> io::Result<Pending> {
        let mut stream = TcpStream::connect(collector.addr())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let headers: Vec<String> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let start = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.method, self.path, self.host
        );
        let mut bytes = (start + &headers.concat()).into_bytes();
        if self.chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(7) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
            bytes.extend_from_slice(&self.body);
        }
        stream.write_all(&bytes)?;
        Ok(Pending(stream))
    }

    /// Sends the request and returns the status.
    pub(super) fn status(&self, collector: &LocalCollector) -> u16 {
        self.send(collector).expect("a response").status
    }
}

/// A sent request with an unread response.
pub(super) struct Pending(TcpStream);

impl Pending {
    pub(super) fn finish(mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .ok_or_else(truncated)?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(truncated)?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let response = Response {
            status,
            headers,
            body: bytes.split_off(end + 4),
        };
        match response.header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) if response.body.len() == length => Ok(response),
            None => Ok(response),
            _ => Err(truncated()),
        }
    }
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(super) fn protobuf<M: Message + Default>(&self) -> M {
        assert_eq!(self.header("content-type"), Some("application/x-protobuf"));
        M::decode(&self.body[..]).expect("the body is protobuf")
    }
}

/// Creates a span with an id derived from `id`. All spans share one trace.
pub(super) fn span(name: &str, id: u8) -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![id; 8],
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: 1_000 + u64::from(id),
        end_time_unix_nano: 2_000_000 + u64::from(id),
        ..Span::default()
    }
}

pub(super) fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![attribute("service.name", text("shop"))],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "scope".to_owned(),
        version: "1.2".to_owned(),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    }];
    let group = ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![group],
    }
}

pub(super) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(super) fn text(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.to_owned())
}

/// Request head with a content length of `bytes`.
pub(super) fn head(bytes: usize) -> String {
    format!(
        "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-a\r\n\
         Content-Type: application/x-protobuf\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

/// Encodes a request with `count` empty spans.
pub(super) fn tiny_spans(count: usize) -> Vec<u8> {
    let spans = b"\x12\x00".repeat(count);
    let wrapped = |inside: Vec<u8>, tag: u8| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inside.len() as u64, &mut outer);
        outer.extend(inside);
        outer
    };
    wrapped(wrapped(spans, 0x12), 0x0a)
}
