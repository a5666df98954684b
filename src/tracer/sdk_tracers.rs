//! The SDK providers of a tracer, and the SDK tracers of one instrumentation scope.
//!
//! Each span counts references to its SDK tracer and provider. Threads that share them would move
//! these counts between processors at each span, so a tracer whose lane has stripes has a provider
//! per stripe, and SDK tracers per stripe and scope.

use std::array;
use std::sync::OnceLock;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::export::STRIPES;
use crate::util::fork::ForkLock;

/// The SDK providers of one tracer. All scopes share them.
pub(super) struct Providers {
    first: SdkTracerProvider,
    of_stripes: PerStripe<SdkTracerProvider>,
    /// Held to set a [`PerStripe`] of the tracer, which therefore never waits.
    creating: ForkLock<()>,
}

/// The SDK tracers of one instrumentation scope.
pub(super) struct SdkTracers {
    scope: InstrumentationScope,
    /// The SDK tracer of the first thread.
    own: SdkTracer,
    /// The stripe of `own`.
    own_stripe: Option<usize>,
    of_stripes: PerStripe<SdkTracer>,
}

/// A value per stripe, each created on first use.
struct PerStripe<T>(OnceLock<Box<[OnceLock<T>; STRIPES]>>);

impl<T> PerStripe<T> {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    fn get(&self, stripe: usize) -> Option<&T> {
        self.0.get()?[stripe].get()
    }

    /// Returns the value of a stripe. Returns `None` while another thread creates one.
    #[cold]
    fn create(&self, stripe: usize, creating: &ForkLock<()>, create: impl FnOnce() -> T) -> Option<&T> {
        let _creating = creating.try_lock()?;
        let values = self.0.get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        Some(values[stripe].get_or_init(create))
    }
}

impl Providers {
    pub(super) fn new(first: SdkTracerProvider) -> Self {
        Self {
            first,
            of_stripes: PerStripe::new(),
            creating: ForkLock::default(),
        }
    }

    /// Returns the SDK tracers of a scope. `stripe` is that of this thread, and `create` creates a
    /// further provider of the same tracer.
    pub(super) fn tracers(
        &self,
        scope: InstrumentationScope,
        stripe: Option<usize>,
        create: impl FnOnce() -> SdkTracerProvider,
    ) -> SdkTracers {
        let of_stripe = stripe.and_then(|stripe| Some((stripe, self.of_stripe(stripe, create)?)));
        let provider = of_stripe.map_or(&self.first, |(_, provider)| provider);
        SdkTracers::new(scope, provider, of_stripe.map(|(stripe, _)| stripe))
    }

    /// Returns the provider of a stripe. Returns `None` while another thread creates one.
    fn of_stripe(&self, stripe: usize, create: impl FnOnce() -> SdkTracerProvider) -> Option<&SdkTracerProvider> {
        let known = self.of_stripes.get(stripe);
        known.or_else(|| self.of_stripes.create(stripe, &self.creating, create))
    }
}

impl SdkTracers {
    pub(super) fn new(scope: InstrumentationScope, provider: &SdkTracerProvider, stripe: Option<usize>) -> Self {
        Self {
            own: provider.tracer_with_scope(scope.clone()),
            own_stripe: stripe,
            of_stripes: PerStripe::new(),
            scope,
        }
    }

    /// Returns the SDK tracer for spans that start on threads with this stripe. `create` creates a
    /// further provider of the same tracer.
    #[inline]
    pub(super) fn of_stripe(
        &self,
        stripe: Option<usize>,
        providers: &Providers,
        create: impl FnOnce() -> SdkTracerProvider,
    ) -> &SdkTracer {
        let Some(stripe) = stripe.filter(|stripe| self.own_stripe != Some(*stripe)) else {
            return &self.own;
        };
        let known = self.of_stripes.get(stripe);
        let sdk = known.or_else(|| self.create(stripe, providers, create));
        sdk.unwrap_or(&self.own)
    }

    #[cold]
    fn create(
        &self,
        stripe: usize,
        providers: &Providers,
        create: impl FnOnce() -> SdkTracerProvider,
    ) -> Option<&SdkTracer> {
        let provider = providers.of_stripe(stripe, create)?;
        let sdk = || provider.tracer_with_scope(self.scope.clone());
        self.of_stripes.create(stripe, &providers.creating, sdk)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use opentelemetry_sdk::Resource;

    use super::*;

    fn provider() -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .build()
    }

    #[test]
    fn all_scopes_share_the_provider_of_a_stripe() {
        let created = Cell::new(0);
        let create = || {
            created.set(created.get() + 1);
            provider()
        };
        let providers = Providers::new(create());
        for stripe in [None, Some(0), Some(1), Some(0)] {
            let sdks = providers.tracers(InstrumentationScope::builder("library").build(), stripe, create);
            for used in [None, stripe, Some(0), Some(1)] {
                sdks.of_stripe(used, &providers, create);
            }
        }
        assert_eq!(created.get(), 3);
    }

    #[test]
    fn a_thread_does_not_wait_while_another_creates_a_provider() {
        let providers = Providers::new(provider());
        let _creating = providers.creating.try_lock();
        let sdks = providers.tracers(InstrumentationScope::default(), Some(1), provider);
        assert_eq!(sdks.own_stripe, None);
        sdks.of_stripe(Some(1), &providers, provider);
        assert!(providers.of_stripes.get(1).is_none() && sdks.of_stripes.get(1).is_none());
    }
}
