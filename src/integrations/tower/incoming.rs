//! The span of a request that came in.

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

/// Most attributes of a request, with those of its response.
const ATTRIBUTES: usize = 12;

/// Enters the tracer's scope, with what the request's headers may add to it, and starts the span: as of `received`, if the request had to
/// wait for its tracer.
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
    let claimed = grpc::is_call(&request.headers).then(|| request.uri.path().to_owned());
    let mut open = match received {
        Some(received) => tracer.open_since(builder, &cx, received),
        None => tracer.open(builder, &cx),
    };
    if settings.scope_ends_with_request {
        open.end_scope();
    }
    Exchange::of_server(open, session, claimed, request.method.clone())
}

/// Adds the attributes of the request's line. Returns the span's name.
fn describe(settings: &Settings, request: &Parts, attributes: &mut Vec<KeyValue>) -> Cow<'static, str> {
    conventions::add_method(attributes, &request.method);
    attributes.push(KeyValue::new(PATH, conventions::cut(request.uri.path())));
    let scheme = request.uri.scheme().unwrap_or(&settings.scheme);
    attributes.push(KeyValue::new(SCHEME, conventions::cut(scheme.as_str())));
    let word = conventions::word(&request.method);
    match settings.route.as_ref().and_then(|route| route(request)) {
        Some(route) => {
            attributes.push(KeyValue::new(ROUTE, conventions::cut(route)));
            format!("{word} {}", conventions::cut(route)).into()
        }
        None => word.into(),
    }
}
