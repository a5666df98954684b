//! The layout of a body in its row: no byte of it lies in a page of a b-tree.
//!
//! `secure_delete` zeroes what a deleted row occupied. But when SQLite balances a b-tree, it copies
//! cells to other pages, and leaves the old bytes in the gap of the first page. So a body must be
//! on overflow pages alone, which belong to one row. A record whose payload exceeds the leaf keeps
//! as many bytes in the leaf as [`IN_LEAF`] plus the remainder of the rest by [`OVERFLOW`]. With
//! `IN_LEAF` zeros before the body, and zeros after it up to a multiple of `OVERFLOW`, these are
//! exactly the head of the record and the first zeros.

/// The size of a page. Another one is refused when a file is opened.
pub(crate) const PAGE: u64 = PAGE_SIZE as u64;
const PAGE_SIZE: usize = 4096;
/// The zeros before the body: the least that SQLite keeps in a leaf.
const IN_LEAF: usize = (PAGE_SIZE - 12) * 32 / 255 - 23;
/// What an overflow page holds, beside the number of the next one.
const OVERFLOW: usize = PAGE_SIZE - 4;
/// What a row takes in leaves of the table and the index, with their gaps.
const ROW: u64 = 640;

/// Replaces the content of `to` by the layout of `body`.
pub(crate) fn lay_out(body: &[u8], to: &mut Vec<u8>) {
    to.clear();
    to.resize(IN_LEAF, 0);
    to.extend_from_slice(body);
    to.resize(IN_LEAF + body.len().next_multiple_of(OVERFLOW), 0);
}

/// Returns the body in a layout, or `None` if the layout cannot hold `bytes`.
pub(crate) fn of_layout(layout: &[u8], bytes: i64) -> Option<&[u8]> {
    layout.get(IN_LEAF..)?.get(..usize::try_from(bytes).ok()?)
}

/// Returns about what a row with a body of so many bytes takes in the file.
pub(crate) fn disk_bytes(bytes: u64) -> u64 {
    ROW + bytes.div_ceil(OVERFLOW as u64) * PAGE
}
