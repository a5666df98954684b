//! Writer of protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), from the
//! end to the start.
//!
//! A nested message follows its length, which is known only after writing it. So the last field is
//! written first, and no message has to be measured, moved or copied.

use bytes::Bytes;

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED_32: u32 = 5;

/// Writes a message in reverse. Write fields in descending order.
pub(crate) struct ReverseWriter {
    bytes: Vec<u8>,
    /// Start of the written bytes.
    start: usize,
}

impl ReverseWriter {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            start: capacity,
        }
    }

    /// Returns the written bytes.
    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }

    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            self.grow(bytes.len());
        }
        let end = self.start;
        self.start -= bytes.len();
        self.bytes[self.start..end].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        let more = self.bytes.len().max(least).max(256);
        let mut grown = vec![0; self.bytes.len() + more];
        let start = self.start + more;
        grown[start..].copy_from_slice(&self.bytes[self.start..]);
        (self.bytes, self.start) = (grown, start);
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn varint(&mut self, mut value: u64) {
        if value < 0x80 {
            return self.put(&[value as u8]);
        }
        let mut bytes = [0; 10];
        let mut count = 0;
        loop {
            let more = value >= 0x80;
            bytes[count] = (value as u8 & 0x7f) | (u8::from(more) << 7);
            count += 1;
            value >>= 7;
            if !more {
                return self.put(&bytes[..count]);
            }
        }
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.put(value);
        self.varint(value.len() as u64);
        self.tag(field, LENGTH);
    }

    /// Writes a string, or nothing if it is empty (implicit presence).
    pub(crate) fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    /// Writes a varint, or nothing if it is zero.
    pub(crate) fn unsigned(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint_always(field, value);
        }
    }

    pub(crate) fn varint_always(&mut self, field: u32, value: u64) {
        self.varint(value);
        self.tag(field, VARINT);
    }

    /// Writes a fixed 64-bit value, or nothing if it is zero.
    pub(crate) fn fixed_64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.fixed_64_always(field, value);
        }
    }

    pub(crate) fn fixed_64_always(&mut self, field: u32, value: u64) {
        self.put(&value.to_le_bytes());
        self.tag(field, FIXED_64);
    }

    pub(crate) fn fixed_32(&mut self, field: u32, value: u32) {
        self.put(&value.to_le_bytes());
        self.tag(field, FIXED_32);
    }

    /// Writes a nested message.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let before = self.bytes.len() - self.start;
        write(self);
        let length = self.bytes.len() - self.start - before;
        self.varint(length as u64);
        self.tag(field, LENGTH);
    }
}
