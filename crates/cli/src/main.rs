//! The command line. Each subcommand is one file and uses only the public API of the crates.
//!
//! Exit codes: 0 for success, 1 for a fault or an error, 2 for wrong usage, 3 if `serve` lost data.
//!
//! All text from outside the program is escaped with `printable` or `json` before it is printed.

mod admin;
mod check;
mod collect;
mod demo;
mod error;
mod explain;
mod json;
mod redact;
mod serve;
mod signal;
mod spool;
#[cfg(feature = "jetstream")]
mod stream;
mod table;
mod verify;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use anstream::adapter::strip_str;
use anstream::{stderr, stdout};
use clap::{Parser, Subcommand};
use tracer_registry::config::ConfigError;
use tracer_registry::config::json_schema;
use tracer_registry::text::printable;

use error::{CliError, Outcome};

/// Returns freed memory to the system: a large configuration leaves much of it behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Isolated OpenTelemetry tracers in one process: demo, verification, configuration checks, local
/// collector, gateway.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 success, 1 fault found or error, 2 wrong usage, 3 data lost (serve)")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a small multi-tenant service against a local collector and show where its spans landed
    Demo(demo::Arguments),
    /// Run random programs on many tracers and check that no data crosses between them
    Verify(verify::Arguments),
    /// List each binding of a configuration and test its key
    Check(check::Arguments),
    /// Run the local collector and print one line per received request
    Collect(collect::Arguments),
    /// Run the gateway, which gives programs in any language isolated tracers
    Serve(serve::Arguments),
    /// Ask a running gateway for its tenants, callers and problems, or pause, flush or rotate a tenant
    Admin(admin::Arguments),
    /// Show what happened to a trace in a running gateway in the last minutes
    Explain(explain::Arguments),
    /// Read a request from standard input and print what the rules of a tenant leave of it
    Redact(redact::Arguments),
    /// Check the files of data on disk, or erase the data of a tenant
    Spool(spool::Arguments),
    /// Create or check the streams that replicas of the gateway share
    #[cfg(feature = "jetstream")]
    Stream(stream::Arguments),
    /// Print the JSON Schema of the configuration
    Schema,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => usage_error(&error),
    }
}

/// Runs a subcommand and reports its error, with all causes, on standard error.
fn run(cli: Cli) -> ExitCode {
    let mut out = stdout();
    let result = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, &mut out),
        Command::Verify(arguments) => verify::run(&arguments, &mut out),
        Command::Check(arguments) => check::run(&arguments, &mut out),
        Command::Collect(arguments) => collect::run(&arguments, &mut out),
        Command::Serve(arguments) => serve::run(&arguments, &mut out),
        Command::Admin(arguments) => admin::run(&arguments, &mut out),
        Command::Explain(arguments) => explain::run(&arguments, &mut out),
        Command::Redact(arguments) => redact::run(&arguments, &mut out),
        Command::Spool(arguments) => spool::run(&arguments, &mut out),
        #[cfg(feature = "jetstream")]
        Command::Stream(arguments) => stream::run(&arguments, &mut out),
        Command::Schema => json::write_pretty(&mut out, &json_schema()).map(|()| Outcome::Success),
    };
    match result {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::FAILURE,
        Ok(Outcome::Lost) => ExitCode::from(3),
        // A reader that closes the pipe early is not an error.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Reports wrong usage, with control characters in the arguments escaped.
fn usage_error(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    // clap may show only the value of `--option=value`.
    let values = arguments.iter().filter_map(|argument| argument.split_once('='));
    let given = arguments
        .iter()
        .map(String::as_str)
        .chain(values.map(|(_, value)| value));
    let unprintable: Vec<(&str, String)> = given
        .map(|given| (given, printable(given).to_string()))
        .filter(|(given, escaped)| given != escaped)
        .collect();
    if !error.use_stderr() || unprintable.is_empty() {
        error.exit();
    }
    // Rendered with colours: the plain rendering drops part of an argument, so `replace` would miss
    // it.
    let text = error.render().ansi().to_string();
    let text = unprintable
        .iter()
        .fold(text, |text, (given, escaped)| text.replace(given, escaped));
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
    // If standard error is closed, only the exit code reports the error.
    drop(stderr().write_all(text.as_bytes()));
}

/// Returns the escaped text of an error. Only configuration errors, also those of a running gateway,
/// keep their line breaks, one line per fault; in any other text a line break comes from outside.
fn lines(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let is_refused = matches!(error.downcast_ref(), Some(CliError::Refused(_)));
    if error.is::<ConfigError>() || is_refused {
        let lines = text.lines().map(|line| printable(line).to_string());
        lines.collect::<Vec<_>>().join("\n")
    } else {
        printable(&text).to_string()
    }
}
