//! The SDK tracers of one instrumentation scope.

use std::array;
use std::sync::OnceLock;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::export::STRIPES;
use crate::util::fork::ForkLock;

/// The SDK tracers of one instrumentation scope.
///
/// Each span counts references to its SDK tracer and provider. Threads that share them would move
/// these counts between processors at each span, so a tracer whose lane has stripes has an SDK
/// tracer and provider per stripe.
pub(super) struct SdkTracers {
    scope: InstrumentationScope,
    first: SdkTracer,
    of_stripes: OnceLock<Box<[OnceLock<SdkTracer>; STRIPES]>>,
    /// Held to set the fields above, which therefore never waits.
    creating: ForkLock<()>,
}

impl SdkTracers {
    /// `first` is of that scope.
    pub(super) fn new(scope: InstrumentationScope, first: SdkTracer) -> Self {
        Self {
            scope,
            first,
            of_stripes: OnceLock::new(),
            creating: ForkLock::default(),
        }
    }

    /// Returns the SDK tracer for spans that start on threads with this stripe. `provider` creates
    /// a further provider of the same tracer.
    #[inline]
    pub(super) fn of_stripe(&self, stripe: Option<usize>, provider: impl FnOnce() -> SdkTracerProvider) -> &SdkTracer {
        let Some(stripe) = stripe else {
            return &self.first;
        };
        let known = self.of_stripes.get().and_then(|sdks| sdks[stripe].get());
        known.or_else(|| self.create(stripe, provider)).unwrap_or(&self.first)
    }

    /// Creates the SDK tracer of a stripe. Returns `None` while another thread creates one.
    #[cold]
    fn create(&self, stripe: usize, provider: impl FnOnce() -> SdkTracerProvider) -> Option<&SdkTracer> {
        let _creating = self.creating.try_lock()?;
        let list = || Box::new(array::from_fn(|_| OnceLock::new()));
        let own = &self.of_stripes.get_or_init(list)[stripe];
        Some(own.get_or_init(|| provider().tracer_with_scope(self.scope.clone())))
    }
}
