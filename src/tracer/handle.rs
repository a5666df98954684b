//! The handle that callers hold, and the tracer behind it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

#[cfg(feature = "tracing")]
use arc_swap::ArcSwapOption;
use opentelemetry::trace::{SpanBuilder, SpanContext, TraceContextExt};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanLimits};

use super::default_session::DefaultSession;
use super::freshness::Freshness;
#[cfg(feature = "gateway")]
use super::payload_rules::PayloadRules;
use super::sampler::{AnySampler, sampler};
use super::sdk_tracers::{Providers, SdkTracers};
use crate::backend::Destination;
use crate::config::{DefinedPaths, Digest, ResolvedBinding};
use crate::context::{
    self, Entered, Identity, InScope, Owner, ScopeGuard, ScopedContext, SessionScope, SessionStamp, SpanIds,
};
use crate::export::{Lane, LaneProcessor, OpenLane, TracerReport};
use crate::secret::Fingerprint;
use crate::selector::Selector;
use crate::span::{ActiveSpan, RegistrySpan};

/// Instrumentation scope of spans that the handle starts itself. Static, so that a span allocates
/// no string.
const SCOPE: &str = "tracer-registry";

/// Empty, because an SDK provider without a resource reads environment variables. The resource that
/// is sent is part of the lane's destination.
static NO_RESOURCE: LazyLock<Resource> = LazyLock::new(|| Resource::builder_empty().build());

/// A handle of one isolated tracer with its own provider, queue, ledger and key.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`. A span belongs to the tracer that
/// starts it. Its parent is the tracer's innermost current span, and its session is that of the
/// tracer's innermost scope. Current spans and scopes of other tracers have no effect.
///
/// Implements [`TracerProvider`](opentelemetry::trace::TracerProvider). Handles are equal if they
/// refer to the same tracer.
#[derive(Clone)]
pub struct TracerHandle(pub(super) Arc<Instance>);

pub(crate) struct Instance {
    pub(super) identity: Arc<Identity>,
    pub(super) trust_remote_parent: bool,
    pub(super) propagate_session_id: bool,
    pub(super) providers: Providers,
    /// SDK tracers for spans that the handle starts itself.
    pub(super) sdk: SdkTracers,
    /// SDK tracers for spans of the `tracing` crate. Created with the first such span.
    #[cfg(feature = "tracing")]
    pub(super) sdk_for_tracing: ArcSwapOption<SdkTracers>,
    open_lane: Arc<OpenLane>,
    sampling_ratio: f64,
    limits: SpanLimits,
    pub(super) lane: Arc<Lane>,
    pub(super) default_session: DefaultSession,
    /// Digest of the binding that the tracer was created with.
    pub(super) digest: Digest,
    /// Settings in the tenant's file when the tracer was created. Empty without a file.
    #[cfg_attr(
        not(feature = "watch"),
        expect(dead_code, reason = "only the file watcher compares it")
    )]
    pub(super) defined_paths: DefinedPaths,
    pub(super) freshness: Freshness,
    #[cfg(feature = "gateway")]
    payload_rules: PayloadRules,
}

impl TracerHandle {
    /// Creates a tracer. Its binding must be resolved again at `expires`.
    pub(crate) fn new(
        binding: &ResolvedBinding,
        defined_paths: DefinedPaths,
        expires: Option<Instant>,
        lane: Arc<Lane>,
    ) -> Self {
        let identity = Arc::clone(&lane.identity);
        let open_lane = Arc::new(OpenLane(Arc::clone(&lane)));
        let sampling_ratio = binding.sampling.ratio;
        let sampler = sampler(sampling_ratio, binding.trust_remote_parent, &lane);
        let limits = Destination::sdk_limits(binding);
        let provider = provider(sampler, limits, SpanIds::new(&identity), &open_lane);
        let scope = InstrumentationScope::builder(SCOPE).build();
        Self(Arc::new(Instance {
            identity,
            trust_remote_parent: binding.trust_remote_parent,
            propagate_session_id: binding.propagate_session_id,
            sdk: SdkTracers::new(scope, &provider, None),
            #[cfg(feature = "tracing")]
            sdk_for_tracing: ArcSwapOption::empty(),
            providers: Providers::new(provider),
            open_lane,
            sampling_ratio,
            limits,
            lane,
            default_session: DefaultSession::default(),
            digest: binding.digest(),
            defined_paths,
            freshness: Freshness::new(expires),
            #[cfg(feature = "gateway")]
            payload_rules: PayloadRules::new(binding),
        }))
    }

    /// Returns the selector of the tracer.
    pub fn selector(&self) -> &Selector {
        &self.0.lane.selector
    }

