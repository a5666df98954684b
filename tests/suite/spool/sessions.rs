//! Session events on disk: their order holds through an outage and a restart.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_registry::config::{Export, SpoolMode};
use tracer_registry::ingest::{Accepted, SessionCall, SessionRequest};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::LedgerSnapshot;
use tracer_registry::{Enrichment, Session, TracerRegistry};
use tracer_registry_collector::{Endpoint, Fault, OperationKind};
use tracer_registry_spool::Kind;
use tracer_registry_spool::test::TestStore;
use uuid::Uuid;

use crate::support::{LONG, World, collector, quick, registry, wait_for};

const TENANTS: [&str; 2] = ["a", "b"];
const EVENT: Uuid = Uuid::from_u128(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);

/// A world on a disk. Requests give up soon, so that an outage leaves everything on disk.
struct OnDisk {
    world: World,
    store: Arc<TestStore>,
    fingerprinter: Fingerprinter,
    mode: SpoolMode,
}

impl OnDisk {
    fn new(mode: SpoolMode) -> Self {
        let (store, fingerprinter) = (Arc::new(TestStore::new()), Fingerprinter::new());
        let collector = collector(&TENANTS, &fingerprinter).start().expect("a free port");
        let registry = open(&collector.url(), mode, &store, &fingerprinter);
        Self {
            world: World { registry, collector },
            store,
            fingerprinter,
            mode,
        }
    }

    /// Ends the registry without a shutdown, and starts another one on the same disk.
    fn restart(&mut self) {
        let url = self.world.collector.url();
        let next = open(&url, self.mode, &self.store, &self.fingerprinter);
        // The old one has lost its disk, as a process that was killed.
        let killed = std::mem::replace(&mut self.world.registry, next);
        drop(killed.shutdown(Duration::ZERO));
    }

    fn rows(&self, tenant: &str) -> usize {
        self.store.rows(&format!("tenant:{tenant}"), Kind::SessionEvents).len()
    }

    fn ledger(&self, tenant: &str) -> LedgerSnapshot {
        let ledger = self.world.status(tenant).session_events;
        let sum = ledger.delivered + ledger.pending() + ledger.spooled + ledger.lost();
        assert_eq!(ledger.accepted, sum, "{ledger:?}");
        ledger
    }

    /// Waits until everything of a tenant is on disk only.
    fn wait_until_left(&self, tenant: &str, events: u64) {
        let ledger = || self.ledger(tenant);
        wait_for("events on disk only", ledger, |ledger| {
            (ledger.spooled, ledger.pending()) == (events, 0)
        });
    }

    fn wait_until_delivered(&self, tenant: &str, events: u64) {
        let ledger = || self.ledger(tenant);
        let ledger = wait_for("deliveries", ledger, |ledger| ledger.delivered == events);
        assert_eq!((ledger.pending(), ledger.spooled, ledger.lost()), (0, 0, 0));
        wait_for("no row", || self.rows(tenant), |rows| *rows == 0);
    }

    /// Returns what arrived of a session: `"start"`, or the step of an enrichment.
    fn arrived(&self, tenant: &str, session: &str) -> Vec<Value> {
        let project = self.world.project(tenant);
        let Some(session) = project.session(session) else {
            return Vec::new();
        };
        let operations = session.operations.iter();
        let what = operations.map(|operation| match operation.kind {
            OperationKind::Start => json!("start"),
            _ => operation.body["metadata"]["step"][0].clone(),
        });
        what.collect()
    }
}

fn open(url: &str, mode: SpoolMode, store: &Arc<TestStore>, fingerprinter: &Fingerprinter) -> TracerRegistry {
    let store = Arc::clone(store);
    let mut export = quick();
    export.retry.max_elapsed = Some(Duration::from_millis(100));
    let builder = registry(url, &TENANTS, fingerprinter)
        .export(Export {
            timeout: Some(Duration::from_millis(1500)),
            ..export
        })
        .store(mode, move |report| Ok(store.open(&report)));
    builder.build().expect("valid")
}

