//! Drops the oldest data of all projects to stay within the limits, and counts it for its project.
//!
//! Each kind of data has a queue in order of arrival. A limit on a kind drops the oldest of that
//! kind; the limit on bytes drops the oldest of any kind. The age of a session is that of its
//! creation, and it is charged for each call, so that a session with endless enrichments is dropped
//! eventually.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::record::{Charged, ProjectId, Record};
use crate::model::{PostedEvent, Session, SessionOrigin, Span};

/// Limits of the stored data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) spans: usize,
    pub(crate) sessions: usize,
    pub(crate) events: usize,
    pub(crate) projects: usize,
    /// Estimated memory of spans, sessions and events together.
    pub(crate) bytes: usize,
}

/// The limits, and the data that counts against them.
pub(super) struct Retention {
    limits: Limits,
    bytes: usize,
    spans: VecDeque<(u64, ProjectId)>,
    sessions: VecDeque<(u64, ProjectId, String)>,
    events: VecDeque<(u64, ProjectId)>,
}

impl Retention {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes: 0,
            spans: VecDeque::new(),
            sessions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    pub(super) fn add_span(&mut self, records: &mut [Record], id: ProjectId, span: Arc<Span>, bytes: usize) {
        self.spans.push_back((span.sequence, id));
        records[id.0].traces.add(&span);
        records[id.0].spans.push_back(Charged { value: span, bytes });
        self.charge(records, bytes);
    }

    pub(super) fn add_event(&mut self, records: &mut [Record], id: ProjectId, event: PostedEvent, bytes: usize) {
        self.events.push_back((event.sequence, id));
        records[id.0].events.push_back(Charged {
            value: Arc::new(event),
            bytes,
        });
        self.charge(records, bytes);
    }

    pub(super) fn enrich_event(
        &mut self,
        records: &mut [Record],
        id: ProjectId,
        event_id: &str,
        body: Map<String, Value>,
        bytes: usize,
    ) {
        if let Some(event) = records[id.0].events.iter_mut().find(|event| event.value.id == event_id) {
            event.bytes += bytes;
            Arc::make_mut(&mut event.value).enrich(body);
        }
        self.charge(records, bytes);
    }

    /// Creates a missing session. Returns whether it did. The caller charges for it with the first
    /// change.
    pub(super) fn ensure_session(
        &mut self,
        records: &mut [Record],
        id: ProjectId,
        session_id: &str,
        origin: SessionOrigin,
        sequence: u64,
    ) -> bool {
        let sessions = &mut records[id.0].sessions;
        if sessions.contains_key(session_id) {
            return false;
        }
        self.sessions.push_back((sequence, id, session_id.to_owned()));
        let session = Session::new(session_id.to_owned(), origin, sequence);
        sessions.insert(
            session_id.to_owned(),
            Charged {
                value: Arc::new(session),
                bytes: 0,
            },
        );
        true
    }

    pub(super) fn change_session(
        &mut self,
        records: &mut [Record],
        id: ProjectId,
        session_id: &str,
        bytes: usize,
        change: impl FnOnce(&mut Session),
    ) {
        if let Some(session) = records[id.0].sessions.get_mut(session_id) {
            session.bytes += bytes;
            change(Arc::make_mut(&mut session.value));
        }
        self.charge(records, bytes);
    }

    fn charge(&mut self, records: &mut [Record], bytes: usize) {
        self.bytes += bytes;
        while self.spans.len() > self.limits.spans {
            self.drop_span(records);
        }
        while self.sessions.len() > self.limits.sessions {
            self.drop_session(records);
        }
        while self.events.len() > self.limits.events {
            self.drop_event(records);
        }
        while self.bytes > self.limits.bytes && self.drop_oldest(records) {}
    }

    /// Drops the oldest data of any kind. Returns whether there was any.
    fn drop_oldest(&mut self, records: &mut [Record]) -> bool {
        let span = self.spans.front().map_or(u64::MAX, |(sequence, ..)| *sequence);
        let session = self.sessions.front().map_or(u64::MAX, |(sequence, ..)| *sequence);
        let event = self.events.front().map_or(u64::MAX, |(sequence, ..)| *sequence);
        match span.min(session).min(event) {
            u64::MAX => return false,
            oldest if oldest == span => self.drop_span(records),
            oldest if oldest == session => self.drop_session(records),
            _ => self.drop_event(records),
        }
        true
    }

    // A project's queue has the same order as the common one, so both fronts are the same item.

    fn drop_span(&mut self, records: &mut [Record]) {
        let Some((_, id)) = self.spans.pop_front() else { return };
        let record = &mut records[id.0];
        record.counts.dropped.spans += 1;
        if let Some(span) = record.spans.pop_front() {
            record.traces.remove(&span.value);
            self.bytes -= span.bytes;
        }
    }

    fn drop_session(&mut self, records: &mut [Record]) {
        let Some((_, id, session_id)) = self.sessions.pop_front() else {
            return;
        };
        let record = &mut records[id.0];
        record.counts.dropped.sessions += 1;
        self.bytes -= record.sessions.remove(&session_id).map_or(0, |session| session.bytes);
    }

    fn drop_event(&mut self, records: &mut [Record]) {
        let Some((_, id)) = self.events.pop_front() else { return };
        let record = &mut records[id.0];
        record.counts.dropped.events += 1;
        self.bytes -= record.events.pop_front().map_or(0, |event| event.bytes);
    }
}
