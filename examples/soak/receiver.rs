//! The receiver process: the local collector, its faults, and a count of what it accepted.

use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracer_registry::secret::Fingerprinter;
use tracer_registry_collector::{CollectorError, LocalCollector};

use crate::Result;
use crate::accepted::AcceptedData;
use crate::faults::FaultSchedule;
use crate::options::Options;

/// How long to retry reopening the port.
const PATIENCE: Duration = Duration::from_secs(60);

/// A separate loopback address: no other program takes its port while the receiver does not listen.
/// Available on Linux only.
const ADDRESS: &str = if cfg!(target_os = "linux") {
    "127.31.7.10:0"
} else {
    "127.0.0.1:0"
};

/// Starts collectors one after another that share one count.
pub(crate) struct CollectorStarter {
    address: String,
    fingerprinter: Fingerprinter,
    data: Arc<Mutex<AcceptedData>>,
}

/// Serves until its input closes.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fingerprinter = Fingerprinter::new();
    let mut starter = CollectorStarter {
        address: ADDRESS.to_owned(),
        data: Arc::new(Mutex::new(AcceptedData::new(options.tenants, &fingerprinter))),
        fingerprinter,
    };
    let collector = starter.open()?;
    starter.address = collector.addr().to_string();
    print_line(&collector.url())?;
    let data = Arc::clone(&starter.data);
    let mut faults = Some(FaultSchedule::begin(options, starter, collector));
    let mut collector = None;
    for command in std::io::stdin().lock().lines() {
        match command?.as_str() {
            "end_faults" => {
                if let Some(faults) = faults.take() {
                    collector = Some(faults.end()?);
                }
                print_line("end_faults")?;
            }
            _ => print_line(&serde_json::to_string(&lock(&data).accepted)?)?,
        }
    }
    drop(collector);
    Ok(())
}

impl CollectorStarter {
    /// Listens on the same address as before.
    pub(crate) fn open(&self) -> Result<LocalCollector> {
        let begun = Instant::now();
        loop {
            let data = Arc::clone(&self.data);
            let fingerprinter = self.fingerprinter.clone();
            let opened = LocalCollector::builder()
                .listen(&self.address)
                .fingerprints(move |key| fingerprinter.fingerprint(key).into())
                // Counted by the observer below; the collector need not keep everything.
                .max_spans(1000)
                .max_sessions(1000)
                .observer(move |received| lock(&data).note(received))
                .start();
            match opened {
                Ok(collector) => return Ok(collector),
                Err(CollectorError::Listen { .. }) if begun.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn note_closed(&self) {
        lock(&self.data).accepted.closed += 1;
    }
}

fn lock(data: &Mutex<AcceptedData>) -> MutexGuard<'_, AcceptedData> {
    data.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
