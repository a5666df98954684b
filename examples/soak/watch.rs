//! A snapshot every half second, in which each tenant's ledger is compared with what was made of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tracer_registry::TracerRegistry;
use tracer_registry::selector::SelectorKind;
use tracer_registry::status::{DropReason, LedgerSnapshot, TracerStatus};

use crate::made::{Counts, Made};
use crate::memory::{Memory, threads};
use crate::options::Options;

const EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How many faults are kept in words; all are counted.
const KEPT: usize = 20;

/// What is seen from outside, through the public interface.
pub(crate) struct Watch {
    begun: Instant,
    time: Duration,
    json: bool,
    made: Arc<[Made]>,
    pub(crate) memory: Memory,
    pub(crate) snapshots: u64,
    /// Ledgers that were compared.
    pub(crate) compared: u64,
    /// What did not add up.
    pub(crate) wrong: u64,
    pub(crate) examples: Vec<String>,
    /// By tenant, as they were last seen.
    pub(crate) spans: Vec<LedgerSnapshot>,
    pub(crate) events: Vec<LedgerSnapshot>,
    /// Tracers that are there.
    pub(crate) tracers: usize,
    resident: u64,
    held_bytes: usize,
}

/// All tenants together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) pending: u64,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
}

impl Watch {
    pub(crate) fn new(options: &Options, made: &Arc<[Made]>) -> Self {
        Self {
            begun: Instant::now(),
            time: options.time(),
            json: options.json,
            made: Arc::clone(made),
            memory: Memory::new(),
            snapshots: 0,
            compared: 0,
            wrong: 0,
            examples: Vec::new(),
            spans: vec![LedgerSnapshot::default(); made.len()],
            events: vec![LedgerSnapshot::default(); made.len()],
            tracers: 0,
            resident: 0,
            held_bytes: 0,
        }
    }

    /// Looks until the time is over, and says every ten seconds what it sees.
    pub(crate) fn until_over(&mut self, registry: &TracerRegistry) {
        let mut lines = Instant::now();
        let mut before = 0;
        while self.begun.elapsed() < self.time {
            thread::sleep(EVERY.min(self.time.saturating_sub(self.begun.elapsed())));
            self.look(registry);
            self.resident = self.memory.sample();
            if lines.elapsed() >= LINE_EVERY {
                let sum = Sum::of(&self.spans);
                let rate = (sum.accepted - before) * 1000 / u64::try_from(lines.elapsed().as_millis()).unwrap_or(1000);
                self.line(&sum, rate);
                (before, lines) = (sum.accepted, Instant::now());
            }
        }
    }

    /// Compares every ledger with what was made, and with what it was before.
    pub(crate) fn look(&mut self, registry: &TracerRegistry) {
        let done: Vec<(u64, u64)> = self
            .made
            .iter()
            .map(|made| (made.spans.done(), made.events.done()))
            .collect();
        let status = registry.status();
        self.snapshots += 1;
        if status.tracers.len() != self.made.len() {
            self.complain(format!("{} tenants have books", status.tracers.len()));
        }
        self.tracers = status.tracers.iter().map(|tracer| tracer.tracers).sum();
        self.held_bytes = status.tracers.iter().map(|tracer| tracer.queued_bytes).sum();
        let bound = registry.config().export().max_queue_bytes;
        if self.held_bytes > bound {
            self.complain(format!("{} bytes are held, of {bound}", self.held_bytes));
        }
        for tracer in status.tracers {
            let Some(tenant) = number_of(&tracer) else {
                self.complain(format!("books of {}, which nobody asked for", tracer.selector));
                continue;
            };
            let made = Arc::clone(&self.made);
            let (made, done) = (&made[tenant], done[tenant]);
            for (what, ledger, known, counts, done) in [
                ("spans", tracer.spans, &mut self.spans[tenant], &made.spans, done.0),
                (
                    "session events",
                    tracer.session_events,
                    &mut self.events[tenant],
                    &made.events,
                    done.1,
                ),
            ] {
                let before = std::mem::replace(known, ledger);
                self.compared += 1;
                if let Err(why) = add_up(known, &before, done, counts) {
                    self.wrong += 1;
                    if self.examples.len() < KEPT {
                        self.examples.push(format!("{} of {}: {why}", what, tracer.selector));
                    }
                }
            }
        }
    }

    fn complain(&mut self, what: String) {
        self.wrong += 1;
        if self.examples.len() < KEPT {
            self.examples.push(what);
        }
    }

    fn line(&self, sum: &Sum, rate: u64) {
        let seconds = self.begun.elapsed().as_secs();
        let (megabytes, threads, held) = (self.resident / 1_000_000, threads(), self.held_bytes / 1000);
        let (queued, in_flight) = self.spans.iter().fold((0, 0), |(queued, in_flight), ledger| {
            (queued + ledger.queued, in_flight + ledger.in_flight)
        });
        if self.json {
            let line = json!({
                "seconds": seconds, "rate": rate, "resident_bytes": self.resident, "threads": threads, "tracers": self.tracers, "queued": queued,
                "in_flight": in_flight, "held_bytes": self.held_bytes, "dropped": sum.dropped, "wrong": self.wrong,
            });
            println!("{line}");
        } else {
            println!(
                "{seconds:>5} s  {rate:>6} spans/s  {megabytes:>4} MB  {threads} threads  {} tracers  {queued:>6} queued  \
                 {in_flight:>6} in flight  {held:>6} kB held  {} wrong  dropped: {}",
                self.tracers,
                self.wrong,
                by_reason(&sum.dropped)
            );
        }
    }
}

/// What has to hold of a ledger at any moment.
fn add_up(ledger: &LedgerSnapshot, before: &LedgerSnapshot, done: u64, counts: &Counts) -> Result<(), String> {
    let begun = counts.begun();
    let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.lost();
    if ledger.accepted != sum {
        return Err(format!("accepted {}, and {sum} by what became of it", ledger.accepted));
    }
    if !(done..=begun).contains(&ledger.accepted) {
        return Err(format!(
            "accepted {}, where {done} to {begun} were made",
            ledger.accepted
        ));
    }
    let fell = before
        .dropped
        .iter()
        .find(|(reason, count)| ledger.dropped.get(reason) < Some(count));
    if ledger.delivered < before.delivered || fell.is_some() {
        return Err(format!(
            "something is no longer delivered or dropped: {before:?}, then {ledger:?}"
        ));
    }
    Ok(())
}

fn number_of(tracer: &TracerStatus) -> Option<usize> {
    tracer
        .selector
        .get(SelectorKind::Tenant)?
        .strip_prefix('t')?
        .parse()
        .ok()
}

fn by_reason(dropped: &BTreeMap<DropReason, u64>) -> String {
    let each = dropped.iter().map(|(reason, count)| {
        let name = json!(reason);
        format!("{count} {}", name.as_str().unwrap_or_default())
    });
    each.collect::<Vec<_>>().join(", ")
}

impl Sum {
    pub(crate) fn of(ledgers: &[LedgerSnapshot]) -> Self {
        let mut sum = Self::default();
        for ledger in ledgers {
            sum.accepted += ledger.accepted;
            sum.delivered += ledger.delivered;
            sum.pending += ledger.pending();
            for (reason, count) in &ledger.dropped {
                *sum.dropped.entry(*reason).or_default() += count;
            }
        }
        sum
    }
}
