//! Batches in flight that go back to disk, because their receiver does not accept them, or because
//! of a shutdown.
//!
//! | spans | what is left on disk |
//! |---|---|
//! | a whole row | the row |
//! | a part of a row, the other spans have outcomes | the row, with these spans alone |
//! | a part of a row, other spans wait | nothing: the batch stays in memory |
//! | without a row | new rows, with the order numbers of the spans |

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use tracer_registry_spool::{AppendError, Rest, Row, RowId};

use super::{persist, row};
use crate::export::lane::Lane;
use crate::export::payload::Payload;
use crate::export::queue::span_queue::Batch;

/// Leaves parts of a batch in flight on disk, in the order of their spans, and counts them. Call
/// after the spans were finished for export. Cancel safe: what was begun is completed without it.
///
/// # Errors
/// If the rows cannot be appended, or a row has other spans that wait. Nothing is counted then.
pub(crate) async fn leave(lane: &Arc<Lane>, batch: &Batch, parts: &[Range<usize>]) -> Result<(), AppendError> {
    let Leaving {
        spans,
        mut left,
        rows,
        bytes,
    } = Leaving::of(lane, batch, parts).ok_or(AppendError::Busy)?;
    if rows.is_empty() {
        lane.leave_on_disk(&spans, left, bytes);
        return Ok(());
    }
    if lane.shares_store() {
        // They were taken into memory while the store failed. Another process would send them too.
        return Err(AppendError::Busy);
    }
    let (done, is_left) = oneshot::channel();
    lane.append(rows, {
        let lane = Arc::clone(lane);
        move |appended| {
            let result = appended.map(|rows| {
                left.extend(rows.into_iter().map(|row| (row, None)));
                lane.leave_on_disk(&spans, left, bytes);
            });
            drop(done.send(result));
        }
    });
    is_left.await.unwrap_or(Err(AppendError::Closed))
}

/// What a batch leaves on disk.
#[derive(Default)]
struct Leaving {
    /// Sequence numbers of the spans.
    spans: Vec<Range<u64>>,
    /// Rows of these spans, with what is left of them.
    left: Vec<(RowId, Option<Rest>)>,
    /// Rows of spans that have none.
    rows: Vec<Row>,
    /// Bytes of the bodies of all rows.
    bytes: u64,
}

/// Spans of a row in a batch.
struct OfRow {
    parts: Vec<Range<usize>>,
    /// Spans without an outcome, and all spans.
    left: u64,
    of: u64,
    bytes: u64,
}

impl Leaving {
    fn of(lane: &Lane, batch: &Batch, parts: &[Range<usize>]) -> Option<Self> {
        let mut leaving = Self::default();
        let mut of_rows: BTreeMap<RowId, OfRow> = BTreeMap::new();
        let first = batch.numbers(&(0..0)).start;
        let part_of = |numbers: Range<u64>| {
            let index = |number: u64| usize::try_from(number - first).expect("a batch is in memory");
            index(numbers.start)..index(numbers.end)
        };
        for part in parts {
            let numbers = batch.numbers(part);
            let mut without_row = numbers.start;
            for ticket in lane.ticket_parts(&numbers) {
                leaving.append(lane, batch, &part_of(without_row..ticket.numbers.start));
                without_row = ticket.numbers.end;
                let of_row = of_rows.entry(ticket.row).or_insert(OfRow {
                    parts: Vec::new(),
                    left: ticket.left,
                    of: ticket.of,
                    bytes: ticket.bytes,
                });
                of_row.parts.push(part_of(ticket.numbers));
            }
            leaving.append(lane, batch, &part_of(without_row..numbers.end));
            leaving.spans.push(numbers);
        }
        for (row, of_row) in of_rows {
            let spans: u64 = of_row.parts.iter().map(|part| part.len() as u64).sum();
            if spans < of_row.left {
                return None;
            }
            let rest = (spans < of_row.of).then(|| rest(lane, batch, &of_row.parts)).flatten();
            leaving.bytes += rest.as_ref().map_or(of_row.bytes, |rest| rest.body.len() as u64);
            leaving.left.push((row, rest));
        }
        Some(leaving)
    }

    /// Adds rows of spans that have none.
    fn append(&mut self, lane: &Lane, batch: &Batch, part: &Range<usize>) {
        for piece in persist::pieces(lane, batch, part) {
            let row = row::of_payload(&lane.place_at(piece.order), &piece.payload, true);
            self.bytes += row.body.len() as u64;
            self.rows.push(row);
        }
    }
}

/// Returns what is left of a row. `None` if it cannot be encoded: then the whole row is left.
fn rest(lane: &Lane, batch: &Batch, parts: &[Range<usize>]) -> Option<Rest> {
    let payloads: Vec<_> = parts.iter().flat_map(|part| batch.payloads(part)).collect();
    let is_redacted = payloads.iter().all(|(payload, _)| payload.is_redacted());
    // Requests that follow one another are one request.
    let body = payloads.into_iter().map(|(payload, spans)| payload.slice(spans));
    let body = body.collect::<Vec<_>>().concat();
    let payload = Payload::check(body.into()).ok()?.with_redacted(is_redacted);
    let row = row::of_payload(&lane.place_at(0), &payload, true);
    Some(Rest {
        items: row.items,
        format: row.format,
        body: row.body,
    })
}
