//! A layer for subscribers of the `tracing` crate: each span goes to the tracer of the scope in which it is made.
//!
//! Not a layer of `tracing-opentelemetry` with another tracer, for three reasons. That one starts its spans when they are first entered or
//! closed, in whatever scope. It puts events on the innermost span of the `tracing` crate, whatever tracer the code runs for by then. And it
//! panics if one subscriber has two of it, so programs could not keep the one that they have.
//!
//! Here a span is started when it is made, in the scope of that place. Entering it makes its context current, and so its scope; leaving it
//! restores the context before. Events go by the current context.

mod entered;
mod fields;

use std::fmt;

use opentelemetry::trace::{SpanBuilder, TraceContextExt, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
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

/// The target of this crate's own spans and events.
const OWN_TARGET: &str = "tracer_registry";

/// A layer for any subscriber with a registry of spans: spans of the `tracing` crate go to the tracer of the scope in which they are made.
/// [`TracerRegistry::tracing_layer`] makes one.
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
/// - **The tracer of a span** is that of the scope that is current where the span is made, else that of an explicit parent, else
///   `routing.default`. Otherwise it is not recorded, and counted ([`Status::unrouted`](crate::status::Status::unrouted)). Where it is entered and closed does not matter.
/// - **Entering a span** makes its scope current, on whatever thread, so a future that is `instrument`ed takes its scope along. A span that was made
///   outside any scope has none: inside it [`TracerRegistry::current`] is `None`, what goes to the default is its child, and entered in a scope it
///   changes nothing.
/// - **Parents** are those of [`TracerHandle`]'s spans: the innermost span of the same tracer. An explicit parent is the parent if it is the same
///   tracer's; `parent: None` is a root.
/// - **Events** go to the innermost span of the tracer that the code runs for, whether the `tracing` crate made that span or not, or to their
///   explicit parent. Without one they are not recorded. An event that would land on another tracer's span is left out and counted, and so is
///   a field that is recorded on the current `tracing` span while code runs for another tracer.
/// - The fields `otel.name`, `otel.kind`, `otel.status_code` and `otel.status_description` set name, kind and status. An event at level `ERROR`, or with a
///   field `error` and no message, sets the status.
/// - Scopes of tracers of other registries are left to those registries' layers. Spans and events of this crate (target `tracer_registry`) are left out.
///
/// Several layers of one subscriber, of this kind or of another, are independent. The functions of
/// `tracing_opentelemetry::OpenTelemetrySpanExt` know only their own layer.
///
/// Leaving a span restores what entering it replaced, so the layer must see both. If a `tracing_subscriber::reload` handle removes or replaces it
/// while a thread is inside a span, that span's scope stays current on the thread. Reload the filter around it instead.
///
/// It does not keep the registry alive. Once that is shut down or gone, spans in scopes are refused by their tracers and counted there, and others
/// are unrouted.
pub struct TracingLayer {
    routing: Box<Routing>,
    engine: EngineMark,
    instrumentation: InstrumentationScope,
}

/// The spans that layers of this kind made for a span of the `tracing` crate: usually one.
struct Recorded(Vec<Entry>);

struct Entry {
    layer: usize,
    /// Ends the span on drop.
    _open: OpenSpan,
    /// The context while it is entered: its scope, or the default's if it was made in no scope.
    cx: Context,
}

impl TracerRegistry {
    /// Returns a layer for a subscriber of the `tracing` crate: spans go to the tracer of the scope in which they are made.
    pub fn tracing_layer(&self) -> TracingLayer {
        TracingLayer {
            routing: Box::new(Routing::new(self)),
            engine: self.engine_mark(),
            instrumentation: InstrumentationScope::builder("tracing").build(),
        }
    }
}

impl TracingLayer {
    /// Identifies this layer while it exists.
    fn id(&self) -> usize {
        std::ptr::from_ref(&*self.routing).addr()
    }

    /// The tracer of the spans of a context, if it is one of this registry.
    fn tracer_of(&self, cx: &Context) -> Option<TracerHandle> {
        let owner = context::owner_of(cx)?;
        TracerHandle::of_scope(owner).filter(|tracer| tracer.lane().is_of(&self.engine))
    }

    /// The context of a span.
    fn of_span<S: for<'a> LookupSpan<'a>>(&self, span: &SpanRef<'_, S>) -> Option<Context> {
        let extensions = span.extensions();
        let entries = &extensions.get::<Recorded>()?.0;
        let entry = entries.iter().find(|entry| entry.layer == self.id())?;
        Some(entry.cx.clone())
    }

    /// The context to start a span in.
    fn from<S>(&self, attrs: &Attributes<'_>, current: &Context, ctx: &layer::Context<'_, S>) -> Context
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if attrs.is_contextual() {
            return current.clone();
        }
        let parent = attrs.parent().and_then(|parent| ctx.span(parent));
        match parent.and_then(|parent| self.of_span(&parent)) {
            Some(parent) if context::is_in_other_scope(current, &parent) => current.clone(),
            Some(parent) if context::is_over(&parent) && context::scope_of(current).is_some() => current.clone(),
            Some(parent) => parent,
            None => context::without_parent(current),
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
        let fields = SpanFields::read(|visitor| attrs.record(visitor));
        let mut builder = SpanBuilder::from_name(fields.name.unwrap_or(attrs.metadata().name().into()));
        builder.span_kind = fields.kind;
        let mut attributes = code_attributes(attrs.metadata());
        attributes.extend(fields.attributes);
        builder.attributes = Some(attributes);
        let tracer = tracer.tracer_with_scope(self.instrumentation.clone());
        let open = tracer.open(builder, from);
        if let Some(status) = fields.status {
            open.span.set_status(status);
        }
        let cx = open.span.context();
        let cx = if is_unscoped {
            context::by_default(cx)
        } else {
            cx.clone()
        };
        Some(Entry {
            layer: self.id(),
            _open: open,
            cx,
        })
    }

    /// Returns whether a context stays current when a span is entered that was made in no scope: it has a tracer, or is untraced on purpose, or
    /// belongs to the layer of another registry.
    fn is_settled(&self, current: &Context) -> bool {
        let is_anothers = || context::owner_of(current).is_some() && self.tracer_of(current).is_none();
        context::scope_of(current).is_some() || context::is_untraced(current) || is_anothers()
    }

    /// Returns whether the current `tracing` span belongs to another tracer than the one that the code runs for.
    fn is_anothers<S>(&self, current: &Context, ctx: &layer::Context<'_, S>) -> bool
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let entered = ctx.lookup_current().and_then(|span| self.of_span(&span));
        entered.is_some_and(|entered| context::is_in_other_scope(current, &entered))
    }
}

impl<S> Layer<S> for TracingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: layer::Context<'_, S>) {
        // As in `on_event`.
        if is_own(attrs.metadata()) || is_of_opentelemetry(attrs.metadata()) {
            return;
        }
        let Some(current) = entered::current() else { return };
        if current.is_telemetry_suppressed() {
            return;
        }
        // Without a lock on the span: the source of a key, or a session, may be traced as well.
        let Some(entry) = self.start(attrs, &current, &self.from(attrs, &current, &ctx)) else {
            return;
        };
        let Some(span) = ctx.span(id) else { return };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Recorded>() {
            Some(recorded) => recorded.0.push(entry),
            None => extensions.insert(Recorded(vec![entry])),
        }
    }

    fn on_enter(&self, id: &Id, ctx: layer::Context<'_, S>) {
        let Some(cx) = ctx.span(id).and_then(|span| self.of_span(&span)) else {
            return;
        };
        let Some(current) = entered::current() else { return };
        // A scope that ended with its request still hides the scope around it.
        let is_unscoped = context::scope_of(&cx).is_none() && !context::is_over(&cx);
        let stays = current.is_telemetry_suppressed() || (is_unscoped && self.is_settled(&current));
        entered::push(self.id(), id, (!stays).then(|| context::attach(&cx)));
    }

    fn on_exit(&self, id: &Id, _: layer::Context<'_, S>) {
        drop(entered::pop(self.id(), id));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: layer::Context<'_, S>) {
        let Some(cx) = ctx.span(id).and_then(|span| self.of_span(&span)) else {
            return;
        };
        // Probably by `Span::current()`, which knows no tracers. Code that holds another span means that span.
        let is_current = || ctx.lookup_current().is_some_and(|span| span.id() == *id);
        let Some(current) = entered::current() else { return };
        if (context::has_failed() || context::is_in_other_scope(&current, &cx)) && is_current() {
            self.routing.unrouted.note_tracing();
            return;
        }
        let span = cx.span();
        let fields = SpanFields::read(|visitor| values.record(visitor));
        if let Some(name) = fields.name {
            span.update_name(name);
        }
        if let Some(status) = fields.status {
            span.set_status(status);
        }
        span.set_attributes(fields.attributes);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: layer::Context<'_, S>) {
        let of = |id| ctx.span(id).and_then(|span| self.of_span(&span));
        if let (Some(cx), Some(follows)) = (of(id), of(follows)) {
            // A link to another tracer's span is left out there, and counted.
            cx.span().add_link(follows.span().span_context().clone(), Vec::new());
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: layer::Context<'_, S>) {
        // Before the current context is asked for: OpenTelemetry logs while it changes that one, and asking then panics.
        if is_own(event.metadata()) || is_of_opentelemetry(event.metadata()) {
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
            parent.and_then(|parent| self.of_span(&parent))
        };
        let Some(cx) = cx else {
            if event.is_contextual() && self.is_anothers(&current, &ctx) {
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
            let entries = extensions.get_mut::<Recorded>().map(|recorded| &mut recorded.0);
            entries.and_then(|entries| {
                let at = entries.iter().position(|entry| entry.layer == self.id())?;
                Some(entries.swap_remove(at))
            })
        };
        // Ends here, without a lock.
        drop(entry);
    }
}

/// Returns whether it is this crate's own. A warning about one tracer must not become an event on the current span of another.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix(OWN_TARGET);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns whether it is of OpenTelemetry's own crates, whose target is the name of the crate.
fn is_of_opentelemetry(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix("opentelemetry");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', ':']))
}

/// The attributes that say where in the program a span is made.
fn code_attributes(metadata: &Metadata<'static>) -> Vec<KeyValue> {
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
