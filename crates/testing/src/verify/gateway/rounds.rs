//! Runs programs, each on a gateway of its own, and shortens those with a deviation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::super::check::Checked;
use super::super::check::finding::{Finding, FindingKind};
use super::super::error::VerifyError;
use super::super::options::{Verify, round_seed};
use super::super::report::{ClusterReport, Failure, GatewayReport, SideReport, VerifyReport};
use super::super::watchdog::within;
use super::check::{Left, check};
use super::client::HttpClient;
use super::generate::generate;
use super::program::{Kind, Program};
use super::run::run;
use super::servers::{End, Servers};
use super::service::Service;
use super::world::World;

/// Operations per program; bounds the memory.
const ROUND: usize = 2000;
/// Runs of a program before it counts as not reproducing the deviation.
const TRIES: usize = 4;
/// Time limit of the shortening of a program.
const SHRINK: Duration = Duration::from_secs(30);

/// A gateway with its files, its receiver and a client, for several programs.
struct Stage {
    service: Arc<Service>,
    client: Arc<HttpClient>,
}

/// Result of a program.
struct Played {
    checked: Checked,
    took: [Duration; 3],
    report: GatewayReport,
    cluster: ClusterReport,
    hung: bool,
}

impl Stage {
    fn new(
        program: &Path,
        world: &Arc<World>,
        servers: Option<&Arc<Servers>>,
        runtime: &Handle,
    ) -> Result<Self, VerifyError> {
        Ok(Self {
            service: Arc::new(Service::new(program.to_owned(), world, servers)?),
            client: Arc::new(HttpClient::new(runtime.clone())),
        })
    }

    /// Runs a program, stops the gateway, and checks and clears what arrived.
    fn play(&self, program: &Program) -> Result<Played, VerifyError> {
        let service = &self.service;
        service.start(program.storage)?;
        let refused_before = service.rotation.refused();
        let started = Instant::now();
        let observed = run(program, service, &self.client)?;
        let ran = Instant::now();
        let (repeats, receiver_faults) = service.end_faults();
        service.end(program.storage)?;
        let stopped = Instant::now();
        let left = Left {
            observed,
            states: service.states.all(),
            seen: service.take_seen(),
            repeated: repeats,
        };
        let (checked, repeated) = check(program, &service.world, &service.collector, &left);
        service.collector.clear();
        service.states.forget();
        let requests = left.observed.values();
        let ledger = left.seen.ledger.unwrap_or_default();
        Ok(Played {
            report: GatewayReport {
                restarts: left.seen.restarts,
                kills: left.seen.kills,
                repeated,
                no_room: requests.clone().map(|seen| seen.unavailable).sum(),
                unanswered: requests.map(|seen| u64::from(seen.unknown)).sum(),
                refused_keys: service.rotation.refused() - refused_before,
                receiver_faults,
            },
            cluster: ClusterReport {
                server_kills: left.seen.server_kills,
                published: ledger.published,
                unconfirmed: ledger.unconfirmed,
                duplicates: ledger.duplicates,
            },
            checked,
            took: [ran - started, stopped - ran, stopped.elapsed()],
            hung: false,
        })
    }
}

impl Played {
    fn hung(limit: Duration) -> Self {
        let mut checked = Checked::default();
        let expected = format!("set-up, program, delivery and checks within {limit:?}");
        checked
            .findings
            .add(FindingKind::Hung, "all", None, expected, "still running");
        Self {
            checked,
            took: [limit, Duration::ZERO, Duration::ZERO],
            report: GatewayReport::default(),
            cluster: ClusterReport::default(),
            hung: true,
        }
    }
}

