//! Runs programs on tracers of this crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use opentelemetry::trace::{TraceId, Tracer as _, TracerProvider as _};
use uuid::Uuid;

use super::super::chaos::{Chaos, Registries, VAULT};
use super::super::error::VerifyError;
use super::super::program::cast::{Member, ONLY_IN_SECOND, REGISTRIES, planted};
use super::super::program::operation::{Disturbance, How, Misname};
use super::super::run::current;
use super::super::subject::{Active, Flushed, Found, Ledger, PLANTED_KEY, Request, Subject, Tally, Work};
use super::build;
use super::requests::{self, Server};
use super::subscriber::Subscriber;
use super::traced;
use crate::lock::lock;
use tracer_registry::config::Config;
use tracer_registry::integrations::{RegistrySpan, RoutingProvider};
use tracer_registry::report::{Report, TracerReport};
use tracer_registry::secret::{Fingerprint, Fingerprinter};
use tracer_registry::selector::SelectorKind;
use tracer_registry::{
    BuildError, Enrichment, LookupError, Scope, ScopeGuard, Selector, Session, TracerHandle, TracerRegistry,
};
use tracer_registry_collector::LocalCollector;

/// Name of spans that must not exist.
const NOWHERE: &str = "nowhere";
/// Contexts that OpenTelemetry keeps for a thread.
const MAX_ATTACHED: usize = 65_534;

/// The registries and members of a cast.
pub(in super::super) struct Ours {
    registries: Vec<TracerRegistry>,
    members: Vec<(usize, Selector)>,
    /// By member: the fingerprints of all keys of its project.
    fingerprints: Vec<Vec<Fingerprint>>,
    routing: RoutingProvider,
    subscriber: Subscriber,
    servers: Vec<Server>,
    chaos: Option<Chaos>,
    /// Ledgers at the last flush.
    last_ledgers: Mutex<Vec<Ledger>>,
}

impl Ours {
    /// Builds the registries and creates every tracer of the cast.
    pub(in super::super) fn new(cast: &[Member], collector: &Arc<LocalCollector>) -> Result<Self, VerifyError> {
        let fingerprinter = Fingerprinter::new();
        let registries = build::registries(cast, collector, &fingerprinter)?;
        Self::with(cast, registries, &fingerprinter, None)
    }

    /// Builds the registries from files that change while programs run, with pools that are too
    /// small.
    pub(in super::super) fn disturbed(cast: &[Member], collector: &Arc<LocalCollector>) -> Result<Self, VerifyError> {
        let fingerprinter = Fingerprinter::new();
        let chaos = Chaos::new(cast, collector, &fingerprinter)?;
        let registries = (0..REGISTRIES).map(|index| {
            let config = Config::load_files(chaos.configuration(index)).map_err(BuildError::from)?;
            let builder = TracerRegistry::builder().fingerprinter(fingerprinter.clone());
            builder.config(config).secret_source(VAULT, chaos.vault()).build()
        });
        let registries = registries.collect::<Result<_, BuildError>>()?;
        Self::with(cast, registries, &fingerprinter, Some(chaos))
    }

    fn with(
        cast: &[Member],
        registries: Vec<TracerRegistry>,
        fingerprinter: &Fingerprinter,
        chaos: Option<Chaos>,
    ) -> Result<Self, VerifyError> {
        let mut members = Vec::new();
        for member in cast {
            let selector = Selector::try_from(member.selector_parts()).map_err(LookupError::from)?;
            registries[member.registry].get(&selector)?;
            members.push((member.registry, selector));
        }
        let fingerprint = |key: String| fingerprinter.fingerprint(key.as_bytes());
        let fingerprints = |member: &Member| member.keys().map(fingerprint).into();
        Ok(Self {
            // Routes by the current scope, of any registry.
            routing: registries[0].routing_provider(),
            subscriber: Subscriber::new(&registries),
            servers: registries.iter().map(Server::new).collect(),
            registries,
            fingerprints: cast.iter().map(fingerprints).collect(),
            chaos,
            last_ledgers: Mutex::new(vec![Ledger::default(); members.len()]),
            members,
        })
    }

