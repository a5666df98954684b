//! A gateway and its receiver, over restarts of the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::chaos::rotation::Rotation;
use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::super::program::cast::Member;
use super::super::program::operation::OpId;
use super::super::stage::collector;
use super::check::counts::{Counts, counts};
use super::client::Addresses;
use super::files::Files;
use super::process::{LIMIT, Process, Stopped};
use super::program::{Disturbance, Spool};
use super::world::{States, World};
use crate::lock::lock;
use tracer_registry_collector::{FaultId, LocalCollector};

/// Log lines of a failed gateway that a finding shows.
const SHOWN: usize = 5;

/// Data that was received longer than this before a kill is not sent again: it is deleted with the
/// next commit. Long, for a busy disk.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// How long a gateway sends what was left on disk before it is stopped again.
const DRAIN: Duration = Duration::from_millis(100);

/// Exit code of a gateway that lost data.
const LOST: i32 = 3;

pub(super) struct Service {
    program: PathBuf,
    pub(super) world: Arc<World>,
    pub(super) collector: Arc<LocalCollector>,
    pub(super) files: Files,
    pub(super) states: States,
    pub(super) rotation: Rotation,
    /// Locked during a disturbance: one at a time.
    pub(super) disturbing: Mutex<()>,
    pub(super) process: Mutex<Option<Process>>,
    /// Where the current process listens, or the last one did.
    addresses: Mutex<Addresses>,
    /// Receiver faults of the current program.
    faults: Mutex<Vec<PlantedFault>>,
    seen: Mutex<Seen>,
}

/// A fault of a member's receiver.
#[derive(Clone, Copy)]
pub(super) struct PlantedFault {
    pub(super) member: usize,
    pub(super) id: FaultId,
    /// Whether the receiver takes the data, so that it may arrive again.
    pub(super) repeats: bool,
}

/// What the processes of a program reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Delivered spans, by selector.
    pub(super) delivered: BTreeMap<String, u64>,
    /// Dropped spans, by selector. Targets of copies may drop some: no flush waits for them.
    pub(super) dropped: BTreeMap<String, u64>,
    /// Reports of dropped or pending spans and session events, but those of targets that only
    /// dropped spans.
    pub(super) incomplete: Vec<String>,
    /// Spans and session events that the last gateway left on disk.
    pub(super) spooled: u64,
    /// Whether a gateway ended with the exit code for lost data.
    pub(super) lost: bool,
    pub(super) restarts: u64,
    pub(super) kills: u64,
    pub(super) cuts: Vec<Cut>,
    /// What had arrived before a cut after which no gateway has started yet.
    cut: Option<Counts>,
    pub(super) wrong: Vec<Wrong>,
}

/// What had arrived around a kill, or around a stop that left data on disk.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Before anything that was in flight.
    pub(super) before: Counts,
    pub(super) after: Counts,
}

/// A deviation of a process.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) kind: FindingKind,
    pub(super) op: Option<u32>,
    pub(super) expected: &'static str,
    pub(super) seen: String,
}

