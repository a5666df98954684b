//! `TracerStatus::key` says that a key is refused while it is, and at no other time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use opentelemetry::trace::Span as _;
use tracer_registry::KeySource;
use tracer_registry::config::{BackendName, Binding};
use tracer_registry::secret::KeyRefusalStatus;
use tracer_registry_collector::{Endpoint, Fault};

use super::{Vault, eternal_pauses, next};
use crate::support::{LONG, World, key_of, quick, wait_for};

/// A receiver that answers each request as the test says, when it says so.
struct Patient {
    url: String,
    requests: Receiver<Held>,
}

/// A request that waits for its answer.
struct Held {
    key: String,
    answer: Sender<u16>,
}

impl Patient {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (came, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, came) = (stream.expect("a connection"), came.clone());
                thread::spawn(move || hold(stream, &came));
            }
        });
        Self { url, requests }
    }

    fn next(&self) -> Held {
        self.requests.recv_timeout(LONG).expect("a request")
    }
}

impl Held {
    fn answer(self, status: u16) {
        self.answer.send(status).expect("the connection is there");
    }
}

/// Serves one connection, until the client or the test is gone.
fn hold(stream: TcpStream, came: &Sender<Held>) -> Option<()> {
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
        came.send(Held { key, answer }).ok()?;
        let status = answered.recv().ok()?;
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status} As Told\r\ncontent-length: 0\r\n\r\n"
        )
        .ok()?;
    }
}

