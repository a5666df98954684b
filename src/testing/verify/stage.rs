//! A subject with a collector of its own: runs programs on it and checks them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::VerifyError;
use super::cast::Member;
use super::check::{Checked, check};
use super::expect::{Expected, expect, expect_replaced};
use super::finding::FindingKind;
use super::program::Program;
use super::run::{Observed, run};
use super::subject::{Flushed, Subject, Tally};
use crate::collector::LocalCollector;

/// How long a round may take to be delivered.
const FLUSH: Duration = Duration::from_secs(60);
/// More than a round sends.
const RECORDED_BYTES: usize = 1 << 30;
/// More than a round has.
const HELD: usize = 1 << 20;

pub(super) struct Stage<S> {
    subject: Arc<S>,
    cast: Arc<[Member]>,
    pub(super) collector: LocalCollector,
    runtime: Handle,
    /// How long a program may take, with its delivery.
    limit: Duration,
}

/// A program that was run, and everything of it delivered.
pub(super) struct Performed {
    pub(super) observed: Observed,
    pub(super) flushed: Flushed,
    pub(super) panicked: bool,
    /// It did not end within the limit, and runs still: nothing can be said of it.
    pub(super) hung: bool,
    took: [Duration; 2],
}

/// What a program came to, and how long running, flushing and checking took.
pub(super) struct Played {
    pub(super) checked: Checked,
    pub(super) took: [Duration; 3],
    pub(super) tally: Tally,
    pub(super) hung: bool,
}

/// A collector that holds a whole round, and knows every project of the cast by name.
pub(super) fn collector(cast: &[Member]) -> Result<LocalCollector, VerifyError> {
    let builder = LocalCollector::builder()
        .record_requests(RECORDED_BYTES)
        .max_spans(HELD)
        .max_sessions(HELD)
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
        limit: Duration,
        subject: impl FnOnce(&[Member], &LocalCollector) -> Result<S, VerifyError>,
    ) -> Result<Self, VerifyError> {
        let collector = collector(cast)?;
        Ok(Self {
            subject: Arc::new(subject(cast, &collector)?),
            cast: Arc::clone(cast),
            collector,
            runtime: runtime.clone(),
            limit,
        })
    }

    /// Runs a program, sends everything, checks it, and forgets it.
    pub(super) fn play(&self, program: &Program, seed: u64) -> Played {
        let performed = self.perform(program, seed);
        let replaced = &performed.observed.instances;
        let expected = if replaced.is_empty() {
            expect(program, &self.cast)
        } else {
            expect_replaced(program, &self.cast, replaced)
        };
        let began = Instant::now();
        let checked = self.judge(&expected, &performed);
        let [running, flushing] = performed.took;
        Played {
            checked,
            took: [running, flushing, began.elapsed()],
            tally: performed.flushed.tally,
            hung: performed.hung,
        }
    }

    /// Runs a program and sends everything, on a thread that is left to itself where it does not end.
    pub(super) fn perform(&self, program: &Program, seed: u64) -> Performed {
        let (done, ended) = mpsc::sync_channel(1);
        let (program, subject, cast) = (program.clone(), Arc::clone(&self.subject), Arc::clone(&self.cast));
        let runtime = self.runtime.clone();
        let work = move || {
            let began = Instant::now();
            let running = || run(&program, &subject, &cast, seed, &runtime);
            let ran = catch_unwind(AssertUnwindSafe(running));
            let ran_at = Instant::now();
            let flushed = subject.flush(FLUSH);
            // Before its end is told: who made it ends it.
            drop(subject);
            let performed = Performed {
                panicked: ran.is_err(),
                observed: ran.unwrap_or_default(),
                flushed,
                hung: false,
                took: [ran_at - began, ran_at.elapsed()],
            };
            // Nobody waits any more where the limit is over.
            let _ = done.send(performed);
        };
        thread::spawn(work);
        let hung = |_| Performed {
            observed: Observed::default(),
            flushed: Flushed::default(),
            panicked: false,
            hung: true,
            took: [self.limit, Duration::ZERO],
        };
        ended.recv_timeout(self.limit).unwrap_or_else(hung)
    }

    /// Checks what was received since the last time, and forgets it.
    pub(super) fn judge(&self, expected: &Expected, performed: &Performed) -> Checked {
        let Performed { observed, flushed, .. } = performed;
        if performed.hung {
            let (expected, seen) = (
                format!("a program that ends within {:?}", self.limit),
                "that it runs still, or cannot be flushed",
            );
            let mut checked = Checked::default();
            let findings = &mut checked.findings;
            findings.add(FindingKind::Hung, "all", None, expected, seen);
            return checked;
        }
        let mut checked = check(
            &self.cast,
            expected,
            observed,
            flushed,
            &self.collector,
            S::TELLS_SESSIONS,
        );
        if performed.panicked {
            let findings = &mut checked.findings;
            findings.add(FindingKind::Incomplete, "all", None, "a program that ends", "a panic");
        }
        self.collector.clear();
        checked
    }
}
