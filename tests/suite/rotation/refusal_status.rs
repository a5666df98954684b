//! `TracerStatus::key` reports a refused key exactly while the receiver refuses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::KeySource;
use tracer_registry::config::{BackendName, Binding};
use tracer_registry::secret::KeyRefusalStatus;
use tracer_registry_collector::{Endpoint, Fault};

use super::{Vault, endless_backoff, next_key};
use crate::support::{LONG, World, key_of, quick, wait_for};

/// A receiver that holds each request until the test answers it.
struct HoldingReceiver {
    url: String,
    requests: Receiver<HeldRequest>,
}

/// A request that waits for its answer.
struct HeldRequest {
    key: String,
    answer: Sender<u16>,
}

impl HoldingReceiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (arrived, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, arrived) = (stream.expect("a connection"), arrived.clone());
                thread::spawn(move || hold(stream, &arrived));
            }
        });
        Self { url, requests }
    }

    fn next_request(&self) -> HeldRequest {
        self.requests.recv_timeout(LONG).expect("a request")
    }
}

impl HeldRequest {
    fn answer(self, status: u16) {
        self.answer.send(status).expect("the connection waits");
    }
}

/// Serves one connection until the client closes it or the test ends.
fn hold(stream: TcpStream, arrived: &Sender<HeldRequest>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = header("content-length: ")?.parse().ok()?;
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let (answer, answered) = channel();
        let key = header("authorization: Bearer ")?.to_owned();
        arrived.send(HeldRequest { key, answer }).ok()?;
        let status = answered.recv().ok()?;
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n"
        )
        .ok()?;
    }
}

/// Creates tenant `a` with its key in the vault and this receiver.
fn world_with_receiver(url: &str, backend: BackendName, vault: &Vault) -> World {
    vault.put("a", &key_of("a"));
    World::with(&[], |builder| {
        let vault = vault.clone();
        let key = KeySource::provider("vault", "a");
        let binding = Binding::new().backend(backend).endpoint(url).api_key(key);
        builder
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("a", binding)
    })
}

#[test]
fn a_response_to_a_request_with_the_old_key_does_not_change_the_status_of_the_new_one() {
    for status in [200, 401] {
        let (vault, receiver) = (Vault::default(), HoldingReceiver::start());
        let world = world_with_receiver(&receiver.url, BackendName::Otlp, &vault);
        let a = world.tenant("a");
        a.start_span("with the first").end();
        let first = receiver.next_request();
        assert_eq!(first.key, key_of("a"));
        vault.put("a", &next_key("a"));
        // A look-up that reads the key again updates it for all tracers with that source.
        drop(world.registry.dedicated(a.selector()).expect("configured"));
        assert_eq!(world.key("a").rotations, 1);
        first.answer(status);
        if status == 401 {
            // The export repeats at once with the new key.
            let second = receiver.next_request();
            assert_eq!(second.key, next_key("a"));
            assert_eq!(world.key("a").refused, None, "only a refusal of the current key counts");
            second.answer(200);
        }
        wait_for(
            "the span",
            || world.status("a").spans.delivered,
            |delivered| *delivered == 1,
        );
        let key = world.key("a");
        assert_eq!((key.error, key.refused), (None, None), "after {status} for the old key");
    }
}

#[test]
fn a_late_response_to_the_old_key_does_not_clear_the_refusal_of_the_new_one() {
    let (vault, receiver) = (Vault::default(), HoldingReceiver::start());
    let world = world_with_receiver(&receiver.url, BackendName::Honeyhive, &vault);
    let a = world.tenant("a");
    let _first = a.session("first").start();
    let late = receiver.next_request();
    assert_eq!(late.key, key_of("a"));
    vault.put("a", &next_key("a"));
    drop(world.registry.dedicated(a.selector()).expect("configured"));
    let _second = a.session("second").start();
    let with_new_key = receiver.next_request();
    assert_eq!(with_new_key.key, next_key("a"));
    with_new_key.answer(401);
    let with_old_key = receiver.next_request();
    assert_eq!(with_old_key.key, key_of("a"), "the source has no other key");
    late.answer(200);
    let delivered = || world.status("a").session_events.delivered;
    wait_for("the first event", delivered, |delivered| *delivered == 1);
    let key = world.key("a");
    assert_eq!(key.refused.map(|refused| refused.count), Some(1), "{key:?}");
    with_old_key.answer(200);
    wait_for("both events", delivered, |delivered| *delivered == 2);
    let error = world.key("a").error.expect("the new key is refused").to_string();
    assert!(error.contains("(401); still using the previous key"), "{error}");
}

