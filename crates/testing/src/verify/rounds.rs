//! Runs programs of bounded size, one per round, on tracers that live through all rounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use super::check::finding::Finding;
use super::error::VerifyError;
use super::gateway;
use super::generate::{generate, generate_disturbed};
use super::options::{Verify, round_seed};
use super::oracle::expect::{Instances, expect, expect_replaced};
use super::ours::subject::Ours;
use super::peer::{self, Peer};
use super::program::cast::{Member, cast};
use super::program::operation::Program;
use super::program::print::print;
use super::program::shrink::{Budget, shrink};
use super::report::{ChaosReport, Failure, SideReport, VerifyReport};
use super::stage::{Played, Stage};
use super::subject::Subject;
use super::watchdog::within;
use tracer_registry_collector::LocalCollector;

/// Operations per round; bounds the memory.
const ROUND: usize = 4000;

/// Runs of a multi-threaded program before it counts as not reproducing the deviation.
const CONCURRENT_TRIES: usize = 4;
/// Limits of the shortening of a program.
const SHRINK_BUDGET: Budget = Budget {
    tries: 2000,
    time: Duration::from_secs(30),
};

/// Runs random programs until the requested amount is done or a deviation is found.
///
/// Blocks the thread and starts its own threads and runtime: do not call it from async code.
///
/// # Errors
/// [`VerifyError`] if a collector, thread or registry cannot be created. A deviation is not an
/// error; it is in the report.
pub fn verify(options: &Verify) -> Result<VerifyReport, VerifyError> {
    let runtime = runtime()?;
    let report = match &options.gateway {
        Some(program) => gateway::rounds::verify(options, program, runtime.handle()),
        None => on_runtime(options, runtime.handle()),
    };
    // Do not wait: a program may hang.
    runtime.shutdown_background();
    report
}

fn on_runtime(options: &Verify, runtime: &Handle) -> Result<VerifyReport, VerifyError> {
    let cast: Arc<[Member]> = cast(options.tenants).into();
    let (generate, subject): (Generate, MakeSubject) = if options.chaos {
        (generate_disturbed, Ours::disturbed)
    } else {
        (generate, Ours::new)
    };
    let make_ours = {
        let (cast, runtime) = (Arc::clone(&cast), runtime.clone());
        move || Stage::new(&cast, &runtime, subject)
    };
    let make_peer = {
        let (cast, runtime) = (peer::cast(&cast), runtime.clone());
        move || Stage::new(&cast, &runtime, |cast, collector| Peer::new(cast, collector, &runtime))
    };
    let mut ours = Watched::new(options.limit, make_ours);
    let mut peer = options.peer.then(|| Watched::new(options.limit, make_peer));
    let mut report = VerifyReport {
        seed: options.seed,
        tracers: cast.len(),
        threads: options.threads,
        rounds: 0,
        operations: std::collections::BTreeMap::new(),
        ours: SideReport::default(),
        peer: options.peer.then(SideReport::default),
        chaos: None,
        gateway: None,
        cluster: None,
        failure: None,
    };
    let started = Instant::now();
    let mut left = options.operations;
    loop {
        let size = match options.duration {
            Some(duration) if report.rounds > 0 && started.elapsed() >= duration => break,
            Some(_) => ROUND,
            None if left == 0 => break,
            None => left.min(ROUND),
        };
        left = left.saturating_sub(size);
        let seed = round_seed(options.seed, report.rounds);
        let program = generate(seed, size, options.threads, &cast);
        debug_assert!(
            is_valid(&program, &cast, options.chaos),
            "the generator makes valid programs"
        );
        program.each(|op| *report.operations.entry(op.kind.name(op.mode)).or_default() += 1);
        report.rounds += 1;
        let played = ours.play(&program, seed)?;
        report.ours.add(&played.checked, played.took);
        report.chaos = options.chaos.then_some(ChaosReport {
            evicted: played.tally.evicted,
            grown: played.tally.grown,
            refused: played.tally.refused,
        });
        if let (Some(peer), Some(report)) = (&mut peer, &mut report.peer) {
            let played = peer.play(&peer::adapted(&program), seed)?;
            report.add(&played.checked, played.took);
        }
        if !played.checked.findings.counts.is_empty() {
            let found = played.checked.findings.first;
            // A hung program is not shortened: each try would take until the limit.
            let replay = |program: &Program| {
                if played.hung {
                    return None;
                }
                Some(ours.play_fresh(program, seed).ok()?.checked.findings.first)
            };
            let is_valid = |program: &Program| is_valid(program, &cast, options.chaos);
            let shortest = shortest(program, &found, replay, is_valid);
            report.failure = Some(Failure {
                seed,
                command: command(options, seed, size),
                operations: shortest.program.len(),
                program: print(&shortest.program, &cast),
                reproduced: shortest.reproduced,
                findings: shortest.findings,
            });
            break;
        }
    }
    Ok(report)
}

