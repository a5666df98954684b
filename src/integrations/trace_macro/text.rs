//! Formats values up to a limit.

use std::fmt::{self, Debug, Display, Write};
use std::panic::{self, AssertUnwindSafe};

use crate::backend::{MAX_TEXT_BYTES, shorten};

/// Placeholder for a value that panics.
pub(super) const PANICKED: &str = "<panicked>";
/// Placeholder for a value that fails to serialize.
pub(super) const NOT_SERIALIZABLE: &str = "<not serializable>";
/// Maximum size of a `Debug` text, in bytes. Lower than for other texts, because nested values
/// format recursively on the thread's stack.
pub(super) const MAX_DEBUG_BYTES: usize = 4 << 10;

/// A formatted value.
pub(super) struct BoundedText {
    pub(super) text: String,
    /// Whether it was truncated.
    pub(super) is_cut: bool,
}

impl Write for BoundedWriter {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let remaining = self.max - self.written.text.len();
        if more.len() <= remaining {
            self.written.text.push_str(more);
            return Ok(());
        }
        self.written.text.push_str(&shorten(more, remaining, &mut 0));
        self.written.is_cut = true;
        // The error asks the value to stop. It may continue to write nevertheless.
        self.max = self.written.text.len();
        Err(fmt::Error)
    }
}

struct BoundedWriter {
    written: BoundedText,
    max: usize,
}

/// Formats a value by `Display`.
pub(super) fn display(value: &(impl Display + ?Sized)) -> BoundedText {
    write_bounded(format_args!("{value}"), MAX_TEXT_BYTES)
}

/// Formats a value by `Debug`.
pub(super) fn debug(value: &(impl Debug + ?Sized)) -> BoundedText {
    write_bounded(format_args!("{value:?}"), MAX_DEBUG_BYTES)
}

fn write_bounded(arguments: fmt::Arguments<'_>, max: usize) -> BoundedText {
    let mut writer = BoundedWriter {
        written: BoundedText {
            text: String::new(),
            is_cut: false,
        },
        max,
    };
    let result = panic::catch_unwind(AssertUnwindSafe(|| writer.write_fmt(arguments)));
    match result {
        Ok(Err(_)) if !writer.written.is_cut => placeholder(NOT_SERIALIZABLE),
        Ok(_) => writer.written,
        Err(_) => placeholder(PANICKED),
    }
}

fn placeholder(text: &str) -> BoundedText {
    BoundedText {
        text: text.to_owned(),
        is_cut: false,
    }
}
