//! A subscriber layer for the `tracing` crate: each span goes to the tracer of the scope that
//! creates it.
//!
//! It does not wrap a layer of `tracing-opentelemetry`, because that layer
//!
//! - starts a span when it is first entered or closed, in whichever scope is current then;
//! - adds events to the innermost `tracing` span, even if the code runs for another tracer;
//! - panics if a subscriber has two of it, so a program could not keep its own.
//!
//! Here a span starts when it is created, in the current scope. Entering it makes its context, and
//! so its scope, current. Leaving it restores the previous context. Events follow the current
//! context.

mod entered;
mod fields;

use std::borrow::Cow;
use std::fmt;

use opentelemetry::trace::{SpanBuilder, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::context;
use crate::export::EngineMark;
use crate::integrations::routing::Routing;
use crate::registry::TracerRegistry;
use crate::span::NOW;
use crate::tracer::{OpenSpan, TracerHandle};
use fields::{EventFields, SpanFields};

/// Target of this crate's own spans and events.
const OWN_TARGET: &str = "tracer_registry";

/// Subscriber layer that sends spans of the `tracing` crate to the tracer of the scope that creates
/// them. Created by [`TracerRegistry::tracing_layer`]. The subscriber must have a
/// `tracing-subscriber` registry.
///
/// ```
/// use tracer_registry::{LookupError, TracerRegistry};
/// use tracing_subscriber::Layer;
/// use tracing_subscriber::filter::LevelFilter;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// #[tracing::instrument]
/// fn third_party(question: &str) {
///     tracing::info!("thinking");
/// }
///
/// # fn demo(registry: &TracerRegistry) -> Result<(), LookupError> {
/// let subscriber = tracing_subscriber::registry().with(registry.tracing_layer().with_filter(LevelFilter::INFO));
/// tracing::subscriber::with_default(subscriber, || {
///     let acme = registry.tenant("acme")?;
///     acme.in_span("request", |_| third_party("why?"));               // `third_party` is a child of `request`, with an event on it
///     Ok(())
/// })
/// # }
/// ```
///
/// - **Tracer of a span**: the tracer of the scope current at its creation, else of an explicit
///   parent, else `routing.default`. Otherwise the span is not recorded and is counted in
///   [`Status::unrouted`](crate::status::Status::unrouted). Where it is entered and closed does not
///   matter.
/// - **Entering a span** makes its scope current, on any thread, so an `instrument`ed future takes
///   its scope along. A span created outside any scope has none: inside it
///   [`TracerRegistry::current`] is `None`, spans of the default are its children, and entering it
///   within a scope changes nothing.
/// - **Parent**: the innermost span of the same tracer, as for spans of [`TracerHandle`]. An
///   explicit parent is used if it belongs to the same tracer. `parent: None` creates a root.
/// - **Events** go to their explicit parent, else to the innermost span of the current scope's
///   tracer, including spans that the `tracing` crate did not create. Without such a span they are
///   not recorded. An event that would land on another tracer's span is dropped and counted. So is
///   a field recorded on the current `tracing` span while code runs for another tracer.
/// - The fields `otel.name`, `otel.kind`, `otel.status_code` and `otel.status_description` set
///   name, kind and status. An event at level `ERROR`, or with a field `error` and no message, sets
///   the status.
/// - Scopes of other registries are left to the layers of those registries. The layer ignores spans
///   and events of this crate (target `tracer_registry`).
///
/// Several layers of one subscriber are independent. The functions of
/// `tracing_opentelemetry::OpenTelemetrySpanExt` affect their own layer only.
///
/// The layer must see both the entry and the exit of a span. If a `tracing_subscriber::reload`
/// handle removes or replaces it while a thread is inside a span, that span's scope stays current
/// on the thread. Reload the filter around it instead.
///
/// The layer does not keep the registry alive. Once the registry is shut down or gone, spans in
/// scopes are refused and counted by their tracers, and other spans are unrouted.
pub struct TracingLayer {
    routing: Box<Routing>,
    engine: EngineMark,
}

/// Spans that [`TracingLayer`]s created for one span of the `tracing` crate: usually one.
struct LayerSpans {
    first: Option<Entry>,
    others: Vec<Entry>,
}

struct Entry {
    layer: usize,
    /// Ends the span on drop.
    open: OpenSpan,
    /// Context while the span is entered, if it is outside any scope. Else the span's own.
    by_default: Option<Context>,
}

impl Entry {
    fn context(&self) -> &Context {
        self.by_default.as_ref().unwrap_or_else(|| self.open.span.context())
    }
}

impl LayerSpans {
    fn get(&self, layer: usize) -> Option<&Entry> {
        self.first.iter().chain(&self.others).find(|entry| entry.layer == layer)
    }

    fn add(&mut self, entry: Entry) {
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.others.push(entry);
        }
    }

    fn remove(&mut self, layer: usize) -> Option<Entry> {
        if let Some(first) = self.first.take_if(|entry| entry.layer == layer) {
            return Some(first);
        }
        let index = self.others.iter().position(|entry| entry.layer == layer)?;
        Some(self.others.swap_remove(index))
    }
}

