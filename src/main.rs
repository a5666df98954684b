//! The command line: parse, call, exit code.
//!
//! Exit codes: 0 for all well, 1 for a fault found, 2 for wrong use.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
