//! What a [`TenantLayer`](super::TenantLayer) was told, and what it comes to for a request.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use http::request::Parts;
use http::uri::Scheme;

use super::errors::Counts;
use super::source::Asked;
use super::{TenantError, TenantErrorKind, TenantSource};
use crate::registry::{LookupError, TracerRegistry};
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};
use crate::session::SessionBuilder;
use crate::tracer::TracerHandle;

/// What becomes of a request that has no tracer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It is answered with this status and an empty body, and the service is not called. A gRPC request is answered by gRPC, with the code that
    /// is the nearest.
    Refuse(StatusCode),
    /// It is served in the scope of this selector's tracer. Where that cannot be had either, what holds for that trouble holds, and where
    /// that is a selector again, the request is refused.
    Selector(Selector),
    /// It is served in no scope: nothing of a scope around the layer is there, no span is made, and what the service traces by the
    /// current scope comes to nothing. Code that knows no tenants has no `routing.default` there either: what it makes is unrouted.
    Untraced,
}

pub(super) type SessionOf = dyn Fn(&TracerHandle, &Parts) -> Option<SessionBuilder> + Send + Sync;
pub(super) type RouteOf = dyn for<'p> Fn(&'p Parts) -> Option<&'p str> + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) registry: TracerRegistry,
    pub(super) source: TenantSource,
    otherwise: [Fallback; 4],
    pub(super) session: Option<Arc<SessionOf>>,
    pub(super) route: Option<Arc<RouteOf>>,
    pub(super) scheme: Scheme,
    pub(super) scope_ends_with_request: bool,
    pub(super) counts: Arc<Counts>,
}

/// Whether a look-up is for what the request asked, or for what it gets instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Asked,
    Instead,
}

/// What is to be done with a request.
pub(super) enum Step {
    LookUp(Selector, Attempt),
    Go(Decision),
}

/// What was decided about a request.
pub(super) enum Decision {
    Serve(TracerHandle),
    ServeUntraced,
    Refuse(TenantErrorKind, StatusCode),
}

impl Settings {
    pub(super) fn new(registry: TracerRegistry, source: TenantSource) -> Self {
        let troubles = [
            TenantErrorKind::Missing,
            TenantErrorKind::Bad,
            TenantErrorKind::Unknown,
            TenantErrorKind::Unavailable,
        ];
        Self {
            registry,
            source,
            otherwise: troubles.map(|trouble| Fallback::Refuse(default_status(trouble))),
            session: None,
            route: None,
            scheme: Scheme::HTTP,
            scope_ends_with_request: false,
            counts: Arc::default(),
        }
    }

    pub(super) fn set(&mut self, trouble: TenantErrorKind, otherwise: Fallback) {
        self.otherwise[trouble as usize] = otherwise;
    }

    /// What is to be done with a request that came in. Allocates nothing where the tracer is there.
    pub(super) fn step(&self, request: &Parts) -> Step {
        match self.source.read(request) {
            Ok(Asked::Tenant(slug)) => match self.registry.ready_single(SelectorKind::Tenant, &slug) {
                Some(found) => self.found(&format_args!("tenant:{slug}"), found, Attempt::Asked),
                None => match Slug::new(&slug) {
                    Ok(name) => Step::LookUp(Selector::of(SelectorKind::Tenant, name), Attempt::Asked),
                    Err(source) => {
                        let part = SelectorKind::Tenant;
                        self.otherwise(None, &SelectorError::Slug { part, source }.into(), Attempt::Asked)
                    }
                },
            },
            Ok(Asked::Selector(selector)) => self.look_up(selector, Attempt::Asked),
            Err(error) => self.otherwise(None, &error, Attempt::Asked),
        }
    }

    /// What is to be done after a look-up of this selector.
    pub(super) fn found(
        &self,
        selector: &dyn Display,
        found: Result<TracerHandle, LookupError>,
        attempt: Attempt,
    ) -> Step {
        match found {
            Ok(tracer) => Step::Go(Decision::Serve(tracer)),
            Err(error) => self.otherwise(Some(selector), &error.into(), attempt),
        }
    }

    fn look_up(&self, selector: Selector, attempt: Attempt) -> Step {
        match self.registry.ready(&selector) {
            Some(found) => self.found(&selector, found, attempt),
            None => Step::LookUp(selector, attempt),
        }
    }

    fn otherwise(&self, selector: Option<&dyn Display>, error: &TenantError, attempt: Attempt) -> Step {
        self.counts.count(error);
        let trouble = error.trouble();
        if let Some(selector) = selector
            && trouble == TenantErrorKind::Unavailable
            && self.counts.may_warn(Instant::now())
        {
            let count = self.counts.snapshot().unavailable;
            tracing::warn!(%selector, count, "requests have no tracer of their own: {error}");
        } else {
            tracing::debug!("a request has no tracer of its own: {error}");
        }
        match &self.otherwise[trouble as usize] {
            Fallback::Refuse(status) => Step::Go(Decision::Refuse(trouble, *status)),
            Fallback::Untraced => Step::Go(Decision::ServeUntraced),
            Fallback::Selector(_) if attempt == Attempt::Instead => {
                Step::Go(Decision::Refuse(trouble, default_status(trouble)))
            }
            Fallback::Selector(selector) => self.look_up(selector.clone(), Attempt::Instead),
        }
    }
}

fn default_status(trouble: TenantErrorKind) -> StatusCode {
    match trouble {
        TenantErrorKind::Missing | TenantErrorKind::Bad => StatusCode::BAD_REQUEST,
        TenantErrorKind::Unknown => StatusCode::NOT_FOUND,
        TenantErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}
