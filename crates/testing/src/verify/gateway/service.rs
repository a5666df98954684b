//! A gateway, or several replicas of it, and their receiver, over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::chaos::rotation::Rotation;
use super::super::check::finding::FindingKind;
use super::super::error::VerifyError;
use super::super::program::cast::Member;
use super::super::stage::collector;
use super::check::counts::counts;
use super::client::Addresses;
use super::cluster::Cluster;
use super::files::Files;
use super::process::{LIMIT, Process, Stopped};
use super::program::{Disturbance, Storage};
use super::replica::{REPLICAS, Replica};
use super::seen::{Reported, Seen, Wrong};
use super::servers::Servers;
use super::world::{States, World};
use crate::lock::lock;
use tracer_registry_collector::{FaultId, LocalCollector};

/// Log lines of a failed gateway that a finding shows.
const SHOWN: usize = 5;

/// Data that was received longer than this before a kill is not sent again: it is deleted with the
/// next commit. Long, for a busy disk.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// The same for what a sender of the stream has received: the books, and what they acknowledge, are
/// written twice a second.
const UNBOOKED: Duration = Duration::from_secs(2);
/// How long replicas may take to send what waits in the stream, with the take-overs of those that
/// were killed, and the tries of failing receivers.
const STREAM: Duration = Duration::from_secs(120);
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
    pub(super) replicas: Vec<Replica>,
    /// What several replicas share.
    cluster: Option<Cluster>,
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

impl Service {
    /// Prepares a gateway, or replicas that share a stream on these servers.
    pub(super) fn new(
        program: PathBuf,
        world: &Arc<World>,
        servers: Option<&Arc<Servers>>,
    ) -> Result<Self, VerifyError> {
        let collector = Arc::new(collector(&world.members)?);
        let cluster = servers.map(|servers| Cluster::new(Arc::clone(servers)));
        let replicas = if cluster.is_some() { REPLICAS } else { 1 };
        let files = Files::new(collector.url(), cluster.as_ref().map(Cluster::table), replicas, world)?;
        let replicas = (0..replicas).map(|replica| Replica::new(files.configuration(replica), files.spool(replica)));
        let service = Self {
            replicas: replicas.collect(),
            cluster,
            program,
            world: Arc::clone(world),
            rotation: Rotation::new(&collector, world.members.len()),
            collector,
            files,
            states: States::new(world.initial()),
            disturbing: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
        };
        if service.cluster.is_some() {
            service.create_stream()?;
        }
        Ok(service)
    }

    fn create_stream(&self) -> Result<(), VerifyError> {
        let created = Command::new(&self.program)
            .args(["stream", "init", "--config"])
            .arg(&self.replicas[0].configuration)
            .output()?;
        if created.status.success() {
            return Ok(());
        }
        let output = [created.stdout, created.stderr].concat();
        Err(VerifyError::Servers(String::from_utf8_lossy(&output).into_owned()))
    }

    /// Returns where a replica listens, modulo how many there are.
    pub(super) fn addresses(&self, replica: usize) -> Addresses {
        *lock(&self.replica(replica).addresses)
    }

    fn replica(&self, number: usize) -> &Replica {
        &self.replicas[number % self.replicas.len()]
    }

    /// Starts all replicas for a program.
    pub(super) fn start(&self, storage: Storage) -> Result<(), VerifyError> {
        self.files.write_with(storage, &self.world, &self.states.now().1)?;
        self.replicas.iter().try_for_each(|replica| self.resume(replica))
    }

    fn resume(&self, replica: &Replica) -> Result<(), VerifyError> {
        let started = Process::start(&self.program, &replica.configuration)?;
        *lock(&replica.addresses) = started.addresses;
        *lock(&replica.process) = Some(started);
        if self.cluster.is_none() {
            lock(&self.seen).end_cuts(&self.collector);
        }
        Ok(())
    }

    /// Stops all replicas at the end of a program, after they have delivered all that was accepted.
    pub(super) fn end(&self, storage: Storage) -> Result<(), VerifyError> {
        if storage != Storage::Memory {
            // What is stored waits for its tenant.
            self.disturb(Disturbance::Restore, 0)?;
        }
        if let Some(cluster) = &self.cluster {
            self.end_all(cluster)?;
            lock(&self.seen).end_cuts(&self.collector);
            return Ok(());
        }
        let gateway = self.replica(0);
        self.stop(gateway);
        let deadline = Instant::now() + LIMIT;
        while self.on_disk() > 0 && Instant::now() < deadline {
            self.resume(gateway)?;
            self.check_recovered(gateway);
            thread::sleep(DRAIN);
            self.stop(gateway);
        }
        Ok(())
    }

