//! A buffer whose memory is reserved before it is allocated.

use tokio::task::yield_now;

use crate::answer::Refusal;
use crate::budget::Reserved;

/// Smallest allocation.
const MIN_BYTES: usize = 4 * 1024;

/// Bytes that are copied without a pause.
const COPY_BYTES: usize = 64 * 1024;

/// Bytes of a request. Grows up to a limit, and only if the budget has room.
pub(super) struct Buffer<'r> {
    bytes: Vec<u8>,
    limit: usize,
    reserved: &'r mut Reserved,
    /// Bytes of the budget for one byte of the buffer.
    factor: usize,
}

impl<'r> Buffer<'r> {
    pub(super) fn new(limit: usize, reserved: &'r mut Reserved) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            reserved,
            factor: 1,
        }
    }

    /// Reserves two bytes for each byte of the buffer.
    pub(super) fn doubly_reserved(mut self) -> Self {
        self.factor = 2;
        self
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes room for a whole of `total` bytes.
    ///
    /// # Errors
    /// If that is above the limit or the budget.
    pub(super) fn expect(&mut self, total: usize) -> Result<(), Refusal> {
        if total > self.limit {
            return Err(Refusal::too_large(self.limit));
        }
        let more = total.saturating_sub(self.bytes.capacity());
        if more > 0 {
            if !self.reserved.grow(more * self.factor) {
                return Err(Refusal::no_memory());
            }
            self.bytes.reserve_exact(total - self.bytes.len());
        }
        Ok(())
    }

    /// Makes room for `more` bytes, up to the limit. Pauses while it copies what it has: a large copy
    /// would delay other requests.
    ///
    /// # Errors
    /// If the budget has no room. Beyond the limit, [`append`](Self::append) fails.
    pub(super) async fn make_room(&mut self, more: usize) -> Result<(), Refusal> {
        let capacity = self.bytes.capacity();
        let total = (self.bytes.len() + more).min(self.limit);
        if total <= capacity {
            return Ok(());
        }
        let grown = total.max(capacity * 2).min(self.limit);
        // While it copies, both are allocated.
        if self.bytes.len() <= COPY_BYTES || !self.reserved.grow(grown * self.factor) {
            return self.expect(total);
        }
        let mut bytes = Vec::with_capacity(grown);
        for piece in self.bytes.chunks(COPY_BYTES) {
            bytes.extend_from_slice(piece);
            yield_now().await;
        }
        self.bytes = bytes;
        self.reserved.shrink(capacity * self.factor);
        Ok(())
    }

    /// Makes room for a whole of probably `total` bytes, if the limit and the budget allow it.
    pub(super) fn prepare(&mut self, total: usize) {
        // Without room now, the buffer grows with its content.
        drop(self.expect(total));
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If they are above the limit or the budget.
    pub(super) fn append(&mut self, part: &[u8]) -> Result<(), Refusal> {
        let total = self.bytes.len() + part.len();
        if total > self.bytes.capacity() && total <= self.limit {
            let doubled = self.bytes.capacity() * 2;
            self.expect(total.max(doubled).max(MIN_BYTES).min(self.limit))?;
        } else {
            self.expect(total)?;
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Returns the bytes in an allocation of their size.
    pub(super) fn into_bytes(mut self) -> bytes::Bytes {
        self.bytes.shrink_to_fit();
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::answer::RefusalKind;
    use crate::budget::Budget;

    #[test]
    fn a_buffer_never_holds_more_than_it_reserved() {
        let budget = Budget::new(1 << 20);
        let mut reserved = budget.reservation(&Arc::default());
        let mut buffer = Buffer::new(1 << 20, &mut reserved);
        for _ in 0..100 {
            buffer.append(&[7; 1000]).unwrap();
            assert!(buffer.bytes.capacity() <= budget.used());
        }
        let bytes = buffer.into_bytes();
        assert_eq!(bytes.len(), 100_000);
        drop(reserved);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn room_that_is_made_is_reserved_and_keeps_the_bytes() {
        let budget = Budget::new(1 << 20);
        let mut reserved = budget.reservation(&Arc::default());
        let mut buffer = Buffer::new(600_000, &mut reserved);
        for number in 0..=u8::MAX {
            buffer.make_room(2_000).await.unwrap();
            let capacity = buffer.bytes.capacity();
            buffer.append(&[number; 2_000]).unwrap();
            assert_eq!((buffer.bytes.capacity(), budget.used()), (capacity, capacity));
        }
        for (index, piece) in buffer.as_slice().chunks(2_000).enumerate() {
            assert!(piece.iter().all(|byte| usize::from(*byte) == index));
        }
        // Not more than the limit, which only an append exceeds.
        buffer.make_room(500_000).await.unwrap();
        assert_eq!(buffer.bytes.capacity(), 600_000);
        let more = vec![0; 500_000];
        assert_eq!(buffer.append(&more).unwrap_err().kind, RefusalKind::TooLarge);
    }

    #[tokio::test]
    async fn without_memory_for_a_copy_a_buffer_grows_in_place() {
        let budget = Budget::new(300_000);
        let mut reserved = budget.reservation(&Arc::default());
        let mut buffer = Buffer::new(1 << 20, &mut reserved);
        buffer.append(&vec![7; 200_000]).unwrap();
        buffer.make_room(50_000).await.unwrap();
        assert_eq!((buffer.bytes.capacity(), budget.used()), (250_000, 250_000));
        assert_eq!(
            buffer.make_room(150_000).await.unwrap_err().kind,
            RefusalKind::Unavailable
        );
    }

    #[test]
    fn a_full_limit_and_a_full_budget_have_different_refusals() {
        let budget = Budget::new(6000);
        let mut reserved = budget.reservation(&Arc::default());
        let mut buffer = Buffer::new(5000, &mut reserved);
        assert_eq!(buffer.append(&[0; 5001]).unwrap_err().kind, RefusalKind::TooLarge);
        buffer.append(&[0; 5000]).unwrap();
        assert_eq!(buffer.append(&[0]).unwrap_err().kind, RefusalKind::TooLarge);
        let mut second = budget.reservation(&Arc::default());
        let mut buffer = Buffer::new(5000, &mut second);
        assert_eq!(buffer.append(&[0; 1500]).unwrap_err().kind, RefusalKind::Unavailable);
    }
}
