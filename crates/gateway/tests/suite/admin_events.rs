//! The stream of changes.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::{TABLE, bearer, start};
use crate::limits::Raw;
use crate::support::{ADMIN, LONG, Service, until};

/// A stream of changes, as it is read.
struct Events(Raw);

impl Events {
    fn open(service: &Service, query: &str) -> Self {
        let mut raw = Raw::connect(service.gateway().admin().unwrap());
        raw.write(format!(
            "GET /api/events{query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\r\n"
        ));
        Self(raw)
    }

    /// Reads the head of the answer, and returns its status.
    fn status(&mut self) -> String {
        let head = self.0.read_head().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(
            status == "200",
            head.contains("content-type: application/x-ndjson"),
            "{head}"
        );
        status
    }

    /// Returns the next line with a change. Skips the sizes of chunks and empty lines.
    fn next(&mut self) -> Value {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                let mut byte = [0];
                self.0.0.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            if line.starts_with(b"{") {
                return serde_json::from_slice(&line).unwrap();
            }
        }
    }

    fn next_name(&mut self) -> String {
        self.next()["name"].as_str().unwrap().to_owned()
    }
}

fn record(service: &Service, name: &'static str) {
    service
        .gateway()
        .registry()
        .record_change(name, format!("detail of {name}"));
}

#[test]
fn a_change_is_sent_at_once_and_a_reader_continues_after_a_number() {
    let service = start();
    record(&service, "one");
    let mut events = Events::open(&service, "");
    assert_eq!(events.status(), "200");
    assert_eq!(events.next_name(), "one");
    let started = Instant::now();
    record(&service, "two");
    let two = events.next();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(
        (&two["kind"], &two["detail"]),
        (&"program".into(), &"detail of two".into())
    );
    drop(events);
    record(&service, "three");
    let mut events = Events::open(&service, &format!("?after={}", two["number"]));
    events.status();
    assert_eq!(events.next_name(), "three");
    service.gateway().reload().unwrap();
    assert_eq!(events.next()["kind"], "reloaded");
}

#[test]
fn a_stream_is_not_idle_and_its_end_frees_the_connection() {
    let service = Service::start(&format!("{TABLE}\nidle_timeout = \"200ms\""));
    let mut events = Events::open(&service, "");
    events.status();
    std::thread::sleep(Duration::from_millis(700));
    record(&service, "late");
    assert_eq!(events.next_name(), "late");
}

#[test]
fn eight_streams_are_open_at_once_and_a_reader_that_leaves_makes_room() {
    let service = start();
    let mut open: Vec<_> = (0..8).map(|_| Events::open(&service, "")).collect();
    for events in &mut open {
        assert_eq!(events.status(), "200");
    }
    let ninth = || service.ask("GET", "/api/events", &[("authorization", &bearer(ADMIN))], "");
    let reply = ninth();
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    drop(open);
    until(|| Events::open(&service, "").status() == "200");
}

#[test]
fn a_stop_ends_the_streams() {
    let mut service = start();
    let mut events = Events::open(&service, "");
    events.status();
    let started = Instant::now();
    let report = service.take_gateway().shutdown(LONG);
    assert_eq!(report.cut_off, 0);
    assert!(started.elapsed() < LONG / 4, "{:?}", started.elapsed());
    assert!(events.0.read_to_end().ends_with("0\r\n\r\n"));
}

#[test]
fn a_stream_ends_when_its_token_is_revoked() {
    let service = Service::start(&format!("{TABLE}\nidle_timeout = \"200ms\""));
    let mut events = Events::open(&service, "?after=77");
    events.status();
    std::fs::write(service.path("tokens/admin"), "another-token-of-the-admin").unwrap();
    service.gateway().reload().unwrap();
    record(&service, "secret");
    let rest = events.0.read_to_end();
    assert!(rest.ends_with("0\r\n\r\n") && !rest.contains("secret"), "{rest}");
}

#[test]
fn the_number_of_a_change_is_checked() {
    let service = start();
    for after in ["-1", "x", "", "99999999999999999999999"] {
        assert_eq!(
            Events::open(&service, &format!("?after={after}")).status(),
            "400",
            "{after}"
        );
    }
}
