//! The span of an incoming request.

use std::borrow::Cow;

use http::header::USER_AGENT;
use http::request::Parts;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind};

use super::authority::Authority;
use super::conventions::{self, PATH, ROUTE, SCHEME};
use super::exchange::Exchange;
use super::grpc;
use super::settings::Settings;
use crate::session::SessionBuilder;
use crate::tracer::TracerHandle;
use crate::util::wall_time::Moment;

/// Capacity for the attributes of a request and its response.
const ATTRIBUTES: usize = 12;

/// Starts the span of a request in the tracer's scope, with the trusted parts of the request
/// headers. A request that waited for its tracer passes the start time in `received`.
pub(super) fn open(settings: &Settings, tracer: &TracerHandle, request: &Parts, received: Option<Moment>) -> Exchange {
    let scope = tracer.extract_headers(&request.headers);
    let session = match &settings.session {
        Some(session) if scope.session().is_none() => session(tracer, request).map(SessionBuilder::start),
        _ => None,
    };
    let cx = match &session {
        Some(session) => session.context(scope.context()),
        None => scope.context().clone(),
    };
    let mut attributes = Vec::with_capacity(ATTRIBUTES);
    let name = describe(settings, request, &mut attributes);
    if let Ok(Some(server)) = Authority::of(request) {
        conventions::add_server(&mut attributes, server, None);
    }
    attributes.extend(request.headers.get(USER_AGENT).and_then(conventions::user_agent));
    attributes.extend(conventions::version(request.version));
    let builder = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    let claimed_grpc_path = grpc::is_grpc(&request.headers).then(|| request.uri.path().to_owned());
    let mut open = match received {
        Some(received) => tracer.open_since(builder, &cx, received),
        None => tracer.open(builder, &cx),
    };
    if settings.scope_ends_with_request {
        open.end_scope();
    }
    Exchange::of_server(open, session, claimed_grpc_path, request.method.clone())
}

/// Adds the attributes of the request line. Returns the span name.
fn describe(settings: &Settings, request: &Parts, attributes: &mut Vec<KeyValue>) -> Cow<'static, str> {
    conventions::add_method(attributes, &request.method);
    attributes.push(KeyValue::new(PATH, conventions::cut(request.uri.path())));
    let scheme = request.uri.scheme().unwrap_or(&settings.scheme);
    attributes.push(KeyValue::new(SCHEME, conventions::cut(scheme.as_str())));
    let method = conventions::method_in_name(&request.method);
    match settings.route.as_ref().and_then(|route| route(request)) {
        Some(route) => {
            attributes.push(KeyValue::new(ROUTE, conventions::cut(route)));
            format!("{method} {}", conventions::cut(route)).into()
        }
        None => method.into(),
    }
}
