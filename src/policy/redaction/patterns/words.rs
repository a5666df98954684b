//! Starts of words, found eight bytes at a time.

/// Bytes of which the starts are known at once.
const BLOCK: usize = 64;

/// A bit of each of eight bytes: the highest.
const HIGHEST: u64 = 0x8080_8080_8080_8080;

/// Positions of letters and digits that follow neither.
pub(super) struct WordStarts<'t> {
    text: &'t [u8],
    /// Position of the block.
    at: usize,
    /// The starts in it that are left.
    starts: u64,
    /// Whether its last byte is a letter or digit.
    ends_in_word: bool,
}

impl<'t> WordStarts<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        let words = words(text);
        Self {
            text,
            at: 0,
            starts: words & !(words << 1),
            ends_in_word: words >> (BLOCK - 1) != 0,
        }
    }
}

impl Iterator for WordStarts<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.starts == 0 {
            let at = self.at + BLOCK;
            let words = words(self.text.get(at..).filter(|rest| !rest.is_empty())?);
            self.starts = words & !(words << 1 | u64::from(self.ends_in_word));
            self.ends_in_word = words >> (BLOCK - 1) != 0;
            self.at = at;
        }
        let start = self.at + self.starts.trailing_zeros() as usize;
        self.starts &= self.starts - 1;
        Some(start)
    }
}

/// Returns which of the first bytes are ASCII letters or digits, with a bit for each.
fn words(text: &[u8]) -> u64 {
    let block = &text[..text.len().min(BLOCK)];
    let (eights, rest) = block.as_chunks();
    let mut bits = 0;
    for (index, eight) in eights.iter().enumerate() {
        bits |= words_of_eight(*eight) << (8 * index);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        bits |= words_of_eight(last) << (8 * eights.len());
    }
    bits
}

fn words_of_eight(bytes: [u8; 8]) -> u64 {
    let bytes = u64::from_le_bytes(bytes);
    let low = bytes & !HIGHEST;
    // Lower case of letters. No other byte becomes a letter.
    let lower = low | each(0x20);
    let is_word = (within(low, b'0', b'9') | within(lower, b'a', b'z')) & !bytes & HIGHEST;
    // The highest bit of each byte to the lowest eight bits.
    ((is_word >> 7).wrapping_mul(0x0102_0408_1020_4080)) >> 56
}

/// Sets the highest bit of each byte in a range. All bytes are below 0x80.
fn within(bytes: u64, first: u8, last: u8) -> u64 {
    (bytes + each(0x80 - first)) & !(bytes + each(0x7f - last))
}

fn each(byte: u8) -> u64 {
    u64::from(byte) * 0x0101_0101_0101_0101
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_starts_at_a_letter_or_digit_after_neither(
            text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b' '), Just(b'0')], 0..200),
        ) {
            let is_word = |at: usize| text[at].is_ascii_alphanumeric();
            let expected: Vec<_> = (0..text.len()).filter(|at| is_word(*at) && (*at == 0 || !is_word(at - 1))).collect();
            prop_assert_eq!(WordStarts::new(&text).collect::<Vec<_>>(), expected);
        }
    }
}
