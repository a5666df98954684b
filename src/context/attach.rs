//! Attaches contexts to a thread, and handles failed attachments.
//!
//! OpenTelemetry keeps at most 65,534 attached contexts per thread. Beyond that its `attach` does
//! nothing and the previous context stays current, so code that entered one tracer's scope would
//! run in another's. Therefore each attachment is verified. While a failed attachment exists on a
//! thread, [`current`] and [`usable`] treat its current context as outside any scope and without a
//! default.
//!
//! A thread that ends drops OpenTelemetry's context stack together with its other thread-locals.
//! Reading the current context afterwards panics; in the destructor of a thread-local that aborts
//! the process. Therefore each use of the stack first checks that it still exists ([`has_stack`]).
//! Without it nothing is current, nothing can be attached, and telemetry is suppressed.
//!
//! | `STACK` | meaning | next |
//! |---|---|---|
//! | `Unknown` | not used on this thread yet | `There`; stays `Unknown` if the stack is unusable |
//! | `There` | the stack and `WITNESS` exist; `WITNESS` is newer, so it is dropped first | `Gone` when `WITNESS` is dropped |
//! | `Gone` | the thread is dropping its thread-locals | |
//!
//! Invariants: `FAILED` is the number of guards on this thread whose context is not attached
//! because the stack is full. OpenTelemetry's stack is used only if `has_stack` returns true.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::catch_unwind;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, ContextGuard};

use super::scope::{ContextScope, is_scoped_or_untraced, is_untraced, untraced};

thread_local! {
    // These two have no destructor, so they live as long as the thread.
    static FAILED: Cell<usize> = const { Cell::new(0) };
    static STACK: Cell<Stack> = const { Cell::new(Stack::Unknown) };
    static WITNESS: Witness = const { Witness };
}

/// State of OpenTelemetry's context stack on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stack {
    Unknown,
    There,
    Gone,
}

/// Dropped before OpenTelemetry's stack because it is created after it: a thread drops its
/// thread-locals in reverse order of creation.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        STACK.set(Stack::Gone);
    }
}

/// Marks a context that was current on an ending thread.
struct EndingThread;

/// Keeps a scope current on this thread. Dropping it restores the previous context.
///
/// A thread holds at most 65,534 attached contexts, a limit of OpenTelemetry. Beyond it the scope
/// cannot be entered: until the guard is dropped, code on this thread runs outside any scope, and
/// [`UnroutedStatus::unattached`](crate::status::UnroutedStatus::unattached) counts it. The same
/// holds in thread-local destructors that run after OpenTelemetry's context stack is dropped; code
/// there creates no spans at all.
#[must_use = "the scope ends when the guard is dropped"]
pub struct ScopeGuard {
    // Dropped first, so that `FAILED` decreases only after detaching. `None` if the thread is
    // ending.
    attached: Option<ContextGuard>,
    failed: Option<FailedAttachment>,
    not_send: PhantomData<*const ()>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if !has_stack() {
            // Dropping it would access a stack that is gone.
            mem::forget(self.attached.take());
        }
    }
}

/// Counts one failed attachment.
struct FailedAttachment(PhantomData<*const ()>);

