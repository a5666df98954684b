//! A subject with its own collector: runs programs on it and checks the results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::check::finding::FindingKind;
use super::check::{Checked, check};
use super::error::VerifyError;
use super::oracle::expect::{Expected, expect, expect_replaced};
use super::program::cast::Member;
use super::program::operation::Program;
use super::run::{Observed, run};
use super::subject::{Flushed, Subject, Tally};
use tracer_registry_collector::LocalCollector;

/// Time limit for the delivery of a round; far more than a busy machine needs.
pub(super) const FLUSH: Duration = Duration::from_secs(60);
/// More than a round sends.
const RECORDED_BYTES: usize = 1 << 30;
/// More spans and sessions than a round has.
const MAX_RECORDS: usize = 1 << 20;

pub(super) struct Stage<S> {
    subject: Arc<S>,
    cast: Arc<[Member]>,
    pub(super) collector: Arc<LocalCollector>,
    runtime: Handle,
}

/// Observations of a program that ran and was flushed.
pub(super) struct Performed {
    pub(super) observed: Observed,
    pub(super) flushed: Flushed,
    pub(super) panicked: bool,
    took: [Duration; 2],
}

/// Result of a program, and the times to run, flush and check it.
pub(super) struct Played {
    pub(super) checked: Checked,
    pub(super) took: [Duration; 3],
    pub(super) tally: Tally,
    /// The program exceeded the limit and still runs. The other fields have no meaning.
    pub(super) hung: bool,
}

impl Played {
    /// Returns the result of a program that exceeded the limit, anywhere between the creation of
    /// its stage and the last check.
    pub(super) fn hung(limit: Duration) -> Self {
        let mut checked = Checked::default();
        let (expected, seen) = (
            format!("set-up, program, delivery and checks within {limit:?}"),
            "still running",
        );
        checked.findings.add(FindingKind::Hung, "all", None, expected, seen);
        Self {
            checked,
            took: [limit, Duration::ZERO, Duration::ZERO],
            tally: Tally::default(),
            hung: true,
        }
    }
}

/// Starts a collector that can hold a whole round and knows every project of the cast by name.
pub(super) fn collector(cast: &[Member]) -> Result<LocalCollector, VerifyError> {
    let builder = LocalCollector::builder()
        .record_requests(RECORDED_BYTES)
        .max_spans(MAX_RECORDS)
        .max_sessions(MAX_RECORDS)
        .max_bytes(RECORDED_BYTES);
    let keys = cast
        .iter()
        .flat_map(|member| member.keys().map(|key| (member.name(), key)));
    let builder = keys.fold(builder, |builder, (name, key)| builder.project(name, key));
    Ok(builder.start()?)
}

impl<S: Subject> Stage<S> {
    pub(super) fn new(
        cast: &Arc<[Member]>,
        runtime: &Handle,
        subject: impl FnOnce(&[Member], &Arc<LocalCollector>) -> Result<S, VerifyError>,
    ) -> Result<Self, VerifyError> {
        let collector = Arc::new(collector(cast)?);
        Ok(Self {
            subject: Arc::new(subject(cast, &collector)?),
            cast: Arc::clone(cast),
            collector,
            runtime: runtime.clone(),
        })
    }

    /// Runs a program, flushes, checks the received data, and clears it.
    pub(super) fn play(&self, program: &Program, seed: u64) -> Played {
        let performed = self.perform(program, seed);
        let replaced = &performed.observed.instances;
        let expected = if replaced.is_empty() {
            expect(program, &self.cast)
        } else {
            expect_replaced(program, &self.cast, replaced)
        };
        let started = Instant::now();
        let checked = self.judge(&expected, &performed);
        let [running, flushing] = performed.took;
        Played {
            checked,
            took: [running, flushing, started.elapsed()],
            tally: performed.flushed.tally,
            hung: false,
        }
    }

    /// Runs a program and flushes.
    pub(super) fn perform(&self, program: &Program, seed: u64) -> Performed {
        let started = Instant::now();
        let running = || run(program, &self.subject, &self.cast, seed, &self.runtime);
        let ran = catch_unwind(AssertUnwindSafe(running));
        let ran_at = Instant::now();
        let flushed = self.subject.flush(FLUSH);
        Performed {
            panicked: ran.is_err(),
            observed: ran.unwrap_or_default(),
            flushed,
            took: [ran_at - started, ran_at.elapsed()],
        }
    }

    /// Checks the data received since the last call, and clears it.
    pub(super) fn judge(&self, expected: &Expected, performed: &Performed) -> Checked {
        let Performed { observed, flushed, .. } = performed;
        let mut checked = check(
            &self.cast,
            expected,
            observed,
            flushed,
            &self.collector,
            S::REPORTS_SESSIONS,
            |trace| self.subject.delivered(trace),
        );
        if performed.panicked {
            let findings = &mut checked.findings;
            findings.add(FindingKind::Incomplete, "all", None, "a program that ends", "a panic");
        }
        self.collector.clear();
        checked
    }
}
