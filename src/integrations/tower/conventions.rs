//! Attribute names of OpenTelemetry's stable semantic conventions for HTTP spans.

use http::{HeaderValue, Method, Version};
use opentelemetry::KeyValue;

use super::authority::Authority;
use crate::backend::shorten;

pub(super) const METHOD: &str = "http.request.method";
pub(super) const METHOD_ORIGINAL: &str = "http.request.method_original";
pub(super) const ROUTE: &str = "http.route";
pub(super) const STATUS_CODE: &str = "http.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const PATH: &str = "url.path";
pub(super) const SCHEME: &str = "url.scheme";
pub(super) const FULL_URL: &str = "url.full";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const USER_AGENT: &str = "user_agent.original";
pub(super) const PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const RPC_SYSTEM: &str = "rpc.system";
pub(super) const RPC_SERVICE: &str = "rpc.service";
pub(super) const RPC_METHOD: &str = "rpc.method";
pub(super) const RPC_CODE: &str = "rpc.grpc.status_code";

/// Maximum size of a text that the peer controls, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// Truncates a text that the peer controls.
pub(super) fn cut(text: &str) -> String {
    shorten(text, MAX_TEXT_BYTES, &mut 0)
}

/// Returns the name of a method that the conventions define.
pub(super) fn known(method: &Method) -> Option<&'static str> {
    Some(match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => return None,
    })
}

/// Returns the method for a span name. `HTTP` for unknown methods, because a client may send any
/// number of them.
pub(super) fn method_in_name(method: &Method) -> &'static str {
    known(method).unwrap_or("HTTP")
}

pub(super) fn add_method(to: &mut Vec<KeyValue>, method: &Method) {
    to.push(KeyValue::new(METHOD, known(method).unwrap_or("_OTHER")));
    if known(method).is_none() {
        to.push(KeyValue::new(METHOD_ORIGINAL, cut(method.as_str())));
    }
}

pub(super) fn add_server(to: &mut Vec<KeyValue>, server: Authority<'_>, default_port: Option<u16>) {
    to.push(KeyValue::new(SERVER_ADDRESS, cut(server.host)));
    if let Some(port) = server.port.or(default_port) {
        to.push(KeyValue::new(SERVER_PORT, i64::from(port)));
    }
}

/// Returns the attributes of a gRPC call.
pub(super) fn grpc_call((service, method): (&str, &str)) -> [KeyValue; 3] {
    [
        KeyValue::new(RPC_SYSTEM, "grpc"),
        KeyValue::new(RPC_SERVICE, cut(service)),
        KeyValue::new(RPC_METHOD, cut(method)),
    ]
}

/// Returns the span name of a gRPC call.
pub(super) fn grpc_span_name(path: &str) -> String {
    cut(path.trim_start_matches('/'))
}

pub(super) fn user_agent(value: &HeaderValue) -> Option<KeyValue> {
    Some(KeyValue::new(USER_AGENT, cut(value.to_str().ok()?)))
}

pub(super) fn version(version: Version) -> Option<KeyValue> {
    let version = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    };
    Some(KeyValue::new(PROTOCOL_VERSION, version))
}
