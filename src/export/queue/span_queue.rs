//! The span queue of a lane, stored in chunks that all lanes reuse.
//!
//! A queue starts with a small chunk and adds larger ones, so growth never moves a span. A batch
//! takes whole chunks. When the batch completes, its chunks return to a shared pool, and the next
//! queue that grows writes to memory that is still in the cache. An idle queue holds no chunk.
//!
//! A request of encoded spans is a chunk of its own. It counts as its spans, and stays whole if it
//! fits into a batch.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::SystemTime;

use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::SpanData;

use super::byte_size::byte_size;
#[cfg(feature = "encoded")]
use super::encoded::Encoded;
#[cfg(feature = "encoded")]
use crate::backend::Edits;
#[cfg(feature = "encoded")]
use crate::export::payload::Payload;
#[cfg(all(feature = "redact", feature = "spool"))]
use crate::policy::redaction::Redaction;
use crate::util::fork::ForkLock;

/// Capacity in spans of a queue's first chunk, second chunk and so on. Further chunks use the last
/// size.
const CHUNK_SIZES: [usize; 4] = [8, 16, 32, 64];

/// Queued spans of one lane.
#[derive(Default)]
pub(crate) struct Queue {
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) len: usize,
    /// Total number of spans taken from the queue.
    taken: u64,
}

/// Spans taken from a queue together.
pub(crate) struct Batch {
    pub(super) chunks: VecDeque<Chunk>,
    len: usize,
    /// Sequence number of the first span.
    number: u64,
}

pub(super) struct Chunk {
    /// Never reallocates. Without capacity if the chunk holds encoded spans.
    pub(super) spans: Vec<SpanData>,
    #[cfg(feature = "encoded")]
    pub(super) encoded: Option<Box<Encoded>>,
    /// Estimated memory of the spans.
    pub(super) bytes: usize,
    /// Order number of the first span, or 0 if it has none yet.
    #[cfg(feature = "spool")]
    pub(super) order: u64,
}

/// Unused chunks by size, shared by all lanes.
pub(crate) struct ChunkPool {
    free: ForkLock<Free>,
    /// Most bytes of unused chunks to keep.
    max_bytes: usize,
}

