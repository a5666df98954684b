//! A buffer whose memory is reserved before it is allocated.

use crate::answer::Refusal;
use crate::budget::Reserved;

/// Smallest allocation.
const MIN_BYTES: usize = 4 * 1024;

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
