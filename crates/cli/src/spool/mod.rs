//! `spool`: works on the files of `[spool]`.

mod check;
mod purge;

use std::io::Write;

use clap::{Args, Subcommand};

use super::error::{CliError, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a file holds, and whether it is damaged. No process may use it
    Check(check::Arguments),
    /// Erase the data of a tenant: on disk, or also in memory if a gateway uses the folder
    Purge(purge::Arguments),
    /// Take data of an erased tenant again
    Allow(purge::Arguments),
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome, CliError> {
    match &arguments.command {
        Command::Check(arguments) => check::run(arguments, out),
        Command::Purge(arguments) => purge::purge(arguments, out).map(|()| Outcome::Success),
        Command::Allow(arguments) => purge::allow(arguments, out).map(|()| Outcome::Success),
    }
}
