//! The span queue of a lane, stored in chunks that all lanes reuse.
//!
//! A queue starts with a small chunk and adds larger ones, so growth never moves a span. A batch
//! takes whole chunks. When the batch completes, its chunks return to a shared pool, and the next
//! queue that grows writes to memory that is still in the cache. An idle queue holds no chunk.

use std::collections::VecDeque;
use std::ops::Range;

use opentelemetry_sdk::trace::SpanData;

use super::byte_size::byte_size;
use crate::util::fork::ForkLock;

/// Capacity in spans of a queue's first chunk, second chunk and so on. Further chunks use the last
/// size.
const CHUNK_SIZES: [usize; 4] = [8, 16, 32, 64];

/// Queued spans of one lane.
#[derive(Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Total number of spans taken from the queue.
    taken: u64,
}

/// Spans taken from a queue together.
pub(crate) struct Batch {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Sequence number of the first span.
    number: u64,
}

struct Chunk {
    /// Never reallocates.
    spans: Vec<SpanData>,
    /// Estimated memory of the spans.
    bytes: usize,
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

    /// Returns the oldest span.
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
        let has_room = |last: &Chunk| last.spans.len() < last.spans.capacity();
        if !self.chunks.back().is_some_and(has_room) {
            let spans = pool.take(self.chunks.len().min(CHUNK_SIZES.len() - 1));
            self.chunks.push_back(Chunk { spans, bytes: 0 });
        }
        self.len += 1;
        let last = self.chunks.back_mut().expect("the last chunk has a free slot");
        last.bytes += bytes;
        &mut last.spans
    }

    /// Takes at most `max` spans, oldest first.
    pub(crate) fn take(&mut self, max: usize, pool: &ChunkPool) -> Batch {
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
            if first.spans.len() > room {
                if room > 0 {
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
        self.len += chunk.spans.len();
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SpanData> {
        self.chunks.iter().flat_map(|chunk| &chunk.spans)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SpanData> {
        self.chunks.iter_mut().flat_map(|chunk| &mut chunk.spans)
    }
}

impl Chunk {
    /// Splits off the first `count` spans; `count` is less than the number of spans.
    fn split(&mut self, count: usize, pool: &ChunkPool) -> Self {
        let class = CHUNK_SIZES.iter().position(|size| *size >= count);
        let mut spans = pool.take(class.unwrap_or(CHUNK_SIZES.len() - 1));
        spans.extend(self.spans.drain(..count));
        let bytes = spans.iter().map(byte_size).sum();
        // A span's size may have changed since it was queued; never subtract more than was counted.
        let bytes = self.bytes.min(bytes);
        self.bytes -= bytes;
        Self { spans, bytes }
    }
}

impl ChunkPool {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            free: ForkLock::default(),
            max_bytes,
        }
    }

    fn take(&self, class: usize) -> Vec<SpanData> {
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
                for span in batch.iter() {
                    prop_assert_eq!(span.name.as_ref(), taken.to_string());
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
}
