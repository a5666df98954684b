//! The last refused batches of a selector, with their content.
//!
//! Off unless `export.dead_letters.max_batches` is set. Each lane adds to the ledger of its own
//! selector. A batch beyond a bound takes the place of the selector's oldest ones. If that is not
//! enough, it is kept without its body, or not at all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::config::{DeadLetterSettings, Protocol};
use crate::export::error::ExportError;
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;
use crate::util::wall_time;

/// Most bytes of the batches of one selector.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// A batch, or a part of one, that the receiver refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedBatch {
    /// When it was dropped.
    #[serde(with = "wall_time")]
    pub at: SystemTime,
    /// Reason in the ledger.
    pub reason: DropReason,
    /// Number of its spans.
    pub spans: u64,
    /// Size of the encoded request, not compressed.
    pub bytes: u64,
    /// Protocol of the request. It determines the encoding of the body.
    pub protocol: Protocol,
    /// The receiver's last answer to it.
    pub error: Option<ExportError>,
    /// The encoded request as it was sent, not compressed; base64 in JSON. Without headers, so
    /// without the key. `None` if it was too large to keep, or could not be encoded again.
    #[serde(serialize_with = "base64")]
    pub body: Option<Bytes>,
}

/// Memory for the refused batches of all selectors.
pub(crate) struct RefusedRoom {
    max_batches: usize,
    max_bytes: usize,
    used: AtomicUsize,
}

/// The last refused batches of a selector, oldest first. Allocates nothing until there is one.
#[derive(Default)]
pub(crate) struct RefusedBatches(ForkLock<VecDeque<Kept>>);

struct Kept {
    batch: RefusedBatch,
    reserved: Reserved,
}

/// Reserved memory. Released on drop.
struct Reserved {
    room: Arc<RefusedRoom>,
    bytes: usize,
}

impl RefusedRoom {
    /// Returns `None` if the settings turn it off.
    pub(crate) fn new(settings: &DeadLetterSettings) -> Option<Arc<Self>> {
        let room = Self {
            max_batches: settings.max_batches,
            max_bytes: settings.max_bytes,
            used: AtomicUsize::new(0),
        };
        (settings.max_batches > 0).then(|| Arc::new(room))
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        // Relaxed: the number orders no other data.
        let reserved = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        reserved.is_ok().then(|| Reserved {
            room: Arc::clone(self),
            bytes,
        })
    }