#[derive(Default)]
struct Free {
    by_size: [Vec<Vec<SpanData>>; CHUNK_SIZES.len()],
    bytes: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the total number of spans taken from the queue.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns when the oldest span ended, or when it was queued if it is encoded.
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        let chunk = self.chunks.front()?;
        #[cfg(feature = "encoded")]
        if let Some(encoded) = &chunk.encoded {
            return Some(encoded.queued_at());
        }
        Some(chunk.spans.first()?.end_time)
    }

    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<&SpanData> {
        self.chunks.front()?.spans.first()
    }

    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<&SpanData> {
        self.chunks.back()?.spans.last()
    }

    /// Returns the estimated memory of all queued spans in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// Counts one more span of `bytes` and returns the chunk to push it to. The caller pushes it,
    /// because a span is 352 bytes and passing it through functions copies it.
    #[inline]
    pub(crate) fn reserve_slot(&mut self, bytes: usize, pool: &ChunkPool) -> &mut Vec<SpanData> {
        let has_room = |last: &Chunk| last.spans.len() < last.spans.capacity() && !last.has_order();
        if !self.chunks.back().is_some_and(has_room) {
            let spans = pool.take_class(self.chunks.len().min(CHUNK_SIZES.len() - 1));
            self.chunks.push_back(Chunk::new(spans, 0));
        }
        self.len += 1;
        let last = self.chunks.back_mut().expect("the last chunk has a free slot");
        last.bytes += bytes;
        &mut last.spans
    }

    /// Adds a chunk of spans of `bytes`.
    pub(crate) fn push_chunk(&mut self, spans: Vec<SpanData>, bytes: usize) {
        self.len += spans.len();
        self.chunks.push_back(Chunk::new(spans, bytes));
    }

    /// Queues a request of `bytes` of memory, with at least one span.
    #[cfg(feature = "encoded")]
    pub(crate) fn push_payload(&mut self, payload: Payload, bytes: usize) {
        self.push_encoded(Encoded::new(payload), bytes);
    }

    #[cfg(feature = "encoded")]
    pub(super) fn push_encoded(&mut self, encoded: Encoded, bytes: usize) {
        self.len += encoded.len();
        self.chunks.push_back(Chunk::encoded(encoded, bytes));
    }

    /// Takes a batch of at most `max` spans, oldest first. A request that does not fit behind other
    /// spans waits for the next batch.
    pub(crate) fn take(&mut self, max: usize, pool: &ChunkPool) -> Batch {
        self.take_chunks(max, false, pool)
    }

    /// Takes the `count` oldest spans.
    pub(crate) fn take_oldest(&mut self, count: usize, pool: &ChunkPool) -> Batch {
        self.take_chunks(count, true, pool)
    }

    fn take_chunks(&mut self, max: usize, splits_requests: bool, pool: &ChunkPool) -> Batch {
        let number = self.taken;
        if self.len <= max {
            // The batch takes the list's memory too, so an idle lane holds none.
            let (chunks, len) = (std::mem::take(&mut self.chunks), std::mem::take(&mut self.len));
            self.taken += len as u64;
            return Batch { chunks, len, number };
        }
        let mut batch = Batch {
            chunks: VecDeque::new(),
            len: 0,
            number,
        };
        while let Some(first) = self.chunks.front_mut() {
            let room = max - batch.len;
            if first.len() > room {
                let waits = first.is_encoded() && batch.len > 0 && !splits_requests;
                if room > 0 && !waits {
                    batch.push(first.split(room, pool));
                }
                break;
            }
            batch.chunks.reserve(max / CHUNK_SIZES[CHUNK_SIZES.len() - 1]);
            if let Some(first) = self.chunks.pop_front() {
                batch.push(first);
            }
        }
        self.len -= batch.len;
        self.taken += batch.len as u64;
        batch
    }
}

impl Batch {
    fn push(&mut self, chunk: Chunk) {
        self.len += chunk.len();
        self.chunks.push_back(chunk);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the sequence numbers of the spans in `part`, counted from the first span ever
    /// queued.
    pub(crate) fn numbers(&self, part: &Range<usize>) -> Range<u64> {
        self.number + part.start as u64..self.number + part.end as u64
    }

    /// Returns the estimated memory of all spans in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// Returns the trace ids of all spans, in order.
    pub(crate) fn trace_ids(&self) -> Vec<TraceId> {
        let mut ids = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            #[cfg(feature = "encoded")]
            ids.extend(chunk.encoded.iter().flat_map(|encoded| encoded.trace_ids()));
            ids.extend(chunk.spans.iter().map(|span| span.span_context.trace_id()));
        }
        ids
    }

