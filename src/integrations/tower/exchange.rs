//! The span of one request and its response, from the request's head to the body's end.

use std::mem;

use http::{HeaderMap, Method, Response, StatusCode};
use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};

use super::{conventions, grpc};
use crate::session::Session;
use crate::tracer::OpenSpan;

/// An open span. Dropped before its end is recorded, it counts as cancelled.
///
/// | recorded | on a server | on a client |
/// |---|---|---|
/// | [`finish`](Self::finish) | ends | ends |
/// | [`fail`](Self::fail) | ends with `error.type` and an error | the same |
/// | nothing, before the response's head | ends as cancelled | ends as cancelled |
/// | nothing, after it | ends as cancelled | ends: a client need not read the body |
pub(super) struct Exchange {
    open: OpenSpan,
    /// The session that was started for this request.
    session: Option<Session>,
    side: Side,
    is_call: bool,
    /// The path of a request that claims to be a gRPC call. On a server it is one only if the service answers as one, because any client can
    /// claim that, for any path.
    claimed: Option<String>,
    method: Method,
    is_failed: bool,
    /// Whether a gRPC code is recorded.
    has_code: bool,
    progress: Progress,
}

/// How far the exchange is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Answered,
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

impl Exchange {
    pub(super) fn of_server(open: OpenSpan, session: Option<Session>, claimed: Option<String>, method: Method) -> Self {
        let mut exchange = Self::new(open, Side::Server, method);
        exchange.session = session;
        exchange.claimed = claimed;
        exchange
    }

    pub(super) fn of_client(open: OpenSpan, is_call: bool, method: Method) -> Self {
        let mut exchange = Self::new(open, Side::Client, method);
        exchange.is_call = is_call;
        exchange
    }

    fn new(open: OpenSpan, side: Side, method: Method) -> Self {
        Self {
            open,
            session: None,
            side,
            is_call: false,
            claimed: None,
            method,
            is_failed: false,
            has_code: false,
            progress: Progress::Waiting,
        }
    }

    /// The context in which the span is current.
    pub(super) fn context(&self) -> &Context {
        self.open.span.context()
    }

    pub(super) fn is_call(&self) -> bool {
        self.is_call
    }

    /// Records the response's head. Returns whether a body may follow.
    pub(super) fn note_response<B>(&mut self, response: &Response<B>) -> bool {
        self.progress = Progress::Answered;
        let code = grpc::code(response.headers());
        if code.is_some() || grpc::is_call(response.headers()) {
            self.confirm(code);
        }
        let status = response.status();
        let span = &self.open.span;
        // A gRPC call has an HTTP status of its own only if something between client and service answered.
        if !self.is_call || status != StatusCode::OK {
            span.set_attribute(conventions::STATUS_CODE, i64::from(status.as_u16()));
        }
        let least = match self.side {
            Side::Server => 500,
            Side::Client => 400,
        };
        if status.as_u16() >= least {
            self.note_error(status.as_str().to_owned());
        }
        if let Some(code) = code.filter(|_| self.is_call) {
            self.record_code(code);
        }
        let is_bodyless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_tunnel = self.method == Method::CONNECT && status.is_success();
        !(is_bodyless || is_tunnel || status.is_informational() || self.method == Method::HEAD)
    }

    /// Records that the service answered a claimed gRPC call as one.
    fn confirm(&mut self, code: Option<u8>) {
        let Some(path) = self.describe_call() else {
            return;
        };
        // Clients choose the names of methods that are not served, so there is no bound on them.
        if grpc::method_of(&path).is_some() && !code.is_some_and(grpc::is_of_no_method) {
            let span = self.open.span.context().span();
            span.update_name(conventions::name_of_call(&path));
        }
    }

    /// Records the service and the method of a claimed gRPC call. Returns its path.
    fn describe_call(&mut self) -> Option<String> {
        let path = self.claimed.take()?;
        self.is_call = true;
        if let Some(call) = grpc::method_of(&path) {
            self.open.span.set_attributes(conventions::call(call));
        }
        Some(path)
    }

    pub(super) fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(code) = grpc::code(trailers).filter(|_| self.is_call) {
            self.record_code(code);
        }
    }

    fn record_code(&mut self, code: u8) {
        self.has_code = true;
        self.open.span.set_attribute(conventions::RPC_CODE, i64::from(code));
        let is_error = match self.side {
            Side::Server => grpc::is_error_of_server(code),
            Side::Client => code != 0,
        };
        if is_error {
            self.note_error(grpc::name(code).to_owned());
        }
    }

    /// Records an error, if it is the first.
    fn note_error(&mut self, error_type: String) {
        if !mem::replace(&mut self.is_failed, true) {
            self.open.span.set_attribute(conventions::ERROR_TYPE, error_type);
            // Without a description, which `error.type` would say again.
            self.open.span.set_status(Status::error(""));
        }
    }

    pub(super) fn finish(mut self) {
        // gRPC's rule for an end without a code. An HTTP error, such as a gateway's 503, says more.
        if self.is_call && !self.has_code && !self.is_failed {
            self.record_code(grpc::UNKNOWN);
        }
        self.progress = Progress::Over;
    }

    pub(super) fn fail(mut self, error_type: &str) {
        self.note_error(error_type.to_owned());
        self.progress = Progress::Over;
    }

    fn cancel(&mut self) {
        if self.side == Side::Server && self.progress == Progress::Waiting {
            self.describe_call();
        }
        if self.is_call && self.side == Side::Server {
            if !self.has_code {
                self.record_code(grpc::CANCELLED);
            }
        } else {
            self.note_error("cancelled".to_owned());
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        match (self.progress, self.side) {
            (Progress::Waiting, _) | (Progress::Answered, Side::Server) => self.cancel(),
            (Progress::Answered, Side::Client) | (Progress::Over, _) => {}
        }
        self.open.span.end();
        if let Some(session) = &self.session {
            session.end();
        }
    }
}

/// Does a part of the request's work. A panic in it ends the span.
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
    let done = work();
    mem::forget(watch);
    done
}
