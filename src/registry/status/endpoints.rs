//! Status of the endpoints that tracers send to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::problems::has_failing_requests;
use crate::export::{BreakerStatus, Connections};
use crate::ledger::{Ledger, LedgerSnapshot};
use crate::registry::handle::TracerRegistry;

/// Status of the connections to one endpoint.
///
/// Tracers with equal scheme, host, port, certificates, proxy and credentials of the proxy share
/// connections. Tracers that differ in one of them have entries of their own for the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Scheme, host and port.
    pub endpoint: String,
    /// The breaker of these connections.
    pub breaker: BreakerStatus,
    /// Existing tracers that use them.
    pub tracers: usize,
    /// Tracers of those with a key that is refused or cannot be read, with an open breaker, or
    /// without a delivery for 5 minutes.
    pub failing: usize,
    /// Estimated memory of their queued and in-flight spans and session events.
    pub queued_bytes: usize,
    /// Ledger of their spans. Excludes ended tracers.
    pub spans: LedgerSnapshot,
}

#[derive(Default)]
struct Sums {
    tracers: usize,
    failing: usize,
    queued_bytes: usize,
    spans: Ledger,
}

impl TracerRegistry {
    /// Returns one entry for each set of connections that an existing tracer uses, sorted by
    /// endpoint. Visits every selector, like [`tracers`](Self::tracers).
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        if self.0.engine.is_forked() {
            return Vec::new();
        }
        let now = SystemTime::now();
        // By address. The connections are kept, so addresses are unique.
        let mut sums: HashMap<usize, (Arc<Connections>, Sums)> = HashMap::new();
        for ledger in self.0.accounting.all().0 {
            ledger.each_lane(|lane| {
                let (connections, summary) = (lane.connections(), lane.summary());
                let entry = sums.entry(Arc::as_ptr(connections).addr());
                let (_, sum) = entry.or_insert_with(|| (Arc::clone(connections), Sums::default()));
                sum.tracers += 1;
                sum.failing += usize::from(has_failing_requests(&summary, now));
                sum.queued_bytes += summary.held_bytes;
                sum.spans.add(&summary.ledgers.spans);
            });
        }
        let mut endpoints: Vec<EndpointStatus> = sums
            .into_values()
            .map(|(connections, sum)| EndpointStatus {
                endpoint: connections.origin().to_owned(),
                breaker: connections.breaker.status(),
                tracers: sum.tracers,
                failing: sum.failing,
                queued_bytes: sum.queued_bytes,
                spans: sum.spans.snapshot(),
            })
            .collect();
        endpoints.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        endpoints
    }
}