    /// Returns the names of all spans.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        let parts = (0..self.len).map(|number| number..number + 1);
        let name = |part| {
            #[cfg(feature = "encoded")]
            if let [(payload, spans)] = &self.payloads(&part)[..] {
                return payload.describe(spans.start).expect("a span").name.to_owned();
            }
            self.spans(&part)[0].name.to_string()
        };
        parts.map(name).collect()
    }

    /// Iterates over the spans that are not encoded.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SpanData> {
        self.chunks.iter_mut().flat_map(|chunk| &mut chunk.spans)
    }

    /// Returns the spans of a part that are not encoded.
    pub(crate) fn spans(&self, part: &Range<usize>) -> Vec<&SpanData> {
        let inside = self.chunks_of(part);
        let spans = inside.flat_map(|(chunk, range)| chunk.spans.get(range).unwrap_or_default());
        spans.collect()
    }

    /// Returns the requests with encoded spans of a part, and the ranges of their spans.
    #[cfg(feature = "encoded")]
    pub(crate) fn payloads(&self, part: &Range<usize>) -> Vec<(&Payload, Range<usize>)> {
        let inside = self.chunks_of(part);
        let payloads = inside.filter_map(|(chunk, range)| Some(chunk.encoded.as_ref()?.part(range)));
        payloads.collect()
    }

    /// Applies the rules of redaction to encoded spans that were stored without. Call before
    /// [`finish_payloads`](Self::finish_payloads).
    #[cfg(all(feature = "redact", feature = "spool"))]
    pub(crate) fn redact_payloads(&mut self, redaction: &Redaction) {
        let encoded = self.chunks.iter_mut().filter_map(|chunk| chunk.encoded.as_mut());
        encoded.for_each(|encoded| encoded.redact(redaction));
    }

    /// Applies the changes of a binding to encoded spans. Call once, before
    /// [`payloads`](Self::payloads).
    #[cfg(feature = "encoded")]
    pub(crate) fn finish_payloads(&mut self, edits: &Edits) {
        let encoded = self.chunks.iter_mut().filter_map(|chunk| chunk.encoded.as_mut());
        encoded.for_each(|encoded| encoded.finish(edits));
    }

    /// Returns the chunks with spans of a part, and the ranges of these spans.
    pub(super) fn chunks_of(&self, part: &Range<usize>) -> impl Iterator<Item = (&Chunk, Range<usize>)> {
        let (part, mut end) = (part.clone(), 0);
        self.chunks.iter().filter_map(move |chunk| {
            let start = end;
            end += chunk.len();
            let inside = part.start.max(start)..part.end.min(end);
            (!inside.is_empty()).then(|| (chunk, inside.start - start..inside.end - start))
        })
    }
}

impl Chunk {
    fn new(spans: Vec<SpanData>, bytes: usize) -> Self {
        Self {
            spans,
            #[cfg(feature = "encoded")]
            encoded: None,
            bytes,
            #[cfg(feature = "spool")]
            order: 0,
        }
    }

    #[cfg(feature = "encoded")]
    pub(super) fn encoded(encoded: Encoded, bytes: usize) -> Self {
        Self {
            encoded: Some(Box::new(encoded)),
            ..Self::new(Vec::new(), bytes)
        }
    }

    /// Returns the order number that decides whether a flush waits for these spans.
    #[cfg(feature = "spool")]
    pub(super) fn flush_order(&self) -> u64 {
        let loaded = self.encoded.as_ref().and_then(|encoded| encoded.loaded());
        loaded.unwrap_or(self.order)
    }

    /// Returns whether later spans must not have its order number.
    #[inline]
    fn has_order(&self) -> bool {
        #[cfg(feature = "spool")]
        return self.order > 0;
        #[cfg(not(feature = "spool"))]
        false
    }

    pub(super) fn len(&self) -> usize {
        #[cfg(feature = "encoded")]
        if let Some(encoded) = &self.encoded {
            return encoded.len();
        }
        self.spans.len()
    }

    fn is_encoded(&self) -> bool {
        self.spans.capacity() == 0
    }

    /// Splits off the first `count` spans; `count` is less than the number of spans.
    fn split(&mut self, count: usize, pool: &ChunkPool) -> Self {
        let first = self.split_spans(count, pool);
        #[cfg(feature = "spool")]
        if self.order > 0 {
            let order = self.order;
            self.order += count as u64;
            return Self { order, ..first };
        }
        first
    }

    fn split_spans(&mut self, count: usize, pool: &ChunkPool) -> Self {
        #[cfg(feature = "encoded")]
        if let Some(encoded) = &mut self.encoded {
            // The rest keeps the whole request in memory.
            return Self::encoded(encoded.split(count), 0);
        }
        let mut spans = pool.take(count);
        spans.extend(self.spans.drain(..count));
        let bytes = spans.iter().map(byte_size).sum();
        // A span's size may have changed since it was queued; never subtract more than was counted.
        let bytes = self.bytes.min(bytes);
        self.bytes -= bytes;
        Self::new(spans, bytes)
    }
}

