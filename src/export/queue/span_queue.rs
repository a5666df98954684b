//! Spans that wait, in chunks of memory that go from lane to lane.
//!
//! A queue begins with a small chunk and goes on with larger ones, so that no span is moved when it grows. A batch takes whole chunks away,
//! and once it is settled they are there for the next queue that grows, of whatever lane: its spans land in memory that was touched a moment
//! ago. An idle queue has none.

use std::collections::VecDeque;
use std::ops::Range;

use opentelemetry_sdk::trace::SpanData;

use super::byte_size::byte_size;
use crate::util::fork::ForkLock;

/// Spans in a queue's first chunk, its second, and so on; all further ones are as the last.
const SIZES: [usize; 4] = [8, 16, 32, 64];

/// The spans of one lane that wait.
#[derive(Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Spans that ever left it.
    taken: u64,
}

/// Spans that left their queue together.
pub(crate) struct Batch {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// The number of its first span.
    number: u64,
}

struct Chunk {
    /// Never grows.
    spans: Vec<SpanData>,
    /// What they weigh.
    bytes: usize,
}

/// Chunks that nobody uses, by their size. All lanes share them.
pub(crate) struct Chunks {
    free: ForkLock<Free>,
    /// The most that is kept.
    max_bytes: usize,
}

#[derive(Default)]
struct Free {
    by_size: [Vec<Vec<SpanData>>; SIZES.len()],
    bytes: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many spans ever left it.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The one that waits for the longest.
    pub(crate) fn first(&self) -> Option<&SpanData> {
        self.chunks.front()?.spans.first()
    }

    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<&SpanData> {
        self.chunks.back()?.spans.last()
    }

    /// What all of them weigh.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// The room for one more span, which is counted already: a span is 352 bytes, so it is not handed from function to function.
    #[inline]
    pub(crate) fn room(&mut self, bytes: usize, from: &Chunks) -> &mut Vec<SpanData> {
        let has_room = |last: &Chunk| last.spans.len() < last.spans.capacity();
        if !self.chunks.back().is_some_and(has_room) {
            let spans = from.take(self.chunks.len().min(SIZES.len() - 1));
            self.chunks.push_back(Chunk { spans, bytes: 0 });
        }
        self.len += 1;
        let last = self.chunks.back_mut().expect("there is one with room");
        last.bytes += bytes;
        &mut last.spans
    }

    /// The first of them, `max` at the most.
    pub(crate) fn take(&mut self, max: usize, from: &Chunks) -> Batch {
        let number = self.taken;
        if self.len <= max {
            // The memory of the list goes with the batch: an idle lane has none.
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
                    batch.push(first.split(room, from));
                }
                break;
            }
            batch.chunks.reserve(max / SIZES[SIZES.len() - 1]);
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

    /// The numbers of a part's spans, counted from the first span that ever was in the queue.
    pub(crate) fn numbers(&self, part: &Range<usize>) -> Range<u64> {
        self.number + part.start as u64..self.number + part.end as u64
    }

    /// What all of them weigh.
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
    /// Takes the first `count` spans out, which are fewer than all.
    fn split(&mut self, count: usize, from: &Chunks) -> Self {
        let class = SIZES.iter().position(|size| *size >= count);
        let mut spans = from.take(class.unwrap_or(SIZES.len() - 1));
        spans.extend(self.spans.drain(..count));
        let bytes = spans.iter().map(byte_size).sum();
        // What weighs other than when it came was counted as it was then.
        let bytes = self.bytes.min(bytes);
        self.bytes -= bytes;
        Self { spans, bytes }
    }
}

impl Chunks {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            free: ForkLock::default(),
            max_bytes,
        }
    }

    fn take(&self, class: usize) -> Vec<SpanData> {
        let found = self.find(class);
        found.unwrap_or_else(|| Vec::with_capacity(SIZES[class]))
    }

    fn find(&self, class: usize) -> Option<Vec<SpanData>> {
        let mut free = self.free.lock_unless_forked()?;
        let found = free.by_size[class].pop()?;
        free.bytes -= bytes_of(SIZES[class]);
        Some(found)
    }

    /// The spans of a batch are done with.
    pub(crate) fn give_back(&self, batch: Batch) {
        let mut chunks = batch.chunks;
        // Without the lock: spans are freed here.
        for chunk in &mut chunks {
            chunk.spans.clear();
        }
        let mut free = self.free.lock();
        while let Some(Chunk { spans, .. }) = chunks.pop_front() {
            let bytes = bytes_of(spans.capacity());
            let Some(class) = SIZES.iter().position(|size| *size == spans.capacity()) else {
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
        fn spans_come_out_in_order_and_weigh_what_they_weighed(
            steps in prop::collection::vec((0..100_usize, 1..600_usize), 1..20),
        ) {
            let chunks = Chunks::new(100_000);
            let mut queue = Queue::default();
            let (mut pushed, mut taken) = (0, 0);
            for (count, max) in steps {
                for _ in 0..count {
                    let span = span(pushed.to_string());
                    let bytes = byte_size(&span);
                    queue.room(bytes, &chunks).push(span);
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
                chunks.give_back(batch);
                let free = chunks.free.lock();
                let kept: usize = free.by_size.iter().flatten().map(|spans| bytes_of(spans.capacity())).sum();
                prop_assert_eq!(kept, free.bytes);
                prop_assert!(kept <= 100_000 && free.by_size.iter().flatten().all(Vec::is_empty));
            }
        }
    }

    #[test]
    fn a_queue_that_grows_again_finds_its_memory() {
        let chunks = Chunks::new(1 << 20);
        let mut queue = Queue::default();
        let mut round = || {
            (0..200).for_each(|number| queue.room(0, &chunks).push(span(number.to_string())));
            chunks.give_back(queue.take(1000, &chunks));
        };
        round();
        let again = allocation_counter::measure(round);
        // The names of the spans, and the list of the chunks.
        assert!(again.bytes_max < 10_000, "{again:?}");
        assert!(queue.chunks.capacity() == 0, "and an idle one has none");
    }
}
