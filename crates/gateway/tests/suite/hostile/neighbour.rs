//! A well-behaved client of another caller, which sends all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::process::{Process, post};
use crate::limits::Raw;
use crate::support::{GLOBEX, body, until};

/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    pub(crate) fn start(process: &Process) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (is_over, http) = (Arc::clone(&stop), process.http);
        let thread = thread::spawn(move || {
            // 20 spans of about 400 bytes.
            let name = "n".repeat(330);
            let message = body(&[&*name; 20]);
            let mut raw = Raw::connect(http);
            let mut times = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                if times.len() % 16 == 0 {
                    raw = Raw::connect(http);
                }
                assert_eq!(post(&mut raw, GLOBEX, &message), 200);
                times.push(began.elapsed());
                thread::sleep(PAUSE);
            }
            times
        });
        Self { stop, thread }
    }

    /// Stops, and returns the time of each request. Panics if one was refused.
    pub(crate) fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.thread.join().unwrap();
        assert!(!times.is_empty());
        times
    }
}

/// Waits until the spans of this number of requests have arrived.
pub(crate) fn wait_for_requests(process: &Process, requests: usize) {
    let collector = &process.service.collector;
    until(|| {
        let summaries = collector.projects();
        let globex = summaries
            .iter()
            .find(|project| project.name.as_deref() == Some("globex"))
            .unwrap();
        globex.spans as u64 + globex.dropped.spans == 1 + 20 * requests as u64
    });
}
