//! What is known of the servers: whether they can be reached, and which streams and subjects are full.
//!
//! | state of a partition | event | state after |
//! |---|---|---|
//! | up | the connection is lost | paused: rows wait for the publish timeout at most |
//! | paused | connected again | up |
//! | paused | the publish timeout is over | down, until connected again |
//! | up | an attempt failed or had no answer | down: its stream is asked every 500 ms |
//! | down | its stream answers, or acknowledges an earlier message | up |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_registry_spool::{AppendError, Health, Kind, Row};

/// How often a stream that failed is asked.
const PROBE_PERIOD: Duration = Duration::from_millis(500);
/// How long rows for a full stream or subject are refused without asking the servers again.
const FULL_PERIOD: Duration = Duration::from_millis(500);
/// How long the store counts as full after the last refusal, if nothing is published there.
const FULL_HEALTH_PERIOD: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Up,
    Paused,
    Down,
}

pub(crate) struct Availability {
    /// How long rows wait for a lost connection.
    pause: Duration,
    /// Since when there is no connection.
    away_since: Option<Instant>,
    partitions: Vec<Partition>,
    full_subjects: HashMap<(Arc<str>, Kind), Instant>,
    last_error: String,
}

#[derive(Clone, Default)]
struct Partition {
    /// When to ask the stream again. `None` if it does not fail.
    probe_at: Option<Instant>,
    /// When the stream was full.
    full_at: Option<Instant>,
    is_used: bool,
}

