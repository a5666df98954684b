//! The receiver, in a process of its own: the local collector, its weather, and a count of what it took.

use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracer_registry::secret::Fingerprinter;
use tracer_registry_collector::{CollectorError, LocalCollector};

use crate::Result;
use crate::options::Options;
use crate::taken::Taking;
use crate::weather::Weather;

/// How long it is tried to get the port back.
const PATIENCE: Duration = Duration::from_secs(60);

/// While it does not listen, its port is free: on an address of its own no other program takes it. Elsewhere than on Linux there is one only.
const ADDRESS: &str = if cfg!(target_os = "linux") {
    "127.31.7.10:0"
} else {
    "127.0.0.1:0"
};

/// Makes collectors, one after the other, that count into the same books.
pub(crate) struct Site {
    address: String,
    fingerprinter: Fingerprinter,
    taking: Arc<Mutex<Taking>>,
}

/// Serves until its input is closed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let fingerprinter = Fingerprinter::new();
    let mut site = Site {
        address: ADDRESS.to_owned(),
        taking: Arc::new(Mutex::new(Taking::new(options.tenants, &fingerprinter))),
        fingerprinter,
    };
    let collector = site.open()?;
    site.address = collector.addr().to_string();
    say(&collector.url())?;
    let taking = Arc::clone(&site.taking);
    let mut weather = Some(Weather::begin(options, site, collector));
    let mut calm = None;
    for command in std::io::stdin().lock().lines() {
        match command?.as_str() {
            "calm" => {
                if let Some(weather) = weather.take() {
                    calm = Some(weather.end()?);
                }
                say("calm")?;
            }
            _ => say(&serde_json::to_string(&lock(&taking).taken)?)?,
        }
    }
    drop(calm);
    Ok(())
}

impl Site {
    /// Listens where it listened before.
    pub(crate) fn open(&self) -> Result<LocalCollector> {
        let begun = Instant::now();
        loop {
            let taking = Arc::clone(&self.taking);
            let fingerprinter = self.fingerprinter.clone();
            let opened = LocalCollector::builder()
                .listen(&self.address)
                .fingerprints(move |key| fingerprinter.fingerprint(key).into())
                // What is taken is counted below; the collector itself need not remember it.
                .max_spans(1000)
                .max_sessions(1000)
                .observer(move |received| lock(&taking).note(received))
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
        lock(&self.taking).taken.closed += 1;
    }
}

fn lock(taking: &Mutex<Taking>) -> MutexGuard<'_, Taking> {
    taking.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
