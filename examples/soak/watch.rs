//! Takes a snapshot every half second and compares each tenant's ledger with the items created.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tracer_registry::TracerRegistry;
use tracer_registry::selector::SelectorKind;
use tracer_registry::status::{DropReason, LedgerSnapshot, TracerStatus};

use crate::created::{Counts, Created};
use crate::memory::{Memory, threads};
use crate::options::Options;

const EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Maximum number of error descriptions kept. All errors are counted.
const KEPT: usize = 20;

/// Observations through the public API.
pub(crate) struct Watch {
    begun: Instant,
    time: Duration,
    json: bool,
    created: Arc<[Created]>,
    pub(crate) memory: Memory,
    pub(crate) snapshots: u64,
    /// Number of ledgers compared.
    pub(crate) compared: u64,
    /// Number of errors.
    pub(crate) errors: u64,
    pub(crate) examples: Vec<String>,
    /// Latest ledgers, by tenant.
    pub(crate) spans: Vec<LedgerSnapshot>,
    pub(crate) events: Vec<LedgerSnapshot>,
    /// Number of existing tracers.
    pub(crate) tracers: usize,
    resident: u64,
    held_bytes: usize,
}

/// Totals of all tenants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) pending: u64,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
}

impl Watch {
    pub(crate) fn new(options: &Options, created: &Arc<[Created]>) -> Self {
        Self {
            begun: Instant::now(),
            time: options.time(),
            json: options.json,
            created: Arc::clone(created),
            memory: Memory::new(),
            snapshots: 0,
            compared: 0,
            errors: 0,
            examples: Vec::new(),
            spans: vec![LedgerSnapshot::default(); created.len()],
            events: vec![LedgerSnapshot::default(); created.len()],
            tracers: 0,
            resident: 0,
            held_bytes: 0,
        }
    }

    /// Takes snapshots until the time is over. Prints a line every ten seconds.
    pub(crate) fn run(&mut self, registry: &TracerRegistry) {
        let mut lines = Instant::now();
        let mut before = 0;
        while self.begun.elapsed() < self.time {
            thread::sleep(EVERY.min(self.time.saturating_sub(self.begun.elapsed())));
            self.snapshot(registry);
            self.resident = self.memory.sample();
            if lines.elapsed() >= LINE_EVERY {
                let sum = Sum::of(&self.spans);
                let rate = (sum.accepted - before) * 1000 / u64::try_from(lines.elapsed().as_millis()).unwrap_or(1000);
                self.line(&sum, rate);
                (before, lines) = (sum.accepted, Instant::now());
            }
        }
    }

    /// Compares every ledger with the items created and with its previous state.
    pub(crate) fn snapshot(&mut self, registry: &TracerRegistry) {
        let done: Vec<(u64, u64)> = self
            .created
            .iter()
            .map(|created| (created.spans.done(), created.events.done()))
            .collect();
        let status = registry.status();
        self.snapshots += 1;
        if status.tracers.len() != self.created.len() {
            self.note_error(format!("{} tenants are in the status", status.tracers.len()));
        }
        self.tracers = status.tracers.iter().map(|tracer| tracer.tracers).sum();
        self.held_bytes = status.tracers.iter().map(|tracer| tracer.queued_bytes).sum();
        let bound = registry.config().export().max_queue_bytes;
        if self.held_bytes > bound {
            self.note_error(format!("{} bytes are held, the limit is {bound}", self.held_bytes));
        }
        for tracer in status.tracers {
            let Some(tenant) = number_of(&tracer) else {
                self.note_error(format!("unexpected selector {}", tracer.selector));
                continue;
            };
            let created = Arc::clone(&self.created);
            let (created, done) = (&created[tenant], done[tenant]);
            for (what, ledger, known, counts, done) in [
                ("spans", tracer.spans, &mut self.spans[tenant], &created.spans, done.0),
                (
                    "session events",
                    tracer.session_events,
                    &mut self.events[tenant],
                    &created.events,
                    done.1,
                ),
            ] {
                let before = std::mem::replace(known, ledger);
                self.compared += 1;
                if let Err(why) = add_up(known, &before, done, counts) {
                    self.errors += 1;
                    if self.examples.len() < KEPT {
                        self.examples.push(format!("{} of {}: {why}", what, tracer.selector));
                    }
                }
            }
        }
    }

    fn note_error(&mut self, what: String) {
        self.errors += 1;
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
                "in_flight": in_flight, "held_bytes": self.held_bytes, "dropped": sum.dropped, "errors": self.errors,
            });
            println!("{line}");
        } else {
            println!(
                "{seconds:>5} s  {rate:>6} spans/s  {megabytes:>4} MB  {threads} threads  {} tracers  {queued:>6} queued  \
                 {in_flight:>6} in flight  {held:>6} kB held  {} errors  dropped: {}",
                self.tracers,
                self.errors,
                by_reason(&sum.dropped)
            );
        }
    }
}

/// Checks the invariants of a ledger.
fn add_up(ledger: &LedgerSnapshot, before: &LedgerSnapshot, done: u64, counts: &Counts) -> Result<(), String> {
    let begun = counts.begun();
    let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.lost();
    if ledger.accepted != sum {
        return Err(format!(
            "accepted {}, but the other counts sum to {sum}",
            ledger.accepted
        ));
    }
    if !(done..=begun).contains(&ledger.accepted) {
        return Err(format!(
            "accepted {}, but {done} to {begun} were created",
            ledger.accepted
        ));
    }
    let fell = before
        .dropped
        .iter()
        .find(|(reason, count)| ledger.dropped.get(reason) < Some(count));
    if ledger.delivered < before.delivered || fell.is_some() {
        return Err(format!(
            "delivered or dropped counts decreased: from {before:?} to {ledger:?}"
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
