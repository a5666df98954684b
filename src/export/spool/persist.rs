//! Saves the staged spans of a lane on disk.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::oneshot;
use tracer_registry_spool::Row;

use super::row;
use crate::export::lane::Lane;
use crate::export::lane::durable::{Piece, Saved};
use crate::export::payload::Payload;
use crate::export::queue::order::Run;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::engine_event::Cause;

/// Starts saving the staged spans of a lane, if their schedule allows it for this cause.
pub(crate) fn start(lane: &Arc<Lane>, cause: Cause) {
    if lane.start_saving(cause) {
        let lane = Arc::clone(lane);
        tokio::spawn(async move { save(&lane).await });
    }
}

/// Saves staged spans until none is due.
async fn save(lane: &Arc<Lane>) {
    while let Some(batch) = lane.take_staged() {
        // A panic must cost only this batch, not the lane.
        let Ok((pieces, rows)) = catch_unwind(AssertUnwindSafe(|| rows(lane, batch))) else {
            lane.drop_saving();
            continue;
        };
        let (done, saved) = oneshot::channel();
        let flushes = lane.flushes();
        lane.append(rows, {
            let lane = Arc::clone(lane);
            move |result| drop(done.send(lane.note_saved(pieces, result)))
        });
        match saved.await {
            Ok(Saved::Next) => {}
            Ok(Saved::Later(wait)) => lane.wait_before_retry(wait, flushes).await,
            // The answer panicked, or the store is gone. What is left of the batch is lost, and the
            // lane goes on.
            Err(_) => lane.drop_saving(),
        }
    }
}

/// Finishes and encodes the spans of a staged batch. Returns them with their rows.
pub(crate) fn rows(lane: &Lane, mut batch: Batch) -> (Vec<Piece>, Vec<Row>) {
    lane.finish_spans(&mut batch);
    let mut pieces = pieces(lane, &batch, &(0..batch.len()));
    lane.shared().chunks.recycle(batch);
    let row = |piece: &mut Piece| {
        let row = row::of_payload(&lane.place_at(piece.order), &piece.payload, piece.is_finished);
        piece.row_bytes = row.body.len() as u64;
        row
    };
    let rows = pieces.iter_mut().map(row).collect();
    (pieces, rows)
}

/// Encodes the spans of a part of a batch, which are finished for export.
pub(crate) fn pieces(lane: &Lane, batch: &Batch, part: &Range<usize>) -> Vec<Piece> {
    let resource = lane.destination.resource(&lane.selector);
    let is_redacted = lane.policies.redacts();
    let max_row = lane.max_row();
    let mut pieces = Vec::new();
    for (order, run) in batch.runs(part) {
        match run {
            Run::Spans(spans) => encode(&spans, &resource, is_redacted, max_row, order, &mut pieces),
            Run::Encoded {
                payload,
                spans,
                is_finished,
            } => {
                let payload = if spans.len() == payload.spans() {
                    payload.clone()
                } else {
                    payload.part(spans)
                };
                pieces.push(Piece {
                    payload,
                    is_finished,
                    order,
                    row_bytes: 0,
                });
            }
        }
    }
    pieces
}

/// Encodes spans, in halves if they are too large for one row.
fn encode(
    spans: &[&SpanData],
    resource: &Resource,
    is_redacted: bool,
    max_row: usize,
    order: u64,
    pieces: &mut Vec<Piece>,
) {
    let payload = Payload::of_spans(spans, resource).with_redacted(is_redacted);
    if payload.bytes().len() > max_row && spans.len() > 1 {
        let (first, second) = spans.split_at(spans.len() / 2);
        encode(first, resource, is_redacted, max_row, order, pieces);
        encode(
            second,
            resource,
            is_redacted,
            max_row,
            order + first.len() as u64,
            pieces,
        );
        return;
    }
    pieces.push(Piece {
        payload,
        is_finished: true,
        order,
        row_bytes: 0,
    });
}
