//! Schedules the receiver's faults: gusts that affect some tenants, and storms that affect all.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracer_registry_collector::{Fault, LocalCollector};

use crate::Result;
use crate::options::{BAD, Options, key_of, name_of};
use crate::receiver::CollectorStarter;

/// Interval between gusts.
const GUST_EVERY: Duration = Duration::from_millis(250);
/// A gust affects one in this many tenants.
const HIT: u32 = 200;
/// Length of a storm and interval between storms, in gusts.
const STORM: u32 = 6;
const STORM_EVERY: u32 = 60;

/// A thread that makes the receiver fail.
pub(crate) struct FaultSchedule {
    stop: Sender<()>,
    thread: JoinHandle<Result<LocalCollector>>,
}

impl FaultSchedule {
    pub(crate) fn begin(options: &Options, starter: CollectorStarter, collector: LocalCollector) -> Self {
        let (stop, stopped) = channel();
        let options = options.clone();
        let thread = thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(options.seed);
            let mut collector = collector;
            refuse_bad_spans(&collector);
            let mut gust = 0;
            while stopped.recv_timeout(GUST_EVERY) == Err(RecvTimeoutError::Timeout) {
                gust += 1;
                match (gust / STORM_EVERY % 2, gust % STORM_EVERY) {
                    // All requests fail although it listens. Other faults are cleared first because
                    // they take precedence.
                    (1, 20) => {
                        collector.clear_faults();
                        collector.fault(Fault::status(503));
                    }
                    // It does not listen; the collector's faults are lost with it.
                    (0, 20) => {
                        collector.shutdown();
                        starter.note_closed();
                    }
                    (storm, over) if over == 20 + STORM => {
                        if storm == 0 {
                            collector = starter.open()?;
                        } else {
                            collector.clear_faults();
                        }
                        refuse_bad_spans(&collector);
                    }
                    (_, during) if (20..20 + STORM).contains(&during) => {}
                    _ => gust_faults(&options, &collector, &mut rng),
                }
            }
            collector.shutdown();
            starter.open()
        });
        Self { stop, thread }
    }

    /// Ends all faults. Returns the running collector.
    pub(crate) fn end(self) -> Result<LocalCollector> {
        drop(self.stop);
        self.thread.join().map_err(|_| "the fault thread panicked")?
    }
}

fn refuse_bad_spans(collector: &LocalCollector) {
    collector.fault(Fault::status(400).when_body_contains(BAD));
}

fn gust_faults(options: &Options, collector: &LocalCollector, rng: &mut StdRng) {
    for _ in 0..=options.tenants / HIT {
        let key = key_of(&name_of(options.any_tenant(rng)));
        collector.fault(any_fault(rng).only(key));
    }
}

fn any_fault(rng: &mut StdRng) -> Fault {
    let few = rng.random_range(1..=3);
    let millis = |rng: &mut StdRng, most| Duration::from_millis(rng.random_range(10..most));
    match rng.random_range(0..14_u32) {
        0 => Fault::status(429).times(few),
        1 => Fault::status(429).retry_after("1").times(few),
        2 => Fault::status(429).retry_after(in_seconds(2)).times(few),
        3 => Fault::status(503).times(few),
        4 => Fault::status(503).retry_after("1").times(few),
        // Longer than requests are retried, so that this one is dropped.
        5 => Fault::status(503).times(40),
        6 => Fault::hang().times(few),
        7 => Fault::reset().times(few),
        8 => Fault::truncate().times(1),
        9 => Fault::lose_answer().times(few),
        // Stored, but answered after the request times out.
        10 => Fault::lose_answer().after(Duration::from_secs(3)).times(1),
        11 => Fault::delay(millis(rng, 1500)).times(few),
        12 => Fault::partial_success(few.into()).times(1),
        _ => match rng.random_range(0..3_u32) {
            0 => Fault::reject_key().times(few),
            1 => Fault::status(413).times(few),
            _ => Fault::status(503).after(millis(rng, 1500)).times(few),
        },
    }
}

/// Formats `Retry-After` as a date.
fn in_seconds(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}
