//! Settings of a [`TenantLayer`](super::TenantLayer), and the decision for a request.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use http::request::Parts;
use http::uri::Scheme;

use super::error_counts::Counts;
use super::failure_log::FailureLog;
use super::source::RequestedTenant;
use super::{TenantError, TenantErrorKind, TenantSource};
use crate::export::{Begun, HEALTH};
use crate::registry::{LookupError, TracerRegistry};
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::session::SessionBuilder;
use crate::tracer::TracerHandle;

/// Handling of a request without a tracer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Responds with this status and an empty body, without calling the service. The response to a
    /// gRPC request has the nearest gRPC code.
    Refuse(StatusCode),
    /// Serves the request in the scope of this selector's tracer. If that look-up fails too, the
    /// fallback of that error applies; if that is a selector again, the request is refused with the
    /// default status.
    Selector(Selector),
    /// Serves the request without a span and outside any scope, including scopes around the layer.
    /// Spans by the current scope are not recorded. `routing.default` does not apply: spans of code
    /// without tenants are unrouted.
    Untraced,
}

pub(super) type SessionOf = dyn Fn(&TracerHandle, &Parts) -> Option<SessionBuilder> + Send + Sync;
pub(super) type RouteOf = dyn for<'p> Fn(&'p Parts) -> Option<&'p str> + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) registry: TracerRegistry,
    pub(super) source: TenantSource,
    fallbacks: [Fallback; 4],
    pub(super) session: Option<Arc<SessionOf>>,
    pub(super) route: Option<Arc<RouteOf>>,
    pub(super) scheme: Scheme,
    pub(super) scope_ends_with_request: bool,
    pub(super) counts: Arc<Counts>,
    failures: Arc<FailureLog>,
}

/// Whether a look-up uses the request's own selector or that of a fallback.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Own,
    Fallback,
}

/// The next step of a request.
pub(super) enum Step {
    LookUp(Selector, Attempt),
    Decided(Decision),
}

/// The decision about a request.
pub(super) enum Decision {
    Serve(TracerHandle),
    ServeUntraced,
    Refuse(TenantErrorKind, StatusCode),
}

impl Settings {
    pub(super) fn new(registry: TracerRegistry, source: TenantSource) -> Self {
        let kinds = [
            TenantErrorKind::Missing,
            TenantErrorKind::Bad,
            TenantErrorKind::Unknown,
            TenantErrorKind::Unavailable,
        ];
        Self {
            registry,
            source,
            fallbacks: kinds.map(|kind| Fallback::Refuse(default_status(kind))),
            session: None,
            route: None,
            scheme: Scheme::HTTP,
            scope_ends_with_request: false,
            counts: Arc::default(),
            failures: Arc::default(),
        }
    }

    pub(super) fn set(&mut self, kind: TenantErrorKind, fallback: Fallback) {
        self.fallbacks[kind as usize] = fallback;
    }

    /// Returns the first step for a request. Allocates nothing if the tracer is in the pool.
    pub(super) fn step(&self, request: &Parts) -> Step {
        match self.source.read(request) {
            Ok(RequestedTenant::Slug(slug)) => match self.registry.ready_single(SelectorKind::Tenant, &slug) {
                Some(found) => self.found(&format_args!("tenant:{slug}"), found, Attempt::Own),
                None => match Slug::new(&slug) {
                    Ok(name) => Step::LookUp(Selector::of(SelectorKind::Tenant, name), Attempt::Own),
                    Err(source) => {
                        let part = SelectorKind::Tenant;
                        self.fall_back(None, &SelectorError::Slug { part, source }.into(), Attempt::Own)
                    }
                },
            },
            Ok(RequestedTenant::Selector(selector)) => self.look_up(selector, Attempt::Own),
            Err(error) => self.fall_back(None, &error, Attempt::Own),
        }
    }

    /// Returns the step after the look-up of this selector.
    pub(super) fn found(
        &self,
        selector: &dyn Display,
        found: Result<TracerHandle, LookupError>,
        attempt: Attempt,
    ) -> Step {
        match found {
            Ok(tracer) => Step::Decided(Decision::Serve(tracer)),
            Err(error) => self.fall_back(Some(selector), &error.into(), attempt),
        }
    }

    fn look_up(&self, selector: Selector, attempt: Attempt) -> Step {
        match self.registry.ready(&selector) {
            Some(found) => self.found(&selector, found, attempt),
            None => Step::LookUp(selector, attempt),
        }
    }

    fn log_failure(&self, selector: &dyn Display) -> Option<Begun> {
        self.failures.note(selector.to_string(), Instant::now())
    }

    fn fall_back(&self, selector: Option<&dyn Display>, error: &TenantError, attempt: Attempt) -> Step {
        self.counts.count(error);
        let kind = error.kind();
        if let Some(selector) = selector
            && kind == TenantErrorKind::Unavailable
            && let Some(Begun { count, left_out }) = self.log_failure(selector)
        {
            tracing::warn!(target: HEALTH, %selector, count, left_out, "cannot resolve the tracer of requests: {error}");
        } else {
            tracing::debug!("cannot resolve the tracer of a request: {error}");
        }
        match &self.fallbacks[kind as usize] {
            Fallback::Refuse(status) => Step::Decided(Decision::Refuse(kind, *status)),
            Fallback::Untraced => Step::Decided(Decision::ServeUntraced),
            Fallback::Selector(_) if attempt == Attempt::Fallback => {
                Step::Decided(Decision::Refuse(kind, default_status(kind)))
            }
            Fallback::Selector(selector) => self.look_up(selector.clone(), Attempt::Fallback),
        }
    }
}

fn default_status(kind: TenantErrorKind) -> StatusCode {
    match kind {
        TenantErrorKind::Missing | TenantErrorKind::Bad => StatusCode::BAD_REQUEST,
        TenantErrorKind::Unknown => StatusCode::NOT_FOUND,
        TenantErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