type Generate = fn(u64, usize, usize, &[Member]) -> Program;
type MakeSubject = fn(&[Member], &Arc<LocalCollector>) -> Result<Ours, VerifyError>;

/// A stage that is created for the first program, with a time limit for everything on it.
struct Watched<S, M> {
    limit: Duration,
    make: M,
    stage: Option<Stage<S>>,
}

impl<S: Subject, M> Watched<S, M>
where
    M: Fn() -> Result<Stage<S>, VerifyError> + Clone + Send + 'static,
{
    fn new(limit: Duration, make: M) -> Self {
        Self {
            limit,
            make,
            stage: None,
        }
    }

    fn play(&mut self, program: &Program, seed: u64) -> Result<Played, VerifyError> {
        let (stage, make, program) = (self.stage.take(), self.make.clone(), program.clone());
        let work = move || {
            let stage = stage.map_or_else(make, Ok)?;
            let played = stage.play(&program, seed);
            Ok::<_, VerifyError>((stage, played))
        };
        match within(self.limit, work) {
            Some(done) => {
                let (stage, played) = done?;
                self.stage = Some(stage);
                Ok(played)
            }
            None => Ok(Played::hung(self.limit)),
        }
    }

    /// Plays a program on a new stage, which is created and dropped within the limit too.
    fn play_fresh(&self, program: &Program, seed: u64) -> Result<Played, VerifyError> {
        let (make, program) = (self.make.clone(), program.clone());
        let work = move || Ok(make()?.play(&program, seed));
        within(self.limit, work).unwrap_or_else(|| Ok(Played::hung(self.limit)))
    }
}

fn is_valid(program: &Program, cast: &[Member], chaos: bool) -> bool {
    let expected = if chaos {
        expect_replaced(program, cast, &Instances::new())
    } else {
        expect(program, cast)
    };
    !expected.is_invalid
}

struct Shortest {
    program: Program,
    findings: Vec<Finding>,
    reproduced: bool,
}

/// Shortens a program with the deviations `found`. Tries each thread alone, which is deterministic,
/// and then all threads together, several times.
fn shortest(
    program: Program,
    found: &[Finding],
    mut play: impl FnMut(&Program) -> Option<Vec<Finding>>,
    is_valid: impl Fn(&Program) -> bool,
) -> Shortest {
    let kind = found.first().map(|finding| finding.kind);
    let mut findings = Vec::new();
    let mut fails = |program: &Program, times: usize| {
        if !is_valid(program) {
            return false;
        }
        (0..times).any(|_| {
            let Some(seen) = play(program) else { return false };
            let fails = seen.iter().any(|finding| Some(finding.kind) == kind);
            if fails {
                findings = seen;
            }
            fails
        })
    };
    let alone = program.threads.iter().map(|thread| Program {
        threads: vec![thread.clone()],
        workers: program.workers.clone(),
    });
    let alone = alone.collect::<Vec<_>>().into_iter().find(|program| fails(program, 1));
    let (begin, times) = match alone {
        Some(alone) => (alone, 1),
        None if fails(&program, CONCURRENT_TRIES) => (program, CONCURRENT_TRIES),
        None => {
            return Shortest {
                program,
                findings: found.to_vec(),
                reproduced: false,
            };
        }
    };
    let program = shrink(begin, SHRINK_BUDGET, |program| fails(program, times));
    Shortest {
        program,
        findings,
        reproduced: true,
    }
}

pub(super) fn runtime() -> Result<Runtime, VerifyError> {
    Ok(Builder::new_multi_thread().worker_threads(4).enable_all().build()?)
}

fn command(options: &Verify, seed: u64, operations: usize) -> String {
    format!(
        "tracer-registry verify --seed {seed} --tenants {} --operations {operations} --threads {}{}",
        options.tenants,
        options.threads,
        if options.chaos { " --chaos" } else { "" }
    )
}
