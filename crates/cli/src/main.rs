//! The command line: parse, call, exit code. The subcommands are one file each, on the public API of the crates only.
//!
//! Exit codes: 0 for all well, 1 for a fault found, 2 for wrong use.
//!
//! Every text that the program did not write itself goes through `printable`, or through `json`, on its way out.

mod check;
mod collect;
mod demo;
mod error;
mod json;
mod signal;
mod table;
mod verify;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use anstream::adapter::strip_str;
use anstream::{stderr, stdout};
use clap::{Parser, Subcommand};
use tracer_registry::BuildError;
use tracer_registry::config::json_schema;
use tracer_registry::text::printable;

use error::{CliError, Outcome};

/// Many isolated OpenTelemetry tracers in one process.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a small multi-tenant service against a local collector and shows which project received each span
    Demo(demo::Arguments),
    /// Runs random programs on many tracers and proves that nothing leaks from one to another
    Verify(verify::Arguments),
    /// Says of every binding of a configuration where its key comes from and whether it works
    Check(check::Arguments),
    /// Runs the local collector until interrupted, a line per request received
    Collect(collect::Arguments),
    /// Prints the JSON Schema of the configuration
    Schema,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => wrong_use(&error),
    }
}

/// Runs a subcommand; errors go to standard error with the chain of their causes.
fn run(cli: Cli) -> ExitCode {
    let mut out = stdout();
    let result = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, &mut out),
        Command::Verify(arguments) => verify::run(&arguments, &mut out),
        Command::Check(arguments) => check::run(&arguments, &mut out),
        Command::Collect(arguments) => collect::run(&arguments, &mut out),
        Command::Schema => json::write_pretty(&mut out, &json_schema()).map(|()| Outcome::Well),
    };
    match result {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Fault) => ExitCode::FAILURE,
        // The reader of our output has closed it: not an error.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Reports wrong usage, with control characters of the given arguments escaped.
fn wrong_use(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    // Of `--option=value` the value is shown alone.
    let values = arguments.iter().filter_map(|argument| argument.split_once('='));
    let given = arguments
        .iter()
        .map(String::as_str)
        .chain(values.map(|(_, value)| value));
    let steering: Vec<(&str, String)> = given
        .map(|given| (given, printable(given).to_string()))
        .filter(|(given, shown)| given != shown)
        .collect();
    if !error.use_stderr() || steering.is_empty() {
        error.exit();
    }
    // With clap's own colours: without them clap leaves out a part of what was given, and the rest would not be found.
    let text = error.render().ansi().to_string();
    let text = steering
        .iter()
        .fold(text, |text, (given, shown)| text.replace(given, shown));
    let text = strip_str(&text).to_string();
    let lines = text.lines().map(|line| format!("{}\n", printable(line)));
    drop(stderr().write_all(lines.collect::<String>().as_bytes()));
    ExitCode::from(2)
}

/// Writes an error and its causes to standard error.
fn report(error: &CliError) {
    let mut text = format!("error: {}\n", lines(error));
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        text = format!("{text}  caused by: {}\n", lines(cause));
    }
    // If standard error is closed too, only the exit code reports it.
    drop(stderr().write_all(text.as_bytes()));
}

/// An error's text. The faults of a configuration are a line each; a break in any other text is not
/// ours, and is escaped.
fn lines(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    match error.downcast_ref() {
        Some(BuildError::Config(_)) => {
            let lines = text.lines().map(|line| printable(line).to_string());
            lines.collect::<Vec<_>>().join("\n")
        }
        _ => printable(&text).to_string(),
    }
}
