//! The text that a value writes, up to a bound.

use std::fmt::{self, Debug, Display, Write};
use std::panic::{self, AssertUnwindSafe};

use crate::backend::{MAX_TEXT_BYTES, shorten};

/// In place of a value whose own code panicked.
pub(super) const PANICKED: &str = "<panicked>";
/// In place of a value whose own code failed.
pub(super) const REFUSED: &str = "<not serializable>";
/// Most bytes of what `Debug` writes. Fewer than of a text, because nested values write from within each other, on the thread's stack.
pub(super) const MAX_DEBUG_BYTES: usize = 4 << 10;

pub(super) struct Text {
    pub(super) text: String,
    /// Whether more was written.
    pub(super) is_cut: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.max - self.written.text.len();
        if more.len() <= room {
            self.written.text.push_str(more);
            return Ok(());
        }
        self.written.text.push_str(&shorten(more, room, &mut 0));
        self.written.is_cut = true;
        // Asks the writer to stop. It may go on nevertheless.
        self.max = self.written.text.len();
        Err(fmt::Error)
    }
}

struct Bounded {
    written: Text,
    max: usize,
}

/// Returns what a value writes as `Display`.
pub(super) fn display(value: &(impl Display + ?Sized)) -> Text {
    write_bounded(format_args!("{value}"), MAX_TEXT_BYTES)
}

/// Returns what a value writes as `Debug`.
pub(super) fn debug(value: &(impl Debug + ?Sized)) -> Text {
    write_bounded(format_args!("{value:?}"), MAX_DEBUG_BYTES)
}

fn write_bounded(arguments: fmt::Arguments<'_>, max: usize) -> Text {
    let mut bounded = Bounded {
        written: Text {
            text: String::new(),
            is_cut: false,
        },
        max,
    };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| bounded.write_fmt(arguments)));
    match ended {
        Ok(Err(_)) if !bounded.written.is_cut => placeholder(REFUSED),
        Ok(_) => bounded.written,
        Err(_) => placeholder(PANICKED),
    }
}

fn placeholder(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        is_cut: false,
    }
}
