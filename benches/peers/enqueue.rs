//! Cost of a span for its thread, from start to queue.
//!
//! Bursts fit in the queue and stay below a batch, so that nothing is sent while they are timed.
//! Everything is flushed between bursts. The processor time rows include the cost of sending.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::creation::Samples;
use crate::fleet::{BlackHoles, Fleet, Plan, span};
use crate::job::Job;
use crate::options::Options;
use crate::ours::Ours;
use crate::row::{Row, Target};
use crate::stock::Stock;
use crate::{Result, child};

/// Spans per thread in a burst.
const BURST: u32 = 2_000;
/// Spans per tracer in a round-robin burst.
const EACH: u32 = 20;
/// Capacity for the bursts of two threads.
const QUEUE: usize = 4_096;

/// Which threads create spans on which tracers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ThreadLayout {
    OneThread,
    SameTenant,
    TwoTenants,
    RoundRobin,
}

impl ThreadLayout {
    /// With the number of tracers and the highest ratio aimed at.
    const ALL: [(Self, &'static str, usize, f64); 4] = [
        (Self::OneThread, "1 thread", 1, 0.95),
        (Self::SameTenant, "2 threads, same tenant", 1, 0.9),
        (Self::TwoTenants, "2 threads, two tenants", 2, 0.8),
        (Self::RoundRobin, "round robin over 1,000 tenants", 1_000, 0.8),
    ];

    /// Number of spans in a burst.
    fn spans(self) -> u64 {
        match self {
            Self::OneThread => u64::from(BURST),
            Self::SameTenant | Self::TwoTenants => 2 * u64::from(BURST),
            Self::RoundRobin => 1_000 * u64::from(EACH),
        }
    }
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let row = |(layout, at, tracers, target)| {
        let plan = Plan {
            tracers,
            queue: QUEUE,
            batch: QUEUE,
            delay: Duration::from_secs(3600),
            ports: receiver.ports,
            black_holes: BlackHoles::None,
        };
        let samples: Samples = child::measure(&Job::Enqueue {
            layout,
            rounds: options.rounds(),
            plan,
        })?;
        let (ours, peer) = samples.medians();
        let row = Row::of("span with 4 attributes, enqueue", at, "ns", Target::RatioAtMost(target));
        Ok(row.measured(ours, "stock batch processor", peer))
    };
    ThreadLayout::ALL.into_iter().map(row).collect()
}

pub(crate) fn measure(layout: ThreadLayout, plan: &Plan, rounds: usize) -> Result<Samples> {
    let (ours, stock) = (Ours::make(plan)?, Stock::make(plan)?);
    plan.ports.reset()?;
    let bursts: u32 = if layout == ThreadLayout::RoundRobin { 2 } else { 20 };
    let mut samples = Samples::default();
    // One extra round: the first one opens connections and touches memory.
    for round in 0..=rounds {
        let mine = (0..bursts).map(|_| burst(layout, &ours)).sum::<f64>();
        let theirs = (0..bursts).map(|_| burst(layout, &stock)).sum::<f64>();
        if round > 0 {
            samples.ours.push(mine / f64::from(bursts));
            samples.peer.push(theirs / f64::from(bursts));
        }
    }
    let created = layout.spans() * u64::from(bursts) * 2 * (rounds as u64 + 1);
    let received = plan.ports.received()?.spans;
    if received != created {
        return Err(format!("{layout:?}: {received} of {created} spans were received").into());
    }
    Ok(samples)
}

/// Returns the nanoseconds that a span takes its thread.
fn burst<F: Fleet>(layout: ThreadLayout, fleet: &F) -> f64 {
    let tracers = fleet.tracers();
    let all = || (0..EACH).flat_map(|_| tracers);
    let (first, last) = (&tracers[0], &tracers[tracers.len() - 1]);
    let took = match layout {
        ThreadLayout::OneThread => alone(first),
        ThreadLayout::SameTenant => together(first, first),
        ThreadLayout::TwoTenants => together(first, last),
        ThreadLayout::RoundRobin => timed(|| all().for_each(span)) / f64::from(EACH) / 1_000.0,
    };
    fleet.flush();
    took
}

fn alone<T: opentelemetry::trace::Tracer>(tracer: &T) -> f64 {
    timed(|| (0..BURST).for_each(|_| span(tracer))) / f64::from(BURST)
}

fn together<T: opentelemetry::trace::Tracer + Sync>(one: &T, other: &T) -> f64 {
    let start = Barrier::new(2);
    let turn = |tracer| {
        start.wait();
        alone(tracer)
    };
    thread::scope(|scope| {
        let beside = scope.spawn(|| turn(other));
        let here = turn(one);
        beside.join().map_or(f64::NAN, |there| f64::midpoint(here, there))
    })
}

fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64() * 1e9
}