/// Lists are replaced, so two enrichments never share a request.
fn enrich(session: &Session, step: u64) {
    session.enrich(Enrichment::new().metadata("step", json!([step])));
}

fn expected(steps: u64) -> Vec<Value> {
    let steps = (0..steps).map(|step| json!(step));
    std::iter::once(json!("start")).chain(steps).collect()
}

#[test]
fn events_are_on_disk_until_they_are_delivered() {
    let on_disk = OnDisk::new(SpoolMode::Through);
    let hang = on_disk
        .world
        .collector
        .fault(Fault::hang().on(Endpoint::Sessions).times(1));
    let session = on_disk.world.tenant("a").session("chat").start();
    (0..5).for_each(|step| enrich(&session, step));
    wait_for("rows", || on_disk.rows("a"), |rows| *rows == 6);
    assert_eq!(on_disk.ledger("a").accepted, 6);
    on_disk.world.collector.clear_fault(hang);
    on_disk.wait_until_delivered("a", 6);
    assert_eq!(on_disk.arrived("a", session.id()), expected(5));
}

#[test]
fn an_outage_leaves_events_on_disk_and_they_arrive_in_order() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let on_disk = OnDisk::new(mode);
        let outage = on_disk.world.collector.fault(Fault::status(503));
        let sessions: Vec<Session> = (0..3)
            .map(|_| on_disk.world.tenant("a").session("chat").start())
            .collect();
        let enrich_all = |step| sessions.iter().for_each(|session| enrich(session, step));
        (0..4).for_each(enrich_all);
        on_disk.wait_until_left("a", 15);
        assert_eq!(on_disk.rows("a"), 15, "{mode:?}");
        // What comes later is on disk only, behind them.
        (4..8).for_each(enrich_all);
        on_disk.wait_until_left("a", 27);
        on_disk.world.collector.clear_fault(outage);
        on_disk.wait_until_delivered("a", 27);
        for session in &sessions {
            assert_eq!(on_disk.arrived("a", session.id()), expected(8), "{mode:?}");
        }
        // Direct again, or through the disk.
        enrich_all(8);
        on_disk.wait_until_delivered("a", 30);
        for session in &sessions {
            assert_eq!(on_disk.arrived("a", session.id()), expected(9), "{mode:?}");
        }
    }
}

#[test]
fn a_restart_sends_the_start_of_a_session_before_its_enrichments() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let mut on_disk = OnDisk::new(mode);
        let outage = on_disk.world.collector.fault(Fault::status(503));
        let session = on_disk.world.tenant("a").session("chat").start();
        let id: Uuid = session.id().parse().expect("an id");
        (0..4).for_each(|step| enrich(&session, step));
        on_disk.wait_until_left("a", 5);
        drop(session);
        on_disk.restart();
        // The session goes on before anything of it is loaded.
        let session = on_disk.world.tenant("a").session("chat").id(id).start();
        (4..8).for_each(|step| enrich(&session, step));
        on_disk.world.collector.clear_fault(outage);
        on_disk.wait_until_delivered("a", 10);
        assert_eq!(on_disk.ledger("a").recovered, 5, "{mode:?}");
        let mut order = expected(4);
        order.push(json!("start"));
        order.extend((4..8).map(|step| json!(step)));
        assert_eq!(on_disk.arrived("a", &id.to_string()), order, "{mode:?}");
    }
}

