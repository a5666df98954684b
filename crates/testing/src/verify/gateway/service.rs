//! A gateway and its receiver, over restarts of the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::super::chaos::rotation::Rotation;
use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::super::stage::collector;
use super::client::Addresses;
use super::files::Files;
use super::process::{Process, Stopped};
use super::world::{States, World};
use crate::lock::lock;
use tracer_registry_collector::{FaultId, LocalCollector};

/// Log lines of a failed gateway that a finding shows.
const SHOWN: usize = 5;

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
    /// Spans and session events that the gateways report as dropped.
    pub(super) dropped: Vec<String>,
    /// Whether a gateway ended with the exit code for lost data.
    pub(super) lost: bool,
    pub(super) restarts: u64,
    pub(super) wrong: Vec<Wrong>,
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
    pub(super) fn start(program: PathBuf, world: &Arc<World>) -> Result<Self, VerifyError> {
        let collector = Arc::new(collector(&world.members)?);
        let files = Files::new(collector.url(), world)?;
        let process = Process::start(&program, &files.configuration())?;
        Ok(Self {
            program,
            world: Arc::clone(world),
            rotation: Rotation::new(&collector, world.members.len()),
            collector,
            files,
            states: States::new(world.initial()),
            disturbing: Mutex::default(),
            addresses: Mutex::new(process.addresses),
            process: Mutex::new(Some(process)),
            faults: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        *lock(&self.addresses)
    }

    /// Starts a gateway, if none runs.
    pub(super) fn resume(&self) -> Result<(), VerifyError> {
        let mut process = lock(&self.process);
        if process.is_none() {
            let started = Process::start(&self.program, &self.files.configuration())?;
            *lock(&self.addresses) = started.addresses;
            *process = Some(started);
        }
        Ok(())
    }

    /// Stops the gateway, which delivers what it has accepted.
    pub(super) fn stop(&self) {
        let Some(process) = lock(&self.process).take() else {
            return;
        };
        let Stopped { code, output, log } = process.stop();
        let mut seen = lock(&self.seen);
        for line in &output {
            if let Some((selector, count, is_complete)) = delivered(line) {
                *seen.delivered.entry(selector.to_owned()).or_default() += count;
                if !is_complete {
                    seen.dropped.push(line.clone());
                }
            }
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

    /// Stops the gateway and starts it again.
    pub(super) fn restart(&self) -> Result<(), VerifyError> {
        self.stop();
        lock(&self.seen).restarts += 1;
        self.resume()
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

/// Returns the selector of a line of the final report, its delivered spans, and whether it has
/// nothing else.
fn delivered(line: &str) -> Option<(&str, u64, bool)> {
    let (selector, rest) = line.split_once(": ")?;
    let (count, rest) = rest.split_once(' ')?;
    let rest = rest
        .strip_prefix("spans delivered")
        .or_else(|| rest.strip_prefix("span delivered"))?;
    Some((selector, count.parse().ok()?, rest.is_empty()))
}