/// Tenant `a`, whose key is in the vault, at a receiver of its own.
fn at(url: &str, backend: BackendName, vault: &Vault) -> World {
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
fn an_answer_to_a_request_with_the_old_key_says_nothing_of_the_new_one() {
    for status in [200, 401] {
        let (vault, receiver) = (Vault::default(), Patient::start());
        let world = at(&receiver.url, BackendName::Otlp, &vault);
        let a = world.tenant("a");
        a.start_span("with the first").end();
        let first = receiver.next();
        assert_eq!(first.key, key_of("a"));
        vault.put("a", &next("a"));
        // A look-up that reads the key again renews it for all tracers that have it.
        drop(world.registry.dedicated(a.selector()).expect("configured"));
        assert_eq!(world.key("a").rotations, 1);
        first.answer(status);
        if status == 401 {
            // Sent again with the new key, at once.
            let second = receiver.next();
            assert_eq!(second.key, next("a"));
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
fn a_late_answer_to_a_request_with_the_old_key_ends_no_refusal_of_the_new_one() {
    let (vault, receiver) = (Vault::default(), Patient::start());
    let world = at(&receiver.url, BackendName::Honeyhive, &vault);
    let a = world.tenant("a");
    let _first = a.session("first").start();
    let late = receiver.next();
    assert_eq!(late.key, key_of("a"));
    vault.put("a", &next("a"));
    drop(world.registry.dedicated(a.selector()).expect("configured"));
    let _second = a.session("second").start();
    let with_next = receiver.next();
    assert_eq!(with_next.key, next("a"));
    with_next.answer(401);
    let with_before = receiver.next();
    assert_eq!(with_before.key, key_of("a"), "the source has nothing else");
    late.answer(200);
    let delivered = || world.status("a").session_events.delivered;
    wait_for("the first", delivered, |delivered| *delivered == 1);
    let key = world.key("a");
    assert_eq!(key.refused.map(|refused| refused.count), Some(1), "{key:?}");
    with_before.answer(200);
    wait_for("both", delivered, |delivered| *delivered == 2);
    let error = world.key("a").error.expect("it is refused").to_string();
    assert!(error.contains("(401); still using the previous key"), "{error}");
}

#[test]
fn a_refused_key_is_an_error_from_the_first_refusal_until_a_key_is_taken() {
    let vault = Vault::default();
    let world = vault.world(&["a"], quick());
    let a = world.tenant("a");
    let refuses = world.collector.fault(Fault::status(403));
    a.start_span("span").end();
    let first = wait_for("a refusal", || world.key("a"), |key| key.refused.is_some());
    let error = first.error.expect("it is refused").to_string();
    assert_eq!(
        error,
        "provider vault, secret a: the receiver refuses its current key (403)"
    );
    let first = first.refused.expect("it is refused");
    assert_eq!(first.status, KeyRefusalStatus::Http(403));
    let more = wait_for(
        "more of them",
        || world.key("a").refused,
        |refused| refused.is_some_and(|refused| refused.count > first.count),
    );
    assert_eq!(more.map(|refused| refused.since), Some(first.since));

    // Another one that is refused too: still so, and since the same moment.
    vault.put("a", &next("a"));
    wait_for("the next key", || world.key("a").rotations, |rotations| *rotations == 1);
    let hits = world.collector.fault_hits(refuses);
    wait_for(
        "its refusal",
        || world.collector.fault_hits(refuses),
        |now| *now > hits + 1,
    );
    let key = world.key("a");
    assert!(key.error.is_some(), "{key:?}");
    assert_eq!(key.refused.map(|refused| refused.since), Some(first.since));

    world.collector.clear_fault(refuses);
    world.flush();
    let key = world.key("a");
    assert_eq!((key.error, key.refused), (None, None));
    world.assert_nothing_lost("a");
}

#[test]
fn a_key_stays_an_error_when_what_waited_for_another_was_dropped() {
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
fn tracers_that_share_a_key_each_show_what_their_own_receiver_says_of_it() {
    let gate = World::new(&[]).naming(&["shared"]);
    let vault = Vault::default();
    vault.put("shared", &key_of("shared"));
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        let key = Binding::new().api_key(KeySource::provider("vault", "shared"));
        builder
            .export(eternal_pauses())
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("here", key.clone())
            .tenant("there", key.endpoint(gate.collector.url()))
    })
    .naming(&["shared"]);
    world.revoke(&key_of("shared"));
    world.tenant("here").start_span("span").end();
    wait_for("a refusal", || world.key("here").error, Option::is_some);
    world.tenant("there").start_span("span").end();
    wait_for("the span", || gate.project("shared").spans().len(), |spans| *spans == 1);
    assert_eq!(world.key("there").error, None);
    assert!(
        world.key("here").error.is_some(),
        "another receiver's answer changes nothing here"
    );
    drop(world.registry.shutdown(std::time::Duration::ZERO));
}

#[test]
fn a_key_that_is_refused_for_sessions_alone_is_refused_while_spans_are_taken() {
    let vault = Vault::default();
    let world = vault.world(&["a"], eternal_pauses());
    let a = world.tenant("a");
    let refuses = world.collector.fault(Fault::reject_key().on(Endpoint::Sessions));
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
    world.collector.clear_fault(refuses);
    world.flush();
    assert_eq!(world.key("a").error, None);
    drop(session);
}

#[test]
#[cfg(feature = "grpc")]
fn a_refusal_by_grpc_has_its_status() {
    use tracer_registry::config::Protocol;

    let vault = Vault::default();
    vault.put("a", &key_of("a"));
    let gate = World::new(&[]).naming(&["a"]);
    let mut export = eternal_pauses();
    export.protocol = Some(Protocol::Grpc);
    let world = World::with(&[], |builder| {
        let vault = vault.clone();
        let key = Binding::new().api_key(KeySource::provider("vault", "a"));
        builder
            .export(export)
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("a", key.backend(BackendName::Otlp).endpoint(gate.collector.url()))
    });
    gate.revoke(&key_of("a"));
    world.tenant("a").start_span("span").end();
    let key = wait_for("a refusal", || world.key("a"), |key| key.refused.is_some());
    assert_eq!(
        key.refused.map(|refused| refused.status),
        Some(KeyRefusalStatus::Grpc(16))
    );
    let shown = serde_json::to_value(&key).expect("it can be shown");
    assert_eq!(shown["refused"]["status"]["grpc"], 16, "{shown}");
    drop(world.registry.shutdown(std::time::Duration::ZERO));
}