#[test]
fn an_event_that_a_client_posts_keeps_its_place_in_its_session() {
    let mut on_disk = OnDisk::new(SpoolMode::Through);
    let outage = on_disk.world.collector.fault(Fault::status(503));
    let session = Uuid::from_u128(7);
    let ingest = |on_disk: &OnDisk, call: SessionCall, body: Value| {
        let request = SessionRequest::from_json(&call, body.to_string().as_bytes()).expect("valid");
        let tracer = on_disk.world.tenant("a");
        let accepted = on_disk
            .world
            .registry
            .ingest_session(None, &tracer, request)
            .expect("accepted");
        let Accepted::OnceDurable(durable) = accepted else {
            panic!("it must be on disk first")
        };
        futures_util::FutureExt::now_or_never(durable);
    };
    let enrich = |on_disk: &OnDisk, id: Uuid, step: u64| {
        let call = SessionCall::Enrich {
            id: Some(id.to_string()),
        };
        ingest(on_disk, call, json!({"metadata": {"step": [step]}}));
    };
    ingest(
        &on_disk,
        SessionCall::BareStart,
        json!({"session_id": session.to_string()}),
    );
    enrich(&on_disk, session, 0);
    let event = json!({"event_id": EVENT.to_string(), "session_id": session.to_string(), "event_name": "answer", "event_type": "tool"});
    ingest(&on_disk, SessionCall::BareEvent, event);
    enrich(&on_disk, EVENT, 1);
    enrich(&on_disk, session, 2);
    on_disk.wait_until_left("a", 5);
    on_disk.restart();
    on_disk.world.tenant("a");
    on_disk.world.collector.clear_fault(outage);
    on_disk.wait_until_delivered("a", 5);
    let is_event = |path: &str| path.ends_with("/session/start") || path.ends_with("/events");
    let requests = on_disk.world.collector.requests();
    let of_sessions = requests.iter().filter(|request| is_event(&request.path));
    let bodies = of_sessions.map(|request| serde_json::from_slice::<Value>(&request.body).expect("JSON"));
    let mut kinds: Vec<Value> = bodies
        .map(|body| match () {
            () if body.get("session").is_some() => json!("start"),
            () if body.get("event").is_some() => json!("event"),
            () => body["metadata"]["step"][0].clone(),
        })
        .collect();
    // Only the start was sent during the outage.
    kinds.dedup();
    assert_eq!(kinds, [json!("start"), json!(0), json!("event"), json!(1), json!(2)]);
}

#[test]
fn events_of_one_tenant_on_disk_do_not_delay_another() {
    let on_disk = OnDisk::new(SpoolMode::Overflow);
    let key = crate::support::key_of("a");
    let outage = on_disk.world.collector.fault(Fault::status(503).only(key));
    let session = on_disk.world.tenant("a").session("chat").start();
    (0..3).for_each(|step| enrich(&session, step));
    on_disk.wait_until_left("a", 4);
    let healthy = on_disk.world.tenant("b").session("chat").start();
    (0..3).for_each(|step| enrich(&healthy, step));
    on_disk.wait_until_delivered("b", 4);
    assert_eq!(on_disk.arrived("b", healthy.id()), expected(3));
    assert!(on_disk.arrived("a", session.id()).is_empty());
    on_disk.world.collector.clear_fault(outage);
    on_disk.wait_until_delivered("a", 4);
}

#[test]
fn a_shutdown_leaves_events_on_disk() {
    let mut on_disk = OnDisk::new(SpoolMode::Overflow);
    let outage = on_disk.world.collector.fault(Fault::hang());
    let session = on_disk.world.tenant("a").session("chat").start();
    (0..3).for_each(|step| enrich(&session, step));
    let id = session.id().to_owned();
    drop(session);
    let report = on_disk.world.registry.shutdown(Duration::from_secs(2));
    assert!(report.is_complete(), "{report}");
    assert_eq!(on_disk.rows("a"), 4);
    on_disk.restart();
    on_disk.world.collector.clear_fault(outage);
    on_disk.world.tenant("a");
    on_disk.wait_until_delivered("a", 4);
    assert_eq!(on_disk.arrived("a", &id), expected(3));
    let report = on_disk.world.registry.force_flush(LONG);
    assert!(report.is_complete(), "{report}");
}
