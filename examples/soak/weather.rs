//! What the receiver does wrong, and when: gusts that hit some tenants, and storms that hit all.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracer_registry_collector::{Fault, LocalCollector};

use crate::Result;
use crate::options::{BAD, Options, key_of, name_of};
use crate::receiver::Site;

/// From one gust to the next.
const GUST_EVERY: Duration = Duration::from_millis(250);
/// Of so many tenants one is hit by a gust.
const HIT: u32 = 200;
/// A storm is over after so many gusts, and comes once in so many.
const STORM: u32 = 6;
const STORM_EVERY: u32 = 60;

/// A thread that makes the receiver fail.
pub(crate) struct Weather {
    stop: Sender<()>,
    thread: JoinHandle<Result<LocalCollector>>,
}

impl Weather {
    pub(crate) fn begin(options: &Options, site: Site, collector: LocalCollector) -> Self {
        let (stop, stopped) = channel();
        let options = options.clone();
        let thread = thread::spawn(move || {
            let mut chance = StdRng::seed_from_u64(options.seed);
            let mut collector = collector;
            refuse_what_is_bad(&collector);
            let mut gust = 0;
            while stopped.recv_timeout(GUST_EVERY) == Err(RecvTimeoutError::Timeout) {
                gust += 1;
                match (gust / STORM_EVERY % 2, gust % STORM_EVERY) {
                    // Everything fails for a while, though it listens: before the others told, which would have their turn first.
                    (1, 20) => {
                        collector.clear_faults();
                        collector.fault(Fault::status(503));
                    }
                    // Nobody listens; the faults told so far go with the collector.
                    (0, 20) => {
                        collector.shutdown();
                        site.note_closed();
                    }
                    (storm, over) if over == 20 + STORM => {
                        if storm == 0 {
                            collector = site.open()?;
                        } else {
                            collector.clear_faults();
                        }
                        refuse_what_is_bad(&collector);
                    }
                    (_, during) if (20..20 + STORM).contains(&during) => {}
                    _ => blow(&options, &collector, &mut chance),
                }
            }
            collector.shutdown();
            site.open()
        });
        Self { stop, thread }
    }

    /// From here on it serves as ever; gives what serves.
    pub(crate) fn end(self) -> Result<LocalCollector> {
        drop(self.stop);
        self.thread.join().map_err(|_| "the weather's thread panicked")?
    }
}

fn refuse_what_is_bad(collector: &LocalCollector) {
    collector.fault(Fault::status(400).when_body_contains(BAD));
}

fn blow(options: &Options, collector: &LocalCollector, chance: &mut StdRng) {
    for _ in 0..=options.tenants / HIT {
        let key = key_of(&name_of(options.any_tenant(chance)));
        collector.fault(any_fault(chance).only(key));
    }
}

fn any_fault(chance: &mut StdRng) -> Fault {
    let few = chance.random_range(1..=3);
    let millis = |chance: &mut StdRng, most| Duration::from_millis(chance.random_range(10..most));
    match chance.random_range(0..14_u32) {
        0 => Fault::status(429).times(few),
        1 => Fault::status(429).retry_after("1").times(few),
        2 => Fault::status(429).retry_after(in_seconds(2)).times(few),
        3 => Fault::status(503).times(few),
        4 => Fault::status(503).retry_after("1").times(few),
        // Until this one gives up for good: longer than requests are repeated.
        5 => Fault::status(503).times(40),
        6 => Fault::hang().times(few),
        7 => Fault::reset().times(few),
        8 => Fault::truncate().times(1),
        9 => Fault::lose_answer().times(few),
        // Stored, and no answer in the time that a request may take.
        10 => Fault::lose_answer().after(Duration::from_secs(3)).times(1),
        11 => Fault::delay(millis(chance, 1500)).times(few),
        12 => Fault::partial_success(few.into()).times(1),
        _ => match chance.random_range(0..3_u32) {
            0 => Fault::reject_key().times(few),
            1 => Fault::status(413).times(few),
            _ => Fault::status(503).after(millis(chance, 1500)).times(few),
        },
    }
}

/// `Retry-After` as a date.
fn in_seconds(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}
