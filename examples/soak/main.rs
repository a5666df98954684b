//! Does it add up and stay small for as long as it runs? Many tenants, several threads, and a receiver that fails in every way it can.
//!
//! `cargo run --release --example soak -- --minutes 10`
//!
//! The receiver is a process of its own, so that the memory shown is the registry's alone. It remembers the id of every span it took, by key,
//! which takes some 20 bytes a span there: 60 MB for ten minutes at 5,000 spans a second. At every snapshot each tenant's ledger is compared
//! with what the load threads count by themselves, and at the end with what the receiver took under that tenant's key. Exit code 1 where
//! anything does not add up.
//!
//! | file | owns |
//! |---|---|
//! | `options` | the command line, and what both processes agree on |
//! | `load` | threads that make spans, sessions and tracers for one job |
//! | `made` | what they count |
//! | `watch` | a snapshot every half second, compared with that |
//! | `memory` | whether memory stays flat |
//! | `verdict` | the end: everything compared with everything |
//! | `control` | the receiver as this process sees it |
//! | `receiver`, `taken` | the receiver's process, and what it took |
//! | `weather` | what it does wrong, and when |
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it did")]

mod control;
mod load;
mod made;
mod memory;
mod options;
mod receiver;
mod taken;
mod verdict;
mod watch;
mod weather;

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

/// What any step may fail with; it ends the program.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// More than a request is repeated, and far more than the end takes.
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
    let mut watch = Watch::new(options, &load.made);
    watch.until_over(&registry);
    load.stop()?;
    receiver.calm()?;
    let report = registry.shutdown(END);
    let pending = report.pending();
    watch.look(&registry);
    let verdict = Verdict::new(&watch, &receiver.taken()?, pending);
    verdict.show(options)?;
    Ok(verdict.is_good())
}

/// Requests are given up soon, so that there is something to see in a few minutes.
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