    /// Looks up a tracer. If the registries are disturbed, checks the result.
    fn look_up(
        &self,
        member: usize,
        look_up: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Found<TracerHandle> {
        match &self.chaos {
            Some(chaos) => self.with_registries(|registries| chaos.look_up(registries, member, look_up)),
            None => Found::only(look_up().expect("the tracer exists since `with`, and nothing evicts it")),
        }
    }

    fn with_registries<T>(&self, then: impl FnOnce(Registries<'_>) -> T) -> T {
        then(Registries {
            all: &self.registries,
            members: &self.members,
            is_of: &|tracer, member| self.is_of(tracer, member),
        })
    }

    /// Compares keys too, because both registries have the same names.
    fn is_of(&self, tracer: &TracerHandle, member: usize) -> bool {
        self.fingerprints[member].contains(&tracer.fingerprint()) && self.members[member].1 == *tracer.selector()
    }

    fn tally(&self) -> Tally {
        let pools = self.registries.iter().map(|registry| registry.status().pool);
        let tally = Tally {
            refused: self.chaos.as_ref().map_or(0, Chaos::refused),
            ..Tally::default()
        };
        pools.fold(tally, |tally, pool| Tally {
            evicted: tally.evicted + pool.evicted,
            grown: tally.grown + pool.grown,
            ..tally
        })
    }

    fn ledgers(&self) -> Vec<Ledger> {
        let statuses: Vec<_> = self.registries.iter().map(TracerRegistry::status).collect();
        let of_member = |(registry, selector): &(usize, Selector)| {
            let Some(status) = statuses[*registry].tracer(selector) else {
                return Ledger::default();
            };
            Ledger {
                accepted: status.spans.accepted,
                delivered: status.spans.delivered,
                dropped: status.spans.dropped.values().sum(),
                events_delivered: status.session_events.delivered,
                events_dropped: status.session_events.dropped.values().sum(),
            }
        };
        self.members.iter().map(of_member).collect()
    }
}

impl Subject for Ours {
    type Tracer = TracerHandle;
    type Span = RegistrySpan;
    type Session = Session;
    type Captured = Scope;
    type Guard = ScopeGuard;

    const REPORTS_SESSIONS: bool = true;

    fn tracer(&self, member: usize) -> Found<TracerHandle> {
        let (registry, selector) = &self.members[member];
        let registry = &self.registries[*registry];
        self.look_up(member, || match selector.single() {
            Some((SelectorKind::Tenant, name)) => registry.tenant(name),
            Some((SelectorKind::Environment, name)) => registry.environment(name),
            Some((SelectorKind::Feature, name)) => registry.feature(name),
            None => registry.get(selector),
        })
    }

    fn dedicated(&self, member: usize) -> Found<TracerHandle> {
        let (registry, selector) = &self.members[member];
        self.look_up(member, || self.registries[*registry].dedicated(selector))
    }

    fn disturb(&self, disturbance: Disturbance) -> Option<(usize, String)> {
        let chaos = self.chaos.as_ref()?;
        self.with_registries(|registries| chaos.disturb(registries, disturbance))
    }

    fn refuse(&self, member: usize, start: impl FnOnce(&TracerHandle) -> RegistrySpan) -> Found<TracerHandle> {
        let chaos = self
            .chaos
            .as_ref()
            .expect("only disturbed programs contain this operation");
        self.with_registries(|registries| chaos.refuse(registries, member, start))
    }

    fn misname(&self, member: usize, how: Misname) -> Option<String> {
        let (index, _) = self.members[member];
        let registry = &self.registries[index];
        let found = match how {
            Misname::Unknown => registry.tenant("unknown"),
            Misname::Invalid => registry.tenant("../t0"),
            Misname::OtherRegistry if index == 0 => registry.environment(&format!("{ONLY_IN_SECOND}0")),
            Misname::OtherRegistry => registry.environment("e0"),
        };
        match (how, found) {
            (Misname::Invalid, Err(LookupError::Selector(_)))
            | (Misname::Unknown | Misname::OtherRegistry, Err(LookupError::Resolve(_))) => None,
            (_, Ok(tracer)) => Some(format!("the tracer of {}", tracer.selector())),
            (_, Err(error)) => Some(error.to_string()),
        }
    }

    fn span_sync(&self, how: How, tracer: &TracerHandle, name: String, body: impl FnOnce(Active)) {
        let in_context = |cx| Active::Context(cx);
        match how {
            How::Trait => tracer.tracer("third-party").in_span(name, |cx| body(in_context(cx))),
            How::Routed => self
                .routing
                .tracer("third-party")
                .in_span(name, |cx| body(in_context(cx))),
            How::Traced => traced::named(tracer, &name, body),
            How::TracedInScope => traced::of_scope(&name, body),
            How::Subscriber => self.subscriber.in_span(&name, || body(in_context(current()))),
            How::Closure | How::ByHand { .. } => tracer.in_span(name, |span| body(Active::Span(span))),
        }
    }

    fn span<F: Future<Output = ()> + Send + 'static>(
        &self,
        how: How,
        tracer: &TracerHandle,
        name: String,
        body: impl FnOnce(Active) -> F + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        match how {
            How::Traced => traced::named_async(tracer.clone(), name, body).boxed(),
            How::TracedInScope => traced::of_scope_async(name, body).boxed(),
            How::Subscriber => {
                let body = async { body(Active::Context(current())).await };
                self.subscriber.in_span_async(&name, body.boxed())
            }
            How::Closure | How::Trait | How::Routed | How::ByHand { .. } => {
                tracer.in_span_async(name, |span| body(Active::Span(span))).boxed()
            }
        }
    }

    fn request(&self, member: usize, request: Request, body: Work) -> BoxFuture<'static, ()> {
        let (registry, selector) = &self.members[member];
        self.servers[*registry].serve(selector, request, body)
    }

