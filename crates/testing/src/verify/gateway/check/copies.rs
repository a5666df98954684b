//! Copies that are missing, and copies of requests to the session API. Those of spans are checked as
//! spans.

use super::super::super::check::finding::FindingKind;
use super::super::super::program::operation::OpId;
use super::Check;
use super::sent_session::SentSession;

impl Check<'_> {
    pub(super) fn note_missing(&mut self, target: usize, op: OpId, copies: u64) {
        self.missing.entry(target).or_insert((0, op)).0 += copies;
    }

    /// Checks that no more copies are missing than the targets report as dropped.
    pub(super) fn check_missing(&mut self) {
        // A killed gateway reports nothing, and does not copy what it has just accepted.
        if self.left.seen.kills > 0 {
            return;
        }
        for (target, (missing, op)) in std::mem::take(&mut self.missing) {
            let dropped = self.left.seen.dropped.get(&self.world.members[target].selector());
            let dropped = dropped.copied().unwrap_or_default();
            if missing > dropped {
                let wanted = format!("at most {dropped} copies missing, as many as were dropped");
                self.find(FindingKind::Lost, Some(target), op, wanted, missing);
            }
        }
    }

    /// Checks the copies of a request that its tenant gets as a span.
    pub(super) fn check_copies_of_session(&mut self, op: OpId, sent: &SentSession, target: usize) {
        let count = sent.arrived.get(&target).copied().unwrap_or_default();
        let max = if self.left.repeated.contains(&target) {
            u64::MAX
        } else {
            sent.copies
        };
        let repeats = self.left.seen.repeats(&self.names[target], op);
        self.repeated += count.saturating_sub(max);
        if count > max.saturating_add(repeats) {
            let wanted = format!("{} to {max} copies", sent.min);
            self.find(FindingKind::Duplicated, Some(target), op, wanted, count);
        } else if count < sent.min {
            self.note_missing(target, op, sent.min - count);
        }
        let totals = self.counts.entry(target).or_default();
        totals[0] += sent.min;
        totals[1] = totals[1].saturating_add(max).saturating_add(repeats);
    }
}