    /// Stops replicas that share a stream once it is empty, and reads the ledger of all.
    fn end_all(&self, cluster: &Cluster) -> Result<(), VerifyError> {
        let deadline = Instant::now() + STREAM;
        loop {
            cluster.wait_until_empty(deadline);
            self.replicas.iter().for_each(|replica| self.stop(replica));
            // A replica that stops publishes no more of what is on its disk.
            let is_empty = cluster.wait_until_empty(Instant::now());
            if (is_empty && self.on_disk() == 0) || Instant::now() >= deadline {
                break;
            }
            self.replicas.iter().try_for_each(|replica| self.resume(replica))?;
        }
        // All totals are written by now.
        let first = self.replica(0);
        self.resume(first)?;
        let admin = lock(&first.process).as_ref().and_then(Process::admin);
        let ledger = admin.and_then(|admin| cluster.ledger(&admin, Instant::now() + LIMIT));
        self.stop(first);
        lock(&self.seen).ledger = ledger;
        Ok(())
    }

    /// Returns how many spans and session events stopped gateways left on disk.
    fn on_disk(&self) -> u64 {
        let left = self.replicas.iter().map(|replica| replica.left.load(Ordering::SeqCst));
        left.sum()
    }

    /// Stops a gateway, which delivers what it has accepted, or leaves it on disk or in the stream.
    fn stop(&self, replica: &Replica) {
        let Some(process) = lock(&replica.process).take() else {
            return;
        };
        let before = counts(&self.collector);
        let Stopped { code, output, log } = process.stop();
        let on_disk = self.files.has_spool().then(|| self.check_disk(replica));
        let mut left = BTreeMap::new();
        let mut seen = lock(&self.seen);
        for line in &output {
            if let Some(reported) = Reported::of(line) {
                *seen.delivered.entry(reported.selector.to_owned()).or_default() += reported.delivered;
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
        // A lane does not know which of its rows wait for the servers of a stream.
        if self.cluster.is_some() {
            left = on_disk.clone().unwrap_or_default();
        }
        let count = left.values().sum();
        replica.left.store(count, Ordering::SeqCst);
        if on_disk.as_ref().is_some_and(|on_disk| *on_disk != left) {
            let lines = output.join(" | ");
            seen.wrong.push(Wrong {
                kind: FindingKind::WrongLedger,
                op: None,
                expected: "a report of what is on disk",
                seen: format!("{on_disk:?} on disk, {lines}"),
            });
        }
        if count > 0 && self.cluster.is_none() {
            // Requests that were in progress have ended, and what they sent is on disk.
            seen.open_cuts.push(before);
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
    fn check_disk(&self, replica: &Replica) -> BTreeMap<String, u64> {
        let checked = Command::new(&self.program)
            .args(["spool", "check", "--json"])
            .arg(&replica.spool)
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

    /// Stops a gateway and starts it again.
    pub(super) fn restart(&self, replica: usize) -> Result<(), VerifyError> {
        let replica = self.replica(replica);
        self.stop(replica);
        lock(&self.seen).restarts += 1;
        self.resume(replica)?;
        self.check_recovered(replica);
        Ok(())
    }

    /// Kills a gateway and starts it again. What it had stored is sent then, or by another replica.
    pub(super) fn kill(&self, replica: usize) -> Result<(), VerifyError> {
        let replica = self.replica(replica);
        self.begin_cut();
        if let Some(mut process) = lock(&replica.process).take() {
            process.kill();
        }
        lock(&self.seen).kills += 1;
        self.resume(replica)
    }

    /// Kills a server of the stream and starts it again.
    pub(super) fn kill_server(&self, server: usize) {
        if let Some(cluster) = &self.cluster {
            self.begin_cut();
            cluster.kill_server(server);
            lock(&self.seen).server_kills += 1;
        }
    }

    /// Notes what has arrived before anything that is in flight from now on.
    fn begin_cut(&self) {
        let before = counts(&self.collector);
        thread::sleep(if self.cluster.is_some() { UNBOOKED } else { IN_FLIGHT });
        lock(&self.seen).open_cuts.push(before);
    }

    /// Returns whether an attempt that was refused may have been stored nevertheless.
    pub(super) fn may_be_unconfirmed(&self, since: Instant) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.is_uncertain(since))
    }

    /// Checks that a gateway found on disk what the one before it left there.
    fn check_recovered(&self, replica: &Replica) {
        // With a stream, the line is about all that arrives from it.
        if !self.files.has_spool() || self.cluster.is_some() {
            return;
        }
        let recovered = lock(&replica.process).as_ref().and_then(Process::recovered);
        let left = replica.left.load(Ordering::SeqCst);
        if recovered != Some(left) {
            let wrong = Wrong {
                kind: FindingKind::WrongLedger,
                op: None,
                expected: "what the last gateway left on disk",
                seen: format!("{left} left, {recovered:?} found"),
            };
            lock(&self.seen).wrong.push(wrong);
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
        let mut seen = std::mem::take(&mut *lock(&self.seen));
        seen.spooled = self.on_disk();
        seen
    }
}
