//! The numbers of one reading, by tracer.

use std::sync::Arc;

use http::Uri;

use crate::export::{EvictedLedgers, SelectorLedger};
use crate::ledger::Ledger;

/// One tracer, or all tracers without their own series.
pub(super) struct Series {
    /// `None` for the shared series.
    pub(super) tracer: Option<Tracer>,
    pub(super) numbers: Numbers,
}

pub(super) struct Tracer {
    pub(super) selector: Arc<str>,
    pub(super) server: Option<Server>,
}

/// The server that receives a tracer's spans.
pub(super) struct Server {
    pub(super) address: Arc<str>,
    pub(super) port: i64,
}

/// The numbers of one series.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) spans: Ledger,
    pub(super) events: Ledger,
    /// Spans started and recorded.
    pub(super) recorded: u64,
    /// Spans started but not sampled.
    pub(super) left_out: u64,
    pub(super) held_bytes: u64,
    pub(super) tracers: u64,
    pub(super) queue_capacity: u64,
}

impl Tracer {
    pub(super) fn of(ledger: &SelectorLedger) -> Self {
        Self {
            selector: ledger.selector.to_string().into(),
            server: Server::of(&ledger.metrics.traces_url),
        }
    }
}

impl Server {
    fn of(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let port = url.port_u16().unwrap_or(match url.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        Some(Self {
            address: url.host()?.trim_matches(['[', ']']).into(),
            port: port.into(),
        })
    }
}

impl Numbers {
    pub(super) fn of_evicted(evicted: &EvictedLedgers) -> Self {
        let (recorded, left_out) = (evicted.starts.recorded, evicted.starts.left_out);
        Self {
            spans: evicted.ledgers.spans,
            events: evicted.ledgers.events,
            recorded,
            left_out,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.events.add(&other.events);
        self.recorded += other.recorded;
        self.left_out += other.left_out;
        self.held_bytes += other.held_bytes;
        self.tracers += other.tracers;
        self.queue_capacity += other.queue_capacity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port() {
        for (url, address, port) in [
            ("http://127.0.0.1:4318/v1/traces", "127.0.0.1", 4318),
            ("https://api.example/opentelemetry/v1/traces", "api.example", 443),
            ("http://collector/v1/traces", "collector", 80),
            ("http://[::1]:4318/v1/traces", "::1", 4318),
        ] {
            let server = Server::of(url).expect(url);
            assert_eq!((&*server.address, server.port), (address, port));
        }
    }
}
