//! Protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), written from the end to the start.
//!
//! A message inside another one stands behind its length, which is known once it is written. So the last field is written first, and
//! nothing has to be measured before, moved afterwards, or copied into a tree of messages.

use bytes::Bytes;

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED_32: u32 = 5;

/// A message that is being written. Fields are given in falling order.
pub(crate) struct Backwards {
    bytes: Vec<u8>,
    /// Where what is written begins.
    start: usize,
}

impl Backwards {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            start: capacity,
        }
    }

    /// All that was written.
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

    /// Left out where it is empty, as the format has it for fields that are not told from absent ones.
    pub(crate) fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    /// Left out where it is zero.
    pub(crate) fn unsigned(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint_always(field, value);
        }
    }

    pub(crate) fn varint_always(&mut self, field: u32, value: u64) {
        self.varint(value);
        self.tag(field, VARINT);
    }

    /// Left out where it is zero.
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

    /// A message in this one.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let behind = self.bytes.len() - self.start;
        write(self);
        let length = self.bytes.len() - self.start - behind;
        self.varint(length as u64);
        self.tag(field, LENGTH);
    }
}
