//! Cost of finding an existing tracer.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;
use foldhash::fast::RandomState as FastState;

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
    let row = |peer_hashes_fast, peer, target| -> Result<Row> {
        let samples: Samples = child::measure(&Job::Lookup {
            rounds: options.rounds(),
            plan,
            peer_hashes_fast,
        })?;
        let (ours, theirs) = samples.medians();
        let row = Row::of(
            "look-up by tenant slug, hit",
            "1,000 names",
            "ns",
            Target::RatioAtMost(target),
        );
        let row = row.note("tests/suite/lookup.rs verifies that a hit does not allocate");
        Ok(row.measured(ours, peer, theirs))
    };
    Ok(vec![
        row(false, "DashMap look-up and Arc clone", 0.9)?,
        row(true, "the same DashMap with this crate's hasher", 1.5)?,
    ])
}

pub(crate) fn measure(plan: &Plan, rounds: usize, peer_hashes_fast: bool) -> Result<Samples> {
    if peer_hashes_fast {
        compare(plan, rounds, FastState::default())
    } else {
        compare(plan, rounds, RandomState::new())
    }
}

fn compare<S: BuildHasher + Clone>(plan: &Plan, rounds: usize, hasher: S) -> Result<Samples> {
    let names: Vec<String> = (0..plan.tracers).map(ours::name).collect();
    let registry = ours::builder(&plan.ports.url()).build()?;
    let map: DashMap<String, Arc<u64>, S> = DashMap::with_hasher(hasher);
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
