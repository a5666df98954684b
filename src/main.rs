//! The command line: parse, call, exit code.
//!
//! Exit codes: 0 for all well, 1 for a fault found, 2 for wrong use.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => cli::run(cli),
        Err(error) => cli::wrong_use(&error),
    }
}