    fn free(&self) -> usize {
        self.max_bytes.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl RefusedBatches {
    /// Adds a batch, as far as there is room.
    pub(crate) fn add(&self, mut batch: RefusedBatch, room: &Arc<RefusedRoom>) {
        let text = batch.error.as_ref().map_or(0, |error| error.to_string().len());
        let facts = size_of::<Kept>() + text;
        let kept = &mut *self.0.lock();
        while kept.len() >= room.max_batches {
            kept.pop_front();
        }
        let body = batch.body.as_ref().map_or(0, Bytes::len);
        let reserved = make_room(kept, room, facts + body).or_else(|| {
            batch.body = None;
            make_room(kept, room, facts)
        });
        if let Some(reserved) = reserved {
            kept.push_back(Kept { batch, reserved });
        }
    }

    /// Forgets all batches.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Returns the batches, newest first. Empty in a forked child if the lock is taken.
    pub(crate) fn list(&self) -> Vec<RefusedBatch> {
        let kept = self.0.lock_unless_forked();
        let newest_first = kept.iter().flat_map(|kept| kept.iter().rev());
        newest_first.map(|kept| kept.batch.clone()).collect()
    }
}

/// Reserves memory, and forgets the oldest batches for that if it is enough.
fn make_room(kept: &mut VecDeque<Kept>, room: &Arc<RefusedRoom>, bytes: usize) -> Option<Reserved> {
    let own = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.reserved.bytes).sum::<usize>();
    if bytes > MAX_BYTES || bytes > own(kept) + room.free() {
        return None;
    }
    loop {
        if own(kept) + bytes <= MAX_BYTES
            && let Some(reserved) = room.reserve(bytes)
        {
            return Some(reserved);
        }
        kept.pop_front()?;
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn base64<S: Serializer>(body: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    body.as_ref().map(|body| BASE64.encode(body)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room(max_batches: usize, max_bytes: usize) -> Arc<RefusedRoom> {
        let settings = DeadLetterSettings { max_batches, max_bytes };
        RefusedRoom::new(&settings).expect("not off")
    }

    fn batch(number: u64, bytes: usize) -> RefusedBatch {
        RefusedBatch {
            at: SystemTime::UNIX_EPOCH,
            reason: DropReason::Refused,
            spans: number,
            bytes: bytes as u64,
            protocol: Protocol::HttpProtobuf,
            error: None,
            body: Some(vec![7; bytes].into()),
        }
    }

    /// Returns the number of each batch, and whether it has its body.
    fn listed(batches: &RefusedBatches) -> Vec<(u64, bool)> {
        let list = batches.list().into_iter();
        list.map(|batch| (batch.spans, batch.body.is_some())).collect()
    }

    #[test]
    fn zero_batches_turn_it_off() {
        let (max_batches, max_bytes) = (0, 1);
        assert!(RefusedRoom::new(&DeadLetterSettings { max_batches, max_bytes }).is_none());
    }

    #[test]
    fn a_selector_without_refused_batches_allocates_nothing() {
        let used = allocation_counter::measure(|| assert!(RefusedBatches::default().list().is_empty()));
        assert_eq!(used.count_total, 0);
    }

    #[test]
    fn the_newest_batches_are_kept() {
        let (batches, room) = (RefusedBatches::default(), room(3, 1 << 20));
        (0..5).for_each(|number| batches.add(batch(number, 10), &room));
        assert_eq!(listed(&batches), [(4, true), (3, true), (2, true)]);
        drop(batches);
        assert_eq!(room.free(), 1 << 20, "the memory is released");
    }

    #[test]
    fn the_oldest_batches_make_room_for_a_large_one() {
        let (batches, room) = (RefusedBatches::default(), room(16, 4 << 20));
        (0..3).for_each(|number| batches.add(batch(number, 300 << 10), &room));
        batches.add(batch(3, 600 << 10), &room);
        assert_eq!(listed(&batches), [(3, true), (2, true)]);
        batches.add(batch(4, MAX_BYTES), &room);
        assert_eq!(
            listed(&batches),
            [(4, false), (3, true), (2, true)],
            "larger than any is"
        );
    }

    #[test]
    fn a_selector_takes_no_room_of_another() {
        let room = room(16, 1000);
        let [one, other] = [(); 2].map(|()| RefusedBatches::default());
        one.add(batch(1, 600), &room);
        other.add(batch(2, 600), &room);
        assert_eq!((listed(&one), listed(&other)), (vec![(1, true)], vec![(2, false)]));
        (3..9).for_each(|number| other.add(batch(number, 600), &room));
        assert_eq!(listed(&one), [(1, true)]);
        assert!(listed(&other).iter().all(|(_, has_body)| !has_body));
    }

    proptest! {
        #[test]
        fn the_bounds_hold_after_any_batches(
            max_batches in 1..17_usize,
            max_bytes in 1..3_000_000_usize,
            added in prop::collection::vec((0..4_usize, 0..700_000_usize), 0..60)
        ) {
            let room = room(max_batches, max_bytes);
            let all = [(); 4].map(|()| RefusedBatches::default());
            for (number, (of, bytes)) in (0..).zip(added) {
                all[of].add(batch(number, bytes), &room);
                let used: Vec<usize> = all.iter().map(|batches| {
                    batches.0.lock().iter().map(|kept| kept.reserved.bytes).sum()
                }).collect();
                prop_assert!(used.iter().all(|bytes| *bytes <= MAX_BYTES));
                prop_assert_eq!(used.iter().sum::<usize>(), room.used.load(Ordering::Relaxed));
                prop_assert!(room.used.load(Ordering::Relaxed) <= max_bytes);
                prop_assert!(listed(&all[of]).len() <= max_batches);
            }
        }
    }
}
