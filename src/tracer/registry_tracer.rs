//! OpenTelemetry's `TracerProvider` and `Tracer` traits for a handle.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanBuilder, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};

use super::handle::TracerHandle;
use super::sdk_tracers::SdkTracers;
use super::start::OpenSpan;
use crate::context;
use crate::span::RegistrySpan;
use crate::util::wall_time::Moment;

/// OpenTelemetry's `Tracer` of one [`TracerHandle`] and one instrumentation scope.
#[derive(Clone)]
pub struct RegistryTracer {
    handle: TracerHandle,
    sdk: Arc<SdkTracers>,
}

impl TracerProvider for TracerHandle {
    type Tracer = RegistryTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> RegistryTracer {
        RegistryTracer {
            sdk: Arc::new(self.0.sdk_tracers(scope)),
            handle: self.clone(),
        }
    }
}

impl Tracer for RegistryTracer {
    type Span = RegistrySpan;

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> RegistrySpan {
        self.handle.start_in(&self.sdk, builder, parent_cx)
    }

    // The trait's default methods panic on an ending thread.
    fn start<T: Into<Cow<'static, str>>>(&self, name: T) -> RegistrySpan {
        self.build(SpanBuilder::from_name(name))
    }

    fn build(&self, builder: SpanBuilder) -> RegistrySpan {
        self.handle.start_here(&self.sdk, builder)
    }

    // The trait's default methods would keep another tracer's scope around the new span.
    fn in_span_with_builder<T, F>(&self, builder: SpanBuilder, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        self.in_span_with_builder_and_context(builder, &context::current(), f)
    }

    fn in_span_with_builder_and_context<T, F>(&self, builder: SpanBuilder, parent_cx: &Context, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        let open = self.open(builder, parent_cx);
        let cx = open.span.context().clone();
        let _entered = context::attach_new_span(&cx);
        f(cx)
    }
}

impl RegistryTracer {
    /// Starts a span and returns it with the context in which it is current.
    pub(crate) fn open(&self, builder: SpanBuilder, from: &Context) -> OpenSpan {
        self.handle.open_in(&self.sdk, builder, from, Moment::now())
    }

    /// Returns the handle of this tracer.
    pub fn handle(&self) -> &TracerHandle {
        &self.handle
    }
}

impl fmt::Debug for RegistryTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryTracer({})", self.handle.selector())
    }
}