impl Service {
    pub(super) fn new(program: PathBuf, world: &Arc<World>) -> Result<Self, VerifyError> {
        let collector = Arc::new(collector(&world.members)?);
        let files = Files::new(collector.url(), world)?;
        Ok(Self {
            program,
            world: Arc::clone(world),
            rotation: Rotation::new(&collector, world.members.len()),
            collector,
            files,
            states: States::new(world.initial()),
            disturbing: Mutex::default(),
            addresses: Mutex::default(),
            process: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        *lock(&self.addresses)
    }

    /// Starts the gateway of a program.
    pub(super) fn start(&self, spool: Spool) -> Result<(), VerifyError> {
        self.files.write_with(spool, &self.world, &self.states.now().1)?;
        self.resume()
    }

    fn resume(&self) -> Result<(), VerifyError> {
        let started = Process::start(&self.program, &self.files.configuration())?;
        *lock(&self.addresses) = started.addresses;
        *lock(&self.process) = Some(started);
        let mut seen = lock(&self.seen);
        if let Some(before) = seen.cut.take() {
            let after = counts(&self.collector);
            seen.cuts.push(Cut { before, after });
        }
        Ok(())
    }

    /// Stops the gateway at the end of a program, after it has delivered all that was accepted.
    pub(super) fn end(&self, spool: Spool) -> Result<(), VerifyError> {
        if spool != Spool::Off {
            // What is on disk waits for its tenant.
            self.disturb(Disturbance::Restore, 0)?;
        }
        self.stop();
        let deadline = Instant::now() + LIMIT;
        while self.spooled() > 0 && Instant::now() < deadline {
            self.resume()?;
            self.check_recovered();
            thread::sleep(DRAIN);
            self.stop();
        }
        Ok(())
    }

    fn spooled(&self) -> u64 {
        lock(&self.seen).spooled
    }

    /// Stops the gateway, which delivers what it has accepted, or leaves it on disk.
    fn stop(&self) {
        let Some(process) = lock(&self.process).take() else {
            return;
        };
        let before = counts(&self.collector);
        let Stopped { code, output, log } = process.stop();
        let on_disk = self.files.has_spool().then(|| self.on_disk());
        let mut left = BTreeMap::new();
        let mut seen = lock(&self.seen);
        seen.spooled = 0;
        for line in &output {
            if let Some(reported) = Reported::of(line) {
                *seen.delivered.entry(reported.selector.to_owned()).or_default() += reported.delivered;
                seen.spooled += reported.spooled;
                if reported.spooled > 0 {
                    left.insert(reported.selector.to_owned(), reported.spooled);
                }
                *seen.dropped.entry(reported.selector.to_owned()).or_default() += reported.dropped;
                let is_target = |member: &Member| member.is_target() && member.selector() == reported.selector;
                let may_drop = self.world.members.iter().any(is_target);
                if reported.has_more || (reported.dropped > 0 && !may_drop) {
                    seen.incomplete.push(line.clone());
                }
            }
        }
        if on_disk.as_ref().is_some_and(|on_disk| *on_disk != left) {
            let lines = output.join(" | ");
            seen.wrong.push(Wrong {
                kind: FindingKind::WrongLedger,
                op: None,
                expected: "a report of what is on disk",
                seen: format!("{on_disk:?} on disk, {lines}"),
            });
        }
        if seen.spooled > 0 {
            // Requests that were in progress have ended, and what they sent is on disk.
            seen.cut = Some(before);
        }
        match code {
            Some(0) => {}
            Some(LOST) => seen.lost = true,
            code => {
                let tail = &log[log.len().saturating_sub(SHOWN)..];
                seen.wrong.push(Wrong {
                    kind: FindingKind::Incomplete,
                    op: None,
                    expected: "a gateway that ends with 0",
                    seen: format!("exit code {code:?}, log: {}", tail.join(" | ")),
                });
            }
        }
    }

    /// Returns the spans and session events that a stopped gateway left, by selector: nothing if the
    /// file is not intact.
    fn on_disk(&self) -> BTreeMap<String, u64> {
        let checked = Command::new(&self.program)
            .args(["spool", "check", "--json"])
            .arg(self.files.spool())
            .output();
        let output = checked.map(|checked| checked.stdout).unwrap_or_default();
        let checked: Value = serde_json::from_slice(&output).unwrap_or_default();
        let is_intact = checked["damage"].as_array().is_some_and(Vec::is_empty);
        let selectors = checked["selectors"].as_array().filter(|_| is_intact);
        let selectors = selectors.into_iter().flatten().filter_map(|of| {
            let count = of["spans"].as_u64()? + of["session_events"].as_u64()?;
            Some((of["selector"].as_str()?.to_owned(), count)).filter(|_| count > 0)
        });
        selectors.collect()
    }

    /// Stops the gateway and starts it again.
    pub(super) fn restart(&self) -> Result<(), VerifyError> {
        self.stop();
        lock(&self.seen).restarts += 1;
        self.resume()?;
        self.check_recovered();
        Ok(())
    }

    /// Kills the gateway and starts it again. What it had written to disk is sent then.
    pub(super) fn kill(&self) -> Result<(), VerifyError> {
        let before = counts(&self.collector);
        thread::sleep(IN_FLIGHT);
        if let Some(mut process) = lock(&self.process).take() {
            process.kill();
        }
        {
            let mut seen = lock(&self.seen);
            seen.kills += 1;
            seen.cut = Some(before);
        }
        self.resume()
    }

    /// Checks that a gateway found on disk what the one before it left there.
    fn check_recovered(&self) {
        if !self.files.has_spool() {
            return;
        }
        let recovered = lock(&self.process).as_ref().and_then(Process::recovered);
        let mut seen = lock(&self.seen);
        if recovered != Some(seen.spooled) {
            let wrong = Wrong {
                kind: FindingKind::WrongLedger,
                op: None,
                expected: "what the last gateway left on disk",
                seen: format!("{} left, {recovered:?} found", seen.spooled),
            };
            seen.wrong.push(wrong);
        }
    }

    pub(super) fn wrong(&self, kind: FindingKind, op: u32, expected: &'static str, seen: String) {
        lock(&self.seen).wrong.push(Wrong {
            kind,
            op: Some(op),
            expected,
            seen,
        });
    }

    /// Returns whether a request got no answer in time.
    pub(super) fn is_hung(&self) -> bool {
        lock(&self.seen)
            .wrong
            .iter()
            .any(|wrong| wrong.kind == FindingKind::Hung)
    }

    pub(super) fn add_fault(&self, fault: PlantedFault) {
        lock(&self.faults).push(fault);
    }

    /// Ends the faults of the receivers. Returns the members whose data may have arrived several
    /// times, and the number of requests with a fault.
    pub(super) fn end_faults(&self) -> (BTreeSet<usize>, u64) {
        let (mut repeated, mut hits) = (BTreeSet::new(), 0);
        for fault in lock(&self.faults).drain(..) {
            self.collector.clear_fault(fault.id);
            let of_fault = self.collector.fault_hits(fault.id);
            hits += of_fault;
            if fault.repeats && of_fault > 0 {
                repeated.insert(fault.member);
            }
        }
        (repeated, hits)
    }

    /// Returns what the processes reported since the last call.
    pub(super) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *lock(&self.seen))
    }
}