    /// Returns the fingerprint of the current API key. Changes when the key rotates.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.lane.fingerprint()
    }

    /// Runs an async closure in a new span. The span is current during each poll of the closure's
    /// future, on any thread.
    ///
    /// ```
    /// # async fn demo(acme: tracer_registry::TracerHandle) {
    /// let answer = acme.in_span_async("answer", async |span| {
    ///     span.set_attribute("question", "why?");
    ///     42
    /// }).await;
    /// # }
    /// ```
    ///
    /// The span starts at the first poll of the returned future. It takes its parent and session
    /// from the context of that poll, so `session.scope(acme.in_span_async(..))` is in the session.
    /// If no scope or span is current there, as in a spawned task, it takes them from the context
    /// of the call to `in_span_async`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the span.
    pub fn in_span_async<N, F, Fut>(&self, name: N, f: F) -> impl Future<Output = Fut::Output> + use<N, F, Fut>
    where
        N: Into<Cow<'static, str>>,
        F: FnOnce(ActiveSpan) -> Fut,
        Fut: Future,
    {
        let (handle, builder, called_in) = (self.clone(), SpanBuilder::from_name(name), context::current());
        async move {
            let open = handle.open(builder, &context::current_or(called_in));
            let cx = open.span.context().clone();
            let future = {
                // The closure runs before the first poll of its future. Spans that it starts are
                // children too.
                let _entered = context::attach(&cx);
                f(open.span.clone())
            };
            InScope::new(future, cx).await
        }
    }

    /// Runs a closure in a new span that is current on this thread while it runs.
    pub fn in_span<T>(&self, name: impl Into<Cow<'static, str>>, f: impl FnOnce(ActiveSpan) -> T) -> T {
        let open = self.open(SpanBuilder::from_name(name), &context::current());
        let _entered = context::attach_new_span(open.span.context());
        f(open.span.clone())
    }

    /// Starts a span without making it current. Its parent is this tracer's current span. The span
    /// ends when it is dropped or its `end` is called.
    pub fn start_span(&self, name: impl Into<Cow<'static, str>>) -> RegistrySpan {
        self.start_here(&self.0.sdk, SpanBuilder::from_name(name))
    }

    /// Sends the spans and session events that this tracer has accepted so far, and waits up to
    /// `timeout`. Does not send or wait for the data of other tracers.
    ///
    /// The report covers only this tracer, not other tracers of its selector. It counts only what
    /// no earlier report counted, of this tracer or of the registry, and no later report counts it
    /// again.
    ///
    /// Blocks the thread; for async code see
    /// [`TracerRegistry::force_flush`](crate::TracerRegistry::force_flush). Does nothing after the
    /// registry was dropped.
    pub fn force_flush(&self, timeout: Duration) -> TracerReport {
        self.lane().flush(timeout)
    }

    /// Runs a future with this tracer current. Code in it that names no tracer uses this one:
    /// [`TracerRegistry::current`](crate::TracerRegistry::current), `#[trace]`, and spans of the
    /// `tracing` crate and of OpenTelemetry's global provider. The scope follows the future between
    /// threads, and ends when the future completes or is dropped.
    ///
    /// # Cancel safety
    /// Same as the future's.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.scope_context(None, &context::current()))
    }

    /// Makes this tracer current on this thread until the guard is dropped. Otherwise like
    /// [`scope`](Self::scope).
    ///
    /// The guard cannot move to another thread:
    ///
    /// ```compile_fail,E0277
    /// # fn demo(acme: tracer_registry::TracerHandle) {
    /// let entered = acme.enter();
    /// std::thread::spawn(move || drop(entered));
    /// # }
    /// ```
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> ScopeGuard {
        context::attach(&self.scope_context(None, &context::current()))
    }

    pub(crate) fn scope_context(&self, session: Option<SessionScope>, from: &Context) -> Context {
        self.enter_from(session, from).into_context()
    }

    pub(super) fn enter_from<'cx>(&self, session: Option<SessionScope>, from: &'cx Context) -> Entered<'cx> {
        context::enter(&self.0.identity, || self.owner(), session, from)
    }

    /// Returns the tracer that owns a scope.
    pub(crate) fn of_scope(owner: &Owner) -> Option<Self> {
        let tracer = Arc::clone(&owner.tracer).downcast::<Instance>();
        tracer.ok().map(Self)
    }

    /// Returns a token that identifies this tracer, for tests of isolation. Does not prevent the
    /// tracer's eviction. While the token is held, no other tracer's token has the same address.
    #[doc(hidden)]
    pub fn instance_token(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.0.identity) as Arc<dyn Any + Send + Sync>
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.0.identity
    }

    pub(crate) fn trusts_remote_parent(&self) -> bool {
        self.0.trust_remote_parent
    }

    pub(crate) fn propagates_session_id(&self) -> bool {
        self.0.propagate_session_id
    }

    /// Returns the session id that a span started in `cx` would carry. `None` without a session, or
    /// if the session is that of the span's trace.
    pub(crate) fn session_id(&self, cx: &Context) -> Option<String> {
        let mut builder = SpanBuilder::default();
        self.stamp_session(&mut builder, cx.into());
        let id = builder.attributes?.into_iter().next()?;
        Some(id.value.as_str().into_owned())
    }

    fn owner(&self) -> Owner {
        Owner {
            identity: Arc::clone(&self.0.identity),
            tracer: Arc::clone(&self.0) as Arc<dyn Any + Send + Sync>,
        }
    }

    /// Returns this tracer's innermost current span, if it is open. Finds it also inside scopes of
    /// other tracers.
    ///
    /// Returns `None` if code made another tracer's span current above it directly through
    /// OpenTelemetry's [`Context`]: then only the id of this tracer's span is known.
    pub fn current_span(&self) -> Option<ActiveSpan> {
        let cx = context::with_open_span(&self.0.identity, &context::current())?;
        Some(ActiveSpan::new(cx, Arc::clone(&self.0.lane)))
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.0.lane
    }

    /// Whether other handles exist, including those inside sessions, scopes and current contexts.
    /// If false, only a look-up can create another one. If true, they may have been dropped since.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether this is the only handle, no span or default session is open, and no data is unsent.
    pub(crate) fn is_idle(&mut self) -> bool {
        // Exact: `get_mut` also synchronizes with all uses of other handles.
        let only = Arc::get_mut(&mut self.0);
        only.is_some_and(|tracer| !tracer.default_session.is_open() && tracer.lane.is_idle())
    }

    /// Whether two handles refer to the same tracer. Same as `==`.
    pub fn same_tracer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the digest of the binding that the tracer was created with.
    pub(crate) fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Returns the settings in the tenant's file when the tracer was created.
    #[cfg(feature = "watch")]
    pub(crate) fn defined_paths(&self) -> &DefinedPaths {
        &self.0.defined_paths
    }

    /// Whether the next look-up must resolve the binding again.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.freshness.is_stale()
    }

    pub(crate) fn freshness(&self) -> &Freshness {
        &self.0.freshness
    }

    #[cfg(feature = "gateway")]
    pub(crate) fn payload_rules(&self) -> &PayloadRules {
        &self.0.payload_rules
    }

    pub(crate) fn set_default_session(&self, stamp: &Arc<SessionStamp>) {
        self.0.default_session.set(stamp);
    }

    /// Returns the span context for outgoing requests: the parent of a span started in `cx`.
    pub(crate) fn outgoing_span(&self, cx: &Context) -> Option<SpanContext> {
        let parent = ScopedContext::from(cx).parent(&self.0.identity, self.0.trust_remote_parent);
        parent.has_active_span().then(|| parent.span().span_context().clone())
    }
}

