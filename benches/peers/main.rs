//! Compares this crate with its alternatives in one run: `cargo bench --bench peers [-- --quick]
//! [--json FILE] [--only ROW]`.
//!
//! Every number is a median of alternating measurements of both sides, so that other load on the
//! machine affects both. Measurements of memory or threads run in a separate process of this
//! program ([`child`]), and so does the receiver of all spans ([`receiver`]). Both sides use the
//! same settings: uncompressed protobuf, batches of 512, a delay of one second, the same sampler,
//! span limits, attributes and HTTP client library, and two connection threads. A row shows whether
//! it reaches its target.
//!
//! `RUSTFLAGS="--cfg tracer_registry_heap"` counts the allocations of the `churn` row.
//!
//! | file | owns |
//! |---|---|
//! | `options` | the command line |
//! | `row`, `table` | the printed results |
//! | `child`, `job` | measurements in a separate process |
//! | `receiver`, `count`, `delays`, `control` | the receiver's process and its control |
//! | `fleet`, `ours`, `stock`, `client` | tracers of both sides |
//! | `load` | load at a given rate |
//! | `process` | numbers from `/proc` |
//! | `idle`, `creation`, `lookup`, `enqueue`, `steady`, `black_hole`, `highest`, `churn`, `rotation`, `reload`, `tables` | one group of rows each |
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark shows what it measured"
)]

mod black_hole;
mod child;
mod churn;
mod client;
mod control;
mod count;
mod creation;
#[expect(dead_code, reason = "the other bench uses all of it")]
mod delays;
mod enqueue;
mod fleet;
mod highest;
mod idle;
mod job;
mod load;
mod lookup;
mod options;
mod ours;
mod process;
mod receiver;
mod reload;
mod rotation;
mod row;
mod steady;
mod stock;
mod table;
mod tables;

use std::error::Error;
use std::process::ExitCode;

use control::Receiver;
use options::{Options, Role};
use row::Row;

/// Counts allocations. Disabled when measuring time, because all threads share its counters.
#[cfg(tracer_registry_heap)]
#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Result of any step. An error ends the program.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a group of rows.
type Measure = fn(&Options, &Receiver) -> Result<Vec<Row>>;

/// Groups in table order, each with its names for `--only`.
const GROUPS: [(&[&str], Measure); 11] = [
    (&["memory", "threads", "idle"], idle::rows),
    (&["creation"], creation::rows),
    (&["look-up"], lookup::rows),
    (&["enqueue"], enqueue::rows),
    (&["cpu", "drops"], steady::rows),
    (&["black hole"], black_hole::rows),
    (&["rate"], highest::rows),
    (&["churn"], churn::rows),
    (&["rotation"], rotation::rows),
    (&["reload"], reload::rows),
    (&["tables"], tables::rows),
];

fn main() -> ExitCode {
    let done = match Role::from_args() {
        Ok(Role::Receiver) => receiver::run(),
        Ok(Role::Child(job)) => serde_json::from_str(&job)
            .map_err(Into::into)
            .and_then(|job| job::run(&job)),
        Ok(Role::Nothing) => {
            println!("measures only under `cargo bench`");
            Ok(())
        }
        Ok(Role::Bench(options)) => bench(&options),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let receiver = Receiver::start()?;
    let mut rows = Vec::new();
    table::head();
    for (names, measure) in GROUPS {
        if !names.iter().any(|name| options.wants(name)) {
            continue;
        }
        for row in measure(options, &receiver)? {
            table::line(&row);
            rows.push(row);
        }
    }
    if let Some(file) = &options.json {
        table::write_json(file, &rows)?;
    }
    Ok(())
}