impl ChunkPool {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            free: ForkLock::default(),
            max_bytes,
        }
    }

    /// Returns a chunk for this many spans, at most 64.
    pub(crate) fn take(&self, spans: usize) -> Vec<SpanData> {
        let class = CHUNK_SIZES.iter().position(|size| *size >= spans);
        self.take_class(class.unwrap_or(CHUNK_SIZES.len() - 1))
    }

    fn take_class(&self, class: usize) -> Vec<SpanData> {
        let found = self.find(class);
        found.unwrap_or_else(|| Vec::with_capacity(CHUNK_SIZES[class]))
    }

    fn find(&self, class: usize) -> Option<Vec<SpanData>> {
        let mut free = self.free.lock_unless_forked()?;
        let found = free.by_size[class].pop()?;
        free.bytes -= bytes_of(CHUNK_SIZES[class]);
        Some(found)
    }

    /// Frees the spans of a batch and keeps its chunks for reuse.
    pub(crate) fn recycle(&self, batch: Batch) {
        let mut chunks = batch.chunks;
        // Free the spans before taking the lock.
        for chunk in &mut chunks {
            chunk.spans.clear();
            #[cfg(feature = "encoded")]
            {
                chunk.encoded = None;
            }
        }
        let mut free = self.free.lock();
        while let Some(Chunk { spans, .. }) = chunks.pop_front() {
            let bytes = bytes_of(spans.capacity());
            let Some(class) = CHUNK_SIZES.iter().position(|size| *size == spans.capacity()) else {
                continue;
            };
            if free.bytes + bytes <= self.max_bytes {
                free.by_size[class].push(spans);
                free.bytes += bytes;
            }
        }
        drop(free);
    }
}

