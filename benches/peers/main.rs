//! This crate beside what people run instead of it, in one run: `cargo bench --bench peers [-- --quick] [--json FILE] [--only ROW]`.
//!
//! Every number is measured on both sides by turns, so that what else the machine does meets both, and is a median. What takes memory or
//! threads runs in a process of its own, which is this program again ([`child`]); the receiver of all spans is another one ([`receiver`]).
//! Both sides use the same settings: protobuf without compression, batches of 512, a delay of one second, the same sampler, span limits,
//! attributes and HTTP client library, two threads for connections. A row that does not reach its target says so.
//!
//! With `RUSTFLAGS="--cfg tracer_registry_heap"` the allocations of the `churn` row are counted.
//!
//! | file | owns |
//! |---|---|
//! | `options` | the command line |
//! | `row`, `table` | what is shown |
//! | `child`, `job` | measuring in a process of its own |
//! | `receiver`, `count`, `delays`, `control` | the receiver: its process, and how it is asked |
//! | `fleet`, `ours`, `stock`, `client` | tracers of either side |
//! | `load` | spans at a given rate |
//! | `process` | what `/proc` says |
//! | `idle`, `making`, `lookup`, `enqueue`, `steady`, `hole`, `highest`, `churn`, `rotation`, `reload`, `tables` | a group of rows each |
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark shows what it measured"
)]

mod child;
mod churn;
mod client;
mod control;
mod count;
mod delays;
mod enqueue;
mod fleet;
mod highest;
mod hole;
mod idle;
mod job;
mod load;
mod lookup;
mod making;
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

/// Counts what is allocated. Not in builds that measure times: all threads share its counters.
#[cfg(tracer_registry_heap)]
#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// What any step may fail with; it ends the program.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The rows that one measurement gives.
type Measure = fn(&Options, &Receiver) -> Result<Vec<Row>>;

/// In the order of the table, each with the names that `--only` knows its rows by.
const GROUPS: [(&[&str], Measure); 11] = [
    (&["memory", "threads", "idle"], idle::rows),
    (&["making"], making::rows),
    (&["look-up"], lookup::rows),
    (&["enqueue"], enqueue::rows),
    (&["cpu", "drops"], steady::rows),
    (&["black hole"], hole::rows),
    (&["rate"], highest::rows),
    (&["churn"], churn::rows),
    (&["rotation"], rotation::rows),
    (&["reload"], reload::rows),
    (&["tables"], tables::rows),
];

fn main() -> ExitCode {
    let done = match Role::from_args() {
        Ok(Role::Receiver) => receiver::run(),
        Ok(Role::Child(job)) => job::run(&job),
        Ok(Role::Nothing) => {
            println!("measures under `cargo bench` only");
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
