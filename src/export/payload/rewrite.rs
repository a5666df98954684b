//! Removes parts of a request and inserts others, in one copy at the end.

use std::ops::Range;

use bytes::Bytes;

use super::wire::{Field, put_header};

/// Changes to a request, in the order of its bytes.
pub(super) struct Rewrite<'a> {
    source: &'a [u8],
    patches: Vec<Patch>,
    /// The inserted bytes of all patches.
    inserted: Vec<u8>,
    /// Length of the current message with the changes so far.
    length: usize,
    /// Patches before this index are complete.
    complete: usize,
    /// Bytes of the source that all patches cut.
    cut_bytes: usize,
}

/// Replaces `cut` bytes at a position of the source.
struct Patch {
    at: usize,
    cut: usize,
    insert: Range<usize>,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Self {
            source,
            patches: Vec::new(),
            inserted: Vec::new(),
            length: source.len(),
            complete: 0,
            cut_bytes: 0,
        }
    }

    /// Removes a range of the current message.
    pub(super) fn cut(&mut self, range: &Range<usize>) {
        self.length -= range.len();
        self.cut_bytes += range.len();
        self.patch_at(range.start).cut += range.len();
    }

    /// Inserts what `write` appends before a position of the current message.
    pub(super) fn insert(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.inserted.len();
        write(&mut self.inserted);
        let end = self.inserted.len();
        self.length += end - start;
        let patch = self.patch_at(at);
        if patch.insert.is_empty() {
            patch.insert = start..end;
        } else {
            // No other patch inserted anything since.
            patch.insert.end = end;
        }
    }

    /// Returns the patch that ends at a position, or a new one.
    fn patch_at(&mut self, at: usize) -> &mut Patch {
        let last = self.patches[self.complete..].last();
        if last.is_none_or(|last| last.at + last.cut != at) {
            self.patches.push(Patch {
                at,
                cut: 0,
                insert: 0..0,
            });
        }
        self.patches.last_mut().expect("one was found or pushed")
    }

    /// Changes a nested message, and its length if necessary. `edit` returns whether to keep it.
    pub(super) fn message(&mut self, field: &Field, edit: impl FnOnce(&mut Self) -> bool) -> bool {
        let (slot, complete, outer) = (self.patches.len(), self.complete, self.length);
        let (inserted, cut) = (self.inserted.len(), self.cut_bytes);
        // Becomes the new header if anything in the message changes.
        self.patches.push(Patch {
            at: field.whole.start,
            cut: field.value.start - field.whole.start,
            insert: 0..0,
        });
        self.complete = slot + 1;
        self.length = field.value.len();
        let keep = edit(self);
        let length = std::mem::replace(&mut self.length, outer);
        if !keep || self.patches.len() == slot + 1 {
            self.patches.truncate(slot);
            self.inserted.truncate(inserted);
            (self.complete, self.cut_bytes) = (complete, cut);
            if !keep {
                self.cut(&field.whole);
            }
            return keep;
        }
        self.cut_bytes += field.value.start - field.whole.start;
        let start = self.inserted.len();
        put_header(&mut self.inserted, field.number, length);
        let header = start..self.inserted.len();
        self.length = outer - field.whole.len() + header.len() + length;
        self.patches[slot].insert = header;
        self.complete = self.patches.len();
        keep
    }

    /// Returns the length of the current message with the changes so far.
    #[cfg(feature = "redact")]
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Returns the bytes that the changes take in memory, beyond those that they replace.
    #[cfg(feature = "redact")]
    pub(super) fn memory(&self) -> usize {
        self.patches.len() * size_of::<Patch>() + self.inserted.len().saturating_sub(self.cut_bytes)
    }

    /// Returns the changed request, or `None` if nothing changed.
    pub(super) fn finish(self) -> Option<Bytes> {
        if self.patches.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.length);
        let mut copied = 0;
        for patch in self.patches {
            out.extend_from_slice(&self.source[copied..patch.at]);
            out.extend_from_slice(&self.inserted[patch.insert]);
            copied = patch.at + patch.cut;
        }
        out.extend_from_slice(&self.source[copied..]);
        debug_assert_eq!(out.len(), self.length);
        Some(out.into())
    }
}
