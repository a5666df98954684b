//! Parts of a request that have a place: all of them are accepted, or none.

use std::sync::Arc;

#[cfg(feature = "spool")]
use tokio::sync::oneshot;
#[cfg(feature = "spool")]
use tracer_registry_spool::{AppendError, Row, RowId};

use super::accepted::Accepted;
#[cfg(feature = "spool")]
use super::accepted::Durable;
use super::error::IngestError;
use super::traces::Traces;
#[cfg(feature = "spool")]
use crate::export::Placed;
#[cfg(not(feature = "spool"))]
use crate::export::Room as Placed;
use crate::export::{CopyTarget, Lane, Note, Payload, RequestKind, TraceKey};
use crate::ledger::DropReason;
use crate::policy::quota::{Amount, Charge};
use crate::selector::Slug;
use crate::tracer::TracerHandle;

/// A part of a request that has a place in its lane.
pub(super) struct Part {
    placed: Placed,
    /// Keeps the lane until the part is accepted. Dropped after the place.
    tracer: TracerHandle,
    /// What it takes of the quota, until the part is accepted. Given back if it is not.
    charge: Option<Charge>,
    pub(super) sampled_out: u64,
    /// Traces of the spans that were left out. Empty if `explain` is off.
    pub(super) left_out: LeftOut,
    /// Copies of the part, which are committed with it.
    pub(super) copies: Vec<PartCopy>,
}

/// A copy of a part for one target. Its outcome does not concern the request.
pub(super) struct PartCopy(CopyPlace);

enum CopyPlace {
    /// It has a place in the target's lane.
    Placed {
        part: Box<Part>,
        spans: u64,
        too_large: u64,
    },
    /// The target's lane does not take it.
    Refused {
        tracer: TracerHandle,
        spans: u64,
        keys: Vec<TraceKey>,
        reason: DropReason,
    },
    /// The target has no tracer.
    Lost { target: Arc<CopyTarget<Lane>>, spans: u64 },
}

/// Traces of spans that were left out.
#[derive(Default)]
pub(super) struct LeftOut {
    pub(super) sampled_out: Vec<TraceKey>,
    pub(super) too_large: Vec<TraceKey>,
}

impl Part {
    /// Finds a place for a payload.
    pub(super) fn of(tracer: TracerHandle, payload: Payload, charge: Option<Charge>) -> Result<Self, IngestError> {
        let bytes = payload.byte_size();
        #[cfg(feature = "spool")]
        let placed = tracer.lane().place(payload);
        #[cfg(not(feature = "spool"))]
        let placed = tracer.lane().reserve(payload);
        let placed = placed.map_err(|reason| IngestError::of(reason, tracer.selector(), bytes))?;
        Ok(Self {
            placed,
            tracer,
            charge,
            sampled_out: 0,
            left_out: LeftOut::default(),
            copies: Vec::new(),
        })
    }

    fn commit(self, caller: Option<&Slug>, #[cfg(feature = "spool")] rows: &[RowId]) {
        if let Some(charge) = self.charge {
            charge.keep();
        }
        let lane = self.tracer.lane();
        lane.note_fates(&self.left_out.sampled_out, Note::SampledOut(caller));
        lane.note_fates(&self.left_out.too_large, Note::TooLarge(caller));
        #[cfg(feature = "spool")]
        self.placed.commit(self.sampled_out, caller, rows);
        #[cfg(not(feature = "spool"))]
        self.placed.commit(self.sampled_out, caller);
        for copy in self.copies {
            copy.commit(caller);
        }
    }
}

impl PartCopy {
    /// `too_large` is the number of spans that the part does not have for their size.
    pub(super) fn placed(part: Part, spans: u64, too_large: u64) -> Self {
        let part = Box::new(part);
        Self(CopyPlace::Placed { part, spans, too_large })
    }

    pub(super) fn refused(tracer: TracerHandle, payload: &Payload, reason: DropReason) -> Self {
        let spans = payload.spans();
        let keys = tracer.lane().trace_keys(|| payload.trace_ids(0..spans).collect());
        Self(CopyPlace::Refused {
            tracer,
            spans: spans as u64,
            keys,
            reason,
        })
    }

    pub(super) fn lost(target: &Arc<CopyTarget<Lane>>, spans: usize) -> Self {
        Self(CopyPlace::Lost {
            target: Arc::clone(target),
            spans: spans as u64,
        })
    }

