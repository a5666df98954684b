//! Isolation broken on purpose, to see that what proves it notices.
//!
//! Compiled in only by `--cfg tracer_registry_faults`, which `.ci/faults` sets; then the variable `TRACER_REGISTRY_FAULT` chooses one. In every
//! other build [`planted`] is a constant.
//!
//! `.ci/faults` reads this file: a line `// == ` says what notices the faults below it. Above a fault there may be
//!
//! - `// options: ` options of `verify` for this fault;
//! - `// test: ` a test of the suite that must fail, in its own process, and not because of a program that it starts.

/// A way to break isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    // == verify
    /// Whatever span is active is the parent.
    ParentUnchecked,
    /// The session is the last one that the thread entered, whatever the scope.
    SessionOfThread,
    /// Two tracers send under each other's key.
    KeysSwapped,
    /// A scope that is entered in another one keeps that one's baggage.
    BaggageShared,
    /// Metadata of baggage that came in goes out as it was decoded.
    BaggageMetadataKept,
    /// Remote spans are parents also where the binding does not trust them.
    RemoteTrusted,
    /// A remote span is a parent, or a link, also where another tenant of the registry began its trace.
    TraceOriginUnchecked,
    /// A session's id in a request is taken also where the binding does not say so.
    SessionIdTaken,
    /// A scope that was left stays on its thread.
    ScopeLeftBehind,
    /// A scope that could not be made current is taken for one that is.
    AttachUnchecked,
    /// A request has the key of the one before it in a header of its own.
    KeyShown,
    /// A tracer says that whatever span is current is its own.
    CurrentUnchecked,
    /// Links to other tracers' spans are kept.
    LinksKept,
    /// Now and then a span is lost without being counted.
    SpanLost,
    /// Now and then a span is sent twice.
    SpanDoubled,
    /// A span of the `tracing` crate goes to the tracer of the one that is entered, whatever the scope.
    #[cfg(feature = "tracing")]
    EnteredUnchecked,
    /// A function with `#[trace]` takes the tracer that was named last on its thread.
    #[cfg(feature = "macros")]
    TracedByThread,
    /// A request is served for the tenant of the one before it.
    #[cfg(feature = "tower")]
    ServedForPrevious,
    // == verify --chaos
    /// A tracer is evicted with what it has not sent, and that is dropped.
    EvictedUnsent,
    /// After a reload new tracers are made of the binding of another name.
    BindingsSwapped,
    /// A reload leaves the tracers of those who are gone in the pool.
    RemovedServed,
    /// A reload leaves tracers in the pool whose binding changed.
    ChangedKept,
    /// Now and then a look-up has no end.
    // options: --limit 10
    LookUpHangs,
    /// A key that is refused is not asked for again.
    RefusedNotAsked,
    /// A tenant's file is obeyed as if it were the operator's.
    UntrustedObeyed,
    // == suite
    // `verify` has no occasion for these. Each names its tests, one or more.
    /// The session that was made the default last is that of every tracer.
    // test: session_modes::the_default_session_is_that_of_spans_outside_any_and_of_its_own_tracer_only
    DefaultSessionShared,
    /// An answer to a request with an older key says that the receiver refuses the current one.
    // test: rotation::alarms::an_answer_to_a_request_with_the_old_key_says_nothing_of_the_new_one
    LateAnswerAlarms,
}

/// Whether isolation is broken in this way.
#[cfg(not(tracer_registry_faults))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

#[cfg(tracer_registry_faults)]
pub(crate) use planting::planted;
pub(crate) use planting::{now_and_then, of_thread, previous, set_of_thread};

#[cfg(not(tracer_registry_faults))]
mod planting {
    pub(crate) const fn now_and_then() -> bool {
        false
    }

    pub(crate) fn set_of_thread<T>(_: &T) {}

    pub(crate) const fn of_thread<T>() -> Option<&'static T> {
        None
    }

    pub(crate) fn previous<T>(_: &T) -> Option<T> {
        None
    }
}

#[cfg(tracer_registry_faults)]
mod planting {
    use std::any::Any;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use super::Fault;

    #[expect(clippy::disallowed_methods, reason = "never in a build that anybody uses")]
    static CHOSEN: LazyLock<String> = LazyLock::new(|| std::env::var("TRACER_REGISTRY_FAULT").unwrap_or_default());

    thread_local! {
        static OF_THREAD: Cell<Option<&'static (dyn Any + Send + Sync)>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(fault: Fault) -> bool {
        !CHOSEN.is_empty() && *CHOSEN == format!("{fault:?}")
    }

    /// True every now and then: a fault that is always there is too easy to find.
    pub(crate) fn now_and_then() -> bool {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        ASKED.fetch_add(1, Ordering::Relaxed) % 97 == 96
    }

    /// Keeps something for whoever asks on this thread. Leaked: it is not for long.
    pub(crate) fn set_of_thread<T: Clone + Send + Sync + 'static>(value: &T) {
        let kept: &'static T = Box::leak(Box::new(value.clone()));
        OF_THREAD.set(Some(kept));
    }

    /// What was given at the call before.
    pub(crate) fn previous<T: Clone + Send + Sync + 'static>(value: &T) -> Option<T> {
        static PREVIOUS: Mutex<Option<Box<dyn Any + Send + Sync>>> = Mutex::new(None);
        let mut previous = PREVIOUS.lock().unwrap_or_else(PoisonError::into_inner);
        let before = previous.replace(Box::new(value.clone()))?;
        before.downcast().ok().map(|before| *before)
    }

    pub(crate) fn of_thread<T: 'static>() -> Option<&'static T> {
        OF_THREAD.get()?.downcast_ref()
    }
}