impl FailedAttachment {
    fn begin() -> Self {
        FAILED.set(FAILED.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for FailedAttachment {
    fn drop(&mut self) {
        FAILED.set(FAILED.get() - 1);
    }
}

/// Makes a context current on this thread until the guard is dropped.
pub(crate) fn attach(cx: &Context) -> ScopeGuard {
    if !has_stack() {
        note(cx);
        return ScopeGuard {
            attached: None,
            failed: None,
            not_send: PhantomData,
        };
    }
    attach_checked(cx, is_same)
}

/// As [`attach`], for a context whose span is active in no other context that may be current.
pub(crate) fn attach_new_span(cx: &Context) -> ScopeGuard {
    if !has_stack() {
        return attach(cx);
    }
    attach_checked(cx, has_same_span)
}

fn attach_checked(cx: &Context, is_attached: impl FnOnce(&Context, &Context) -> bool) -> ScopeGuard {
    let attached = cx.clone().attach();
    let holds = with_current(|now| is_attached(now, cx));
    ScopeGuard {
        attached: Some(attached),
        failed: (!holds).then(|| fail(cx)),
        not_send: PhantomData,
    }
}

#[cold]
fn fail(cx: &Context) -> FailedAttachment {
    let failed = FailedAttachment::begin();
    // If the new scope names no registry, the scope that stays current does.
    let is_first = note(cx).or_else(|| with_current(note));
    if is_first == Some(true) {
        tracing::warn!(
            "cannot enter a scope: the thread holds 65534 attached contexts, the limit of OpenTelemetry; code on it runs \
             outside any scope until their guards are dropped"
        );
    }
    failed
}

/// Counts a scope that cannot be made current. Returns whether it is the registry's first, or
/// `None` without a scope.
fn note(cx: &Context) -> Option<bool> {
    Some(cx.get::<ContextScope>()?.identity().boundary().note_unattached())
}

/// Whether two contexts have the same scope, span and suppression. Baggage is not compared:
/// contexts that this crate creates differ in baggage only if they also differ in one of those.
fn is_same(one: &Context, other: &Context) -> bool {
    let same_scope = match (one.get::<ContextScope>(), other.get::<ContextScope>()) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (None, None) => is_untraced(one) == is_untraced(other),
        _ => false,
    };
    let same_span =
        one.has_active_span() == other.has_active_span() && (!one.has_active_span() || has_same_span(one, other));
    same_scope && same_span && one.is_telemetry_suppressed() == other.is_telemetry_suppressed()
}

/// Whether two contexts with an active span have the same one.
fn has_same_span(one: &Context, other: &Context) -> bool {
    std::ptr::eq(one.span().span_context(), other.span().span_context())
}

/// Returns the current context of the thread. It has no scope if an attachment failed, and is
/// suppressed if the thread is ending.
pub(crate) fn current() -> Context {
    if !has_stack() {
        return Context::new().with_value(EndingThread).with_telemetry_suppressed();
    }
    with_current(|now| if has_failed() { untraced(now) } else { now.clone() })
}

/// Returns the current context of the thread, or `other` if nothing is current.
pub(crate) fn current_or(other: Context) -> Context {
    let now = current();
    let is_set = is_scoped_or_untraced(&now) || now.has_active_span() || now.is_telemetry_suppressed();
    if is_set { now } else { other }
}

/// Returns a context passed in by the program as it may be used on this thread. After a failed
/// attachment, a context with the current scope counts as outside any scope, because the attachment
/// may have been meant to hide that scope.
pub(crate) fn usable(cx: &Context) -> Cow<'_, Context> {
    if has_failed() && with_current(|now| has_same_scope(now, cx)) {
        return Cow::Owned(untraced(cx));
    }
    Cow::Borrowed(cx)
}

fn has_same_scope(one: &Context, other: &Context) -> bool {
    match (one.get::<ContextScope>(), other.get::<ContextScope>()) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Whether a failed attachment with a live guard exists on this thread.
pub(crate) fn has_failed() -> bool {
    FAILED.get() > 0
}

/// Whether a context was current on an ending thread.
pub(crate) fn is_ending(cx: &Context) -> bool {
    cx.get::<EndingThread>().is_some()
}

/// Whether the thread still has OpenTelemetry's context stack.
#[inline]
fn has_stack() -> bool {
    match STACK.get() {
        Stack::There => true,
        Stack::Gone => false,
        Stack::Unknown => probe_stack(),
    }
}

#[cold]
fn probe_stack() -> bool {
    // Panics if the thread is ending and this is its first call into this crate.
    let is_there = catch_unwind(|| with_current(|_| ())).is_ok();
    if is_there {
        WITNESS.with(|_| STACK.set(Stack::There));
    }
    is_there
}

#[expect(clippy::disallowed_methods, reason = "this module owns the current context")]
fn with_current<T>(f: impl FnOnce(&Context) -> T) -> T {
    Context::map_current(f)
}

/// Suppresses all telemetry of this thread until the guard is dropped.
pub(crate) fn suppress() -> ScopeGuard {
    attach(&current().with_telemetry_suppressed())
}

/// Suppresses all telemetry of this thread for the rest of its life.
pub(crate) fn suppress_on_this_thread() {
    mem::forget(suppress());
}

impl fmt::Debug for ScopeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeGuard")
            .field("is_attached", &(self.attached.is_some() && self.failed.is_none()))
            .finish_non_exhaustive()
    }
}