    /// Accepts the copy, because its part is accepted, or counts it as dropped. If it goes to disk,
    /// it is appended on its own.
    fn commit(self, caller: Option<&Slug>) {
        match self.0 {
            CopyPlace::Placed {
                mut part,
                spans,
                too_large,
            } => {
                let lane = Arc::clone(part.tracer.lane());
                lane.refuse_copies(too_large, &[], DropReason::TooLarge, caller);
                #[cfg(feature = "spool")]
                {
                    let rows = part.placed.take_rows();
                    if !rows.is_empty() {
                        let caller = caller.cloned();
                        let of_copy = Arc::clone(&lane);
                        lane.append(rows, move |result| match result {
                            Ok(rows) => part.commit(caller.as_ref(), &rows),
                            Err(error) => {
                                let error = IngestError::of_append(&error, part.tracer.selector());
                                of_copy.refuse_copies(spans, &[], error.drop_reason(), caller.as_ref());
                            }
                        });
                        return;
                    }
                }
                #[cfg(not(feature = "spool"))]
                let _ = (&mut part, spans);
                part.commit(
                    caller,
                    #[cfg(feature = "spool")]
                    &[],
                );
            }
            CopyPlace::Refused {
                tracer,
                spans,
                keys,
                reason,
            } => tracer.lane().refuse_copies(spans, &keys, reason, caller),
            CopyPlace::Lost { target, spans } => target.note_lost(spans),
        }
    }
}

/// Takes an amount of a tenant's quota.
pub(super) fn charge(tracer: &TracerHandle, amount: Amount) -> Result<Option<Charge>, IngestError> {
    let lane = tracer.lane();
    let charge = lane
        .policies
        .quota
        .as_ref()
        .map(|quota| quota.charge(amount))
        .transpose();
    charge.map_err(|retry_after| {
        lane.log_refused_request(RequestKind::Spans, DropReason::Quota);
        let selector = tracer.selector().clone();
        IngestError::Quota { selector, retry_after }
    })
}

/// Accepts all parts of a request: now, or once all that belongs on disk is there.
#[cfg(not(feature = "spool"))]
pub(super) fn accept<T>(parts: Vec<Part>, _arrived: Vec<Traces>, caller: Option<&Slug>, accepted: T) -> Accepted<T> {
    for part in parts {
        part.commit(caller);
    }
    Accepted::Now(accepted)
}

/// Accepts all parts of a request: now, or once all that belongs on disk is there. `arrived` is what
/// the client sent, if it is explained.
#[cfg(feature = "spool")]
pub(super) fn accept<T>(mut parts: Vec<Part>, arrived: Vec<Traces>, caller: Option<&Slug>, accepted: T) -> Accepted<T> {
    let rows = parts.iter_mut().map(|part| part.placed.take_rows());
    let rows: Vec<_> = rows.collect();
    let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
    let place = |row: &Row| (Arc::clone(&row.queue), Arc::clone(&row.owner));
    let places: Vec<_> = rows.iter().map(|rows| rows.first().map(place)).collect();
    let first = counts.iter().position(|count| *count > 0);
    let Some(first) = first.map(|part| parts[part].tracer.clone()) else {
        for part in parts {
            part.commit(caller, &[]);
        }
        return Accepted::Now(accepted);
    };
    let (done, committed) = oneshot::channel();
    let caller = caller.cloned();
    let any = first.clone();
    let settle = move |result: Result<Vec<RowId>, AppendError>| {
        let result = result.map(|ids| {
            let mut ids = &ids[..];
            for (part, count) in parts.drain(..).zip(counts) {
                let (of_part, rest) = ids.split_at(count);
                part.commit(caller.as_ref(), of_part);
                ids = rest;
            }
        });
        let result = result.map_err(|error| {
            for (part, Traces(payload)) in parts.iter().zip(&arrived) {
                part.tracer.lane().note_refused_payload(payload, caller.as_ref());
            }
            let refused = places.iter().position(|place| is_refused(place.as_ref(), &error));
            let tracer = refused.map_or(&first, |part| &parts[part].tracer);
            IngestError::of_append(&error, tracer.selector())
        });
        drop(parts);
        drop(done.send(result));
    };
    // All lanes have the same store.
    any.lane().append(rows.into_iter().flatten().collect(), settle);
    // The store answers each append, unless it panics.
    let committed = async { committed.await.unwrap_or(Err(IngestError::SpoolUnavailable)) };
    Accepted::OnceDurable(Durable::new(accepted, committed))
}

/// Returns whether the store did not take the rows of this queue and owner.
#[cfg(feature = "spool")]
fn is_refused(place: Option<&(Arc<str>, Arc<str>)>, error: &AppendError) -> bool {
    place.is_some_and(|(queue, owner)| match error {
        AppendError::Erased(refused) => refused == queue,
        AppendError::OwnerFull(refused) => refused == owner,
        _ => false,
    })
}
