//! Load at a given rate, round robin over all tracers.

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::control::Received;
use crate::fleet::{Fleet, Plan, span};
use crate::process;
use crate::row::number;

/// Interval at which the load thread wakes up.
const TICK: Duration = Duration::from_millis(1);
/// Maximum backlog that a delayed thread catches up at once, limited to a quarter of all queues.
/// The rest is skipped, so that a pause of the machine does not overflow queues.
const CAUGHT_UP: Duration = Duration::from_millis(50);
/// Duration of the unmeasured load before a measurement.
const WARM_UP: Duration = Duration::from_millis(400);

/// Result of a load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LoadResult {
    pub(crate) made: u64,
    /// Spans for receivers that answer.
    pub(crate) made_healthy: u64,
    pub(crate) elapsed: Duration,
    /// Spans not yet received when the last one was created.
    pub(crate) behind: u64,
    pub(crate) cpu: Option<Duration>,
    pub(crate) received: Received,
}

/// How to wait for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settle {
    /// Flush.
    Flush,
    /// Wait for five delays, because a flush would wait for receivers that never answer.
    Wait,
}

impl LoadResult {
    /// Spans created per second.
    pub(crate) fn rate(&self) -> f64 {
        number(self.made) / self.elapsed.as_secs_f64()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.made_healthy.saturating_sub(self.received.spans)
    }

    /// Processor time of this process per received span, in microseconds.
    pub(crate) fn cpu_per_span(&self) -> Option<f64> {
        let spans = self.received.spans.max(1);
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / number(spans))
    }
}

/// Opens connections and warms up the allocator.
pub(crate) fn warm_up<F: Fleet>(fleet: &F, plan: &Plan, rate: u64, settle: Settle) {
    make(fleet, plan, rate, WARM_UP);
    settled(fleet, plan, settle);
}

/// Creates `rate` spans a second for `time`, and returns the result.
pub(crate) fn run_load<F: Fleet>(
    fleet: &F,
    plan: &Plan,
    rate: u64,
    time: Duration,
    settle: Settle,
) -> Result<LoadResult> {
    plan.ports.reset()?;
    let before = process::cpu();
    let mut result = make(fleet, plan, rate, time);
    result.behind = result.made.saturating_sub(plan.ports.received()?.spans);
    settled(fleet, plan, settle);
    result.cpu = process::cpu()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    result.received = plan.ports.received()?;
    Ok(result)
}

fn settled<F: Fleet>(fleet: &F, plan: &Plan, settle: Settle) {
    match settle {
        Settle::Flush => fleet.flush(),
        Settle::Wait => thread::sleep(plan.delay * 5),
    }
}

fn make<F: Fleet>(fleet: &F, plan: &Plan, rate: u64, time: Duration) -> LoadResult {
    let mut result = LoadResult::default();
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
            result.made += 1;
            result.made_healthy += u64::from(!plan.is_black_hole(at));
        }
        thread::sleep(TICK);
    }
    result.elapsed = begin.elapsed();
    result
}
