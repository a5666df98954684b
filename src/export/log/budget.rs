//! How many lines a registry writes at the most about what begins to go wrong, however many tracers it goes wrong for.

use std::time::{Duration, Instant};

use crate::util::fork::ForkLock;

/// How long the same thing is not reported again after a line that said that it begins.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// Lines in each [`PAUSE`].
pub(crate) const LINES: u32 = 60;

/// The lines of one registry.
#[derive(Debug, Default)]
pub(crate) struct LineBudget(ForkLock<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    written: u32,
    /// Lines that were not written since the last that was.
    left_out: u64,
}

/// A line that may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// How many lines were left out since the last one, if any.
    pub(crate) left_out: Option<u64>,
}

impl LineBudget {
    /// Takes a line; `None` if there is none left.
    pub(crate) fn take(&self, now: Instant) -> Option<Granted> {
        let mut window = self.0.lock();
        let is_over = |began: Instant| now.saturating_duration_since(began) >= PAUSE;
        if window.began.is_none_or(is_over) {
            (window.began, window.written) = (Some(now), 0);
        }
        if window.written == LINES {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.written += 1;
        let left_out = std::mem::take(&mut window.left_out);
        Some(Granted {
            left_out: (left_out > 0).then_some(left_out),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_writes_so_many_lines_in_a_pause_and_says_how_many_it_left_out() {
        let (budget, start) = (LineBudget::default(), Instant::now());
        let written = (0..10_000).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(written, LINES as usize);
        for left_out in [Some(10_000 - u64::from(LINES)), None] {
            assert_eq!(budget.take(start + PAUSE), Some(Granted { left_out }));
        }
    }
}