impl TracerRegistry {
    /// Returns a subscriber layer that sends spans of the `tracing` crate to the tracer of the
    /// scope that creates them.
    pub fn tracing_layer(&self) -> TracingLayer {
        TracingLayer {
            routing: Box::new(Routing::new(self)),
            engine: self.engine_mark(),
        }
    }
}

impl TracingLayer {
    /// Returns an identifier, unique among existing layers.
    fn id(&self) -> usize {
        std::ptr::from_ref(&*self.routing).addr()
    }

    /// Returns the tracer of a context's scope, if it belongs to this registry.
    fn tracer_of(&self, cx: &Context) -> Option<TracerHandle> {
        let owner = context::owner_of(cx)?;
        TracerHandle::of_scope(owner).filter(|tracer| tracer.lane().is_of(&self.engine))
    }

    /// Returns the context of a span.
    fn context_of<S: for<'a> LookupSpan<'a>>(&self, span: &SpanRef<'_, S>) -> Option<Context> {
        let extensions = span.extensions();
        let entry = extensions.get::<LayerSpans>()?.get(self.id())?;
        Some(entry.context().clone())
    }

    /// Returns the parent context of a new span.
    fn parent_context<'cx, S>(
        &self,
        attrs: &Attributes<'_>,
        current: &'cx Context,
        ctx: &layer::Context<'_, S>,
    ) -> Cow<'cx, Context>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if attrs.is_contextual() {
            return Cow::Borrowed(current);
        }
        let parent = attrs.parent().and_then(|parent| ctx.span(parent));
        match parent.and_then(|parent| self.context_of(&parent)) {
            Some(parent) if context::is_in_other_scope(current, &parent) => Cow::Borrowed(current),
            Some(parent) if context::is_over(&parent) && context::scope_of(current).is_some() => Cow::Borrowed(current),
            Some(parent) => Cow::Owned(parent),
            None => Cow::Owned(context::without_parent(current)),
        }
    }

    fn start(&self, attrs: &Attributes<'_>, current: &Context, from: &Context) -> Option<Entry> {
        let is_unscoped = [current, from].iter().all(|cx| context::scope_of(cx).is_none());
        let tracer = if !is_unscoped {
            self.tracer_of(from)
        } else if context::is_over(from) {
            None
        } else {
            self.routing.default_tracer(current)
        };
        let Some(tracer) = tracer else {
            self.routing.unrouted.note_span(from);
            return None;
        };
        let fields = SpanFields::read(code_attributes(attrs.metadata()), |visitor| attrs.record(visitor));
        let mut builder = SpanBuilder::from_name(fields.name.unwrap_or(attrs.metadata().name().into()));
        builder.span_kind = fields.kind;
        builder.attributes = Some(fields.attributes);
        let open = tracer.open_for_tracing(builder, from);
        if let Some(status) = fields.status {
            open.span.set_status(status);
        }
        let by_default = is_unscoped.then(|| context::by_default(open.span.context()));
        Some(Entry {
            layer: self.id(),
            open,
            by_default,
        })
    }

    /// Returns whether a context stays current when a span without a scope is entered: it has a
    /// tracer, is untraced, or belongs to another registry.
    fn overrides_unscoped(&self, current: &Context) -> bool {
        let is_foreign = || context::owner_of(current).is_some() && self.tracer_of(current).is_none();
        context::scope_of(current).is_some() || context::is_untraced(current) || is_foreign()
    }

    /// Returns whether the current `tracing` span belongs to another tracer than the current scope.
    fn is_in_foreign_span<S>(&self, current: &Context, ctx: &layer::Context<'_, S>) -> bool
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let entered = ctx.lookup_current().and_then(|span| self.context_of(&span));
        entered.is_some_and(|entered| context::is_in_other_scope(current, &entered))
    }
}