    fn unscoped(&self, by_subscriber: bool, body: impl FnOnce()) {
        if by_subscriber {
            self.subscriber.in_span(NOWHERE, body);
        } else {
            traced::of_scope(NOWHERE, |_| body());
        }
    }

    fn unscoped_async(&self, by_subscriber: bool, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        if by_subscriber {
            self.subscriber.in_span_async(NOWHERE, body)
        } else {
            traced::of_scope_async(NOWHERE.to_owned(), |_| body).boxed()
        }
    }

    fn event(&self, name: String) {
        self.subscriber.event(&name);
    }

    fn start(&self, tracer: &TracerHandle, name: String) -> RegistrySpan {
        tracer.start_span(name)
    }

    fn overfull(&self, tracer: &TracerHandle, work: impl FnOnce()) {
        let cx = current();
        // Never dropped, because the thread ends.
        for _ in 0..MAX_ATTACHED {
            std::mem::forget(cx.clone().attach());
        }
        let _entered = tracer.enter();
        let routed = self.routing.tracer("third-party");
        routed.in_span(NOWHERE, |_| drop(routed.start(NOWHERE)));
        self.subscriber.in_span(NOWHERE, || self.subscriber.event(NOWHERE));
        traced::of_scope(NOWHERE, |_| ());
        work();
    }

    fn enter(&self, tracer: &TracerHandle) -> ScopeGuard {
        tracer.enter()
    }

    fn scope(&self, tracer: &TracerHandle, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        tracer.scope(body).boxed()
    }

    fn session(&self, tracer: &TracerHandle, id: Option<Uuid>, name: String, canary: String) -> Session {
        let session = tracer
            .session(name)
            .metadata("m", canary.clone())
            .metadata(PLANTED_KEY, planted(&canary))
            .input("i", canary.clone())
            .user_property("u", canary);
        match id {
            Some(id) => session.id(id).start(),
            None => session.start(),
        }
    }

    fn session_id(&self, session: &Session) -> String {
        session.id().to_owned()
    }

