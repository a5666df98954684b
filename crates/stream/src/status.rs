//! The state of one replica's stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracer_registry_spool::Health;

use crate::connection::Connection;
use crate::shared::Shared;

/// The state of one replica's stream. Items are spans and session events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The replica, from its start to its end.
    pub process: String,
    /// The name of the server that it is connected to. `None` while the servers are away, or are
    /// not as they should be.
    pub server: Option<String>,
    /// Since when the servers are away, in milliseconds since 1970.
    pub away_since: Option<u64>,
    /// Whether it can store data now: in the stream or, while the servers fail, in its local spool.
    pub can_store: bool,
    /// The last error. It stays after it is over.
    pub error: Option<String>,
    /// Partitions of the stream.
    pub partitions: u64,
    /// Those that this replica owns, and sends from.
    pub owned: u64,
    /// Messages of these partitions that wait or are being sent, parked ones included.
    pub held_messages: u64,
    /// Items of these messages.
    pub held_items: u64,
    /// Bytes of these messages.
    pub held_bytes: u64,
    /// Selectors with parked messages, counted once a second.
    pub parked_selectors: u64,
    /// Items of parked messages.
    pub parked_items: u64,
    /// Items that this replica published, with an acknowledgement of the servers.
    pub published: u64,
    /// Items that it tried to publish, and that were refused or had no acknowledgement in time.
    /// Their rows were kept in its local spool, or their requests refused.
    pub withdrawn: u64,
    /// Items in its local spool that wait for the servers. 0 without a local spool.
    pub local_items: u64,
    /// Bytes that data takes in the local spool.
    pub local_bytes: u64,
}

/// Returns the state now.
pub(crate) fn of(connection: &Connection, shared: &Shared, health: Health) -> StreamStatus {
    let link = shared.link();
    let (away_since, error) = (link.away_since, link.error.clone());
    drop(link);
    let counts = &shared.counts;
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let [rows, spans, events, bytes] = shared.held.each_ref().map(get);
    let local = shared.options.local.as_ref().map(|local| local.store.depth());
    let is_away = away_since.is_some();
    StreamStatus {
        process: shared.process.to_string(),
        server: (!is_away).then(|| connection.client.server_info().server_name),
        away_since: away_since.map(millis),
        // A stream that is full is full for all replicas, a local spool for one.
        can_store: match health {
            Health::Working => true,
            Health::Full => !is_away,
            Health::Failing => false,
        },
        error: if is_away {
            connection.last_error().or(error)
        } else {
            error
        },
        partitions: u64::from(shared.options.partitions),
        owned: get(&counts.owned),
        held_messages: rows,
        held_items: spans + events,
        held_bytes: bytes,
        parked_selectors: get(&counts.parked_selectors),
        parked_items: get(&counts.parked_items),
        published: get(&counts.published),
        withdrawn: get(&counts.withdrawn),
        local_items: local.as_ref().map_or(0, |depth| depth.spans + depth.events),
        local_bytes: local.as_ref().map_or(0, |depth| depth.bytes),
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
