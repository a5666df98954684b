//! What tenants get delivered while the receiver of others accepts connections and never answers.
//!
//! Twice, one after the other: as it begins, when nobody knows yet who will not answer, and as it lasts.

use std::mem::ManuallyDrop;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Receiver;
use crate::fleet::{Fleet, Holes, Plan, Side};
use crate::job::Job;
use crate::load::{Driven, Settle, drive};
use crate::options::Options;
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const RATE: u64 = 50_000;

/// Two times on end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    begins: Driven,
    lasts: Driven,
}

/// One of two times.
type Pick = fn(&Times) -> &Driven;

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let time = options.pick(Duration::from_secs(2), Duration::from_secs(15));
    let run = |side, holes| -> Result<Times> {
        let plan = Plan {
            holes,
            ..Plan::sending(1_000, receiver.ports)
        };
        child::measure(&Job::Hole { side, plan, time })
    };
    let (mut with, mut without, mut stock) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.long_rounds() {
        with.push(run(Side::Ours, Holes::ATenth)?);
        without.push(run(Side::Ours, Holes::None)?);
        stock.push(run(Side::Stock, Holes::ATenth)?);
    }
    let mut rows = Vec::new();
    let times: [(&str, Pick); 2] = [
        ("900 of 1,000 tenants, as it begins", |times| &times.begins),
        ("900 of 1,000 tenants, as it lasts", |times| &times.lasts),
    ];
    for (at, pick) in times {
        let of = |all: &[Times], what: fn(&Driven) -> f64| median(all.iter().map(|times| Some(what(pick(times)))));
        for (what, unit, target, value) in [
            (
                "p99 from a span's end to its receipt, 100 others black-holed",
                "ms",
                Target::RatioAtMost(1.2),
                p99 as fn(&Driven) -> f64,
            ),
            (
                "delivered, 100 others black-holed",
                "%",
                Target::RatioAtLeast(0.9999),
                delivered,
            ),
        ] {
            let beside = of(&stock, value).unwrap_or(f64::NAN);
            let row = Row::of(what, at, unit, target).note(format!("stock batch processors instead: {beside:.2}"));
            rows.push(row.measured(of(&with, value), "ours, none black-holed", of(&without, value)));
        }
    }
    Ok(rows)
}

fn p99(driven: &Driven) -> f64 {
    driven.received.p99_millis
}

/// Per cent of what was made for receivers that answer.
fn delivered(driven: &Driven) -> f64 {
    number(driven.received.spans) / number(driven.made_healthy.max(1)) * 100.0
}

pub(crate) fn measure<F: Fleet>(plan: &Plan, time: Duration) -> Result<Times> {
    // Never dropped, as this process ends with the measurement: that would wait for receivers that never answer.
    let fleet = ManuallyDrop::new(F::make(plan)?);
    Ok(Times {
        begins: drive(&*fleet, plan, RATE, time, Settle::Wait)?,
        lasts: drive(&*fleet, plan, RATE, time, Settle::Wait)?,
    })
}
