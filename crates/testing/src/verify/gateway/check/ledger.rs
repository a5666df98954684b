//! The ledger of all replicas that share a stream.

use super::super::super::check::finding::FindingKind;
use super::super::cluster::Ledger;
use super::Check;
use super::counts::counts;
use tracer_registry_collector::LocalCollector;

impl Check<'_> {
    /// Checks that the ledger adds up, and agrees with what arrived.
    pub(super) fn check_ledger(&mut self, collector: &LocalCollector) {
        if !self.program.storage.is_stream() {
            return;
        }
        let seen = &self.left.seen;
        let Some(ledger) = seen.ledger else {
            let expected = "the ledger of all replicas";
            self.findings
                .add(FindingKind::WrongLedger, "the cluster", None, expected, "no answer");
            return;
        };
        let Ledger {
            published,
            unconfirmed,
            finished,
            waiting,
            buffer_lost,
            expired,
            purged,
            duplicates,
        } = ledger;
        let mut wrong = Vec::new();
        if finished != published + unconfirmed || waiting + buffer_lost + expired + purged > 0 {
            wrong.push("everything that was published, finished".to_owned());
        }
        let was_killed = seen.kills + seen.server_kills > 0;
        if !was_killed && unconfirmed + duplicates > 0 {
            wrong.push("nothing unconfirmed and no duplicates without a kill".to_owned());
        }
        let arrived: u64 = counts(collector).values().sum();
        let rejected: u64 = collector.projects().iter().map(|project| project.rejected_spans).sum();
        let dropped: u64 = seen.dropped.values().sum();
        // A killed gateway reports nothing, and what it had in flight arrives again.
        if !was_killed && self.left.repeated.is_empty() && !(arrived..=arrived + rejected + dropped).contains(&finished)
        {
            wrong.push(format!(
                "{arrived} finished, besides {rejected} rejected and {dropped} dropped"
            ));
        }
        for expected in wrong {
            let seen = format!("{ledger:?}");
            self.findings
                .add(FindingKind::WrongLedger, "the cluster", None, expected, seen);
        }
    }
}
