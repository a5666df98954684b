//! Rounds: a program of a bounded size each, on tracers that live through all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::VerifyError;
use super::cast::{Member, cast};
use super::expect::expect;
use super::finding::Finding;
use super::generate::generate;
use super::options::Verify;
use super::ours::Ours;
use super::peer::{self, Peer};
use super::print::print;
use super::program::Program;
use super::report::{Failure, SideReport, VerifyReport};
use super::shrink::{Budget, shrink};
use super::stage::Stage;

/// Operations of a round, so that memory stays bounded.
const ROUND: usize = 4000;

/// How often a program that needs its threads is tried before it is held to show nothing.
const TRIES_AT_ONCE: usize = 4;
/// How long a program is made shorter.
const SHRINKING: Budget = Budget {
    tries: 2000,
    time: Duration::from_secs(30),
};

/// Runs random programs until as much was tried as was asked, or a deviation was found.
///
/// Blocks the thread, and starts threads and a runtime of its own: not for asynchronous code.
///
/// # Errors
/// [`VerifyError`] where there is nothing to try it on: no port, no thread, no registry. A deviation is no error, it is in the report.
pub fn verify(options: &Verify) -> Result<VerifyReport, VerifyError> {
    let cast: Arc<[Member]> = cast(options.tenants).into();
    let runtime = runtime()?;
    let ours = Stage::new(&cast, runtime.handle(), Ours::new)?;
    let peer_cast = peer::cast(&cast);
    let on_stage = || {
        Stage::new(&peer_cast, runtime.handle(), |cast, collector| {
            Peer::new(cast, collector, runtime.handle())
        })
    };
    let peer = options.peer.then(on_stage).transpose()?;
    let mut report = VerifyReport {
        seed: options.seed,
        tracers: cast.len(),
        threads: options.threads,
        rounds: 0,
        operations: std::collections::BTreeMap::new(),
        ours: SideReport::default(),
        peer: options.peer.then(SideReport::default),
        failure: None,
    };
    let began = Instant::now();
    let mut left = options.operations;
    loop {
        let size = match options.duration {
            Some(duration) if report.rounds > 0 && began.elapsed() >= duration => break,
            Some(_) => ROUND,
            None if left == 0 => break,
            None => left.min(ROUND),
        };
        left = left.saturating_sub(size);
        let seed = round_seed(options.seed, report.rounds);
        let program = generate(seed, size, options.threads, &cast);
        debug_assert!(!expect(&program, &cast).is_invalid, "the generator keeps the rules");
        program.each(|op| *report.operations.entry(op.kind.name(op.mode)).or_default() += 1);
        report.rounds += 1;
        let played = ours.play(&program, seed);
        report.ours.add(&played.checked, played.took);
        if let (Some(peer), Some(report)) = (&peer, &mut report.peer) {
            let played = peer.play(&peer::adapted(&program), seed);
            report.add(&played.checked, played.took);
        }
        if !played.checked.findings.counts.is_empty() {
            let found = played.checked.findings.first;
            let shortest = shortest(
                program,
                &found,
                |program| {
                    let stage = Stage::new(&cast, runtime.handle(), Ours::new).ok()?;
                    Some(stage.play(program, seed).checked.findings.first)
                },
                &cast,
            );
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

struct Shortest {
    program: Program,
    findings: Vec<Finding>,
    reproduced: bool,
}

/// Makes a program shorter that showed `found`. First a single thread at a time, which repeats itself; else all of them, several times.
fn shortest(
    program: Program,
    found: &[Finding],
    mut play: impl FnMut(&Program) -> Option<Vec<Finding>>,
    cast: &[Member],
) -> Shortest {
    let kind = found.first().map(|finding| finding.kind);
    let mut findings = Vec::new();
    let mut shows = |program: &Program, times: usize| {
        if expect(program, cast).is_invalid {
            return false;
        }
        (0..times).any(|_| {
            let Some(seen) = play(program) else { return false };
            let shows = seen.iter().any(|finding| Some(finding.kind) == kind);
            if shows {
                findings = seen;
            }
            shows
        })
    };
    let alone = program.threads.iter().map(|thread| Program {
        threads: vec![thread.clone()],
        workers: program.workers.clone(),
    });
    let alone = alone.collect::<Vec<_>>().into_iter().find(|program| shows(program, 1));
    let (begin, times) = match alone {
        Some(alone) => (alone, 1),
        None if shows(&program, TRIES_AT_ONCE) => (program, TRIES_AT_ONCE),
        None => {
            return Shortest {
                program,
                findings: found.to_vec(),
                reproduced: false,
            };
        }
    };
    let program = shrink(begin, SHRINKING, |program| shows(program, times));
    Shortest {
        program,
        findings,
        reproduced: true,
    }
}

pub(super) fn runtime() -> Result<Runtime, VerifyError> {
    Ok(Builder::new_multi_thread().worker_threads(4).enable_all().build()?)
}

/// The seed of a round; that of the first is the one that was asked for.
fn round_seed(seed: u64, round: u64) -> u64 {
    seed.wrapping_add(round.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn command(options: &Verify, seed: u64, operations: usize) -> String {
    format!(
        "tracer-registry verify --seed {seed} --tenants {} --operations {operations} --threads {}",
        options.tenants, options.threads
    )
}