fn bytes_of(spans: usize) -> usize {
    spans * size_of::<SpanData>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::export::test_fixtures::span;

    proptest! {
        #[test]
        fn spans_are_taken_in_order_and_bytes_are_preserved(
            steps in prop::collection::vec((0..100_usize, 1..600_usize), 1..20),
        ) {
            let chunks = ChunkPool::new(100_000);
            let mut queue = Queue::default();
            let (mut pushed, mut taken) = (0, 0);
            for (count, max) in steps {
                for _ in 0..count {
                    let span = span(pushed.to_string());
                    let bytes = byte_size(&span);
                    queue.reserve_slot(bytes, &chunks).push(span);
                    pushed += 1;
                }
                let bytes = queue.bytes();
                let batch = queue.take(max, &chunks);
                prop_assert_eq!(batch.len(), max.min(pushed - taken));
                prop_assert_eq!(batch.bytes() + queue.bytes(), bytes);
                for name in batch.names() {
                    prop_assert_eq!(name, taken.to_string());
                    taken += 1;
                }
                prop_assert_eq!(queue.len(), pushed - taken);
                prop_assert_eq!(queue.first().map(|span| span.name.to_string()), (taken < pushed).then(|| taken.to_string()));
                chunks.recycle(batch);
                let free = chunks.free.lock();
                let kept: usize = free.by_size.iter().flatten().map(|spans| bytes_of(spans.capacity())).sum();
                prop_assert_eq!(kept, free.bytes);
                prop_assert!(kept <= 100_000 && free.by_size.iter().flatten().all(Vec::is_empty));
            }
        }
    }

    #[test]
    fn a_queue_reuses_its_chunks() {
        let chunks = ChunkPool::new(1 << 20);
        let mut queue = Queue::default();
        let mut round = || {
            (0..200).for_each(|number| queue.reserve_slot(0, &chunks).push(span(number.to_string())));
            chunks.recycle(queue.take(1000, &chunks));
        };
        round();
        let again = allocation_counter::measure(round);
        // Only the span names and the list of chunks are allocated.
        assert!(again.bytes_max < 10_000, "{again:?}");
        assert!(queue.chunks.capacity() == 0, "an idle queue holds no memory");
    }
    #[cfg(feature = "encoded")]
    mod requests {
        use super::*;
        use crate::export::test_fixtures::payload;

        /// Model of the queue: spans, and requests that stay whole.
        #[derive(Default)]
        struct Model {
            waiting: VecDeque<Vec<String>>,
        }

        impl Model {
            fn take(&mut self, max: usize) -> Vec<String> {
                let mut taken = Vec::new();
                while let Some(first) = self.waiting.front_mut() {
                    let room = max - taken.len();
                    if first.len() <= room {
                        taken.extend(self.waiting.pop_front().unwrap_or_default());
                    } else {
                        if taken.is_empty() {
                            taken.extend(first.drain(..room));
                        }
                        break;
                    }
                }
                taken
            }
        }

        fn push(queue: &mut Queue, names: &[String]) {
            let payload = payload(names);
            let bytes = payload.byte_size();
            queue.push_payload(payload, bytes);
        }

        proptest! {
            #[test]
            fn requests_stay_whole_unless_they_exceed_a_batch(
                steps in prop::collection::vec((any::<bool>(), 1..40_usize, 0..60_usize), 1..20),
            ) {
                let chunks = ChunkPool::new(100_000);
                let (mut queue, mut model) = (Queue::default(), Model::default());
                let mut pushed = 0;
                for (is_request, count, max) in steps {
                    let names: Vec<String> = (pushed..pushed + count).map(|number| number.to_string()).collect();
                    pushed += count;
                    if is_request {
                        push(&mut queue, &names);
                        model.waiting.push_back(names);
                    } else {
                        for name in names {
                            queue.reserve_slot(1, &chunks).push(span(name.clone()));
                            model.waiting.push_back(vec![name]);
                        }
                    }
                    let (before, bytes) = (queue.taken(), queue.bytes());
                    let mut batch = queue.take(max, &chunks);
                    prop_assert_eq!(batch.bytes() + queue.bytes(), bytes);
                    prop_assert_eq!(batch.numbers(&(0..batch.len())), before..queue.taken());
                    let expected = model.take(max);
                    prop_assert_eq!(batch.names(), &expected[..]);
                    batch.finish_payloads(&Edits::default());
                    prop_assert_eq!(batch.names(), expected);
                    prop_assert_eq!(queue.len(), model.waiting.iter().map(Vec::len).sum::<usize>());
                    chunks.recycle(batch);
                }
            }
        }

        #[test]
        fn a_split_request_counts_its_memory_until_its_last_part_is_taken() {
            let chunks = ChunkPool::new(0);
            let mut queue = Queue::default();
            push(&mut queue, &["a", "b", "c"].map(str::to_owned));
            let bytes = queue.bytes();
            assert_eq!((queue.take(2, &chunks).bytes(), queue.bytes()), (0, bytes));
            assert_eq!((queue.take(2, &chunks).bytes(), queue.bytes()), (bytes, 0));
        }

        #[test]
        fn the_oldest_spans_are_taken_out_of_a_request() {
            let chunks = ChunkPool::new(0);
            let mut queue = Queue::default();
            queue.reserve_slot(1, &chunks).push(span("a"));
            push(&mut queue, &["b", "c"].map(str::to_owned));
            assert_eq!(queue.take_oldest(2, &chunks).names(), ["a", "b"]);
            assert_eq!(queue.take_oldest(2, &chunks).names(), ["c"]);
        }

        #[test]
        fn a_part_has_its_spans_and_its_ranges_of_requests() {
            let chunks = ChunkPool::new(0);
            let mut queue = Queue::default();
            queue.reserve_slot(1, &chunks).push(span("a"));
            push(&mut queue, &["b", "c"].map(str::to_owned));
            queue.reserve_slot(1, &chunks).push(span("d"));
            let batch = queue.take(9, &chunks);
            let part = |part: Range<usize>| {
                let spans: Vec<&str> = batch.spans(&part).iter().map(|span| &*span.name).collect();
                let payloads = batch.payloads(&part);
                let ranges: Vec<_> = payloads.iter().map(|(_, range)| (range.start, range.end)).collect();
                (spans, ranges)
            };
            assert_eq!(part(0..4), (vec!["a", "d"], vec![(0, 2)]));
            assert_eq!(part(0..2), (vec!["a"], vec![(0, 1)]));
            assert_eq!(part(2..3), (vec![], vec![(1, 2)]));
            assert_eq!(part(3..4), (vec!["d"], vec![]));
        }
    }
}
