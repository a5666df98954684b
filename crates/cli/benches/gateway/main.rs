//! Measures `tracer-registry serve` beside a peer in one run: `cargo bench --bench gateway
//! [-- --quick] [--json FILE] [--only ROW]`.
//!
//! The peer is `rotel`, a collector in Rust, in the version of `requirements.txt`. The bench
//! installs it under `target/` with Python, or takes the path of its program from
//! `GATEWAY_BENCH_ROTEL`. Without it, rows have no peer.
//!
//! The gateway, the peer and the receiver of all spans are processes of their own, and only the
//! processor time of the gateway or of the peer counts. Both get the same requests at the same
//! rate, in turns. The receiver counts the spans that arrive, and whether they are compressed.
//!
//! | file | owns |
//! |---|---|
//! | `options` | the command line |
//! | `body` | requests of the clients |
//! | `load` | clients that send at a given rate |
//! | `server` | processes of the gateway and of the peer |
//! | `rotel` | the program of the peer |
//! | `process` | numbers from `/proc` |
//! | `receiver`, `delays`, `control` | the receiver's process and its control |
//! | `relay`, `tenants`, `delay`, `neighbours`, `idle`, `lookup`, `admin`, `durable`, `stream` | one group of rows each |
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark shows what it measured"
)]

mod admin;
mod body;
mod control;
#[path = "../../../../benches/peers/count.rs"]
mod count;
mod delay;
#[path = "../../../../benches/peers/delays.rs"]
mod delays;
mod durable;
mod idle;
mod load;
mod lookup;
mod neighbours;
#[path = "../../../../benches/peers/options.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod options;
mod process;
mod receiver;
mod relay;
mod rotel;
#[path = "../../../../benches/peers/row.rs"]
mod row;
mod server;
mod stream;
#[path = "../../../../benches/peers/table.rs"]
mod table;
mod tenants;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use control::Receiver;
use options::{Options, Role};
use row::Row;

/// Result of any step. An error ends the program.
pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What all groups of rows use.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) receiver: Receiver,
    /// Program of the peer, if there is one.
    pub(crate) rotel: Option<PathBuf>,
}

impl Bench {
    /// Number of rounds, of which the median counts.
    pub(crate) fn rounds(&self) -> usize {
        self.options.pick(3, 5)
    }
}

/// Measures a group of rows.
type Measure = fn(&Bench) -> Result<Vec<Row>>;

/// Groups in table order, each with its names for `--only`.
const GROUPS: [(&[&str], Measure); 10] = [
    (&["relay", "memory"], relay::rows),
    (&["tenants"], tenants::rows),
    (&["delay"], delay::rows),
    (&["neighbours"], neighbours::rows),
    (&["idle", "threads"], idle::rows),
    (&["look-up"], lookup::rows),
    (&["admin"], admin::rows),
    (&["durable", "spool"], durable::cost),
    (&["backlog", "spool"], durable::backlog),
    (&["stream"], stream::rows),
];

fn main() -> ExitCode {
    let done = match Role::from_args() {
        Ok(Role::Receiver) => receiver::run(),
        Ok(Role::Nothing | Role::Child(_)) => {
            println!("measures only under `cargo bench`");
            Ok(())
        }
        Ok(Role::Bench(options)) => bench(options),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: Options) -> Result<()> {
    let rotel = rotel::program();
    if let Err(error) = &rotel {
        println!("no peer: {error}\n");
    }
    let bench = Bench {
        options,
        receiver: Receiver::start()?,
        rotel: rotel.ok(),
    };
    let mut rows = Vec::new();
    table::head();
    for (names, measure) in GROUPS {
        if !names.iter().any(|name| bench.options.wants(name)) {
            continue;
        }
        for row in measure(&bench)? {
            table::line(&row);
            rows.push(row);
        }
    }
    if let Some(file) = &bench.options.json {
        table::write_json(file, &rows)?;
    }
    Ok(())
}
