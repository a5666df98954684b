//! Spans at a given rate, round robin over all tracers.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::control::Received;
use crate::fleet::{Fleet, Plan, span};
use crate::process;
use crate::row::number;

/// How often the thread that makes spans wakes up.
const TICK: Duration = Duration::from_millis(1);
/// Where that thread was kept waiting, so much is caught up at once at the most, and no more than a quarter of what all queues hold; the
/// rest is not made, so that a pause of the machine is no burst that overflows queues.
const CAUGHT_UP: Duration = Duration::from_millis(50);
/// How long spans are made and thrown away before it counts.
const WARM_UP: Duration = Duration::from_millis(400);

/// What came of spans at a given rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Driven {
    pub(crate) made: u64,
    /// Of those, what went to a receiver that answers.
    pub(crate) made_healthy: u64,
    pub(crate) elapsed: Duration,
    /// Of those, what had not been received when the last was made.
    pub(crate) behind: u64,
    pub(crate) cpu: Option<Duration>,
    pub(crate) received: Received,
}

/// When spans are as good as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settle {
    /// After a flush.
    Flush,
    /// After five times the delay: a flush would wait for receivers that never answer.
    Wait,
}

impl Driven {
    /// Spans a second.
    pub(crate) fn rate(&self) -> f64 {
        number(self.made) / self.elapsed.as_secs_f64()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.made_healthy.saturating_sub(self.received.spans)
    }

    /// Processor time of this process for each span that was received, in microseconds.
    pub(crate) fn cpu_per_span(&self) -> Option<f64> {
        let spans = self.received.spans.max(1);
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / number(spans))
    }
}

/// Lets tracers open their connections and the allocator its memory.
pub(crate) fn warm_up<F: Fleet>(fleet: &F, plan: &Plan, rate: u64, settle: Settle) {
    make(fleet, plan, rate, WARM_UP);
    settled(fleet, plan, settle);
}

/// Makes `rate` spans a second for a while, and says what came of them.
pub(crate) fn drive<F: Fleet>(fleet: &F, plan: &Plan, rate: u64, time: Duration, settle: Settle) -> Result<Driven> {
    plan.ports.forget()?;
    let before = process::cpu();
    let mut driven = make(fleet, plan, rate, time);
    driven.behind = driven.made.saturating_sub(plan.ports.received()?.spans);
    settled(fleet, plan, settle);
    driven.cpu = process::cpu()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    driven.received = plan.ports.received()?;
    Ok(driven)
}

fn settled<F: Fleet>(fleet: &F, plan: &Plan, settle: Settle) {
    match settle {
        Settle::Flush => fleet.flush(),
        Settle::Wait => thread::sleep(plan.delay * 5),
    }
}

fn make<F: Fleet>(fleet: &F, plan: &Plan, rate: u64, time: Duration) -> Driven {
    let mut driven = Driven::default();
    let mut turns = fleet.tracers().iter().enumerate().cycle();
    let begin = Instant::now();
    let mut last = begin;
    let burst = number((plan.tracers * plan.queue / 4) as u64);
    let mut owed: f64 = 0.0;
    while begin.elapsed() < time {
        let now = Instant::now();
        owed += (now - last).min(CAUGHT_UP).as_secs_f64() * number(rate);
        owed = owed.min(burst);
        last = now;
        while owed >= 1.0 {
            let Some((at, tracer)) = turns.next() else { break };
            span(tracer);
            owed -= 1.0;
            driven.made += 1;
            driven.made_healthy += u64::from(!plan.is_hole(at));
        }
        thread::sleep(TICK);
    }
    driven.elapsed = begin.elapsed();
    driven
}