#[test]
fn a_refused_key_is_an_error_from_the_first_refusal_until_a_key_is_accepted() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let fault = world.collector.fault(Fault::status(403));
    a.start_span("span").end();
    let first = wait_for("a refusal", || world.key("a"), |key| key.refused.is_some());
    let error = first.error.expect("the key is refused").to_string();
    assert_eq!(
        error,
        "provider vault, secret a: the receiver refuses its current key (403)"
    );
    let first = first.refused.expect("the key is refused");
    assert_eq!(first.status, KeyRefusalStatus::Http(403));
    let more = wait_for(
        "more refusals",
        || world.key("a").refused,
        |refused| refused.is_some_and(|refused| refused.count > first.count),
    );
    assert_eq!(more.map(|refused| refused.since), Some(first.since));

    // The next key is refused too: the status keeps the time of the first refusal.
    vault.put("a", &next_key("a"));
    wait_for("the next key", || world.key("a").rotations, |rotations| *rotations == 1);
    let hits = world.collector.fault_hits(fault);
    wait_for(
        "its refusal",
        || world.collector.fault_hits(fault),
        |now| *now > hits + 1,
    );
    let key = world.key("a");
    assert!(key.error.is_some(), "{key:?}");
    assert_eq!(key.refused.map(|refused| refused.since), Some(first.since));

    world.collector.clear_fault(fault);
    world.flush();
    let key = world.key("a");
    assert_eq!((key.error, key.refused), (None, None));
    world.assert_nothing_lost("a");
}

#[test]
fn a_refused_key_stays_an_error_after_the_waiting_spans_are_dropped() {
    let vault = Vault::default();
    let world = vault.world(&["a"], crate::support::once());
    world.revoke(&key_of("a"));
    world.tenant("a").start_span("span").end();
    assert_eq!(world.registry.force_flush(LONG).lost(), 1);
    let key = world.key("a");
    assert_eq!(
        key.refused.map(|refused| (refused.status, refused.count)),
        Some((KeyRefusalStatus::Http(401), 1))
    );
    assert!(key.error.is_some());
}

#[test]
fn tracers_that_share_a_key_each_report_refusals_of_their_own_receiver() {
    let other_receiver = World::new(&[]).with_projects(&["shared"]);
    let vault = Vault::default();
    vault.put("shared", &key_of("shared"));
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        let key = Binding::new().api_key(KeySource::provider("vault", "shared"));
        builder
            .export(endless_backoff())
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("here", key.clone())
            .tenant("there", key.endpoint(other_receiver.collector.url()))
    })
    .with_projects(&["shared"]);
    world.revoke(&key_of("shared"));
    world.tenant("here").start_span("span").end();
    wait_for("a refusal", || world.key("here").error, Option::is_some);
    world.tenant("there").start_span("span").end();
    wait_for(
        "the span",
        || other_receiver.project("shared").spans().len(),
        |spans| *spans == 1,
    );
    assert_eq!(world.key("there").error, None);
    assert!(
        world.key("here").error.is_some(),
        "a response of another receiver must not clear the refusal"
    );
    drop(world.registry.shutdown(std::time::Duration::ZERO));
}

#[test]
fn a_key_refused_only_for_sessions_is_an_error_while_spans_are_accepted() {
    let vault = Vault::default();
    let world = vault.world(&["a"], endless_backoff());
    let a = world.tenant("a");
    let fault = world.collector.fault(Fault::reject_key().on(Endpoint::Sessions));
    let session = a.session("s").start();
    wait_for("a refusal", || world.key("a").refused, Option::is_some);
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    wait_for(
        "the span",
        || world.status("a").spans.delivered,
        |delivered| *delivered == 1,
    );
    assert!(world.key("a").error.is_some());
    world.collector.clear_fault(fault);
    world.flush();
    assert_eq!(world.key("a").error, None);
    drop(session);
}

#[test]
#[cfg(feature = "grpc")]
fn a_grpc_refusal_has_its_status_code() {
    use tracer_registry::config::Protocol;

    let vault = Vault::default();
    vault.put("a", &key_of("a"));
    let other_receiver = World::new(&[]).with_projects(&["a"]);
    let mut export = endless_backoff();
    export.protocol = Some(Protocol::Grpc);
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        let key = Binding::new().api_key(KeySource::provider("vault", "a"));
        builder
            .export(export)
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant(
                "a",
                key.backend(BackendName::Otlp).endpoint(other_receiver.collector.url()),
            )
    });
    other_receiver.revoke(&key_of("a"));
    world.tenant("a").start_span("span").end();
    let key = wait_for("a refusal", || world.key("a"), |key| key.refused.is_some());
    assert_eq!(
        key.refused.map(|refused| refused.status),
        Some(KeyRefusalStatus::Grpc(16))
    );
    let output = serde_json::to_value(&key).expect("serializable");
    assert_eq!(output["refused"]["status"]["grpc"], 16, "{output}");
    drop(world.registry.shutdown(std::time::Duration::ZERO));
}
