//! The span of a request and its response, from the request head to the end of the response body.

use std::mem;

use http::{HeaderMap, Method, Response, StatusCode};
use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};

use super::{conventions, grpc};
use crate::session::Session;
use crate::tracer::OpenSpan;

/// The open span of an exchange. Ends on drop.
///
/// | event | on a server | on a client |
/// |---|---|---|
/// | [`finish`](Self::finish) | ends | ends |
/// | [`fail`](Self::fail) | ends with an error and `error.type` | the same |
/// | dropped before the response head | ends as cancelled | ends as cancelled |
/// | dropped after the response head | ends as cancelled | ends: a client need not read the body |
pub(super) struct Exchange {
    open: OpenSpan,
    /// The session that was started for this request.
    session: Option<Session>,
    side: Side,
    is_grpc: bool,
    /// Path of a server request with a gRPC content type. The request counts as a gRPC call only
    /// once the service responds as one, because a client may claim any path.
    claimed_grpc_path: Option<String>,
    method: Method,
    is_failed: bool,
    /// Whether a gRPC code was recorded.
    has_code: bool,
    progress: Progress,
}

/// The state of an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    AwaitingResponse,
    Responded,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

impl Exchange {
    pub(super) fn of_server(
        open: OpenSpan,
        session: Option<Session>,
        claimed_grpc_path: Option<String>,
        method: Method,
    ) -> Self {
        let mut exchange = Self::new(open, Side::Server, method);
        exchange.session = session;
        exchange.claimed_grpc_path = claimed_grpc_path;
        exchange
    }

    pub(super) fn of_client(open: OpenSpan, is_grpc: bool, method: Method) -> Self {
        let mut exchange = Self::new(open, Side::Client, method);
        exchange.is_grpc = is_grpc;
        exchange
    }

    fn new(open: OpenSpan, side: Side, method: Method) -> Self {
        Self {
            open,
            session: None,
            side,
            is_grpc: false,
            claimed_grpc_path: None,
            method,
            is_failed: false,
            has_code: false,
            progress: Progress::AwaitingResponse,
        }
    }

    /// Returns the context in which the span is current.
    pub(super) fn context(&self) -> &Context {
        self.open.span.context()
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Records the response head. Returns whether a body may follow.
    pub(super) fn record_response<B>(&mut self, response: &Response<B>) -> bool {
        self.progress = Progress::Responded;
        let code = grpc::code(response.headers());
        if code.is_some() || grpc::is_grpc(response.headers()) {
            self.confirm_grpc(code);
        }
        let status = response.status();
        let span = &self.open.span;
        // In a gRPC call, another status than 200 comes from an intermediary.
        if !self.is_grpc || status != StatusCode::OK {
            span.set_attribute(conventions::STATUS_CODE, i64::from(status.as_u16()));
        }
        let first_error = match self.side {
            Side::Server => 500,
            Side::Client => 400,
        };
        if status.as_u16() >= first_error {
            self.record_error(status.as_str().to_owned());
        }
        if let Some(code) = code.filter(|_| self.is_grpc) {
            self.record_code(code);
        }
        let has_no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_tunnel = self.method == Method::CONNECT && status.is_success();
        !(has_no_body || is_tunnel || status.is_informational() || self.method == Method::HEAD)
    }

    /// Records that the service responded to a claimed gRPC call as one.
    fn confirm_grpc(&mut self, code: Option<u8>) {
        let Some(path) = self.record_grpc_call() else {
            return;
        };
        // A client may choose any number of names for methods that do not exist.
        if grpc::method_of(&path).is_some() && !code.is_some_and(grpc::is_no_method_reached) {
            let span = self.open.span.context().span();
            span.update_name(conventions::grpc_span_name(&path));
        }
    }

    /// Records the service and the method of a claimed gRPC call. Returns its path.
    fn record_grpc_call(&mut self) -> Option<String> {
        let path = self.claimed_grpc_path.take()?;
        self.is_grpc = true;
        if let Some(call) = grpc::method_of(&path) {
            self.open.span.set_attributes(conventions::grpc_call(call));
        }
        Some(path)
    }

    pub(super) fn record_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(code) = grpc::code(trailers).filter(|_| self.is_grpc) {
            self.record_code(code);
        }
    }

    fn record_code(&mut self, code: u8) {
        self.has_code = true;
        self.open.span.set_attribute(conventions::RPC_CODE, i64::from(code));
        let is_error = match self.side {
            Side::Server => grpc::is_server_error(code),
            Side::Client => code != 0,
        };
        if is_error {
            self.record_error(grpc::name(code).to_owned());
        }
    }

    /// Records the first error, and ignores later ones.
    fn record_error(&mut self, error_type: String) {
        if !mem::replace(&mut self.is_failed, true) {
            self.open.span.set_attribute(conventions::ERROR_TYPE, error_type);
            // No description, because it would repeat `error.type`.
            self.open.span.set_status(Status::error(""));
        }
    }

    pub(super) fn finish(mut self) {
        // gRPC defines UNKNOWN for a missing code. A recorded HTTP error, such as a gateway's 503,
        // is more specific.
        if self.is_grpc && !self.has_code && !self.is_failed {
            self.record_code(grpc::UNKNOWN);
        }
        self.progress = Progress::Ended;
    }

    pub(super) fn fail(mut self, error_type: &str) {
        self.record_error(error_type.to_owned());
        self.progress = Progress::Ended;
    }

    fn cancel(&mut self) {
        if self.side == Side::Server && self.progress == Progress::AwaitingResponse {
            self.record_grpc_call();
        }
        if self.is_grpc && self.side == Side::Server {
            if !self.has_code {
                self.record_code(grpc::CANCELLED);
            }
        } else {
            self.record_error("cancelled".to_owned());
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match (self.progress, self.side) {
            (Progress::AwaitingResponse, _) | (Progress::Responded, Side::Server) => self.cancel(),
            (Progress::Responded, Side::Client) | (Progress::Ended, _) => {}
        }
        self.open.span.end();
        if let Some(session) = &self.session {
            session.end();
        }
    }
}

/// Runs a part of the request's work. A panic ends the span and continues.
pub(super) fn watch<T>(exchange: &mut Option<Exchange>, work: impl FnOnce() -> T) -> T {
    struct Watch<'a>(&'a mut Option<Exchange>);

    impl Drop for Watch<'_> {
        fn drop(&mut self) {
            if let Some(exchange) = self.0.take() {
                exchange.fail("panic");
            }
        }
    }

    let watch = Watch(exchange);
    let output = work();
    mem::forget(watch);
    output
}