impl Availability {
    pub(crate) fn new(partitions: u16, pause: Duration, now: Instant) -> Self {
        Self {
            pause,
            away_since: Some(now),
            partitions: vec![Partition::default(); usize::from(partitions)],
            full_subjects: HashMap::new(),
            last_error: "not connected".to_owned(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.away_since.is_none()
    }

    pub(crate) fn reach(&self, partition: u16, now: Instant) -> Reach {
        match self.away_since {
            Some(since) if since + self.pause <= now => Reach::Down,
            _ if self.partitions[usize::from(partition)].probe_at.is_some() => Reach::Down,
            Some(_) => Reach::Paused,
            None => Reach::Up,
        }
    }

    /// Whether a partition may be down.
    pub(crate) fn is_impaired(&self) -> bool {
        self.away_since.is_some() || self.partitions.iter().any(|partition| partition.probe_at.is_some())
    }

    pub(crate) fn last_error(&self) -> &str {
        &self.last_error
    }

    /// Records whether the client is connected. Returns whether that has changed.
    pub(crate) fn note_connection(&mut self, is_connected: bool, now: Instant) -> bool {
        if is_connected == self.is_connected() {
            return false;
        }
        self.away_since = (!is_connected).then_some(now);
        if is_connected {
            for partition in &mut self.partitions {
                partition.probe_at = partition.probe_at.map(|_| now);
            }
        } else {
            "not connected".clone_into(&mut self.last_error);
        }
        true
    }

    /// The servers acknowledged a message, or described the stream.
    pub(crate) fn note_answer(&mut self, partition: u16, is_stored: bool) {
        let partition = &mut self.partitions[usize::from(partition)];
        partition.probe_at = None;
        if is_stored {
            partition.is_used = true;
            partition.full_at = None;
        }
    }

    pub(crate) fn note_failed(&mut self, partition: u16, error: String, now: Instant) {
        let partition = &mut self.partitions[usize::from(partition)];
        partition.is_used = true;
        partition.probe_at = Some(now + PROBE_PERIOD);
        self.last_error = error;
    }

    pub(crate) fn note_stream_full(&mut self, partition: u16, now: Instant) {
        self.partitions[usize::from(partition)].full_at = Some(now);
    }

    pub(crate) fn note_subject_full(&mut self, row: &Row, now: Instant) {
        self.full_subjects.insert((Arc::clone(&row.queue), row.kind), now);
    }

    /// Returns why rows are refused without asking the servers.
    pub(crate) fn refusal(&self, partition: u16, rows: &[Row], now: Instant) -> Option<AppendError> {
        let is_recent = |at: &Instant| now < *at + FULL_PERIOD;
        if self.partitions[usize::from(partition)]
            .full_at
            .as_ref()
            .is_some_and(is_recent)
        {
            return Some(AppendError::Full);
        }
        if self.full_subjects.is_empty() {
            return None;
        }
        let is_full = |row: &&Row| {
            let full_at = self.full_subjects.get(&(Arc::clone(&row.queue), row.kind));
            full_at.is_some_and(is_recent)
        };
        rows.iter()
            .find(is_full)
            .map(|row| AppendError::OwnerFull(Arc::clone(&row.owner)))
    }

    /// Forgets what is too old to be of use. Returns the partitions to ask now.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<u16> {
        self.full_subjects.retain(|_, at| now < *at + FULL_PERIOD);
        let is_connected = self.is_connected();
        let mut due = Vec::new();
        for (number, partition) in (0..).zip(&mut self.partitions) {
            if partition.full_at.is_some_and(|at| at + FULL_HEALTH_PERIOD <= now) {
                partition.full_at = None;
            }
            if is_connected && partition.probe_at.is_some_and(|at| at <= now) {
                partition.probe_at = Some(now + PROBE_PERIOD);
                due.push(number);
            }
        }
        due
    }

    /// Returns the health of the servers. `None` if rows wait for a lost connection.
    ///
    /// They fail if all streams fail that were used: others are of use for other tenants.
    pub(crate) fn health(&self, now: Instant) -> Option<Health> {
        match self.away_since {
            Some(since) if since + self.pause <= now => return Some(Health::Failing),
            Some(_) => return None,
            None => {}
        }
        let mut used = self.partitions.iter().filter(|partition| partition.is_used).peekable();
        if used.peek().is_some() && used.all(|partition| partition.probe_at.is_some()) {
            return Some(Health::Failing);
        }
        let is_full = self.partitions.iter().any(|partition| partition.full_at.is_some());
        Some(if is_full { Health::Full } else { Health::Working })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);

    fn connected() -> (Availability, Instant) {
        let now = Instant::now();
        let mut servers = Availability::new(2, PAUSE, now);
        assert!(servers.note_connection(true, now));
        (servers, now)
    }

    #[test]
    fn a_lost_connection_pauses_and_then_fails() {
        let (mut servers, now) = connected();
        assert_eq!(
            (servers.reach(0, now), servers.health(now)),
            (Reach::Up, Some(Health::Working))
        );
        assert!(servers.note_connection(false, now));
        assert!(!servers.note_connection(false, now + PAUSE));
        let almost = now + PAUSE / 2;
        assert_eq!(
            (servers.reach(0, almost), servers.health(almost)),
            (Reach::Paused, None)
        );
        assert_eq!(
            (servers.reach(0, now + PAUSE), servers.health(now + PAUSE)),
            (Reach::Down, Some(Health::Failing))
        );
        assert_eq!(servers.tick(now + PAUSE), [0; 0]);
        assert!(servers.note_connection(true, now + PAUSE));
        assert_eq!(servers.reach(0, now + PAUSE), Reach::Up);
    }

    #[test]
    fn one_failing_stream_is_asked_until_it_answers_and_stops_no_other() {
        let (mut servers, now) = connected();
        servers.note_answer(1, true);
        servers.note_failed(0, "timeout".to_owned(), now);
        assert_eq!(
            [0, 1].map(|partition| servers.reach(partition, now)),
            [Reach::Down, Reach::Up]
        );
        assert_eq!(servers.health(now), Some(Health::Working));
        assert_eq!(servers.tick(now), [0; 0]);
        assert_eq!(servers.tick(now + PROBE_PERIOD), [0]);
        assert_eq!(servers.tick(now + PROBE_PERIOD), [0; 0]);
        servers.note_failed(1, "timeout".to_owned(), now);
        assert_eq!(servers.health(now), Some(Health::Failing));
        servers.note_answer(0, false);
        assert_eq!(
            (servers.reach(0, now), servers.health(now)),
            (Reach::Up, Some(Health::Working))
        );
    }

    #[test]
    fn full_streams_and_subjects_refuse_for_a_while() {
        let (mut servers, now) = connected();
        let row = Row {
            queue: "tenant:acme".into(),
            owner: "acme".into(),
            kind: Kind::Spans,
            order: 0,
            items: 1,
            generation: 0,
            created: 0,
            format: 0,
            body: Bytes::new(),
        };
        servers.note_subject_full(&row, now);
        let refused = |servers: &Availability, kind, after| {
            let row = Row { kind, ..row.clone() };
            let refusal = servers.refusal(0, &[row], now + after);
            refusal.map(|error| error.to_string())
        };
        let owner_full = Some(AppendError::OwnerFull("acme".into()).to_string());
        assert_eq!(refused(&servers, Kind::Spans, Duration::ZERO), owner_full);
        assert_eq!(refused(&servers, Kind::SessionEvents, Duration::ZERO), None);
        assert_eq!(refused(&servers, Kind::Spans, FULL_PERIOD), None);
        assert_eq!(servers.health(now), Some(Health::Working));
        servers.note_stream_full(0, now);
        assert_eq!(
            refused(&servers, Kind::SessionEvents, Duration::ZERO),
            Some(AppendError::Full.to_string())
        );
        assert_eq!(servers.health(now), Some(Health::Full));
        servers.note_answer(0, true);
        assert_eq!(servers.health(now), Some(Health::Working));
        servers.note_stream_full(0, now);
        servers.tick(now + FULL_HEALTH_PERIOD);
        assert_eq!(servers.health(now), Some(Health::Working));
    }
}
