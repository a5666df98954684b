//! The current context: scopes, and the choice of a span's parent. The only place that touches `Context::current`.
//!
//! OpenTelemetry has one current context per thread for all providers. Two things keep tracers apart in it:
//!
//! - Each span id identifies its tracer. A tracer's [`Identity`] makes its ids: half of an id is a count, the other half is a check
//!   under a key of the tracer. So "is the active span mine?" is exact, whatever code made it active, and costs a few instructions
//!   (a foreign id passes with a chance of one in two thousand million).
//! - A [`ContextScope`](scope::ContextScope) in the context says which tracer code runs for. If one tracer's scope hides another's, it
//!   keeps the hidden context, so that a scope further in finds its own ancestor and its own session again.
//!
//! A context that cannot be made current is a third case: [`attach`](attach()) checks that it took hold. On a thread that is ending,
//! nothing does.
//!
//! Invariant: a parent that [`parent`] returns is a span of the same tracer, a trusted remote one, or none.

mod attach;
mod boundary;
mod enter;
mod identity;
mod in_scope;
mod inherited;
mod outlived;
mod scope;
mod trace_origin;

pub use attach::ScopeGuard;
#[cfg(feature = "tracing")]
pub(crate) use attach::has_failed;
pub(crate) use attach::{attach, current, current_or, is_ending, known, suppress, suppress_on_this_thread};
pub(crate) use boundary::Boundary;
pub use boundary::PropagationStatus;
#[cfg(feature = "tower")]
pub(crate) use enter::with_root;
#[cfg(feature = "tracing")]
pub(crate) use enter::{by_default, rooted};
pub(crate) use enter::{enter, with_baggage, with_own_span, with_session, with_trusted_span};
pub(crate) use identity::{Identity, SpanIds};
pub(crate) use in_scope::InScope;
pub(crate) use inherited::{baggage, note_if_stale, parent, session, with_open_span};
pub(crate) use outlived::Root;
pub use outlived::StaleScopeStatus;
#[cfg(any(feature = "macros", feature = "tower"))]
pub(crate) use scope::untraced;
pub(crate) use scope::{Owner, SessionScope, SessionStamp, is_over, is_untraced, scope_of};
#[cfg(feature = "tracing")]
pub(crate) use scope::{is_in_other_scope, owner_of};