impl Seen {
    /// Returns how often a span or a request to the session API was in flight to a member at a cut.
    pub(super) fn repeats(&self, name: &str, op: OpId) -> u64 {
        let key = (name.to_owned(), op);
        let in_flight = self
            .cuts
            .iter()
            .filter(|cut| cut.after.get(&key) > cut.before.get(&key));
        in_flight.count() as u64
    }
}

/// A line of the final report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reported<'l> {
    pub(super) selector: &'l str,
    /// Spans.
    pub(super) delivered: u64,
    /// Spans and session events that are on disk.
    pub(super) spooled: u64,
    /// Spans that were dropped.
    pub(super) dropped: u64,
    /// Whether session events were dropped, or something is pending.
    pub(super) has_more: bool,
}

impl<'l> Reported<'l> {
    pub(super) fn of(line: &'l str) -> Option<Self> {
        let (selector, rest) = line.split_once(": ")?;
        let rest = rest.split_once("; last error: ").map_or(rest, |(rest, _)| rest);
        let mut facts = rest.split(", ");
        let delivered = facts.next()?;
        let count = |fact: &str, ends: [&str; 2]| {
            let count = ends.iter().find_map(|end| fact.strip_suffix(end))?;
            count.parse::<u64>().ok()
        };
        let mut reported = Self {
            selector,
            delivered: count(delivered, [" spans delivered", " span delivered"])?,
            spooled: 0,
            dropped: 0,
            has_more: false,
        };
        for fact in facts {
            let spooled = fact.strip_suffix(" spooled").and_then(|fact| {
                let events = count(fact, [" session events", " session event"]);
                events.or_else(|| fact.parse().ok())
            });
            let dropped = fact
                .split_once(" dropped (")
                .and_then(|(count, _)| count.parse::<u64>().ok());
            reported.spooled += spooled.unwrap_or_default();
            reported.dropped += dropped.unwrap_or_default();
            reported.has_more |= spooled.is_none() && dropped.is_none();
        }
        Some(reported)
    }
}
