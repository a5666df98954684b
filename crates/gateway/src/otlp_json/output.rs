//! Writes protobuf front to back.

/// Protobuf under construction.
///
/// A message gets one byte for its length. Longer lengths are noted, and [`finish`](Self::finish)
/// makes room for all of them in one pass.
pub(super) struct Output {
    bytes: Vec<u8>,
    /// Position and value of each length that needs more than its one byte.
    long_lengths: Vec<(usize, u64)>,
    /// Bytes that `long_lengths` will add.
    added: usize,
}

/// A message or bytes that are being written.
pub(super) struct Open {
    start: usize,
    added: usize,
}

#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Delimited = 2,
    Fixed32 = 5,
}

impl Output {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            long_lengths: Vec::new(),
            added: 0,
        }
    }

    /// Starts a message or bytes of unknown length.
    pub(super) fn open(&mut self, field: u32) -> Open {
        self.tag(field, WireType::Delimited);
        self.bytes.push(0);
        Open {
            start: self.bytes.len(),
            added: self.added,
        }
    }

    /// Ends what `open` started.
    pub(super) fn close(&mut self, open: &Open) {
        let length = self.bytes.len() - open.start + (self.added - open.added);
        if length < 0x80 {
            self.bytes[open.start - 1] = length.to_le_bytes()[0];
        } else {
            let length = length as u64;
            self.added += Varint::new(length).as_slice().len() - 1;
            self.long_lengths.push((open.start - 1, length));
        }
    }

    /// Appends bytes to the content of a field, through `write`.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes a whole field of bytes or text.
    pub(super) fn delimited(&mut self, field: u32, content: &[u8]) {
        self.tag(field, WireType::Delimited);
        self.raw_varint(content.len() as u64);
        self.bytes.extend_from_slice(content);
    }

    pub(super) fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, WireType::Varint);
        self.raw_varint(value);
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, WireType::Fixed32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, WireType::Fixed64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Returns the bytes with all lengths in place. Moves each byte once at most.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.long_lengths.sort_unstable();
        let mut from = self.bytes.len();
        let mut to = from + self.added;
        self.bytes.resize(to, 0);
        for &(at, length) in self.long_lengths.iter().rev() {
            to -= from - (at + 1);
            self.bytes.copy_within(at + 1..from, to);
            let length = Varint::new(length);
            let length = length.as_slice();
            self.bytes[to - length.len()..to].copy_from_slice(length);
            to -= length.len();
            from = at;
        }
        self.bytes
    }

    #[inline]
    fn tag(&mut self, field: u32, wire_type: WireType) {
        self.raw_varint(u64::from(field << 3 | wire_type as u32));
    }

    #[inline]
    fn raw_varint(&mut self, value: u64) {
        if value < 0x80 {
            self.bytes.push(value.to_le_bytes()[0]);
        } else {
            self.long_varint(value);
        }
    }

    #[inline(never)]
    fn long_varint(&mut self, value: u64) {
        self.bytes.extend_from_slice(Varint::new(value).as_slice());
    }
}

/// The shortest encoding of an integer.
struct Varint {
    bytes: [u8; 10],
    length: usize,
}

impl Varint {
    fn new(mut value: u64) -> Self {
        let mut varint = Self {
            bytes: [0; 10],
            length: 1,
        };
        while value >= 0x80 {
            varint.bytes[varint.length - 1] = value.to_le_bytes()[0] | 0x80;
            value >>= 7;
            varint.length += 1;
        }
        varint.bytes[varint.length - 1] = value.to_le_bytes()[0];
        varint
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
