//! Takes a snapshot every half second and compares each tenant's ledger with the items created.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
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
    /// When the last line was printed, and the spans accepted until then.
    printed: (Instant, u64),
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
    /// Latest ledgers of the current registry, by tenant.
    spans: Vec<LedgerSnapshot>,
    events: Vec<LedgerSnapshot>,
    /// Sums of the ledgers of earlier registries, by tenant: each item once, `spooled` is what the
    /// last one left.
    pub(crate) past_spans: Vec<LedgerSnapshot>,
    pub(crate) past_events: Vec<LedgerSnapshot>,
    /// Number of registries that have ended.
    pub(crate) ended: u64,
    /// Items that were pending after a shutdown.
    pub(crate) pending: u64,
    /// Folder of the files.
    folder: Option<PathBuf>,
    /// Largest size of all files together.
    pub(crate) disk: u64,
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
    pub(crate) fn new(options: &Options, created: &Arc<[Created]>, folder: Option<&Path>) -> Self {
        let none = vec![LedgerSnapshot::default(); created.len()];
        Self {
            begun: Instant::now(),
            printed: (Instant::now(), 0),
            time: options.time(),
            json: options.json,
            created: Arc::clone(created),
            memory: Memory::new(),
            snapshots: 0,
            compared: 0,
            errors: 0,
            examples: Vec::new(),
            spans: none.clone(),
            events: none.clone(),
            past_spans: none.clone(),
            past_events: none,
            ended: 0,
            pending: 0,
            folder: folder.map(Path::to_owned),
            disk: 0,
            tracers: 0,
            resident: 0,
            held_bytes: 0,
        }
    }

    /// Takes snapshots until then, or until the time is over. Returns whether there is time left.
    /// Prints a line every ten seconds.
    pub(crate) fn run(&mut self, registry: &TracerRegistry, until: Option<Instant>) -> bool {
        while self.begun.elapsed() < self.time {
            if until.is_some_and(|until| Instant::now() >= until) {
                return true;
            }
            thread::sleep(EVERY.min(self.time.saturating_sub(self.begun.elapsed())));
            self.snapshot(registry);
            self.resident = self.memory.sample();
            let (printed, before) = self.printed;
            if printed.elapsed() >= LINE_EVERY {
                let accepted = self.accepted();
                let rate = (accepted - before) * 1000 / u64::try_from(printed.elapsed().as_millis()).unwrap_or(1000);
                self.line(&Sum::of(&self.spans), rate);
                self.printed = (Instant::now(), accepted);
            }
        }
        false
    }

    /// Returns the number of spans that all registries have accepted.
    fn accepted(&self) -> u64 {
        let all = self.spans.iter().chain(&self.past_spans);
        all.map(|ledger| ledger.accepted - ledger.recovered).sum()
    }

    /// Takes the last snapshot of a registry, after its shutdown.
    pub(crate) fn end(&mut self, registry: &TracerRegistry, pending: u64) {
        self.snapshot(registry);
        self.pending += pending;
        self.ended += 1;
        for (what, now, past) in [
            ("spans", &mut self.spans, &mut self.past_spans),
            ("session events", &mut self.events, &mut self.past_events),
        ] {
            for (tenant, (now, past)) in now.iter_mut().zip(past).enumerate() {
                let ended = std::mem::take(now);
                if ended.recovered != past.spooled || ended.pending() > 0 {
                    self.errors += 1;
                    let left = past.spooled;
                    self.examples.push(format!(
                        "{what} of tenant {tenant}: {left} were left on disk before {ended:?}"
                    ));
                }
                past.accepted += ended.accepted - ended.recovered;
                past.delivered += ended.delivered;
                past.spooled = ended.spooled;
                for (reason, count) in ended.dropped {
                    *past.dropped.entry(reason).or_default() += count;
                }
            }
        }
        self.examples.truncate(KEPT);
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
        self.disk = self.disk.max(self.folder.as_deref().map_or(0, size_of));
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
            for (what, ledger, known, past, counts, done) in [
                (
                    "spans",
                    tracer.spans,
                    &mut self.spans[tenant],
                    &self.past_spans[tenant],
                    &created.spans,
                    done.0,
                ),
                (
                    "session events",
                    tracer.session_events,
                    &mut self.events[tenant],
                    &self.past_events[tenant],
                    &created.events,
                    done.1,
                ),
            ] {
                let before = std::mem::replace(known, ledger);
                self.compared += 1;
                if let Err(why) = add_up(known, &before, past.accepted, done, counts) {
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
fn add_up(
    ledger: &LedgerSnapshot,
    before: &LedgerSnapshot,
    earlier: u64,
    done: u64,
    counts: &Counts,
) -> Result<(), String> {
    let begun = counts.begun();
    let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.spooled + ledger.lost();
    if ledger.accepted != sum {
        return Err(format!(
            "accepted {}, but the other counts sum to {sum}",
            ledger.accepted
        ));
    }
    let accepted = earlier + ledger.accepted - ledger.recovered;
    if !(done..=begun).contains(&accepted) {
        return Err(format!("accepted {accepted}, but {done} to {begun} were created"));
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

/// Returns the size of the files in all folders of a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => size_of(&entry.path()),
        Ok(of) => of.len(),
        Err(_) => 0,
    });
    sizes.sum()
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
            sum.pending += ledger.pending() + ledger.spooled;
            for (reason, count) in &ledger.dropped {
                *sum.dropped.entry(*reason).or_default() += count;
            }
        }
        sum
    }
}
