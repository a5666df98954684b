//! Soak test: many tenants, several threads, and a receiver that fails in many ways. Checks that
//! every ledger adds up and that memory stays flat.
//!
//! `cargo run --release --example soak -- --minutes 10`
//!
//! `cargo run --release --features spool --example soak -- --minutes 10 --restart-every 30`
//!
//! The same with data on disk: each registry must find there what the one before it left.
//!
//! The receiver is a separate process, so that the reported memory is the registry's alone. It
//! remembers the id of every accepted span by key, about 20 bytes each: 60 MB for ten minutes at
//! 5,000 spans a second. Each snapshot compares every tenant's ledger with the counts of the load
//! threads. The end compares it with the spans received under that tenant's key. The exit code is 1
//! if anything does not add up.
//!
//! | file | owns |
//! |---|---|
//! | `options` | the command line and what both processes share |
//! | `registry` | the registry, and its restarts |
//! | `load` | threads that create spans, sessions and dedicated tracers |
//! | `created` | their counts |
//! | `watch` | a snapshot every half second, compared with the counts |
//! | `memory` | whether memory stays flat |
//! | `verdict` | the final comparison |
//! | `control` | the receiver as seen by this process |
//! | `receiver`, `accepted` | the receiver's process and what it accepted |
//! | `faults` | the faults of the receiver and their schedule |
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it did")]

mod accepted;
mod control;
mod created;
mod faults;
mod load;
mod memory;
mod options;
mod receiver;
mod registry;
mod verdict;
mod watch;

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;
use tracer_registry::config::Spool;

use control::Receiver;
use load::Load;
use options::Options;
use registry::{Current, run_with_restarts, wait_for_disk};
use verdict::Verdict;
use watch::Watch;

/// Result of any step. An error ends the program.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than any request is retried and than the shutdown takes.
const END: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if options.receiver {
        receiver::run(&options).map(|()| true)
    } else {
        soak(&options)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn soak(options: &Options) -> Result<bool> {
    let mut receiver = Receiver::start(options)?;
    let every = options.restart_every.map(Duration::from_secs);
    let folder = every.map(|_| tempfile::tempdir()).transpose()?;
    let folder = folder.as_ref().map(TempDir::path);
    let spool = folder.map_or_else(Spool::default, |folder| registry::spool(folder, 0));
    let current = Arc::new(RwLock::new(Current::start(options, &receiver.url, spool)?));

    let load = Load::start(options, &current);
    let mut watch = Watch::new(options, &load.created, folder);
    if let (Some(every), Some(folder)) = (every, folder) {
        run_with_restarts(options, &receiver.url, folder, every, &current, &mut watch)?;
    } else {
        let registry = current.read().unwrap_or_else(PoisonError::into_inner).registry.clone();
        watch.run(&registry, None);
    }
    load.stop()?;
    receiver.end_faults()?;
    let registry = current.read().unwrap_or_else(PoisonError::into_inner).registry.clone();
    wait_for_disk(&registry, END);
    let report = registry.shutdown(END);
    watch.end(&registry, report.pending());
    let verdict = Verdict::new(&watch, &receiver.accepted()?);
    verdict.show(options)?;
    Ok(verdict.is_good())
}
