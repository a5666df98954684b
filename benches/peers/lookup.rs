//! Cost of finding an existing tracer.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;

use crate::control::Receiver;
use crate::creation::Samples;
use crate::fleet::Plan;
use crate::job::Job;
use crate::options::Options;
use crate::row::{Row, Target, number};
use crate::{Result, child, ours};

/// Look-ups of each name per sample.
const REPEATED: u32 = 200;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let plan = Plan::sending(1_000, receiver.ports);
    let samples: Samples = child::measure(&Job::Lookup {
        rounds: options.rounds(),
        plan,
    })?;
    let (ours, peer) = samples.medians();
    let row = Row::of(
        "look-up by tenant slug, hit",
        "1,000 names",
        "ns",
        Target::RatioAtMost(1.5),
    );
    let row = row.note("tests/suite/lookup.rs verifies that a hit does not allocate");
    Ok(vec![row.measured(ours, "DashMap look-up and Arc clone", peer)])
}

pub(crate) fn measure(plan: &Plan, rounds: usize) -> Result<Samples> {
    let names: Vec<String> = (0..plan.tracers).map(ours::name).collect();
    let registry = ours::builder(&plan.ports.url()).build()?;
    let map: DashMap<String, Arc<u64>> = DashMap::new();
    for (name, number) in names.iter().zip(0..) {
        drop(registry.tenant(name)?);
        map.insert(name.clone(), Arc::new(number));
    }
    let asked = number(plan.tracers as u64) * f64::from(REPEATED);
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let begin = Instant::now();
        for name in (0..REPEATED).flat_map(|_| &names) {
            drop(black_box(registry.tenant(black_box(name))));
        }
        samples.ours.push(begin.elapsed().as_secs_f64() * 1e9 / asked);
        let begin = Instant::now();
        for name in (0..REPEATED).flat_map(|_| &names) {
            drop(black_box(
                map.get(black_box(name.as_str())).map(|found| Arc::clone(found.value())),
            ));
        }
        samples.peer.push(begin.elapsed().as_secs_f64() * 1e9 / asked);
    }
    Ok(samples)
}