impl<S> Layer<S> for TracingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: layer::Context<'_, S>) {
        // See `on_event`.
        if is_own(attrs.metadata()) || is_opentelemetry(attrs.metadata()) {
            return;
        }
        let Some(current) = entered::current() else { return };
        if current.is_telemetry_suppressed() {
            return;
        }
        // Not under the span's lock, because reading a key or starting a session may create spans
        // too.
        let Some(entry) = self.start(attrs, &current, &self.parent_context(attrs, &current, &ctx)) else {
            return;
        };
        let Some(span) = ctx.span(id) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<LayerSpans>() {
            Some(spans) => spans.add(entry),
            None => extensions.insert(LayerSpans {
                first: Some(entry),
                others: Vec::new(),
            }),
        }
    }

    fn on_enter(&self, id: &Id, ctx: layer::Context<'_, S>) {
        let Some(cx) = ctx.span(id).and_then(|span| self.context_of(&span)) else {
            return;
        };
        let Some(current) = entered::current() else { return };
        // A scope that ended with its request still hides the enclosing scope.
        let is_unscoped = context::scope_of(&cx).is_none() && !context::is_over(&cx);
        let stays = current.is_telemetry_suppressed() || (is_unscoped && self.overrides_unscoped(&current));
        entered::push(self.id(), id, (!stays).then(|| context::attach(&cx)));
    }

    fn on_exit(&self, id: &Id, _: layer::Context<'_, S>) {
        drop(entered::pop(self.id(), id));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: layer::Context<'_, S>) {
        let Some(cx) = ctx.span(id).and_then(|span| self.context_of(&span)) else {
            return;
        };
        // A record on the current span probably came through `Span::current()`, which ignores
        // scopes. Code that holds another span means that span.
        let is_current = || ctx.lookup_current().is_some_and(|span| span.id() == *id);
        let Some(current) = entered::current() else { return };
        if (context::has_failed() || context::is_in_other_scope(&current, &cx)) && is_current() {
            self.routing.unrouted.note_tracing();
            return;
        }
        let span = cx.span();
        let fields = SpanFields::read(Vec::new(), |visitor| values.record(visitor));
        if let Some(name) = fields.name {
            span.update_name(name);
        }
        if let Some(status) = fields.status {
            span.set_status(status);
        }
        span.set_attributes(fields.attributes);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: layer::Context<'_, S>) {
        let of = |id| ctx.span(id).and_then(|span| self.context_of(&span));
        if let (Some(cx), Some(follows)) = (of(id), of(follows)) {
            // Drops and counts a link to another tracer's span.
            cx.span().add_link(follows.span().span_context().clone(), Vec::new());
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: layer::Context<'_, S>) {
        // Must precede the read of the current context: OpenTelemetry logs while it changes that,
        // and a read then panics.
        if is_own(event.metadata()) || is_opentelemetry(event.metadata()) {
            return;
        }
        let Some(current) = entered::current() else { return };
        if current.is_telemetry_suppressed() {
            return;
        }
        let cx = if event.is_contextual() {
            let Some(tracer) = self.tracer_of(&current) else {
                return;
            };
            context::with_open_span(tracer.identity(), &current)
        } else {
            let parent = event.parent().and_then(|parent| ctx.span(parent));
            parent.and_then(|parent| self.context_of(&parent))
        };
        let Some(cx) = cx else {
            if event.is_contextual() && self.is_in_foreign_span(&current, &ctx) {
                self.routing.unrouted.note_tracing();
            }
            return;
        };
        let span = cx.span();
        if span.is_recording() {
            let fields = EventFields::read(event.metadata(), |visitor| event.record(visitor));
            if let Some(status) = fields.status {
                span.set_status(status);
            }
            span.add_event_with_timestamp(fields.name, NOW, fields.attributes);
        }
    }

    fn on_close(&self, id: Id, ctx: layer::Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        let entry = {
            let mut extensions = span.extensions_mut();
            let spans = extensions.get_mut::<LayerSpans>();
            spans.and_then(|spans| spans.remove(self.id()))
        };
        // Ends the span after the lock is released.
        drop(entry);
    }
}

/// Returns whether the target is this crate. A warning about one tracer must not become an event on
/// another tracer's current span.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix(OWN_TARGET);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns whether the target is an OpenTelemetry crate.
fn is_opentelemetry(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix("opentelemetry");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', ':']))
}

/// Returns the attributes that locate a span in the source code.
fn code_attributes(metadata: &Metadata<'static>) -> Vec<KeyValue> {
    // With room for the fields of the span.
    let mut attributes = Vec::with_capacity(metadata.fields().len() + 3);
    attributes.push(KeyValue::new("target", metadata.target()));
    attributes.extend(metadata.file().map(|file| KeyValue::new("code.file.path", file)));
    attributes.extend(
        metadata
            .line()
            .map(|line| KeyValue::new("code.line.number", i64::from(line))),
    );
    attributes
}

impl fmt::Debug for TracingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TracingLayer")
    }
}