    fn enter_session(&self, session: &Session) -> ScopeGuard {
        session.enter()
    }

    fn session_scope(&self, session: &Session, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        session.scope(body).boxed()
    }

    fn enrich(&self, session: &Session, key: String, canary: String) {
        let enrichment = Enrichment::new()
            .metadata(PLANTED_KEY, planted(&canary))
            .metadata(key, canary.clone())
            .metadata("last", canary);
        session.enrich(enrichment);
    }

    fn end_session(&self, session: &Session) {
        session.end();
    }

    fn capture(&self) -> Scope {
        Scope::current()
    }

    fn enter_captured(&self, captured: &Scope) -> ScopeGuard {
        captured.enter()
    }

    fn captured_scope(&self, captured: &Scope, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        captured.scope(body).boxed()
    }

    fn captured_stream(&self, captured: &Scope, stream: BoxStream<'static, ()>) -> BoxStream<'static, ()> {
        captured.stream(stream).boxed()
    }

    fn set_on_current(&self, tracer: &TracerHandle, key: String, value: String) {
        if let Some(span) = tracer.current_span() {
            span.set_attribute(key, value);
        }
    }

    fn current(&self) -> Option<(Option<usize>, Option<String>)> {
        let tracer = TracerRegistry::current();
        let member = tracer.and_then(|tracer| (0..self.members.len()).find(|member| self.is_of(&tracer, *member)));
        Some((member, Session::current().map(|session| session.id().to_owned())))
    }

    fn inject(&self, tracer: &TracerHandle, by_layer: bool) -> HashMap<String, String> {
        // The client layer uses the current scope.
        if by_layer && TracerRegistry::current().is_some_and(|current| current.same_tracer(tracer)) {
            return requests::sent();
        }
        let mut headers = HashMap::new();
        tracer.inject(&mut headers);
        headers
    }

    fn extract(&self, tracer: &TracerHandle, headers: &HashMap<String, String>) -> Scope {
        tracer.extract(headers)
    }

    fn delivered(&self, trace: TraceId) -> Option<Vec<u64>> {
        let explained = self.registries.iter().map(|registry| registry.explain(trace));
        let explained: Vec<_> = explained.collect::<Option<_>>()?;
        let of_member = |(registry, selector): &(usize, Selector)| {
            let mut fates = explained[*registry].selectors.iter();
            let fate = fates.find(|fate| fate.selector == *selector);
            fate.map_or(0, |fate| fate.delivered)
        };
        Some(self.members.iter().map(of_member).collect())
    }

    fn flush(&self, timeout: Duration) -> Flushed {
        let reports: Vec<_> = self
            .registries
            .iter()
            .map(|registry| registry.force_flush(timeout))
            .collect();
        let unable = self.chaos.as_ref().map(Chaos::take_unable).unwrap_or_default();
        let may_lose = |registry: usize, of: &TracerReport| {
            let is_of = |member: &usize| self.members[*member] == (registry, of.selector.clone());
            of.pending == 0 && of.session_events.pending == 0 && unable.iter().any(is_of)
        };
        let is_complete = |registry: usize, report: &Report| {
            let mut tracers = report.tracers.iter();
            report.evicted_totals.lost() == 0 && tracers.all(|of| of.is_complete() || may_lose(registry, of))
        };
        let reports = reports.iter().enumerate();
        let incomplete: Vec<String> = reports
            .filter(|(registry, report)| !is_complete(*registry, report))
            .map(|(_, report)| report.to_string())
            .collect();
        let now = self.ledgers();
        let mut last = lock(&self.last_ledgers);
        let ledgers = now.iter().zip(last.iter()).map(|(now, last)| now.since(last)).collect();
        *last = now;
        Flushed {
            settings: self.chaos.as_ref().map(Chaos::take_settings).unwrap_or_default(),
            instances: self.chaos.as_ref().map(Chaos::take_instances).unwrap_or_default(),
            unable,
            tally: self.tally(),
            ledgers,
            incomplete: (!incomplete.is_empty()).then(|| incomplete.concat()),
        }
    }
}
