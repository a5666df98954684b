//! Moves of a selector's rows between the disk and its lanes.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::futures::OwnedNotified;
use tracer_registry_spool::{Kind, Taken};

use super::counted_lane::CountedLane;
use super::selector_ledger::{SelectorLedger, State};
use crate::export::payload::Payload;
use crate::export::queue::session_event::SpooledEvent;
use crate::export::spool::backlog::{Backlog, Load, Next, Rows};
use crate::ledger::DropReason;

/// The data of a row.
pub(crate) enum Loaded {
    /// With whether the spans are finished for export.
    Spans(Payload, bool),
    Event(SpooledEvent),
}

/// What happened to a row that was taken from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Queued,
    /// Dropped and counted. The row must be completed.
    Dropped,
    /// The row must be released.
    NoRoom,
}

impl SelectorLedger {
    /// Decides whether rows of a kind are loaded now. Not while the selector is paused.
    pub(crate) fn next_load(&self, kind: Kind) -> Next {
        let mut state = self.state.lock();
        match &mut state.backlog {
            Some(backlog) if !self.gate.is_closed() => backlog.next(kind),
            _ => Next::Wait,
        }
    }

    /// Queues a row that a load took, or drops and counts it. `is_earlier`: an earlier process
    /// accepted it.
    pub(crate) fn place_loaded(
        &self,
        load: &Load,
        row: Taken,
        loaded: Result<Loaded, DropReason>,
        is_earlier: bool,
    ) -> Placed {
        let mut state = self.state.lock();
        let State { backlog, retired, .. } = &mut *state;
        let Some(backlog) = backlog.as_mut().filter(|backlog| backlog.is_valid(load)) else {
            return Placed::NoRoom;
        };
        let (lane, items, created) = (Arc::clone(&load.lane), u64::from(row.items), row.created);
        let rows = Rows {
            count: 1,
            bytes: row.body.len() as u64,
        };
        let placed = match loaded {
            Ok(Loaded::Spans(payload, is_finished)) => {
                if is_earlier {
                    lane.note_recovered(&payload);
                }
                lane.push_loaded(vec![(payload, is_finished, row)]).is_empty()
            }
            Ok(Loaded::Event(event)) => lane.push_loaded_events(vec![(event, row)]).is_empty(),
            Err(reason) => {
                let totals = match load.kind {
                    Kind::Spans => &mut retired.ledgers.spans,
                    Kind::SessionEvents => &mut retired.ledgers.events,
                };
                totals.drop_on_disk(items, reason);
                backlog.remove(load.kind, rows);
                return Placed::Dropped;
            }
        };
        if !placed {
            return Placed::NoRoom;
        }
        backlog.note_oldest(load.kind, created);
        backlog.remove(load.kind, rows);
        if backlog.is_empty(load.kind) {
            for open in &state.lanes {
                Arc::clone(&open.lane).set_durable(load.kind, false);
            }
        }
        Placed::Queued
    }

    /// Stops loading into this lane, because its tracer left the pool. Its queued rows go back to
    /// the disk: the next tracer sends them.
    pub(crate) fn stop_loading(&self, lane: &dyn CountedLane) {
        self.stop_loads_if(|backlog| backlog.is_loader(lane));
    }

    /// Like [`stop_loading`](Self::stop_loading), for whichever lane loads.
    pub(crate) fn stop_loads(&self) {
        self.stop_loads_if(|_| true);
    }

    fn stop_loads_if(&self, is_wanted: impl FnOnce(&Backlog) -> bool) {
        let mut state = self.state.lock();
        let backlog = state.backlog.as_mut().filter(|backlog| is_wanted(backlog));
        let older = backlog.and_then(|backlog| {
            // The next tracer may have another key or receiver.
            backlog.try_now();
            backlog.set_loader(None)
        });
        drop(state);
        Self::release_window(older);
    }

    /// Gives the queued rows of a lane that loads no more back to the disk.
    pub(super) fn release_window(lane: Option<Weak<dyn CountedLane>>) {
        if let Some(lane) = lane.and_then(|lane| lane.upgrade()) {
            lane.release_window(Kind::Spans);
            lane.release_window(Kind::SessionEvents);
        }
    }

    /// Waits until the lane has loaded all it can for now. Cancel safe.
    pub(crate) async fn loaded(&self, lane: &dyn CountedLane) {
        while let Some(settled) = self.settling(lane) {
            settled.await;
        }
    }

    /// Returns whether rows wait for a tracer. If not, the drain forgets the selector.
    pub(crate) fn needs_tracer(&self) -> bool {
        let mut state = self.state.lock();
        let Some(backlog) = &mut state.backlog else {
            return false;
        };
        let needs = !self.gate.is_closed() && backlog.needs_lane();
        if !needs {
            backlog.leave_drain();
        }
        needs
    }

    /// Ends the drain's search for a tracer.
    pub(crate) fn leave_drain(&self) {
        self.on_disk(|backlog, _| backlog.leave_drain());
    }

    /// Returns when the drain may look for a tracer.
    pub(crate) fn load_due(&self) -> Instant {
        self.on_disk(|backlog, _| backlog.due())
    }

    /// Ends the current back-off.
    pub(crate) fn try_now(&self) {
        self.on_disk(|backlog, _| backlog.try_now());
    }

    /// Starts a back-off, because no tracer could be created. Returns when it ends.
    pub(crate) fn back_off(&self) -> Instant {
        self.on_disk(|backlog, _| backlog.back_off_all())
    }

    fn settling(&self, lane: &dyn CountedLane) -> Option<OwnedNotified> {
        self.state.lock().backlog.as_mut()?.settling(lane)
    }
}

impl State {
    /// Loads into a new lane from now on. Returns the lane before.
    pub(super) fn load_with(&mut self, lane: &Arc<dyn CountedLane>) -> Option<Weak<dyn CountedLane>> {
        if !lane.is_spooled() {
            return None;
        }
        let backlog = self.backlog.get_or_insert_default();
        for kind in [Kind::Spans, Kind::SessionEvents] {
            if !backlog.is_empty(kind) {
                Arc::clone(lane).set_durable(kind, true);
            }
        }
        backlog.set_loader(Some(Arc::downgrade(lane)))
    }

    /// Loads nothing more into a retired lane.
    pub(super) fn end_loads(&mut self, lane: &dyn CountedLane) {
        if let Some(backlog) = self.backlog.as_mut().filter(|backlog| backlog.is_loader(lane)) {
            backlog.set_loader(None);
        }
    }

    /// Wakes the drain, because the selector was paused.
    pub(super) fn check_settled(&self) {
        if let Some(backlog) = &self.backlog {
            backlog.check_settled();
        }
    }
}
