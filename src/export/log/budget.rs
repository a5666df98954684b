//! Limit on a registry's log lines about new problems, for all tracers together.

use std::time::{Duration, Instant};

use crate::util::fork::ForkLock;

/// Shortest time between two lines about the start of the same problem.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// Most lines per [`PAUSE`].
pub(crate) const MAX_LINES: u32 = 60;

/// Limit on lines per [`PAUSE`].
#[derive(Debug)]
pub(crate) struct LineBudget {
    max: u32,
    window: ForkLock<Window>,
}

impl Default for LineBudget {
    /// The limit of one registry.
    fn default() -> Self {
        Self::new(MAX_LINES)
    }
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    written: u32,
    /// Lines left out since the last written one.
    left_out: u64,
}

/// Permission to write a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Number of lines left out since the last one, if any.
    pub(crate) left_out: Option<u64>,
}

impl LineBudget {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            window: ForkLock::default(),
        }
    }

    /// Takes permission for a line. Returns `None` if the limit is reached, and in a forked child if
    /// another thread had the lock.
    pub(crate) fn take(&self, now: Instant) -> Option<Granted> {
        self.take_below(self.max, now)
    }

    /// Takes permission for a line that reports no problem: leaves half of the limit to those that
    /// do.
    pub(crate) fn take_spare(&self, now: Instant) -> Option<Granted> {
        self.take_below(self.max / 2, now)
    }

    fn take_below(&self, max: u32, now: Instant) -> Option<Granted> {
        let mut window = self.window.lock_unless_forked()?;
        let is_over = |began: Instant| now.saturating_duration_since(began) >= PAUSE;
        if window.began.is_none_or(is_over) {
            (window.began, window.written) = (Some(now), 0);
        }
        if window.written >= max {
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
    fn lines_are_limited_per_pause_and_left_out_lines_are_counted() {
        let (budget, start) = (LineBudget::default(), Instant::now());
        let written = (0..10_000).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(written, MAX_LINES as usize);
        for left_out in [Some(10_000 - u64::from(MAX_LINES)), None] {
            assert_eq!(budget.take(start + PAUSE), Some(Granted { left_out }));
        }
    }

    #[test]
    fn lines_without_a_problem_leave_half_to_problems() {
        let (budget, now) = (LineBudget::default(), Instant::now());
        let spare = (0..1_000).filter(|_| budget.take_spare(now).is_some()).count();
        let rest = (0..1_000).filter(|_| budget.take(now).is_some()).count();
        assert_eq!((spare, rest), (MAX_LINES as usize / 2, MAX_LINES as usize / 2));
    }
}
