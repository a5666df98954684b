//! The layout of a body in its row: no byte of it lies in a page of a b-tree.
//!
//! `secure_delete` zeroes what a deleted row occupied. But when SQLite balances a b-tree, it copies
//! cells to other pages, and leaves the old bytes in the gap of the first page. So a body must be
//! on overflow pages alone, which belong to one row. A record that exceeds the leaf keeps as many
//! bytes in the leaf as [`IN_LEAF`] plus the remainder of the rest by [`OVERFLOW`]. With `IN_LEAF`
//! zeros before the body, and zeros after it up to a multiple of `OVERFLOW`, these are exactly the
//! head of the record and the first zeros.

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::{Connection, params};

    use super::*;
    use crate::sqlite::schema;

    /// Writes a row of each length, with bodies of one byte.
    fn pages(file: &Path, lengths: impl Iterator<Item = usize>, byte: u8) -> Vec<u8> {
        let db = Connection::open(file).expect("a database");
        for setting in [
            "page_size = 4096",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = OFF",
            "synchronous = OFF",
        ] {
            schema::pragma(&db, setting).expect("set");
        }
        let transaction = db.unchecked_transaction().expect("begun");
        schema::STEPS[0](&transaction).expect("tables");
        transaction
            .execute("UPDATE meta SET value = 0", [])
            .expect("no random number");
        let mut layout = Vec::new();
        for (order, bytes) in (0_i64..).zip(lengths) {
            lay_out(&vec![byte; bytes], &mut layout);
            let length = i64::try_from(bytes).expect("small");
            // Heads of records of different lengths.
            let (created, generation) = (1_i64 << (order % 50), order % 300);
            let row = params![
                order,
                order % 7,
                order % 2,
                order,
                order,
                length,
                created,
                generation,
                1,
                layout
            ];
            transaction
                .execute("INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                .expect("inserted");
        }
        transaction.commit().expect("committed");
        drop(db);
        std::fs::read(file).expect("a file")
    }

    #[test]
    fn no_byte_of_a_body_is_in_a_page_of_a_tree() {
        // All lengths around each number of overflow pages, and some between.
        let lengths = || (0..=20_000).filter(|bytes| bytes % 37 == 0 || (bytes + 30) % OVERFLOW < 60);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zeros = pages(&folder.path().join("zeros.db"), lengths(), 0);
        let ones = pages(&folder.path().join("ones.db"), lengths(), 0xff);
        assert_eq!(zeros.len(), ones.len());
        let mut trees = 0;
        let mut bodies = 0;
        for (number, (zeros, ones)) in zeros.chunks(PAGE_SIZE).zip(ones.chunks(PAGE_SIZE)).enumerate() {
            let kind = if number == 0 { zeros[100] } else { zeros[0] };
            if [2, 5, 10, 13].contains(&kind) {
                trees += 1;
                assert!(zeros == ones, "page {number} of kind {kind} has bytes of a body");
            } else {
                bodies += ones.iter().map(|&byte| usize::from(byte == 0xff)).sum::<usize>();
            }
        }
        assert!(trees > 100);
        assert!(bodies >= lengths().sum::<usize>());
    }

    #[test]
    fn a_layout_returns_its_body() {
        let mut layout = Vec::new();
        for bytes in [0, 1, 488, 489, OVERFLOW - 1, OVERFLOW, OVERFLOW + 1, 3 * OVERFLOW] {
            let body = vec![7; bytes];
            lay_out(&body, &mut layout);
            assert_eq!(
                of_layout(&layout, i64::try_from(bytes).expect("small")),
                Some(&body[..])
            );
        }
        assert_eq!(of_layout(&layout, i64::MAX), None);
        assert_eq!(of_layout(&layout, -1), None);
        assert_eq!(of_layout(&[], 1), None);
    }
}
