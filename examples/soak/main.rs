//! Soak test: many tenants, several threads, and a receiver that fails in many ways. Checks that
//! every ledger adds up and that memory stays flat.
//!
//! `cargo run --release --example soak -- --minutes 10`
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
mod verdict;
mod watch;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracer_registry::config::{BackendName, Binding, Export, Retry};
use tracer_registry::secret::SecretError;
use tracer_registry::{KeySource, TracerRegistry};

use control::Receiver;
use load::Load;
use options::{Options, key_of, name_of};
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
    let registry = registry(&receiver.url)?;
    let tracers = (0..options.tenants).map(|tenant| registry.tenant(&name_of(tenant)));
    let tracers = tracers.collect::<std::result::Result<Vec<_>, _>>()?;

    let load = Load::start(options, &registry, tracers);
    let mut watch = Watch::new(options, &load.created);
    watch.run(&registry);
    load.stop()?;
    receiver.end_faults()?;
    let report = registry.shutdown(END);
    let pending = report.pending();
    watch.snapshot(&registry);
    let verdict = Verdict::new(&watch, &receiver.accepted()?, pending);
    verdict.show(options)?;
    Ok(verdict.is_good())
}

/// Retries end soon, so that a few minutes cover every outcome.
fn registry(url: &str) -> Result<TracerRegistry> {
    let registry = TracerRegistry::builder()
        .secret_source("soak", |name: &str| Ok::<_, SecretError>(key_of(name).into()))
        .defaults(
            Binding::new()
                .backend(BackendName::Honeyhive)
                .endpoint(url)
                .source("soak"),
        )
        .tenant("*", Binding::new().api_key(KeySource::provider("soak", "{tenant}")))
        .export(Export {
            max_queue_size: Some(2048),
            timeout: Some(Duration::from_secs(2)),
            retry: Retry {
                initial_backoff: Some(Duration::from_millis(200)),
                max_backoff: Some(Duration::from_secs(2)),
                max_elapsed: Some(Duration::from_secs(8)),
                ..Retry::default()
            },
            ..Export::default()
        })
        .build()?;
    Ok(registry)
}
