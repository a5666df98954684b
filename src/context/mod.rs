//! The current context: scopes, and the choice of a span's parent. Only this module uses
//! `Context::current`.
//!
//! OpenTelemetry has one current context per thread for all providers. Two mechanisms keep tracers
//! apart in it:
//!
//! - Each span id identifies its tracer. A tracer's [`Identity`] generates its ids: one half is a
//!   counter, the other half a check under the tracer's key. So a tracer recognizes its own active
//!   span whatever code made it current, in a few instructions. A foreign id passes with a
//!   probability of one in two thousand million.
//! - A [`ContextScope`](scope::ContextScope) in the context names the tracer that code runs for. A
//!   scope keeps the contexts of other tracers that it hides, so that an inner scope of such a
//!   tracer finds its ancestor span and session again.
//!
//! An attachment may fail: [`attach`](attach()) verifies each one. On an ending thread every
//! attachment fails.
//!
//! Invariant: the parent returned by [`parent`] is a span of the same tracer, a trusted remote
//! span, or none.

mod attach;
mod boundary;
mod enter;
mod identity;
mod in_scope;
mod inherited;
mod scope;
mod stale_scopes;
mod trace_origin;

pub use attach::ScopeGuard;
#[cfg(feature = "tracing")]
pub(crate) use attach::has_failed;
pub(crate) use attach::{
    attach, attach_new_span, current, current_or, is_ending, suppress, suppress_on_this_thread, usable,
};
pub(crate) use boundary::Boundary;
pub use boundary::PropagationStatus;
#[cfg(feature = "tower")]
pub(crate) use enter::with_root;
pub(crate) use enter::{Entered, enter, with_baggage, with_trusted_span};
#[cfg(feature = "tracing")]
pub(crate) use enter::{by_default, without_parent};
pub(crate) use identity::{Identity, SpanIds};
pub(crate) use in_scope::InScope;
pub(crate) use inherited::{ScopedContext, baggage, with_open_span};
#[cfg(any(feature = "macros", feature = "tower"))]
pub(crate) use scope::untraced;
pub(crate) use scope::{Owner, SessionScope, SessionStamp, is_over, is_untraced, scope_of};
#[cfg(feature = "tracing")]
pub(crate) use scope::{is_in_other_scope, owner_of};
pub(crate) use stale_scopes::Root;
pub use stale_scopes::StaleScopeStatus;