/// Runs random programs on the gateway of `program serve`.
pub(in super::super) fn verify(
    options: &Verify,
    program: &Path,
    runtime: &Handle,
) -> Result<VerifyReport, VerifyError> {
    let world = Arc::new(World::new(options.tenants));
    let servers = if options.cluster {
        Some(Arc::new(Servers::start(if options.chaos { 3 } else { 1 }, runtime)?))
    } else {
        None
    };
    let _end = servers.as_deref().map(End);
    let make = {
        let (world, runtime, program) = (Arc::clone(&world), runtime.clone(), program.to_owned());
        let servers = servers.clone();
        move || Stage::new(&program, &world, servers.as_ref(), &runtime)
    };
    let mut report = VerifyReport {
        seed: options.seed,
        tracers: world.members.len(),
        threads: options.threads,
        rounds: 0,
        operations: BTreeMap::new(),
        ours: SideReport::default(),
        peer: None,
        chaos: None,
        gateway: Some(GatewayReport::default()),
        cluster: options.cluster.then(ClusterReport::default),
        failure: None,
    };
    let started = Instant::now();
    let mut left = options.operations;
    let mut stage = None;
    loop {
        let size = match options.duration {
            Some(duration) if report.rounds > 0 && started.elapsed() >= duration => break,
            Some(_) => ROUND,
            None if left == 0 => break,
            None => left.min(ROUND),
        };
        left = left.saturating_sub(size);
        let seed = round_seed(options.seed, report.rounds);
        let program = generate(seed, size, &world, options);
        for op in program.ops() {
            *report.operations.entry(op.kind.name()).or_default() += 1;
        }
        report.rounds += 1;
        let played = play(options.limit, &mut stage, make.clone(), &program)?;
        report.ours.add(&played.checked, played.took);
        if let Some(report) = &mut report.gateway {
            report.add(&played.report);
        }
        if let Some(report) = &mut report.cluster {
            report.add(&played.cluster);
        }
        if !played.checked.findings.counts.is_empty() {
            let found = played.checked.findings.first;
            let replay = |program: &Program| {
                // A hung program is not shortened: each try would take until the limit.
                if played.hung {
                    return None;
                }
                Some(
                    play(options.limit, &mut None, make.clone(), program)
                        .ok()?
                        .checked
                        .findings
                        .first,
                )
            };
            let shortest = shortest(program, found, replay);
            report.failure = Some(Failure {
                seed,
                command: command(options, seed, size),
                operations: shortest.program.len(),
                program: shortest.program.print(&world),
                reproduced: shortest.reproduced,
                findings: shortest.findings,
            });
            break;
        }
    }
    Ok(report)
}

/// Plays a program within the limit, on a new stage if there is none.
fn play(
    limit: Duration,
    stage: &mut Option<Stage>,
    make: impl FnOnce() -> Result<Stage, VerifyError> + Send + 'static,
    program: &Program,
) -> Result<Played, VerifyError> {
    let (used, program) = (stage.take(), program.clone());
    let work = move || {
        let stage = used.map_or_else(make, Ok)?;
        let played = stage.play(&program)?;
        Ok::<_, VerifyError>((stage, played))
    };
    match within(limit, work) {
        Some(done) => {
            let (used, played) = done?;
            *stage = Some(used);
            Ok(played)
        }
        None => Ok(Played::hung(limit)),
    }
}

struct Shortest {
    program: Program,
    findings: Vec<Finding>,
    reproduced: bool,
}

/// Removes operations, resources and spans while a program still has a deviation of the same kind.
fn shortest(program: Program, found: Vec<Finding>, mut play: impl FnMut(&Program) -> Option<Vec<Finding>>) -> Shortest {
    let kind = found.first().map(|finding| finding.kind);
    let deadline = Instant::now() + SHRINK;
    let mut best = Shortest {
        program,
        findings: found,
        reproduced: false,
    };
    let mut fails = |program: &Program, best: &mut Shortest, tries: usize| {
        for _ in 0..tries {
            if best.reproduced && Instant::now() >= deadline {
                return false;
            }
            let Some(findings) = play(program) else { return false };
            if findings.iter().any(|finding| Some(finding.kind) == kind) {
                *best = Shortest {
                    program: program.clone(),
                    findings,
                    reproduced: true,
                };
                return true;
            }
        }
        false
    };
    let whole = best.program.clone();
    if !fails(&whole, &mut best, TRIES) {
        return best;
    }
    let mut size = best.program.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < best.program.len() {
            let shorter = without(&best.program, start, size);
            if !fails(&shorter, &mut best, 1) {
                start += size;
            }
        }
        size /= 2;
    }
    for shorter in smaller_requests(&best.program) {
        fails(&shorter, &mut best, 1);
    }
    best
}

/// Returns the program without some operations, counted over all clients.
fn without(program: &Program, start: usize, count: usize) -> Program {
    let mut index = 0..;
    let kept = program.clients.iter().map(|ops| {
        let kept = ops
            .iter()
            .filter(|_| index.next().is_none_or(|index| index < start || index >= start + count));
        kept.cloned().collect()
    });
    Program {
        clients: kept.collect(),
        seed: program.seed,
        storage: program.storage,
    }
}

/// Returns the program with less in one of its requests: one span of each resource.
fn smaller_requests(program: &Program) -> Vec<Program> {
    let mut smaller = Vec::new();
    let mut all = program.clone();
    for ops in &mut all.clients {
        for op in ops {
            if let Kind::Export(export) = &mut op.kind {
                export.blocks.iter_mut().for_each(|block| block.spans.truncate(1));
            }
        }
    }
    if all != *program {
        smaller.push(all);
    }
    smaller
}

fn command(options: &Verify, seed: u64, operations: usize) -> String {
    format!(
        "tracer-registry verify --gateway --seed {seed} --tenants {} --operations {operations} --threads {}{}{}",
        options.tenants,
        options.threads,
        if options.cluster { " --cluster" } else { "" },
        if options.chaos { " --chaos" } else { "" }
    )
}
