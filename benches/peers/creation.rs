//! Cost of creating tracers.

use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::Plan;
use crate::idle::shown;
use crate::job::Job;
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child, ours, stock};

/// Nanoseconds per item, in alternating samples.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Samples {
    pub(crate) ours: Vec<f64>,
    pub(crate) peer: Vec<f64>,
}

impl Samples {
    pub(crate) fn medians(&self) -> (Option<f64>, Option<f64>) {
        (
            median(self.ours.iter().copied().map(Some)),
            median(self.peer.iter().copied().map(Some)),
        )
    }
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let plan = Plan::sending(10_000, receiver.ports);
    let samples: Samples = child::measure(&Job::Creation {
        plan,
        rounds: options.rounds(),
    })?;
    let (ours, peer) = samples.medians();
    let row = Row::of(
        "creating a tracer, key from the environment",
        shown(plan.tracers),
        "ns",
        Target::RatioAtMost(2.0),
    );
    Ok(vec![row.measured(ours, "provider without a processor", peer)])
}

pub(crate) fn measure(plan: &Plan, rounds: usize) -> Result<Samples> {
    let names: Vec<String> = (0..plan.tracers).map(ours::name).collect();
    let each = |begin: Instant| {
        number(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)) / number(plan.tracers as u64)
    };
    let mut samples = Samples::default();
    // One extra round: the first one touches memory.
    for round in 0..=rounds {
        let registry = ours::builder(&plan.ports.url()).build()?;
        let begin = Instant::now();
        for name in &names {
            black_box(registry.tenant(name)?);
        }
        let ours = each(begin);
        drop(registry);
        let mut tracers = Vec::with_capacity(names.len());
        let begin = Instant::now();
        for _ in &names {
            tracers.push(stock::bare());
        }
        let peer = each(begin);
        drop(tracers);
        if round > 0 {
            samples.ours.push(ours);
            samples.peer.push(peer);
        }
    }
    Ok(samples)
}
