//! What a span costs the thread that makes it, from its start to the queue.
//!
//! Bursts that fit the queue and are smaller than a batch, so that nothing is sent while the time is taken; between bursts everything is
//! flushed to the receiver. What sending costs is in the rows of processor time.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{Fleet, Holes, Plan, span};
use crate::job::Job;
use crate::making::Turns;
use crate::options::Options;
use crate::ours::Ours;
use crate::row::{Row, Target};
use crate::stock::Stock;
use crate::{Result, child};

/// Spans of one thread in a burst.
const BURST: u32 = 2_000;
/// Spans of each tracer in a burst that goes round many.
const EACH: u32 = 20;
/// Room for the bursts of two threads.
const QUEUE: usize = 4_096;

/// Which threads make spans on which tracers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    OneThread,
    SameTenant,
    TwoTenants,
    RoundRobin,
}

impl Place {
    const ALL: [(Self, &'static str, usize); 4] = [
        (Self::OneThread, "1 thread", 1),
        (Self::SameTenant, "2 threads, same tenant", 1),
        (Self::TwoTenants, "2 threads, two tenants", 2),
        (Self::RoundRobin, "round robin over 1,000 tenants", 1_000),
    ];

    /// Of a burst.
    fn spans(self) -> u64 {
        match self {
            Self::OneThread => u64::from(BURST),
            Self::SameTenant | Self::TwoTenants => 2 * u64::from(BURST),
            Self::RoundRobin => 1_000 * u64::from(EACH),
        }
    }
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let row = |(place, at, tracers)| {
        let plan = Plan {
            tracers,
            queue: QUEUE,
            batch: QUEUE,
            delay: Duration::from_secs(3600),
            ports: receiver.ports,
            holes: Holes::None,
        };
        let turns: Turns = child::measure(&Job::Enqueue {
            place,
            rounds: options.rounds(),
            plan,
        })?;
        let (ours, peer) = turns.medians();
        let row = Row::of("span with 4 attributes, enqueue", at, "ns", Target::RatioAtMost(1.0));
        Ok(row.measured(ours, "stock batch processor", peer))
    };
    Place::ALL.into_iter().map(row).collect()
}

pub(crate) fn measure(place: Place, plan: &Plan, rounds: usize) -> Result<Turns> {
    let (ours, stock) = (Ours::make(plan)?, Stock::make(plan)?);
    plan.ports.forget()?;
    let bursts: u32 = if place == Place::RoundRobin { 2 } else { 20 };
    let mut turns = Turns::default();
    // One more than counts: the first opens connections and touches memory that the others find.
    for round in 0..=rounds {
        let mine = (0..bursts).map(|_| burst(place, &ours)).sum::<f64>();
        let theirs = (0..bursts).map(|_| burst(place, &stock)).sum::<f64>();
        if round > 0 {
            turns.ours.push(mine / f64::from(bursts));
            turns.peer.push(theirs / f64::from(bursts));
        }
    }
    let made = place.spans() * u64::from(bursts) * 2 * (rounds as u64 + 1);
    let received = plan.ports.received()?.spans;
    if received != made {
        return Err(format!("{place:?}: of {made} spans {received} were received").into());
    }
    Ok(turns)
}

/// Nanoseconds that a span took its thread.
fn burst<F: Fleet>(place: Place, fleet: &F) -> f64 {
    let tracers = fleet.tracers();
    let all = || (0..EACH).flat_map(|_| tracers);
    let (first, last) = (&tracers[0], &tracers[tracers.len() - 1]);
    let took = match place {
        Place::OneThread => alone(first),
        Place::SameTenant => together(first, first),
        Place::TwoTenants => together(first, last),
        Place::RoundRobin => timed(|| all().for_each(span)) / f64::from(EACH) / 1_000.0,
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
