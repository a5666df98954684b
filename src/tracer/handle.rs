//! The handle that callers hold, and the tracer behind it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

#[cfg(feature = "tracing")]
use arc_swap::ArcSwapOption;
use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, SpanContext, TraceContextExt, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use super::default_session::DefaultSession;
use super::freshness::Freshness;
use crate::backend::Destination;
use crate::config::{DefinedPaths, Digest, ResolvedBinding};
use crate::context::{
    self, Entered, Identity, InScope, Owner, ScopeGuard, ScopedContext, SessionScope, SessionStamp, SpanIds,
};
use crate::export::{Lane, LaneProcessor, TracerReport};
use crate::secret::Fingerprint;
use crate::selector::Selector;
use crate::span::{ActiveSpan, RegistrySpan};

/// Instrumentation scope of spans created by the handle itself. Static, so that a span allocates no
/// string.
const SCOPE: &str = "tracer-registry";

/// Empty, because a provider without a resource reads environment variables. The lane's destination
/// has the resource that is sent.
static NO_RESOURCE: LazyLock<Resource> = LazyLock::new(|| Resource::builder_empty().build());

/// A handle of one isolated tracer with its own provider, queue, ledger and key.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`. A span belongs to the tracer whose
/// handle started it. Its parent is the innermost span of the same tracer and its session that of
/// the innermost scope of the same tracer, whatever other tracers have current.
///
/// Implements [`TracerProvider`]. Handles are equal if they refer to the same tracer.
#[derive(Clone)]
pub struct TracerHandle(pub(super) Arc<Instance>);

pub(crate) struct Instance {
    pub(super) identity: Arc<Identity>,
    pub(super) trust_remote_parent: bool,
    pub(super) propagate_session_id: bool,
    pub(super) provider: SdkTracerProvider,
    /// The SDK tracer for spans created by the handle itself.
    pub(super) sdk: SdkTracer,
    /// The SDK tracer for spans of the `tracing` crate, once there is one.
    #[cfg(feature = "tracing")]
    pub(super) sdk_for_tracing: ArcSwapOption<SdkTracer>,
    pub(super) lane: Arc<Lane>,
    pub(super) default_session: DefaultSession,
    /// Digest of its binding.
    pub(super) digest: Digest,
    /// Settings present in the tenant's file at creation; empty without a file.
    #[cfg_attr(
        not(feature = "watch"),
        expect(dead_code, reason = "only the file watcher compares it")
    )]
    pub(super) defined_paths: DefinedPaths,
    pub(super) freshness: Freshness,
}

impl TracerHandle {
    /// `expires` is when the binding must be resolved again.
    pub(crate) fn new(
        binding: &ResolvedBinding,
        defined_paths: DefinedPaths,
        expires: Option<Instant>,
        lane: Arc<Lane>,
    ) -> Self {
        let identity = Arc::clone(&lane.identity);
        // Sets everything that environment variables could otherwise set.
        let provider = SdkTracerProvider::builder()
            .with_resource(NO_RESOURCE.clone())
            .with_sampler(sampler(binding))
            .with_span_limits(Destination::sdk_limits(binding))
            .with_id_generator(SpanIds(Arc::clone(&identity)))
            .with_span_processor(LaneProcessor(Arc::clone(&lane)))
            .build();
        Self(Arc::new(Instance {
            identity,
            trust_remote_parent: binding.trust_remote_parent,
            propagate_session_id: binding.propagate_session_id,
            sdk: provider.tracer(SCOPE),
            #[cfg(feature = "tracing")]
            sdk_for_tracing: ArcSwapOption::empty(),
            provider,
            lane,
            default_session: DefaultSession::default(),
            digest: binding.digest(),
            defined_paths,
            freshness: Freshness::new(expires),
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

    /// Runs an async closure in a new span that is current while the closure's future runs, on any
    /// thread.
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
    /// The span starts when the future is first polled, with the parent and session current then,
    /// so `session.scope(acme.in_span_async(..))` is in the session. If nothing is current then,
    /// for example in a spawned task, it uses the parent and session current at the call of
    /// `in_span_async`.
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
                // The closure runs before its future is first polled; spans it creates are children
                // too.
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

    /// Starts a span under the current span of this tracer without making it current. Ends when
    /// dropped or ended.
    pub fn start_span(&self, name: impl Into<Cow<'static, str>>) -> RegistrySpan {
        self.start_here(&self.0.sdk, SpanBuilder::from_name(name))
    }

    /// Sends the spans and session events that this tracer has accepted so far, and waits up to
    /// `timeout`. Other tracers are neither sent nor waited for.
    ///
    /// The report covers this tracer alone, even if its selector has others (dedicated and pooled),
    /// since the last report that covered it. The registry's next report does not repeat it.
    ///
    /// Blocks the thread; for async code see
    /// [`TracerRegistry::force_flush`](crate::TracerRegistry::force_flush). Does nothing once the
    /// registry is gone.
    pub fn force_flush(&self, timeout: Duration) -> TracerReport {
        self.lane().flush(timeout)
    }

    /// Runs a future for this tracer: spans created in it through the current context belong to the
    /// tracer. The scope moves with the future between threads and ends with it.
    ///
    /// # Cancel safety
    /// Same as the future's.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        InScope::new(future, self.scope_context(None, &context::current()))
    }

    /// Runs this thread for this tracer until the guard is dropped.
    ///
    /// The guard cannot leave its thread:
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

    /// Returns the tracer of a scope's owner.
    pub(crate) fn of_scope(owner: &Owner) -> Option<Self> {
        let tracer = Arc::clone(&owner.tracer).downcast::<Instance>();
        tracer.ok().map(Self)
    }

    /// Returns a token of this tracer that does not keep it in use. While the token is held, no
    /// other tracer's token has the same address. For tests of isolation.
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

    /// Returns the id of the session that a span started now would carry, unless its session comes
    /// from its trace.
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

    /// Returns the innermost open span of this tracer that is current, even if scopes of other
    /// tracers hide it. Does not find a span below another tracer's span that was made current
    /// manually, because only its id is known.
    pub fn current_span(&self) -> Option<ActiveSpan> {
        let cx = context::with_open_span(&self.0.identity, &context::current())?;
        Some(ActiveSpan::new(cx, Arc::clone(&self.0.lane)))
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.0.lane
    }

    /// Whether other handles exist, including those inside sessions, scopes and current contexts.
    /// False stays true while no look-up returns a handle; true may be out of date.
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

    /// Returns the digest of the binding at creation.
    pub(crate) fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Returns the settings present in the tenant's file at creation.
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

    pub(crate) fn set_default_session(&self, stamp: &Arc<SessionStamp>) {
        self.0.default_session.set(stamp);
    }

    /// Returns the span context for outgoing requests: the parent that a span started now would
    /// have.
    pub(crate) fn outgoing_span(&self, cx: &Context) -> Option<SpanContext> {
        let parent = ScopedContext::from(cx).parent(&self.0.identity, self.0.trust_remote_parent);
        parent.has_active_span().then(|| parent.span().span_context().clone())
    }
}

fn sampler(binding: &ResolvedBinding) -> Sampler {
    let root = match binding.sampling.ratio {
        // All parents are the tracer's own sampled spans.
        1.0.. if !binding.trust_remote_parent => return Sampler::AlwaysOn,
        1.0.. => Sampler::AlwaysOn,
        ratio => Sampler::TraceIdRatioBased(ratio),
    };
    Sampler::ParentBased(Box::new(root))
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
