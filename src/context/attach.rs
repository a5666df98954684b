//! Making a context the current one of a thread, and what holds where that fails.
//!
//! OpenTelemetry keeps 65,534 attached contexts for each thread. Beyond that its `attach` does nothing, and whatever was current stays so: code
//! that entered one tracer's scope would run in another one's. So each attachment is checked. While there is one that failed on a thread, what
//! is current there is not what code asked for, and [`current`] and [`known`] take it for a context in no scope, without a default.
//!
//! A thread that ends drops OpenTelemetry's stack of contexts with its other variables, and whatever asks for the current context afterwards panics,
//! which in the destructor of a variable ends the process. So each use of the stack asks first whether it is there ([`has_stack`]). Where it is
//! not, nothing is current, nothing can be made current, and all telemetry comes to nothing.
//!
//! | `STACK` | means | becomes |
//! |---|---|---|
//! | `Unknown` | nothing was asked on this thread yet | `There`, or stays if the stack cannot be used |
//! | `There` | the stack is there, and so is `WITNESS`, which was made after it and is dropped before it | `Gone` when `WITNESS` is dropped |
//! | `Gone` | the thread drops its variables | |
//!
//! Invariants: `FAILED` is the number of guards on this thread whose context is not attached because the stack is full; OpenTelemetry's stack is
//! touched only where `has_stack` is true.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::catch_unwind;

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, ContextGuard};

use super::scope::{ContextScope, is_decided, is_untraced, untraced};

thread_local! {
    // These two have no destructor, so they are there as long as the thread.
    static FAILED: Cell<usize> = const { Cell::new(0) };
    static STACK: Cell<Stack> = const { Cell::new(Stack::Unknown) };
    static WITNESS: Witness = const { Witness };
}

/// What is known of OpenTelemetry's stack of contexts on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stack {
    Unknown,
    There,
    Gone,
}

/// Dropped before OpenTelemetry's stack, since it is made after it: a thread drops its variables in the reverse order in which they were made.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        STACK.set(Stack::Gone);
    }
}

/// In a context: the thread that it was current on is ending.
struct Ending;

/// Keeps a scope current on this thread. Dropped, it makes current again what was before.
///
/// If the thread already has 65,534 attached contexts, the most that OpenTelemetry keeps, the scope cannot be made current. Until the guard is
/// dropped, code on this thread then runs in no scope, and
/// [`UnroutedStatus::unattached`](crate::status::UnroutedStatus::unattached) counts it. The same holds in a destructor that a thread runs at its end,
/// after it dropped OpenTelemetry's context; there code makes no spans at all.
#[must_use = "the scope ends when the guard is dropped"]
pub struct ScopeGuard {
    // First: the count goes down when nothing of this guard is attached any more. None where the thread is ending.
    attached: Option<ContextGuard>,
    failed: Option<Failed>,
    on_its_thread: PhantomData<*const ()>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        if !has_stack() {
            // It would look for its context on a stack that is gone.
            mem::forget(self.attached.take());
        }
    }
}

/// Counts as one attachment that failed.
struct Failed(PhantomData<*const ()>);

impl Failed {
    fn begin() -> Self {
        FAILED.set(FAILED.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Failed {
    fn drop(&mut self) {
        FAILED.set(FAILED.get() - 1);
    }
}

/// Makes a context the current one of the thread until the guard is dropped.
pub(crate) fn attach(cx: &Context) -> ScopeGuard {
    if !has_stack() {
        note(cx);
        return ScopeGuard {
            attached: None,
            failed: None,
            on_its_thread: PhantomData,
        };
    }
    let attached = cx.clone().attach();
    let holds = with_current(|now| is_same(now, cx));
    ScopeGuard {
        attached: Some(attached),
        failed: (!holds).then(|| fail(cx)),
        on_its_thread: PhantomData,
    }
}

#[cold]
fn fail(cx: &Context) -> Failed {
    let failed = Failed::begin();
    // If the new scope names no registry, the one that stays current does.
    let is_first = note(cx).or_else(|| with_current(note));
    if is_first == Some(true) {
        tracing::warn!(
            "a scope cannot be entered: its thread has 65534 attached contexts, the most that OpenTelemetry keeps; until their guards are \
             dropped, code on such a thread runs in no scope"
        );
    }
    failed
}

/// Counts a scope that cannot be made current; whether it is the registry's first.
fn note(cx: &Context) -> Option<bool> {
    Some(cx.get::<ContextScope>()?.identity().boundary().note_unattached())
}

/// Whether two contexts have the same scope, span and suppression. Baggage is not compared: contexts that this crate makes differ in it only
/// if they differ in one of those.
fn is_same(one: &Context, other: &Context) -> bool {
    let same_scope = match (one.get::<ContextScope>(), other.get::<ContextScope>()) {
        (Some(one), Some(other)) => std::ptr::eq(one, other),
        (None, None) => is_untraced(one) == is_untraced(other),
        _ => false,
    };
    let same_span = match (one.has_active_span(), other.has_active_span()) {
        (true, true) => std::ptr::eq(one.span().span_context(), other.span().span_context()),
        (one, other) => one == other,
    };
    same_scope && same_span && one.is_telemetry_suppressed() == other.is_telemetry_suppressed()
}

/// The current context of the thread. In no scope if an attachment failed; without telemetry if the thread is ending.
pub(crate) fn current() -> Context {
    if !has_stack() {
        return Context::new().with_value(Ending).with_telemetry_suppressed();
    }
    with_current(|now| if has_failed() { untraced(now) } else { now.clone() })
}

/// The current context of the thread, or another one if nothing at all is current.
pub(crate) fn current_or(other: Context) -> Context {
    let now = current();
    let is_set = is_decided(&now) || now.has_active_span() || now.is_telemetry_suppressed();
    if is_set { now } else { other }
}

/// A context that the program passes in, as it may be used on this thread. If an attachment failed, one with the scope that is current there
/// counts as in no scope, because the failed attachment may have been meant to hide it.
pub(crate) fn known(cx: &Context) -> Cow<'_, Context> {
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

/// Whether an attachment failed on this thread, and its guard is still there.
pub(crate) fn has_failed() -> bool {
    FAILED.get() > 0
}

/// Whether a context is what is current on a thread that is ending.
pub(crate) fn is_ending(cx: &Context) -> bool {
    cx.get::<Ending>().is_some()
}

/// Whether the thread still has OpenTelemetry's stack of contexts.
#[inline]
fn has_stack() -> bool {
    match STACK.get() {
        Stack::There => true,
        Stack::Gone => false,
        Stack::Unknown => look_for_stack(),
    }
}

#[cold]
fn look_for_stack() -> bool {
    // Panics where the thread is ending, and this is the first time that anything of this crate is called on it.
    let is_there = catch_unwind(|| with_current(|_| ())).is_ok();
    if is_there {
        WITNESS.with(|_| STACK.set(Stack::There));
    }
    is_there
}

#[expect(clippy::disallowed_methods, reason = "this module owns the current context")]
fn with_current<T>(see: impl FnOnce(&Context) -> T) -> T {
    Context::map_current(see)
}

/// Makes all telemetry of this thread come to nothing until the guard is dropped.
pub(crate) fn suppress() -> ScopeGuard {
    attach(&current().with_telemetry_suppressed())
}

/// Makes all telemetry of this thread come to nothing, for the rest of its life.
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
