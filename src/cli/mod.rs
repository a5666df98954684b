//! The subcommands, one file each, on the crate's public API only.

mod check;
mod collect;
mod demo;
mod error;
mod schema;
mod table;
mod verify;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use anstream::{stderr, stdout};
use clap::{Parser, Subcommand};

use error::CliError;

/// Many isolated OpenTelemetry tracers in one process.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a small multi-tenant service against a local collector and shows whose project each span landed in
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

/// What a subcommand found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Well,
    /// A fault was found, and told.
    Fault,
}

/// Runs a subcommand; errors go to standard error with the chain of their causes.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let mut out = stdout();
    let result = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, &mut out),
        Command::Verify(arguments) => verify::run(&arguments, &mut out),
        Command::Check(arguments) => check::run(&arguments, &mut out),
        Command::Collect(arguments) => collect::run(&arguments, &mut out),
        Command::Schema => schema::run(&mut out),
    };
    match result {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Fault) => ExitCode::FAILURE,
        // Whoever read our output has had enough of it: no fault, and nobody left to tell.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &CliError) {
    let mut err = stderr();
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}  caused by: {error}\n");
        cause = error.source();
    }
    // Where standard error is closed too, the exit code says it.
    drop(err.write_all(text.as_bytes()));
}

/// Calls `then` when the process is told to end by ctrl-c or SIGTERM. Both are listened for when this returns, so that a caller may say
/// afterwards that it can be ended.
fn interrupted(then: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _inside = runtime.enter();
        told_to_end()?
    };
    std::thread::spawn(move || {
        runtime.block_on(told);
        then();
    });
    Ok(())
}

#[cfg(unix)]
fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let either = (std::pin::pin!(terminate.recv()), std::pin::pin!(interrupt.recv()));
        futures_util::future::select(either.0, either.1).await;
    })
}

#[cfg(not(unix))]
fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