impl Instance {
    /// Creates the SDK tracers of a scope.
    pub(super) fn sdk_tracers(&self, scope: InstrumentationScope) -> SdkTracers {
        let stripe = self.lane.stripe_of_thread();
        self.providers.tracers(scope, stripe, || self.new_provider())
    }

    /// Creates another provider of this tracer.
    pub(super) fn new_provider(&self) -> SdkTracerProvider {
        let sampler = sampler(self.sampling_ratio, self.trust_remote_parent, &self.lane);
        provider(
            sampler,
            self.limits,
            SpanIds::in_blocks(&self.identity),
            &self.open_lane,
        )
    }
}

/// Sets everything that the SDK would otherwise read from environment variables.
fn provider(sampler: AnySampler, limits: SpanLimits, ids: SpanIds, lane: &Arc<OpenLane>) -> SdkTracerProvider {
    let builder = SdkTracerProvider::builder().with_resource(NO_RESOURCE.clone());
    let builder = match sampler {
        AnySampler::Own(sampler) => builder.with_sampler(sampler),
        AnySampler::WithCopies(sampler) => builder.with_sampler(sampler),
    };
    builder
        .with_span_limits(limits)
        .with_id_generator(ids)
        .with_span_processor(LaneProcessor::new(lane))
        .build()
}

/// Equal if both refer to the same tracer.
impl PartialEq for TracerHandle {
    fn eq(&self, other: &Self) -> bool {
        self.same_tracer(other)
    }
}

impl Eq for TracerHandle {}

impl Hash for TracerHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for TracerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TracerHandle({})", self.0.lane.selector)
    }
}
